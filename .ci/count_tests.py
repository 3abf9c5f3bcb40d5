"""Adds up what test runners printed, and ends in one line: `N passed, N failed, N skipped`.

    count_tests.py (swift|python|bed|probes):STATUS:LOG...

STATUS is the runner's exit status. It exits 1 where anything failed or a runner ran no test at all: a run that broke
off before its closing line, or that failed without naming a test, counts as one failure. A bed (Tests/beds) prints what
swift and `hatchery security-test` print, one of kind `probes` what the latter prints; or it ends with 77 where this host
cannot give it: one skip, or a failure where MUST_WORK is 1.
"""

import os
import re
import sys
from pathlib import Path

CANNOT = 77
SWIFT_CLOSING = re.compile(r"Test run with (\d+) tests?\b.*? (?:passed|failed) after")
SWIFT_FAILED = re.compile(r"✘ Test (?!run with \d|case passing ).* failed after [\d.]+ seconds")
SWIFT_SKIPPED = re.compile(r"➜ Test (?!case passing ).*? (?:skipped\b|was cancelled after )")
XCTEST_CLOSING = re.compile(r"Executed (\d+) tests?, with (?:(\d+) tests? skipped and )?(\d+) failures?")
PROBES_CLOSING = re.compile(r"^Probes: (\d+) passed, (\d+) failed, (\d+) skipped$", re.MULTILINE)
PYTHON_CLOSING = re.compile(r"^Ran (\d+) tests? in ", re.MULTILINE)
PYTHON_VERDICT = re.compile(r"^(?:OK|FAILED|NO TESTS RAN)(?: \((.*)\))?$", re.MULTILINE)


def main(arguments):
    totals = [0, 0, 0]
    for argument in arguments:
        kind, status, path = argument.split(":", 2)
        log = Path(path).read_text(encoding="utf-8", errors="replace")
        if kind in ("bed", "probes") and int(status) == CANNOT:
            counts, remark = skipped_bed(log)
        else:
            counts, remark = settle(COUNTERS[kind](log), int(status))
        print(f"{kind} ({path}): {line(counts)}{remark}")
        totals = [total + count for total, count in zip(totals, counts)]
    print(line(totals))
    passed, failed, _ = totals
    return 1 if failed or not passed else 0


def skipped_bed(log):
    reasons = [text for text in log.splitlines() if text.startswith("skipped: ")]
    reason = reasons[-1] if reasons else "skipped: for no given reason"
    if os.environ.get("MUST_WORK") == "1":
        return (0, 1, 0), f" ({reason}; but it must work here)"
    return (0, 0, 1), f" ({reason})"


def line(counts):
    return "{} passed, {} failed, {} skipped".format(*counts)


def settle(counts, status):
    """What the runner said, made to agree with how it ended."""
    if counts is None:
        return (0, 1, 0), f" (status {status}, and no closing line)"
    if sum(counts) == 0:
        return (0, 1, 0), " (it ran no test)"
    passed, failed, skipped = counts
    if status != 0 and failed == 0:
        return (max(passed - 1, 0), 1, skipped), f" (status {status}, and no failed test named)"
    return counts, ""


def count_swift(log):
    closing = SWIFT_CLOSING.findall(log)
    if not closing:
        return None
    total = sum(map(int, closing))
    lines = log.splitlines()
    failed = sum(bool(SWIFT_FAILED.search(text)) for text in lines)
    skipped = sum(bool(SWIFT_SKIPPED.search(text)) for text in lines)
    counts = [max(total - failed - skipped, 0), failed, skipped]
    # swift test runs XCTest first; its suites nest, and the outermost closes last.
    for executed, left_out, failures in XCTEST_CLOSING.findall(log)[-1:]:
        bad, unused = int(failures), int(left_out or 0)
        counts = [counts[0] + max(int(executed) - bad - unused, 0), counts[1] + bad, counts[2] + unused]
    return tuple(counts)


def count_python(log):
    closing, verdicts = PYTHON_CLOSING.findall(log), PYTHON_VERDICT.findall(log)
    if not closing or not verdicts:
        return None
    total = int(closing[-1])
    parts = {name: int(number) for name, number in re.findall(r"([a-z ]+)=(\d+)", verdicts[-1])}
    parts = {name.strip(): number for name, number in parts.items()}
    failed = parts.get("failures", 0) + parts.get("errors", 0) + parts.get("unexpected successes", 0)
    skipped = parts.get("skipped", 0)
    return max(total - failed - skipped, 0), failed, skipped


def count_probes(log):
    """The last line of a bed stands for all of its suites."""
    closing = PROBES_CLOSING.findall(log)
    return tuple(map(int, closing[-1])) if closing else None


def count_bed(log):
    """What swift said, and each of the suites that ran beside it."""
    tests = count_swift(log)
    if tests is None:
        return None
    return tuple(map(sum, zip(tests, *[map(int, suite) for suite in PROBES_CLOSING.findall(log)])))


COUNTERS = {"swift": count_swift, "python": count_python, "bed": count_bed, "probes": count_probes}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What the soak's clients ask for, and what they must hear. Every request is drawn from a generator with a known seed."""

import json
import signal

# Long enough for a loaded machine; a request without an answer by then is a violation.
PATIENCE = 120


class Request:
    """One call of the command line: its words, its stdin, and a judge of its result.

    `judge(report)` gets the JSON object and returns what is wrong with it, or None. `kill_after` is when the client itself is
    killed, in seconds; then nobody hears an answer, and none is expected.
    """

    def __init__(self, name, words, judge, stdin=b"", kill_after=None, signal=signal.SIGKILL, verb="run"):
        self.name = name
        self.words = words
        self.judge = judge
        self.stdin = stdin
        self.kill_after = kill_after
        self.signal = signal
        self.verb = verb


def expect(**fields):
    def judge(report):
        wrong = {name: report.get(name) for name, value in fields.items() if report.get(name) != value}
        return f"expected {fields}, got {wrong}" if wrong else None
    return judge


def one_of(*verdicts):
    return lambda report: None if report["verdict"] in verdicts else f"the verdict is {report['verdict']}, not one of {verdicts}"


def shell(script, *options):
    return [*options, "--", "/bin/sh", "-c", script]


def exits(random):
    code = random.randrange(120)
    return Request("exit", shell(f"exit {code}"), expect(verdict="exited", exit_code=code))


def echoes(random):
    size = random.choice([0, 1, 1000, 70_000])
    return Request("echo", shell("wc -c", "--stdin", "-"), expect(verdict="exited", exit_code=0, stdout=f"{size}\n"), b"x" * size)


def computes(random):
    left, right = random.randrange(10**6), random.randrange(10**6)
    return Request("python", ["-c", f"import json; print(json.dumps({left} * {right}))"],
                   expect(verdict="exited", exit_code=0, stdout=f"{left * right}\n"), verb="python")


def kills_itself(random):
    number = random.choice([signal.SIGTERM, signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV])
    return Request("signal", shell(f"kill -{int(number)} $$"), expect(verdict="signaled", signal=int(number)))


def runs_too_long(random):
    return Request("time limit", shell("sleep 300 & setsid sleep 300 & sleep 300", "--time", "0.5"), expect(verdict="timed_out"))


def burns(random):
    return Request("CPU limit", shell("while :; do :; done", "--cpu-time", "1", "--time", "60"), one_of("cpu_limit"))


def takes_memory(random):
    program = "x = []\nwhile True: x.append(bytearray(1 << 20))"
    # Where no cgroup limits memory, an allocation may be refused before the watch sees it.
    return Request("memory", ["--memory", "64M", "-c", program], one_of("memory_limit", "exited", "signaled"), verb="python")


def fills_its_disk(random):
    return Request("disk limit", shell("dd if=/dev/zero of=/tmp/full bs=65536 count=200 2>/dev/null || exit 9", "--disk", "1M"),
                   one_of("exited", "signaled"))


def leaves_orphans(random):
    return Request("orphans", shell("for i in 1 2 3 4 5; do setsid sleep 300 & done; exit 7", "--pids", "32"),
                   expect(verdict="exited", exit_code=7))


def talks(random):
    return Request("much output", shell("head -c 3000000 /dev/zero; exit 3", "--output", "100K"),
                   expect(verdict="exited", exit_code=3))


def is_missing(random):
    return Request("no such program", ["--", "/no/such/program"], lambda report: "a program that is not there ran")


def loses_its_client(random):
    return Request("killed client", shell("setsid sleep 300 & sleep 300"), None, kill_after=random.uniform(0, 0.5))


def is_interrupted(random):
    return Request("interrupted client", shell("sleep 300"), None, kill_after=random.uniform(0, 0.5),
                   signal=random.choice([signal.SIGINT, signal.SIGTERM]))


def loopback(random):
    return Request("loopback", shell("exit 5", "--net", "loopback"), expect(verdict="exited", exit_code=5))


def writes_to_a_full_disk(folder):
    def make(random):
        return Request("full disk", shell("dd if=/dev/zero of=/data/file bs=65536 count=100 2>/dev/null && exit 1; rm -f /data/file; exit 6",
                                          "-v", f"{folder}:/data:rw"), one_of("exited"))
    return make


def all_kinds(full_disk):
    return [exits, exits, echoes, computes, computes, kills_itself, runs_too_long, burns, takes_memory, fills_its_disk, leaves_orphans,
            talks, is_missing, loses_its_client, loses_its_client, is_interrupted, loopback, writes_to_a_full_disk(full_disk)]


def answer_of(request, status, output, error, victims):
    """What is wrong with an answer, or None; and whether it was a refusal (exit status 125 with a reason).

    `victims` are the sandboxes that somebody killed: of their end nothing is expected but that it is told.
    """
    if request.name == "no such program" and status == 127:
        return None, False
    try:
        report = json.loads(output)
    except ValueError:
        report = None
    if report and report["spawn"]["id"] in victims:
        return None, False
    if status == 125 or (report and report["verdict"] in ("lost", "setup_failed", "cancelled")):
        return (None if error.strip() or report else "a failure without a word of why"), True
    if report is None:
        return f"status {status}, and no report: {output[:200]!r} {error[:200]!r}", False
    return request.judge(report), False

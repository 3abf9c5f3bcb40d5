"""Prints the result of a run, as `hatchery ... --json` wrote it, for people.

    show_result.py RESULT.json [--wall SECONDS] [--file PATH]

A missing field prints as unknown. The exit status is 0 wherever there is a result, whatever it says.
"""

import argparse
import json
import os
import sys


def main():
    parser = argparse.ArgumentParser(description="Print a result of hatchery --json.")
    parser.add_argument("result", help="the file that holds the JSON object")
    parser.add_argument("--wall", type=float, help="seconds that the whole command took")
    parser.add_argument("--file", help="a file that the run was to bring out")
    options = parser.parse_args()
    try:
        with open(options.result, encoding="utf-8") as file:
            result = json.load(file)
        if not isinstance(result, dict):
            raise ValueError("not one JSON object")
    except (OSError, ValueError) as error:
        sys.exit(f"no result: {error}")

    heading("Output")
    write(sys.stdout, result, "stdout")
    if result.get("stderr"):
        heading("Errors")
        write(sys.stdout, result, "stderr")
    heading("Result")
    for name, text in describe(result, options.wall):
        print(f"{name:<9} {text}")
    if options.file:
        print(f"{'file':<9} {describe_file(options.file)}")


def heading(text):
    print(f"\n--- {text} " + "-" * (72 - len(text)))


def write(stream, result, name):
    text = result.get(name) or ""
    stream.write(text if text.endswith("\n") or not text else text + "\n")
    dropped = result.get(f"{name}_truncated_bytes") or 0
    if dropped:
        stream.write(f"[{dropped:,} bytes more were dropped]\n")


def describe(result, wall):
    usage, spawn, receipt = (result.get(name) or {} for name in ("usage", "spawn", "receipt"))
    yield "verdict", describe_verdict(result)
    origin = {True: "parked ahead of time", False: "cloned on request"}.get(spawn.get("nursery_hit"), "origin unknown")
    zygote = f"zygote {spawn.get('zygote', 'unknown')}, generation {spawn.get('generation', 'unknown')}"
    yield "spawn", f"{duration(spawn.get('spawn_seconds'))}, {origin} ({zygote})"
    times = f"{duration(usage.get('wall_seconds'))} of wall clock, {duration(usage.get('cpu_seconds'))} of CPU"
    yield "run", f"{times}, {size(usage.get('peak_memory_bytes'))} at its peak"
    if wall is not None:
        yield "command", f"{duration(wall)}, from its start to its end"
    active = receipt.get("active") or []
    yield "layers", f"{len(active)} active: {' '.join(active) or 'none'}"
    for gap in receipt.get("missing") or []:
        yield "missing", f"{gap.get('layer', 'unknown')}: {gap.get('why', 'no reason given')}"


def describe_verdict(result):
    text = result.get("verdict", "unknown")
    if result.get("exit_code") is not None:
        text += f", exit code {result['exit_code']}"
    if result.get("signal") is not None:
        text += f", signal {result['signal']} ({result.get('signal_name') or 'unnamed'})"
    limit = (result.get("evidence") or {}).get("limit")
    return f"{text}, limit {limit}" if limit is not None else text


def describe_file(path):
    try:
        return f"{path} ({size(os.stat(path).st_size)})"
    except OSError as error:
        return f"{path}: {error.strerror}"


def duration(seconds):
    if seconds is None:
        return "unknown"
    return f"{seconds * 1000:.2f} ms" if seconds < 0.1 else f"{seconds:.2f} s"


def size(count):
    if count is None:
        return "unknown"
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


if __name__ == "__main__":
    main()

#!/usr/bin/env bash
# run.sh [--seconds N] [TARGET...]: fuzzes the readers of bytes that others chose, each for N seconds (60), with the libFuzzer of
# the Swift toolchain. The fewest inputs that reach all code are kept in Fuzz/Corpus; an input that breaks a promise
# is left in Fuzz/Found, and the script fails. The tests run every kept input (CorpusTests).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

seconds=60
if [ "${1:-}" = --seconds ]; then
    seconds=$2
    shift 2
fi
swift=$(../packaging/find-swift.sh)
# The index has no end where main is libFuzzer's; coverage is in every module of ours.
"$swift" build --sanitize fuzzer -Xswiftc -enable-testing --product HatcheryFuzz </dev/null
program=$("$swift" build --show-bin-path)/HatcheryFuzz
if [ $# -gt 0 ]; then
    targets=("$@")
else
    mapfile -t targets < <(ls Corpus)
fi

status=0
for target in "${targets[@]}"; do
    echo "==> $target, $seconds s"
    mkdir -p "Corpus/$target" "Found/$target"
    fresh=$(mktemp -d)
    export HATCHERY_FUZZ=$target
    "$program" "$fresh" "Corpus/$target" -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=2048 \
        -artifact_prefix="Found/$target/" -print_final_stats=1 2>"$fresh.log" || status=1
    grep -E '^(stat::number_of_executed_units|.*DONE|==[0-9]+==|SUMMARY)|Fatal error' "$fresh.log" || tail -n 5 "$fresh.log"
    # The fewest inputs that take every edge: a corpus is run by every test. What has a name of its own stays.
    least=$(mktemp -d)
    find "Corpus/$target" -type f ! -regex '.*/[0-9a-f]+' -exec cp {} "$least" \;
    if "$program" -set_cover_merge=1 -use_counters=0 -max_len=4096 "$least" "Corpus/$target" "$fresh" 2>/dev/null; then
        rm -f "Corpus/$target"/*
        mv "$least"/* "Corpus/$target"
    else
        status=1
    fi
    rm -rf "$fresh" "$fresh.log" "$least"
    rmdir --ignore-fail-on-non-empty "Found/$target"
done
exit $status

#!/usr/bin/env bash
# sanitize.sh [address|undefined|thread]...: the unit tests under the sanitizers of the Swift toolchain, each in a build folder of
# its own. Without an argument all three. Not in test.sh: three more builds of everything are twenty minutes.
#
# What runs: protocol, system layer, daemon front and client, in one process. The children of zygotes are left out: a
# sanitizer maps terabytes and starts threads, and neither survives a clone into an empty root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

swift=$(packaging/find-swift.sh)
kinds=("$@")
[ $# -gt 0 ] || kinds=(address undefined thread)
suites='^(HatcheryProtocolTests|HatcherySystemTests|HatcheryDaemonTests|HatcheryTests|HatcheryJobsTests)\.'

# Leaks are Foundation's and the runtime's own (metadata that lives as long as the process).
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export TSAN_OPTIONS=halt_on_error=0:exitcode=66

status=0
for kind in "${kinds[@]}"; do
    folder=.build-sanitize/$kind
    log=$folder.log
    mkdir -p "$folder"
    echo "==> $kind > $log"
    if ! "$swift" test --scratch-path "$folder" --sanitize "$kind" --filter "$suites" >"$log" 2>&1 </dev/null; then
        status=1
    fi
    grep -aE '(ERROR|WARNING): [A-Za-z]+Sanitizer|runtime error:|✘|error:|Test run with' "$log" | sort | uniq -c | sort -rn | head -n 40
done
exit $status

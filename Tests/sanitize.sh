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
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:suppressions=$PWD/Tests/sanitize-address.supp
export TSAN_OPTIONS=halt_on_error=0:exitcode=66:suppressions=$PWD/Tests/sanitize-thread.supp

# Tests that need a daemon get an ordinary one; the library and the jobs are in the test's own process.
"$swift" build </dev/null >/dev/null
export HATCHERY_BIN
HATCHERY_BIN=$("$swift" build --show-bin-path)

status=0
for kind in "${kinds[@]}"; do
    folder=.build-sanitize/$kind
    log=$folder.log
    mkdir -p "$folder"
    echo "==> $kind > $log"
    # Debian's gold dies of an internal error where it should name a missing symbol.
    flags=(--sanitize "$kind" -Xswiftc -use-ld=lld)
    # The toolchain has no such runtime on Linux. Swift traps by itself; in the C parts each undefined operation becomes a trap.
    [ "$kind" != undefined ] || flags=(-Xcc -fsanitize=undefined -Xcc -fsanitize-trap=undefined -Xswiftc -use-ld=lld)
    if ! HATCHERY_SANITIZE=1 "$swift" test --scratch-path "$folder" "${flags[@]}" --filter "$suites" >"$log" 2>&1 </dev/null; then
        status=1
    fi
    grep -aE '(ERROR|WARNING): [A-Za-z]+Sanitizer|runtime error:|✘|error:|Test run with' "$log" | grep -av '^◇\|^✔ Test [^r]' |
        sort | uniq -c | sort -rn | head -n 40
done
exit $status

#!/usr/bin/env bash
# test.sh: installs what the tests need, builds, and runs them all. The last line is `N passed, N failed, N skipped`.
# MUST_WORK=1 turns every skip for a missing kernel feature into a failure.
# TEST_TIME: the seconds that each runner may take.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export LC_ALL=C.UTF-8

python=/usr/bin/python3 # Debian's, which has pandas: one under a private home is out of a sandbox's reach
logs=.build/test-logs
limit=${TEST_TIME:-3000}
results=()

main() {
    step "Packages that the tests need"
    packaging/install-missing.sh libseccomp-dev libcap-dev pkg-config uidmap python3 python3-numpy python3-pandas \
        python3-matplotlib python3-jsonschema busybox-static libjemalloc2 procps iproute2 strace systemd nftables passt \
        python3-prometheus-client gcc libc6-dev git nodejs default-jre-headless python3-pip
    swift=$(packaging/find-swift.sh)
    mkdir -p "$logs"

    step "Building, debug"
    "$swift" build </dev/null
    "$swift" build --package-path Benchmarks </dev/null

    for folder in Tests/*/; do
        compgen -G "${folder}test_*.py" >/dev/null || continue
        run python "$logs/$(basename "$folder").log" \
            "$python" -m unittest discover --verbose --start-directory "$folder"
    done
    # One after another, and with patience: real compilers, twins of the security suite and a thousand runs beside each other bring
    # a small machine to where limits are reached that no test is about.
    run swift "$logs/swift.log" env HATCHERY_TEST_SLOWNESS="${HATCHERY_TEST_SLOWNESS:-4}" "$swift" test --no-parallel
    # A second kernel with all of cgroup v2: the same tests, and those that this host can only skip.
    run bed "$logs/vm.log" Tests/beds/vm.sh
    # The security suite in a container, as its users run it.
    run probes "$logs/docker.log" Tests/beds/docker.sh
    # The Debian package, installed into a fresh Debian, used and purged.
    run probes "$logs/deb.log" Tests/beds/deb.sh

    step "Results"
    "$python" .ci/count_tests.py "${results[@]}"
}

# run KIND LOG COMMAND...: the whole output goes to the log; what failed is shown here as well.
run() {
    local kind=$1 log=$2 status=0
    shift 2
    step "$* > $log"
    timeout --kill-after=30 "$limit" "$@" >"$log" 2>&1 </dev/null || status=$?
    results+=("$kind:$status:$log")
    if [ "$status" -eq 0 ] || [ "$status" -eq 77 ]; then
        grep -E '➜ |\.\.\. skipped|^skipped: |^Probes: ' "$log" || true
    else
        grep -E -A 12 '✘ |^(ERROR|FAIL):|^FAILED |error: |Fatal error' "$log" | head -n 200 || true
        echo "... the last lines of $log, status $status:"
        tail -n 20 "$log"
    fi
}

step() { printf '\n==> %s\n' "$*"; }

main "$@"

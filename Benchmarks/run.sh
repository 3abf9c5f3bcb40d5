#!/usr/bin/env bash
# Benchmarks/run.sh [--quick] [--force] [--json FILE] [--plot FILE] [--growth N]: measures this tree's Hatchery beside the
# kernel's own price.
#
#   --quick      at most 3 minutes on 2 cores (without the build), and fewer samples: a p99 then says little
#   --force      measures although the load average is above 4
#   --json FILE  the same figures for programs
#   --plot FILE  spawn time against preloaded megabytes as SVG (default: spawn-time.svg in the current directory)
#   --growth N   so many spawns in the test of growth (default 20,000; quick: 1,000)
#
# HATCHERY_BENCHMARK_PYTHON     a Python with numpy and pandas (default /usr/bin/python3)
# HATCHERY_BENCHMARK_PYSPAWNER  a Python with pyspawner and pandas, to be measured beside it
#
# It builds release binaries where they are not fresh, starts daemons of its own in a temporary directory, runs
# hatchery-benchmarks, and ends what it started. Docs/Performance.md explains the table. `hatchery bench` calls this script.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
binaries="$root/.build/release"
built="$binaries/.quickstart-built" # shared with quickstart.sh: the same build, the same rule of freshness
products=(hatchery hatcheryd hatchery-zygote libhatchery-python.so HatcheryLookupExample)
python=${HATCHERY_BENCHMARK_PYTHON:-/usr/bin/python3}
start_limit_seconds=60
daemons=()
place=
plot=

main() {
    local flags=() arguments=("$@")
    while [ $# -gt 0 ]; do
        case "$1" in
        -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
        --quick | --force) flags+=("$1"); shift ;;
        --json | --growth) [ $# -ge 2 ] || fail "$1 needs a value"; flags+=("$1" "$2"); shift 2 ;;
        --plot) [ $# -ge 2 ] || fail "--plot needs a file"; plot=$2; shift 2 ;;
        *) fail "unknown option $1 (see --help)" ;;
        esac
    done
    "$python" -c 'import numpy, pandas' 2>/dev/null || fail "$python cannot import numpy and pandas"
    build
    # Our own build must not be the load that is measured.
    case " ${arguments[*]} " in *" --force "*) ;; *) wait_for_quiet ;; esac
    trap end EXIT
    trap 'exit 130' INT TERM
    place=$(mktemp -d /tmp/hatchery-benchmarks.XXXXXX)
    # Sandboxes are strangers on the host: the Swift zygote must lie where they can reach it. The sockets are closed to others.
    chmod 755 "$place"
    install -m 755 "$binaries/HatcheryLookupExample" "$place/lookup"
    # 5,000 live children hold a good many descriptors, in the daemon and in the client.
    [ "$(id -u)" -ne 0 ] || ulimit -n 262144 2>/dev/null || true
    write_configurations
    start speed
    start parked
    start ballast
    flags+=(--ballast-socket "$place/ballast.sock" --plot "${plot:-spawn-time.svg}")
    if [ "$(id -u)" -eq 0 ]; then
        start mounts
        flags+=(--mounts-socket "$place/mounts.sock")
    fi
    start networked
    flags+=(--networked-socket "$place/networked.sock")
    [ -z "${HATCHERY_BENCHMARK_PYSPAWNER:-}" ] || flags+=(--pyspawner "$HATCHERY_BENCHMARK_PYSPAWNER")
    "$benchmarks/hatchery-benchmarks" --socket "$place/speed.sock" --daemon "$(cat "$place/speed.pid")" \
        --parked-socket "$place/parked.sock" \
        --parked-daemon "$(cat "$place/parked.pid")" --hatchery "$binaries/hatchery" \
        --floors "$benchmarks/hatchery-floors" --python "$python" \
        --commit "$(git -C "$root" rev-parse --short HEAD 2>/dev/null || echo unknown)" "${flags[@]}"
}

build() {
    local swift stamp="$root/.build/benchmarks-started" product
    swift=$("$root/packaging/find-swift.sh")
    if ! is_built; then
        step "Build: Hatchery, release"
        mkdir -p "$root/.build"
        touch "$stamp" # taken before: what is edited during the build is built again
        "$swift" build --package-path "$root" -c release --static-swift-stdlib >&2
        for product in "${products[@]}"; do
            [ -e "$binaries/$product" ] || fail "the build left no $binaries/$product"
        done
        touch --reference="$stamp" "$built"
    fi
    step "Build: the benchmarks"
    "$swift" build --package-path "$here" -c release >&2
    benchmarks=$("$swift" build --package-path "$here" -c release --show-bin-path)
}

is_built() {
    local product
    for product in "${products[@]}" .quickstart-built; do
        [ -e "$binaries/$product" ] || return 1
    done
    [ -z "$(find "$root/Sources" "$root/Package.swift" -newer "$built" -print -quit)" ]
}

wait_for_quiet() {
    local tries
    for tries in 1 2 3 4 5 6; do
        awk '{exit !($1 <= 4)}' /proc/loadavg && return
        step "The load average is $(cut -d' ' -f1 /proc/loadavg): waiting 10 s ($tries of 6)"
        sleep 10
    done
}

# Limits are the defaults but for the memory, which a zygote with a gigabyte in it needs, and for the queue: a burst of a thousand requests of
# one user is what is measured, and not what the defaults let through (256, for five seconds).
write_configurations() {
    local nursery="nursery: {min: 8, max: 32}" none="nursery: {min: 0, max: 0}"
    local common="kind: python, interpreter: $python, environment: {LC_ALL: C.UTF-8}"
    local pandas="$common, preload: [numpy, pandas]"
    cat >"$place/speed.yaml" <<END
socket: {path: "$place/speed.sock", mode: "0600"}
policy: {queue: {total: 4096, per_user: 4096, wait: 5m}}
zygotes:
  - {name: exec, kind: exec, $nursery}
  - {name: exec-miss, kind: exec, $none}
  - {name: bare, $common, $nursery}
  - {name: lookup, kind: swift, executable: $place/lookup, $nursery}
  - {name: lookup-miss, kind: swift, executable: $place/lookup, $none}
  - {name: pandas, $pandas, $nursery}
  - {name: pandas-miss, $pandas, $none}
  - {name: pandas-unfrozen, $pandas, freeze: false, $none}
  - {name: pandas-ballast, $pandas, warmup: "import numpy; ballast = numpy.ones(1 << 27)", $none}
profiles:
  default: {network: none, limits: {memory: {default: 4G, max: 8G}}}
END
    # The same objects in each pair; what they are does not matter, only that each page of them was written.
    {
        echo "socket: {path: \"$place/ballast.sock\", mode: \"0600\"}"
        echo "ids: {base: 1879244800, count: 65536}"
        echo "zygotes:"
        local size kind
        for size in 0 256 512 1024; do
            for kind in frozen unfrozen; do
                echo "  - {name: $kind-$size, $common, warmup: \"import builtins; builtins.ballast = [bytes(1000) for _ in range($size * 1024)]\", freeze: $([ $kind = frozen ] && echo true || echo false), $none}"
            done
        done
        echo "profiles:"
        echo "  default: {network: none, limits: {memory: {default: 4G, max: 8G}}}"
    } >"$place/ballast.yaml"
    cat >"$place/mounts.yaml" <<END
socket: {path: "$place/mounts.sock", mode: "0600"}
ids: {base: 1879310336, count: 65536}
zygotes:
  - {name: exec-miss, kind: exec, $none}
END
    cat >"$place/networked.yaml" <<END
socket: {path: "$place/networked.sock", mode: "0600"}
ids: {base: 1879375872, count: 65536}
zygotes:
  - {name: exec, kind: exec, $nursery}
  - {name: exec-nat, kind: exec, profile: networked, $nursery}
  - {name: exec-miss, kind: exec, $none}
  - {name: exec-nat-miss, kind: exec, profile: networked, $none}
profiles:
  default: {network: none}
  networked: {network: nat}
END
    # Outer ids of its own, so that the two daemons' sandboxes never share one.
    cat >"$place/parked.yaml" <<END
socket: {path: "$place/parked.sock", mode: "0600"}
ids: {base: 1879113728, count: 65536}
zygotes:
  - {name: parked, $pandas, nursery: {min: 50, max: 50}}
END
}

start() {
    local name=$1 deadline=$((SECONDS + start_limit_seconds))
    step "Daemon: $name"
    local starter=()
    # In a mount namespace of its own, which goes with the daemon.
    [ "$name" != mounts ] || starter=(unshare --mount --propagation private "$here/with-mounts.sh" "$place" 1000)
    # In a network namespace of its own that forwards: the host's is left as it is. An ordinary user's gives a network by pasta.
    [ "$name" != networked ] || [ "$(id -u)" -ne 0 ] ||
        starter=(unshare --net sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward; exec "$@"' networked)
    "${starter[@]}" "$binaries/hatcheryd" --config "$place/$name.yaml" --log-level warning </dev/null >"$place/$name.log" 2>&1 &
    daemons+=($!)
    echo $! >"$place/$name.pid"
    until is_ready "$name"; do
        kill -0 "${daemons[-1]}" 2>/dev/null || { cat "$place/$name.log" >&2; fail "hatcheryd ended at its start"; }
        [ $SECONDS -lt $deadline ] || {
            "$binaries/hatchery" zygotes --socket "$place/$name.sock" >&2 || true
            fail "the zygotes of $name are not ready after $start_limit_seconds s"
        }
        sleep 0.2
    done
}

is_ready() {
    local listing
    listing=$("$binaries/hatchery" zygotes --socket "$place/$1.sock" </dev/null 2>/dev/null) || return 1
    grep -q ready <<<"$listing" && ! grep -qE 'starting|failed' <<<"$listing"
}

# By pid, and only what was started here.
end() {
    local pid
    for pid in "${daemons[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${daemons[@]}"; do wait "$pid" 2>/dev/null || true; done
    [ -z "$place" ] || rm -rf "$place"
}

step() { printf '==> %s\n' "$*" >&2; }

fail() {
    printf 'run.sh: %s\n' "$*" >&2
    exit 1
}

main "$@"

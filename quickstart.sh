#!/usr/bin/env bash
# quickstart.sh [SCRIPT [ARG...]]: one command from a fresh Debian or Ubuntu to a Python script that ran in a sandbox.
#
# It installs what is missing, builds, starts a daemon whose Python has numpy, pandas and matplotlib imported already,
# runs SCRIPT (examples/report.py unless given) and prints its output, the verdict and the receipt. A second call reuses
# all of that. The exit status is the script's.
#
#   quickstart.sh --stop     ends the daemon, which leaves by itself after 30 idle minutes otherwise
#   QUICKSTART_OPTIONS       more options of `hatchery python`, divided by spaces:
#                            QUICKSTART_OPTIONS="--in data.csv --out result.csv" ./quickstart.sh my.py data.csv
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
binaries="$root/.build/release"
built="$binaries/.quickstart-built" # younger than every source while the binaries are up to date
products=(hatchery hatcheryd hatchery-zygote libhatchery-python.so)
python=/usr/bin/python3 # the sandboxes' user ids must be able to read it: one under a private home will not do
docker_image=swift:6.3-bookworm
start_limit_seconds=60

main() {
    case "${1:-}" in
    -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    --stop) choose_state; stop_daemon; exit 0 ;;
    -*) fail "unknown option $1 (see --help)" ;;
    esac
    install_packages
    build
    choose_state
    start_daemon
    run_script "$@"
}

install_packages() {
    step "Packages: the seccomp and capability libraries, id maps, Debian's pandas and matplotlib"
    "$root/packaging/install-missing.sh" libseccomp-dev libcap-dev pkg-config uidmap \
        python3-numpy python3-pandas python3-matplotlib
}

build() {
    if is_built; then
        step "Build: up to date"
        return
    fi
    local swift product stamp="$root/.build/quickstart-started"
    mkdir -p "$root/.build"
    if swift=$("$root/packaging/find-swift.sh" 2>/dev/null); then
        step "Build: release, with $swift (some minutes the first time)"
        [ -e "$root/Package.resolved" ] || "$swift" package --package-path "$root" resolve
        touch "$stamp" # taken before: what is edited during the build is built again
        # Our own modules are compiled anew when a source has changed: Swift 6.3 was seen to leave users of a struct as they
        # were when the struct grew in another module, and the program then crashed. Dependencies stay as they are.
        rm -rf "$binaries"/*atchery*.build "$binaries"/Modules/*atchery*
        "$swift" build --package-path "$root" -c release --static-swift-stdlib
    elif command -v docker >/dev/null && timeout 10 docker info >/dev/null 2>&1; then
        step "Build: release, in Docker ($docker_image), as there is no Swift 6 here"
        touch "$stamp"
        build_in_docker
    else
        "$root/packaging/find-swift.sh" || true
        fail "no Swift toolchain, and no Docker to build in"
    fi
    for product in "${products[@]}"; do
        [ -e "$binaries/$product" ] || fail "the build left no $binaries/$product"
    done
    touch --reference="$stamp" "$built"
}

is_built() {
    local product
    for product in "${products[@]}" .quickstart-built; do
        [ -e "$binaries/$product" ] || return 1
    done
    # Folders count too: theirs is the time of the last file added or removed.
    [ -z "$(find "$root/Sources" "$root/Package.swift" -newer "$built" -print -quit)" ]
}

# The same path inside as outside, for SwiftPM writes absolute paths into .build. The binaries want the glibc of Debian
# 12 (2.36) or a newer one.
build_in_docker() {
    docker run --rm --volume "$root:$root" --workdir "$root" "$docker_image" bash -euc "
        trap 'chown -R $(id -u):$(id -g) .build' EXIT
        apt-get update -qq
        apt-get install -qq -y libseccomp-dev libcap-dev pkg-config
        swift build -c release --static-swift-stdlib"
}

# A directory of ours alone: whoever could write here could have us start a daemon of their choice.
choose_state() {
    state="/tmp/hatchery-quickstart-$(id -u)"
    if [ -n "${XDG_RUNTIME_DIR:-}" ] && [ -O "$XDG_RUNTIME_DIR" ]; then
        state="$XDG_RUNTIME_DIR/hatchery-quickstart"
    fi
    mkdir -m 0700 "$state" 2>/dev/null || true
    if [ -L "$state" ] || [ ! -d "$state" ] || [ ! -O "$state" ]; then
        fail "$state is not a directory of this user"
    fi
    chmod 0700 "$state"
    socket="$state/hatchery.sock"
    configuration="$state/hatchery.yaml"
    log="$state/hatcheryd.log"
    pid_file="$state/hatcheryd.pid"
    exec {lock}>"$state/lock" # two calls at once start one daemon
    flock "$lock"
}

start_daemon() {
    write_configuration
    if daemon_lives && answers && [ "$pid_file" -nt "$configuration" ] && [ "$pid_file" -nt "$built" ]; then
        step "Daemon: running (pid $(cat "$pid_file"))"
        return
    fi
    stop_daemon
    step "Daemon: starting; its Python imports numpy, pandas and matplotlib now, once"
    setsid "$binaries/hatcheryd" --config "$configuration" --socket "$socket" </dev/null >"$log" 2>&1 {lock}>&- &
    echo $! >"$pid_file"
    rm -f "$state/ready.log"
    wait_until_ready $!
}

write_configuration() {
    cat >"$configuration.new" <<END
# Written by $root/quickstart.sh
socket: {path: "$socket", mode: "0600"}
idle_exit: 30m
zygotes:
  - {name: exec, kind: exec}
  - name: python
    kind: python
    interpreter: $python
    preload: [numpy, pandas, matplotlib, matplotlib.pyplot]
    environment: {LC_ALL: C.UTF-8, MPLBACKEND: Agg}
    # What scripts load on first use: the parts of a plot, its fonts, the PNG writer.
    warmup: |
      import io
      import matplotlib.pyplot as pyplot
      import pandas
      frame = pandas.read_csv(io.StringIO("group,x\na,1.5\nb,2.5\na,3.5\n"))
      frame.groupby("group")["x"].mean().to_string()
      figure, axes = pyplot.subplots(constrained_layout=True)
      axes.plot(frame["x"], label="x")
      axes.legend()
      figure.savefig(io.BytesIO(), format="png")
      pyplot.close(figure)
END
    if cmp --silent "$configuration.new" "$configuration"; then
        rm "$configuration.new"
    else
        mv "$configuration.new" "$configuration"
    fi
}

answers() { "$binaries/hatchery" zygotes --socket "$socket" </dev/null >/dev/null 2>&1; }

# Ready is when a Python hatches, not when the socket is there.
wait_until_ready() {
    local daemon=$1 deadline=$((SECONDS + start_limit_seconds))
    until answers && "$binaries/hatchery" python --socket "$socket" -c pass </dev/null >"$state/ready.log" 2>&1; do
        kill -0 "$daemon" 2>/dev/null || fail_start "hatcheryd ended at its start"
        [ $SECONDS -lt $deadline ] || fail_start "hatcheryd is not ready after $start_limit_seconds s"
        sleep 0.1
    done
}

fail_start() {
    stop_daemon
    tail -n 30 "$log" >&2
    [ ! -s "$state/ready.log" ] || tail -n 5 "$state/ready.log" >&2
    fail "$1; its log is $log. '$binaries/hatchery doctor' tells what this machine lacks"
}

# By name as well: the number may be another process' by now.
daemon_lives() {
    local pid
    pid=$(cat "$pid_file" 2>/dev/null) &&
        awk '/^Name:/ {name = $2} /^State:/ {state = $2} END {exit !(name == "hatcheryd" && state != "Z")}' \
            "/proc/$pid/status" 2>/dev/null
}

stop_daemon() {
    if daemon_lives; then
        step "Daemon: stopping (pid $(cat "$pid_file"))"
        kill "$(cat "$pid_file")"
        local deadline=$((SECONDS + 10))
        while daemon_lives; do
            [ $SECONDS -lt $deadline ] || fail "hatcheryd does not leave; its log is $log"
            sleep 0.05
        done
    fi
    rm -f "$pid_file"
}

run_script() {
    flock --unlock "$lock"
    local script=${1:-$root/examples/report.py} options=() brought_out=() status=0 started ended
    if [ $# -gt 0 ]; then
        shift
    else
        brought_out=(--file "$PWD/report.png")
        options=(--in "$root/examples/data/penguins.csv" --out "report.png:$PWD/report.png")
        rm -f "$PWD/report.png" # what is there afterwards is this run's
    fi
    local more=()
    read -r -a more <<<"${QUICKSTART_OPTIONS:-}"
    [ -r "$script" ] || fail "cannot read $script"
    step "Run: hatchery python $(printf '%q ' "${options[@]}" "${more[@]}" "$script" "$@")"

    local result
    result=$(mktemp "$state/result.XXXXXX")
    started=${EPOCHREALTIME/[.,]/}
    "$binaries/hatchery" python --socket "$socket" --json "${options[@]}" "${more[@]}" "$script" "$@" >"$result" ||
        status=$?
    ended=${EPOCHREALTIME/[.,]/}
    LC_ALL=C.UTF-8 "$python" "$root/examples/show_result.py" "$result" \
        --wall "$(printf '%d.%06d' $(((ended - started) / 1000000)) $(((ended - started) % 1000000)))" \
        "${brought_out[@]}" || [ $status -ne 0 ] || status=125
    rm -f "$result"
    exit "$status"
}

step() { printf '==> %s\n' "$*"; }

fail() {
    printf 'quickstart.sh: %s\n' "$*" >&2
    exit 125
}

main "$@"

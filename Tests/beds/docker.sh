#!/usr/bin/env bash
# docker.sh: the security suite in a container, as its users run it: without --privileged, without added capabilities,
# under seccomp/docker.json; as the image's own user and as the container's root, with Docker's masked /proc and with
# systempaths=unconfined.
#
# It uses a Docker that runs. Where none does, and CI=true or HATCHERY_DOCKER=1 asks for it, it installs docker.io and
# starts a dockerd of its own, on a socket and in directories of its own, and ends that again. Anything else is a skip with
# its reason on the last line, and status 77; MUST_WORK=1 makes a failure of that.
#
#   HATCHERY_BIN              the directory of the built programs (default .build/debug)
#   HATCHERY_DOCKER_BUILD=1   builds the image from docker/Dockerfile instead, from base images of a registry
# The last line is `Probes: N passed, N failed, N skipped`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

binaries=${HATCHERY_BIN:-.build/debug}
programs=(hatchery hatcheryd hatchery-zygote hatchery-probe libhatchery-python.so libhatchery-probes.so)
image=hatchery-bed-$$
passed=0 failed=0 skipped=0
docker=(docker)
place="" daemon_pid="" built_image=""

main() {
    trap finish EXIT
    place=$(mktemp --directory /tmp/hatchery-docker-XXXXXX)
    find_docker
    make_image
    check_apparmor
    suite hatchery masked
    suite root masked
    suite hatchery unmasked
    suite root unmasked
    report
}

find_docker() {
    if command -v docker >/dev/null && timeout 20 docker info >/dev/null 2>&1; then
        say "using the Docker that runs here"
        return
    fi
    if [ "${CI:-}" != true ] && [ "${HATCHERY_DOCKER:-}" != 1 ]; then
        skip_all "no Docker runs here, and neither CI=true nor HATCHERY_DOCKER=1 asks for one"
    fi
    [ "$(id -u)" -eq 0 ] || skip_all "starting a dockerd takes root"
    packaging/install-missing.sh docker.io iptables apparmor >"$place/install.log" 2>&1 ||
        skip_all "docker.io cannot be installed: $(tail -n 1 "$place/install.log")"
    start_dockerd
}

# No bridge and no firewall rules: the containers have no network, and the host's stays as it is.
start_dockerd() {
    say "starting a dockerd of our own"
    setsid dockerd --host "unix://$place/docker.sock" --data-root "$place/data" --exec-root "$place/exec" \
        --pidfile "$place/docker.pid" --bridge none --iptables=false --ip6tables=false \
        >"$place/dockerd.log" 2>&1 </dev/null &
    daemon_pid=$!
    docker=(docker --host "unix://$place/docker.sock")
    local deadline=$((SECONDS + 60))
    until timeout 5 "${docker[@]}" info >/dev/null 2>&1; do
        kill -0 "$daemon_pid" 2>/dev/null || skip_all "dockerd ended: $(tail -n 1 "$place/dockerd.log")"
        [ $SECONDS -lt $deadline ] || skip_all "dockerd does not answer after 60 s"
        sleep 0.2
    done
}

# From docker/Dockerfile where that is asked for (a release build in a container takes its time); else from the programs that
# are built already, on a base that debootstrap makes.
make_image() {
    if [ "${HATCHERY_DOCKER_BUILD:-}" = 1 ]; then
        timeout 120 "${docker[@]}" pull --quiet debian:bookworm-slim >/dev/null 2>&1 ||
            skip_all "HATCHERY_DOCKER_BUILD=1, and debian:bookworm-slim cannot be pulled"
        say "building the image from docker/Dockerfile"
        "${docker[@]}" build --quiet --file docker/Dockerfile --tag "$image" . >/dev/null
        built_image=1
        return
    fi
    [ "$(id -u)" -eq 0 ] || skip_all "debootstrap takes root; HATCHERY_DOCKER_BUILD=1 builds from docker/Dockerfile"
    packaging/install-missing.sh debootstrap libcap2-bin >"$place/install.log" 2>&1 ||
        skip_all "debootstrap cannot be installed: $(tail -n 1 "$place/install.log")"
    say "assembling the image from $binaries on a base by debootstrap (not from docker/Dockerfile)"
    for program in "${programs[@]}"; do
        [ -e "$binaries/$program" ] || skip_all "$binaries/$program is not built"
    done
    local base="$place/base"
    debootstrap --variant=minbase --include=libseccomp2,libcap2,libstdc++6,python3,uidmap bookworm "$base" \
        >"$place/debootstrap.log" 2>&1 || skip_all "debootstrap failed: $(tail -n 1 "$place/debootstrap.log")"
    rm -rf "$base"/var/cache/apt "$base"/var/lib/apt/lists "$base"/usr/share/doc
    install_programs "$base"
    tar --directory "$base" --create --numeric-owner --xattrs --xattrs-include=security.capability . |
        "${docker[@]}" import --change 'USER hatchery' --change 'ENV HOME=/home/hatchery' - "$image" >/dev/null
    built_image=1
    rm -rf "$base"
}

# The same places and the same user as in docker/Dockerfile.
install_programs() {
    local base=$1 program
    chroot "$base" useradd --uid 10001 --user-group --create-home --shell /usr/sbin/nologin hatchery
    echo 'hatchery:100000:65536' >"$base/etc/subuid"
    echo 'hatchery:100000:65536' >"$base/etc/subgid"
    chmod u-s "$base/usr/bin/newuidmap" "$base/usr/bin/newgidmap"
    setcap cap_setuid=ep "$base/usr/bin/newuidmap"
    setcap cap_setgid=ep "$base/usr/bin/newgidmap"
    install -D --target-directory "$base/usr/bin" "$binaries/hatchery"
    for program in "${programs[@]:1}"; do install -D --target-directory "$base/usr/libexec/hatchery" "$binaries/$program"; done
    # A debug build leaves Swift's runtime with the toolchain.
    ldd "$binaries/hatcheryd" | awk '$3 ~ /swift/ {print $3}' | while read -r library; do
        install -D --mode 0755 --target-directory "$base$(dirname "$library")" "$library"
    done
}

# The profiles are for other hosts; here they are read only. A parser older than 4 does not know user namespaces.
check_apparmor() {
    local profile
    if ! command -v apparmor_parser >/dev/null; then
        note_skip "apparmor_parser is not installed: the profiles in packaging/apparmor are not checked"
        return
    fi
    for profile in packaging/apparmor/*; do
        if grep --quiet abi/4.0 "$profile" && [ ! -e /etc/apparmor.d/abi/4.0 ]; then
            note_skip "$profile is for AppArmor 4, and this is older"
        elif apparmor_parser --skip-kernel-load --skip-cache "$profile" 2>"$place/apparmor.log"; then
            passed=$((passed + 1))
        else
            failed=$((failed + 1))
            cat "$place/apparmor.log"
        fi
    done
}

# suite USER masked|unmasked
suite() {
    local user=$1 paths=$2 log="$place/$1-$2.log" options=(--rm --network none) status=0 counts
    options+=(--security-opt "seccomp=$PWD/seccomp/docker.json" --user "$user" --name "$image-$user-$paths")
    [ "$paths" = masked ] || options+=(--security-opt systempaths=unconfined)
    say "hatchery security-test as $user, /proc $paths"
    timeout 180 "${docker[@]}" run "${options[@]}" "$image" hatchery security-test >"$log" 2>&1 </dev/null || status=$?
    grep -A 4 '^FAILED' "$log" || true
    sed -n '/^exec:/,$p' "$log"
    counts=$(sed -n 's/^Probes: \([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p' "$log")
    if [ -z "$counts" ]; then
        echo "FAILED   it ended with $status and without a report:"
        tail -n 20 "$log"
        failed=$((failed + 1))
        return
    fi
    read -r p f s <<<"$counts"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}

say() { printf '==> %s\n' "$*"; }

note_skip() {
    echo "➜ skipped: $*"
    if [ "${MUST_WORK:-}" = 1 ]; then failed=$((failed + 1)); else skipped=$((skipped + 1)); fi
}

skip_all() {
    printf 'skipped: the Docker bed: %s\n' "$*"
    exit 77
}

report() { echo "Probes: $passed passed, $failed failed, $skipped skipped"; }

# Ends what this script started, and nothing else.
finish() {
    local status=$?
    if [ -n "$built_image" ]; then
        "${docker[@]}" ps --all --quiet --filter "ancestor=$image" |
            xargs --no-run-if-empty "${docker[@]}" rm --force >/dev/null 2>&1 || true
        "${docker[@]}" rmi --force "$image" >/dev/null 2>&1 || true
    fi
    if [ -n "$daemon_pid" ]; then
        kill "$daemon_pid" 2>/dev/null || true
        local deadline=$((SECONDS + 30))
        while kill -0 "$daemon_pid" 2>/dev/null && [ $SECONDS -lt $deadline ]; do sleep 0.2; done
    fi
    [ -z "$place" ] || rm -rf --one-file-system "$place" || true
    [ $failed -eq 0 ] || status=1
    exit "$status"
}

main "$@"

#!/usr/bin/env bash
# deb.sh: the Debian package, as an operator meets it: built, looked at, installed into a fresh Debian that debootstrap makes,
# used by the commands of Docs/Operating.md under a systemd of its own, purged without a trace.
#
# The fresh Debian runs by systemd-nspawn with a network namespace of its own. What this host cannot give is a skip with its
# reason on the last line, and status 77; MUST_WORK=1 makes a failure of that.
#
#   HATCHERY_DEB_BIN    a finished release build (default: one is made)
#   HATCHERY_DEB_BASE   a directory for the fresh Debian, kept for the next time (default: made and removed)
# The last line is `Probes: N passed, N failed, N skipped`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

passed=0 failed=0
place="" root="" machine_pid=""

main() {
    trap finish EXIT
    [ "$(id -u)" -eq 0 ] || skip_all "installing a package takes root"
    if [ "${CI:-}" != true ] && [ "${HATCHERY_DEB:-}" != 1 ]; then
        skip_all "it takes a release build and a fresh Debian: CI=true or HATCHERY_DEB=1 asks for it"
    fi
    place=$(mktemp --directory /tmp/hatchery-deb-XXXXXX)
    packaging/install-missing.sh debootstrap systemd-container binutils lintian >"$place/install.log" 2>&1 ||
        skip_all "systemd-container cannot be installed: $(tail -n 1 "$place/install.log")"
    make_package
    look_at_it
    make_debian
    boot
    use_it
    purge_it
    install_by_hand
    report
}

make_package() {
    say "building the package"
    local status=0
    package=$(DPKG_DEB_COMPRESSOR_TYPE=gzip DPKG_DEB_COMPRESSOR_LEVEL=1 HATCHERY_BIN=${HATCHERY_DEB_BIN:-} packaging/deb/build.sh "$place" 2>"$place/build.log") || status=$?
    if [ $status -ne 0 ]; then
        tail -n 20 "$place/build.log"
        failed=$((failed + 1))
        report
        exit 1
    fi
    dpkg-deb --info "$package"
}

look_at_it() {
    check "it depends on libc, the compiler's runtime, libseccomp and libcap alone" \
        test "$(dpkg-deb --field "$package" Depends | sed 's/ ([^)]*)//g')" = "libc6, libcap2, libgcc-s1, libseccomp2, libstdc++6"
    check "it has the units, the pages and the completions" has_files
    if command -v lintian >/dev/null; then
        check "lintian finds no error" lintian --fail-on error --suppress-tags bogus-mail-host "$package"
    fi
}

has_files() {
    local file listing
    listing=$(dpkg-deb --contents "$package")
    for file in lib/systemd/system/hatcheryd.service lib/systemd/system/hatcheryd.socket usr/lib/sysusers.d/hatchery.conf \
        usr/lib/tmpfiles.d/hatchery.conf etc/hatchery/hatchery.yaml usr/share/man/man1/hatchery.1.gz usr/share/man/man1/hatchery-run.1.gz \
        usr/share/man/man8/hatcheryd.8.gz usr/share/bash-completion/completions/hatchery usr/share/zsh/vendor-completions/_hatchery \
        usr/share/fish/vendor_completions.d/hatchery.fish usr/share/hatchery/seccomp/default.policy usr/share/hatchery/apparmor/hatcheryd; do
        [[ $listing == *"./$file"* ]] || { echo "missing: $file"; return 1; }
    done
}

make_debian() {
    root=${HATCHERY_DEB_BASE:-$place/root}
    if [ ! -e "$root/etc/debian_version" ]; then
        say "a fresh Debian"
        debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,libseccomp2,libcap2,python3,adduser bookworm "$root" \
            >"$place/debootstrap.log" 2>&1 || skip_all "debootstrap failed: $(tail -n 1 "$place/debootstrap.log")"
    fi
    cp "$package" "$root/root/hatchery.deb"
    before=$(listing)
}

# Everything but what any boot or any package writes.
listing() {
    (cd "$root" && find . -xdev -not -path './var/lib/dpkg/*' -not -path './var/log/*' -not -path './var/cache/*' -not -path './run/*' \
        -not -path './tmp/*' -not -path './var/tmp/*' -not -path './var/lib/systemd/*' -not -path './root/*' -not -path './dev/*' \
        -not -path './proc/*' -not -path './sys/*' -not -name '*-' -not -name machine-id -not -name .pwd.lock -not -name '*.lock' | sort)
}

# The console is read, and the commands go in by nsenter: machinectl would want a systemd on the host.
boot() {
    say "booting it"
    # A /proc that is not masked, so that sandboxes get one of their own; cgroup v2 where the host has it whole.
    SYSTEMD_NSPAWN_API_VFS_WRITABLE=1 systemd-nspawn --quiet --directory "$root" --boot --private-network --register=no --keep-unit \
        --console=pipe --capability=CAP_NET_ADMIN --system-call-filter="@mount @keyring @sandbox bpf" >"$place/console.log" 2>&1 </dev/null &
    machine_pid=$!
    local deadline=$((SECONDS + 60))
    until inside systemctl is-system-running 2>/dev/null | grep --quiet -E 'running|degraded'; do
        kill -0 "$machine_pid" 2>/dev/null || skip_all "a container with systemd does not boot here: $(tail -n 1 "$place/console.log")"
        [ $SECONDS -lt $deadline ] || skip_all "a container with systemd is not up after 60 s: $(tail -n 1 "$place/console.log")"
        sleep 0.3
    done
}

# Runs a command in the container, as root.
inside() {
    local leader
    leader=$(cat "/proc/$machine_pid/task/$machine_pid/children" 2>/dev/null)
    leader=${leader%% *}
    [ -n "$leader" ] || return 1
    nsenter --target "$leader" --mount --uts --ipc --net --pid --cgroup --root --wd=/ env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
        DEBIAN_FRONTEND=noninteractive timeout 60 "$@"
}

# The five commands of Docs/Operating.md, and what they promise.
use_it() {
    say "installing and using it"
    check "dpkg installs it" inside dpkg --install /root/hatchery.deb
    inside useradd --create-home alice
    check "adduser admits a user" inside adduser alice hatchery
    check "the socket is listening" inside systemctl is-active hatcheryd.socket
    check "the first request starts the service" inside runuser -u alice -- hatchery run -- /bin/echo ready
    check "the service is active" inside systemctl is-active hatcheryd.service
    check "a zygote keeps the rights to give ids away, and no other" zygotes_are_powerless
    check "a stranger is kept out" refuses inside runuser -u nobody -- hatchery run --socket /run/hatchery/hatchery.sock -- /bin/true
    check "hatchery doctor finds nothing that stops it" inside runuser -u alice -- hatchery doctor
    check "the configuration is read from /etc" inside sh -c 'hatchery config show --origin | grep -q /etc/hatchery/hatchery.yaml'
    check "the service reloads" inside systemctl reload hatcheryd.service
    check "it serves after the reload" inside runuser -u alice -- hatchery run -- /usr/bin/python3 -c 'print("ready")'
    inside useradd --create-home bob
    check "an ordinary user's own daemon has every layer that needs no root" inside runuser -u bob -- \
        hatchery run --require root,proc,caps,seccomp,netns -- /bin/true
    end_private_daemon bob
    check "installing it again is an upgrade" inside dpkg --install /root/hatchery.deb
    check "it serves after the upgrade" inside runuser -u alice -- hatchery run -- /bin/true
}

# It would end by itself after a while without a client.
end_private_daemon() {
    inside sh -c 'for process in /proc/[0-9]*; do
        [ "$(stat -c %U $process)" != "$1" ] || [ "$(cat $process/comm)" != hatcheryd ] || kill "${process#/proc/}"
    done' sh "$1" 2>/dev/null || true
    local deadline=$((SECONDS + 20))
    while inside sh -c 'stat -c %U /proc/[0-9]* 2>/dev/null | grep -q "^$1$"' sh "$1" && [ $SECONDS -lt $deadline ]; do sleep 0.2; done
}

# Of the permitted set, the most that a process can have: CAP_SETGID and CAP_SETUID are bits 6 and 7. A build for tests has one more.
zygotes_are_powerless() {
    local pid sets
    for pid in $(inside sh -c 'hatchery zygotes --json' | grep -o '"pid": *[0-9]*' | grep -o '[0-9]*'); do
        sets=$(inside sh -c "sed -n 's/^CapPrm:\t//p' /proc/$pid/status")
        echo "zygote $pid: $sets"
        [ "$sets" = 00000000000000c0 ] || return 1
    done
    [ -n "${sets:-}" ]
}

purge_it() {
    say "purging it"
    inside userdel --remove alice 2>/dev/null || true
    inside userdel --remove bob 2>/dev/null || true
    check "dpkg purges it" inside dpkg --purge hatchery
    check "no group is left" refuses inside getent group hatchery
    check "no process is left" refuses inside sh -c 'cat /proc/[0-9]*/comm | grep -q hatchery'
    check "no runtime directory is left" refuses inside test -e /run/hatchery
    check "no unit is left" refuses inside sh -c 'systemctl list-unit-files | grep -q hatcheryd'
    check "no file is left" nothing_new
}

nothing_new() { diff <(echo "$before") <(listing); }

# The other way, into a directory: everything that it installed goes.
install_by_hand() {
    local there=$place/by-hand
    mkdir "$there"
    check "install.sh installs" ./install.sh --prefix /opt/hatchery --destdir "$there" --binaries "$(binaries)"
    check "what it installed runs" "$there/opt/hatchery/bin/hatchery" --version
    check "install.sh --uninstall removes" ./install.sh --prefix /opt/hatchery --destdir "$there" --uninstall
    check "no file is left by hand" test -z "$(find "$there" -type f)"
}

binaries() {
    if [ -n "${HATCHERY_DEB_BIN:-}" ]; then echo "$HATCHERY_DEB_BIN"; else echo .build/release; fi
}

refuses() { ! "$@"; }

# check WHAT COMMAND...
check() {
    local what=$1 status=0
    shift
    "$@" >"$place/check.log" 2>&1 </dev/null || status=$?
    if [ $status -eq 0 ]; then
        passed=$((passed + 1))
        echo "passed   $what"
    else
        failed=$((failed + 1))
        echo "FAILED   $what (status $status)"
        tail -n 15 "$place/check.log"
    fi
}

say() { printf '==> %s\n' "$*"; }

skip_all() {
    if [ -n "$machine_pid" ] && [ "${MUST_WORK:-}" = 1 ]; then tail -n 20 "$place/console.log"; fi
    printf 'skipped: the bed of the Debian package: %s\n' "$*"
    exit 77
}

report() { echo "Probes: $passed passed, $failed failed, 0 skipped"; }

# Ends what this script started, and nothing else.
finish() {
    local status=$?
    if [ -n "$machine_pid" ] && kill -0 "$machine_pid" 2>/dev/null; then
        kill "$machine_pid" || true
        local deadline=$((SECONDS + 20))
        while kill -0 "$machine_pid" 2>/dev/null && [ $SECONDS -lt $deadline ]; do sleep 0.2; done
        kill -9 "$machine_pid" 2>/dev/null || true
    fi
    [ -z "$place" ] || rm -rf --one-file-system "$place"
    [ $failed -eq 0 ] || status=1
    exit "$status"
}

main "$@"

#!/bin/busybox sh
# Process 1 of the virtual machine: mounts what a Linux has, runs the tests, tells their status and switches off.
export PATH=/usr/bin:/bin LC_ALL=C.UTF-8 HOME=/root NO_COLOR=1 TERM=dumb
for applet in mount umount poweroff ip chown chmod; do busybox ln -sf /bin/busybox /usr/sbin/$applet; done
PATH=$PATH:/usr/sbin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts none /dev/pts
. /etc/bed
# A checkout below /tmp would be hidden by it.
mkdir -p /mnt
mount --bind "$HATCHERY_SOURCES" /mnt
for place in /tmp /run /dev/shm; do mount -t tmpfs -o mode=1777 none $place; done
[ -e "$HATCHERY_SOURCES" ] || { mkdir -p "$HATCHERY_SOURCES" && mount --bind /mnt "$HATCHERY_SOURCES"; }
umount /mnt
# As systemd mounts it.
mount -t cgroup2 -o nsdelegate,memory_recursiveprot none /sys/fs/cgroup
mount -t securityfs none /sys/kernel/security
ip link set lo up

main() {
    echo "kernel $(busybox uname -r), lsm $(cat /sys/kernel/security/lsm), cgroup $(cat /sys/fs/cgroup/cgroup.controllers)"
    if [ "$shell" = 1 ]; then
        setsid busybox cttyhack /bin/sh
        return 0
    fi
    [ -z "$only" ] || { root_filter=$only user_filter=$only; }
    status=0
    cd "$HATCHERY_SOURCES"
    export HATCHERY_BED=vm
    tests root as_root || status=1
    tests user as_user || status=1
    # All of it for one kind of zygote; of the other, by emulation, what this kernel alone shows.
    security_test as_root --zygote exec || status=1
    security_test as_root --zygote python --layer cgroup,landlock || status=1
    security_test as_user --zygote exec --layer idmap,distinct_uid,cgroup,landlock || status=1
    return $status
}

# As root: everything that the other beds can only skip, and the limits.
root_filter='CgroupTests|CgroupLimitsTests|LimitsTests|LandlockTests|ReceiptTests|withoutTheCgroupItsProbesFail'
# As an ordinary user with lent ids, in a cgroup that was delegated to it as a service manager does.
user_filter='LimitsTests|ReceiptTests|LandlockTests'

tests() {
    eval "filter=\$${1}_filter"
    echo "tests as $1: $filter"
    "$2" "$HATCHERY_BIN/hatcheryPackageTests.xctest" --testing-library swift-testing --filter "$filter" --no-parallel
}

# Nothing of what it is for may be skipped.
as_root() { MUST_WORK=1 "$@"; }

as_user() {
    place=/sys/fs/cgroup/user
    mkdir -p $place/tests
    for file in "" /cgroup.procs /cgroup.subtree_control /cgroup.threads /tests/cgroup.procs; do chown 1000:1000 $place$file; done
    (
        echo 0 >$place/tests/cgroup.procs
        export HATCHERY_TEST_CGROUP=$place HATCHERY_CGROUP_PATH=$place HOME=/tmp
        # By its path: the shell has a smaller one of that name.
        exec /usr/bin/setpriv --reuid 1000 --regid 1000 --clear-groups "$@"
    )
}

# The product's own suite, by a daemon of its own, which would take HATCHERY_BIN for a misspelled key.
security_test() {
    echo "hatchery security-test $*"
    user=$1
    shift
    "$user" env -u HATCHERY_BIN "$HATCHERY_BIN/hatchery" security-test "$@" >/tmp/suite 2>&1
    judge /tmp/suite
}

# One probe fills 32 MiB with file locks, whose list the kernel walks for each: emulation does not come to an end of that in
# the time that the probe has. It is skipped where it says so, and nothing else may fail.
judge() {
    slow=$(grep -c '^FAILED  *exhaustion.file-locks .*not stopped in 30 s$' "$1")
    busybox sed 's/^FAILED \( *exhaustion.file-locks .*\)not stopped in 30 s$/skipped \1too slow under emulation/' "$1" |
        busybox awk -v slow="$slow" '/^Probes: / { $4 -= slow; $6 += slow } 1'
    grep -q '^Probes: ' "$1" && [ "$(grep -c '^FAILED ' "$1")" = "$slow" ]
}

main
echo "bed status: $?"
poweroff -f

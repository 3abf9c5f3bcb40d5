#!/usr/bin/env bash
# vm.sh: runs a part of the tests in a virtual machine: Debian's own kernel, all of cgroup v2, Landlock, AppArmor and Yama.
# By emulation where there is no KVM, so about fifteen times slower than here. Ends with the status of what ran inside.
#
#   HATCHERY_VM_SECONDS   the longest that the machine may run (1200)
#   HATCHERY_VM_ACCEL     qemu's accelerator (tcg)
#   HATCHERY_VM_KEEP=1    leaves the folder with kernel and image, and prints its name
#   HATCHERY_VM_FILTER    other tests, as swift test --filter takes them
#   HATCHERY_VM_SHELL=1   a shell inside instead of the tests
# 77 means that this host cannot; the reason is on the last line.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly cannot=77
readonly kernel_package=linux-image-cloud-amd64
# In the order in which they need each other.
readonly modules=(virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk)
readonly programs=(
    /bin/sh /usr/bin/{env,true,false,sleep,echo,cat,head,tail,ls,id,printf,test,mkdir,rmdir,rm,touch,wc,tr,yes,dd,stat,seq}
    /usr/bin/{date,grep,mv,cp,ln,mkfifo,truncate,nproc,sort,basename,dirname,chmod,readlink}
    /usr/bin/{setpriv,setsid,python3,newuidmap,newgidmap} /bin/busybox
)
build=$PWD/.build/debug

main() {
    [ "$(uname -m)" = x86_64 ] || refuse "the machine is built for x86-64 hosts"
    packaging/install-missing.sh qemu-system-x86 busybox-static e2fsprogs uidmap || refuse "qemu cannot be installed here"
    work=$(mktemp -d "${TMPDIR:-/tmp}/hatchery-vm-XXXXXX")
    trap finish EXIT
    fetch_kernel
    make_initramfs
    make_image
    boot
}

refuse() {
    printf 'skipped: %s\n' "$1"
    exit "$cannot"
}

finish() {
    if [ "${HATCHERY_VM_KEEP:-}" = 1 ]; then printf 'kept: %s\n' "$work"; else rm -rf "$work"; fi
}

step() { printf '==> %s (%ss)\n' "$*" "$SECONDS"; }

# Unpacked, never installed: this host keeps its own kernel.
fetch_kernel() {
    step "Kernel"
    local package
    package=$(apt-cache depends "$kernel_package" 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-.*\)$/\1/p' | head -n 1)
    [ -n "$package" ] || refuse "apt knows no $kernel_package"
    (cd "$work" && apt-get download --quiet=2 "$package" 2>/dev/null) || refuse "$package cannot be downloaded"
    dpkg-deb --extract "$work"/linux-image-*.deb "$work/kernel"
    printf '%s\n' "$package"
}

# What finds the disk: a shell and the modules for it.
make_initramfs() {
    step "First file system"
    local root=$work/initramfs module
    mkdir -p "$root"/{bin,dev,proc,sys,root,modules}
    cp /bin/busybox "$root/bin/busybox"
    for module in "${modules[@]}"; do
        find "$work/kernel" -name "$module.ko*" -exec cp {} "$root/modules/" \;
    done
    cp Tests/beds/vm/init.sh "$root/init"
    chmod 755 "$root/init"
    (cd "$root" && find . | "$root/bin/busybox" cpio -o -H newc 2>/dev/null) >"$work/initramfs.cpio"
}

# The root file system of the machine: the build at its own paths, what it links, a few programs, Python.
make_image() {
    step "Image"
    local root=$work/root
    mkdir -p "$root"/{usr/bin,usr/sbin,usr/lib/x86_64-linux-gnu,usr/lib64,dev,proc,sys,tmp,run,root,var,etc/alternatives}
    # Everybody's: the folder that holds it is ours alone.
    chmod 755 "$root"
    local name
    for name in bin sbin lib lib64; do ln -s "usr/$name" "$root/$name"; done
    local files=("$build"/{hatcheryd,hatchery,hatchery-zygote,libhatchery-python.so,hatchery-probe,libhatchery-probes.so,hatcheryPackageTests.xctest})
    copy "${files[@]}" "${programs[@]}"
    find "$build/" -maxdepth 1 -name '*.resources' -exec cp --archive {} "$root$build/" \;
    local version
    version=$(python3 -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
    tar --create --directory=/usr/lib --exclude=test --exclude=tests --exclude=__pycache__ --exclude='config-*' \
        --exclude=idlelib --exclude=tkinter --exclude=ensurepip --exclude=lib2to3 "$version" | tar --extract --directory="$root/usr/lib"
    copy /usr/lib/"$version"/lib-dynload/*.so
    mkdir --parents "$root$PWD/Tests"
    cp --archive "$PWD/Tests/TestPrograms" "$root$PWD/Tests/"
    cp /etc/ld.so.cache /etc/ld.so.conf "$root/etc/"
    cp Tests/beds/vm/inside.sh "$root/usr/sbin/init"
    chmod 755 "$root/usr/sbin/init"
    printf 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n' >"$root/etc/passwd"
    printf 'root:x:0:\nuser:x:1000:\nnogroup:x:65534:\n' >"$root/etc/group"
    printf 'passwd: files\ngroup: files\nhosts: files\n' >"$root/etc/nsswitch.conf"
    printf 'user:100000:65536\n' | tee "$root/etc/subuid" >"$root/etc/subgid"
    {
        printf 'export HATCHERY_BIN=%q HATCHERY_SOURCES=%q HATCHERY_TEST_SLOWNESS=%q\n' "$build" "$PWD" "${HATCHERY_TEST_SLOWNESS:-15}"
        printf 'shell=%q only=%q\n' "${HATCHERY_VM_SHELL:-}" "${HATCHERY_VM_FILTER:-}"
    } >"$root/etc/bed"
    truncate --size "$(($(du --summarize --block-size=1M "$root" | cut -f1) * 5 / 4 + 64))M" "$work/disk"
    mke2fs -q -t ext4 -O ^has_journal -d "$root" "$work/disk"
    du --human-readable "$work/disk"
}

# Files at their own paths, with what they link.
copy() {
    local file
    { printf '%s\n' "$@"; { ldd "$@" 2>/dev/null || true; } | sed -n 's/^\t\(.* => \)\?\(\/[^ ]*\) (0x.*$/\2/p'; } | sort --unique |
        while read -r file; do
            [ -e "$file" ] || continue
            mkdir --parents "$work/root$(dirname "$file")"
            cp --dereference --preserve=mode "$file" "$work/root$file"
        done
}

boot() {
    step "Machine"
    local log=$work/console status
    timeout --foreground "${HATCHERY_VM_SECONDS:-1200}" qemu-system-x86_64 \
        -accel "${HATCHERY_VM_ACCEL:-tcg,thread=multi}" -cpu max -smp 2 -m 3072 -nographic -nodefaults -no-reboot -serial stdio \
        -kernel "$work"/kernel/boot/vmlinuz-* -initrd "$work/initramfs.cpio" \
        -drive "file=$work/disk,format=raw,if=virtio,cache=unsafe" \
        -append "console=ttyS0 quiet loglevel=1 panic=-1 mitigations=off cgroup_no_v1=all lsm=landlock,lockdown,yama,apparmor,bpf" \
        </dev/stdin | sed --unbuffered 's/\r//g' | tee "$log" || true
    step "Machine is off"
    status=$(sed -n 's/^bed status: \([0-9]*\)$/\1/p' "$log" | tail -n 1)
    [ -n "$status" ] || { printf 'the machine ended without a status\n'; exit 1; }
    exit "$status"
}

main "$@"

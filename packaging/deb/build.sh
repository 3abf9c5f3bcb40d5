#!/usr/bin/env bash
# build.sh [DIRECTORY]: makes hatchery_VERSION_ARCHITECTURE.deb in DIRECTORY (default .build/deb), and prints its path.
#
#   HATCHERY_BIN            a finished release build, with its Swift runtime inside; else one is made
#   DEBFULLNAME, DEBEMAIL   whose package it is
# What install.sh lays out, with Debian's control files around it. It needs dpkg-deb, python3 and binutils, and no debhelper.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

output=${1:-.build/deb}
maintainer="${DEBFULLNAME:-Hatchery contributors} <${DEBEMAIL:-hatchery@packages.invalid}>"
binaries=${HATCHERY_BIN:-}
# The libraries that the programs may ask for, and whose they are. Swift's own are linked into them.
declare -A owners=(
    [libc.so.6]=libc6 [libm.so.6]=libc6 [ld-linux-x86-64.so.2]=libc6 [ld-linux-aarch64.so.1]=libc6
    [libstdc++.so.6]=libstdc++6 [libgcc_s.so.1]=libgcc-s1 [libseccomp.so.2]=libseccomp2 [libcap.so.2]=libcap2
)

main() {
    [ -n "$binaries" ] || build
    place=$(mktemp --directory)
    trap 'rm -rf "$place"' EXIT
    stage=$place/stage
    chmod 0755 "$place"
    ./install.sh --prefix /usr --destdir "$stage" --binaries "$binaries" >&2
    # The package manager knows the files itself.
    rm "$stage/usr/share/hatchery/manifest"
    debianize
    control
    mkdir -p "$output"
    local package="$output/hatchery_${version}_$(dpkg --print-architecture).deb"
    dpkg-deb --build --root-owner-group "$stage" "$package" >&2
    echo "$package"
}

build() {
    local swift
    swift=$(packaging/find-swift.sh)
    "$swift" build --configuration release --static-swift-stdlib </dev/null >&2
    binaries=$("$swift" build --configuration release --static-swift-stdlib --show-bin-path)
}

# What Debian wants elsewhere than others do.
debianize() {
    local documents=$stage/usr/share/doc/hatchery profile
    version=$("$binaries/hatchery" --version)-1
    rm "$documents/LICENSE"
    {
        echo 'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/'
        echo 'Upstream-Name: Hatchery'
        echo
        echo 'Files: *'
        echo "Copyright: $(sed -n 's/^ *Copyright *\((c) *\)\{0,1\}//Ip' LICENSE | head -n 1)"
        echo "License: $(sed -n '/[^ ]/{s/^ *//;p;q}' LICENSE)"
        sed 's/^$/./; s/^/ /' LICENSE
    } >"$documents/copyright"
    gzip --best --no-name <CHANGELOG.md >"$documents/changelog.gz"
    rm "$documents/CHANGELOG.md"
    local date
    date=$(date --utc --rfc-email --date "@${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}")
    printf 'hatchery (%s) unstable; urgency=medium\n\n  * What changed stands in changelog.gz.\n\n -- %s  %s\n' \
        "$version" "$maintainer" "$date" | gzip --best --no-name >"$documents/changelog.Debian.gz"
    mkdir -p "$stage/usr/share/lintian/overrides"
    cat >"$stage/usr/share/lintian/overrides/hatchery" <<END
# The YAML reader of the Swift package Yams brings its own copy.
hatchery: embedded-library *libyaml* *
# They run inside of any root file system, whatever libraries that has.
hatchery: statically-linked-binary *hatchery-probe*
hatchery: statically-linked-binary *hatchery-steps*
END
    # A profile for hosts that forbid unprivileged user namespaces; its grammar is AppArmor 4's, and others do not load it.
    for profile in packaging/apparmor/hatcheryd; do
        install -D --mode 0644 "$profile" "$stage/usr/share/hatchery/apparmor/$(basename "$profile")"
    done
    rm "$stage/usr/share/hatchery/hatchery.yaml"
    mkdir -p "$stage/lib/systemd"
    mv "$stage/usr/lib/systemd/system" "$stage/lib/systemd/system"
    rmdir "$stage/usr/lib/systemd"
    chmod -R go-w "$stage"
}

control() {
    local script depends
    depends=$(dependencies)
    mkdir "$stage/DEBIAN"
    cat >"$stage/DEBIAN/control" <<END
Package: hatchery
Version: $version
Architecture: $(dpkg --print-architecture)
Maintainer: $maintainer
Section: admin
Priority: optional
Installed-Size: $(du --summarize --block-size=1024 "$stage" | cut -f 1)
Depends: $depends
Recommends: python3, uidmap
Suggests: nftables, passt
Description: sandboxes from warm processes
 Hatchery keeps processes warm and hatches sandboxed children from them on
 request: programs, Python with modules imported ahead, in seven namespaces of
 their own, without capabilities, behind seccomp, with limits that hold.
 .
 This package has the daemon hatcheryd with its units for systemd, the command
 hatchery, and what a Python interpreter loads to become a zygote.
END
    (cd "$stage" && find etc -type f -printf '/%p\n' | sort) >"$stage/DEBIAN/conffiles"
    (cd "$stage" && find . -type f -not -path './DEBIAN/*' -printf '%P\0' | sort --zero-terminated | xargs -0 md5sum) >"$stage/DEBIAN/md5sums"
    for script in postinst prerm postrm; do install --mode 0755 "packaging/deb/$script" "$stage/DEBIAN/$script"; done
}

# The packages of every library that a program names; one that is not known is an error, and Swift's would be one.
dependencies() {
    local file library package packages=()
    for file in "$stage"/usr/bin/* "$stage"/usr/libexec/hatchery/*; do
        for library in $(readelf --dynamic "$file" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
            package=${owners[$library]:-}
            if [ -z "$package" ]; then
                echo "build.sh: $(basename "$file") asks for $library, which no package that we depend on has" >&2
                echo "  build with: swift build -c release --static-swift-stdlib" >&2
                exit 1
            fi
            packages+=("$package")
        done
    done
    # The C library is the one thing that must not be older than the one that was linked with.
    printf '%s\n' "${packages[@]}" | sort --unique | sed "s/^libc6\$/libc6 (>= $(getconf GNU_LIBC_VERSION | cut -d ' ' -f 2))/" | paste --serial --delimiters , | sed 's/,/, /g'
}

main

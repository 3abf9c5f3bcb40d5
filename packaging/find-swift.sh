#!/usr/bin/env bash
# find-swift.sh: prints the path of a Swift 6 `swift`, or says on stderr how to get one and fails.
set -euo pipefail

for candidate in "$(command -v swift || true)" "${SWIFTLY_BIN_DIR:-${HOME:-/root}/.local/share/swiftly/bin}/swift"; do
    [ -x "$candidate" ] || continue
    found=$("$candidate" --version 2>/dev/null | sed -n 's/.*Swift version \([0-9][0-9.]*\).*/\1/p' | head -n 1)
    if [ "${found%%.*}" -ge 6 ] 2>/dev/null; then
        echo "$candidate"
        exit 0
    fi
    echo "$candidate is Swift ${found:-of an unknown version}; Hatchery needs 6.0 or newer." >&2
done

[ -r /etc/os-release ] && . /etc/os-release
case "${ID:-}" in
debian | ubuntu) platform="$ID${VERSION_ID:-}" ;;
*) platform="" ;;
esac
machine=$(uname -m)
release=6.3.1
cat >&2 <<END
Hatchery is built with the Swift toolchain, 6.0 or newer, and there is none on this machine.
Get it in one of two ways, then call this script again.

1. By swiftly, the toolchain installer of swift.org, into your home directory (it names the packages that it needs):
       curl -O https://download.swift.org/swiftly/linux/swiftly-$machine.tar.gz
       tar zxf swiftly-$machine.tar.gz
       ./swiftly init
       . "\${SWIFTLY_HOME_DIR:-\$HOME/.local/share/swiftly}/env.sh"
END
if [ -n "$platform" ]; then
    [ "$machine" = x86_64 ] && suffix="" || suffix="-$machine"
    folder="${platform//./}$suffix"
    archive="swift-$release-RELEASE-$platform$suffix"
    cat >&2 <<END

2. As an archive (https://www.swift.org/install/linux says for which distributions, and how to check its signature):
       apt-get install binutils gcc g++ git curl libcurl4-openssl-dev libxml2-dev libsqlite3-dev libncurses-dev \\
           libz3-dev tzdata zlib1g-dev
       curl -O https://download.swift.org/swift-$release-release/$folder/swift-$release-RELEASE/$archive.tar.gz
       tar xzf $archive.tar.gz
       export PATH="\$PWD/$archive/usr/bin:\$PATH"
END
else
    printf '\n2. As an archive: https://www.swift.org/install/linux\n' >&2
fi
exit 1

#!/usr/bin/env bash
# install.sh: builds Hatchery and installs it on a host without a package of it. Debian has one: packaging/deb/build.sh.
#
#   ./install.sh [--prefix DIR] [--destdir DIR] [--binaries DIR]      install
#   ./install.sh [--prefix DIR] [--destdir DIR] --uninstall           remove what it installed
#
#   --prefix DIR     where programs and data go (default /usr/local); configuration is in /etc/hatchery in any case
#   --destdir DIR    a directory that stands for / (default none); as the variable DESTDIR
#   --binaries DIR   a finished release build; else one is made (`swift build -c release --static-swift-stdlib`)
#
# Removing leaves /etc/hatchery/hatchery.yaml where it was changed, and the group `hatchery`.
set -euo pipefail

source=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
prefix=/usr/local destdir=${DESTDIR:-} binaries="" uninstall=""
programs=(hatcheryd hatchery-zygote hatchery-probe hatchery-build hatchery-steps libhatchery-python.so libhatchery-probes.so)

main() {
    while [ $# -gt 0 ]; do
        case $1 in
        --prefix) prefix=${2:?--prefix wants a directory} && shift 2 ;;
        --destdir) destdir=${2:?--destdir wants a directory} && shift 2 ;;
        --binaries) binaries=$(cd "${2:?--binaries wants a directory}" && pwd) && shift 2 ;;
        --uninstall) uninstall=1 && shift ;;
        -h | --help) sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" && exit ;;
        *) fail "unknown option $1 (see --help)" ;;
        esac
    done
    [[ $prefix == /* ]] || fail "--prefix must be an absolute path, not $prefix"
    manifest=$destdir$prefix/share/hatchery/manifest
    if [ -n "$uninstall" ]; then
        remove
        return
    fi
    [ -n "$binaries" ] || build
    for program in hatchery "${programs[@]}"; do
        [ -e "$binaries/$program" ] || fail "$binaries/$program is missing: build with swift build -c release --static-swift-stdlib"
    done
    [ -e "$destdir$prefix" ] || mkdir -p "$destdir$prefix" 2>/dev/null || fail "$destdir$prefix cannot be made: run this as root, or give --destdir"
    [ -w "$destdir$prefix" ] || fail "$destdir$prefix cannot be written: run this as root, or give --destdir"
    install_all
    [ -n "$destdir" ] || activate
}

fail() {
    echo "install.sh: $*" >&2
    exit 1
}

build() {
    local swift
    swift=$("$source/packaging/find-swift.sh")
    (cd "$source" && "$swift" build --configuration release --static-swift-stdlib </dev/null)
    binaries=$(cd "$source" && "$swift" build --configuration release --static-swift-stdlib --show-bin-path)
}

# put MODE FILE PLACE: installs one file and writes it down for --uninstall.
put() {
    install -D --mode "$1" "$2" "$destdir$3"
    echo "$3" >>"$manifest.new"
}

# generate MODE PLACE COMMAND...: the same with what a command prints.
generate() {
    local mode=$1 place=$2 text
    shift 2
    text=$("$@")
    install -D --mode "$mode" /dev/stdin "$destdir$place" <<<"$text"
    echo "$place" >>"$manifest.new"
}

install_all() {
    mkdir -p "$(dirname "$manifest")"
    : >"$manifest.new"
    local program file strip=()
    command -v strip >/dev/null && strip=(--strip --strip-program="$source/packaging/strip.sh")
    for program in "${programs[@]}"; do
        install -D "${strip[@]}" --mode 0755 "$binaries/$program" "$destdir$prefix/libexec/hatchery/$program"
        echo "$prefix/libexec/hatchery/$program" >>"$manifest.new"
    done
    install -D "${strip[@]}" --mode 0755 "$binaries/hatchery" "$destdir$prefix/bin/hatchery"
    echo "$prefix/bin/hatchery" >>"$manifest.new"

    for file in "$source"/packaging/systemd/*; do
        generate 0644 "$prefix/lib/systemd/system/$(basename "$file")" sed "s|/usr/libexec/hatchery|$prefix/libexec/hatchery|" "$file"
    done
    put 0644 "$source/packaging/sysusers.d/hatchery.conf" "$prefix/lib/sysusers.d/hatchery.conf"
    put 0644 "$source/packaging/tmpfiles.d/hatchery.conf" "$prefix/lib/tmpfiles.d/hatchery.conf"
    for file in "$source"/seccomp/*; do put 0644 "$file" "$prefix/share/hatchery/seccomp/$(basename "$file")"; done
    for file in "$source"/packaging/apparmor/*; do put 0644 "$file" "$prefix/share/hatchery/apparmor/$(basename "$file")"; done
    put 0644 "$source/packaging/hatchery.yaml" "$prefix/share/hatchery/hatchery.yaml"
    # What an operator wrote stays.
    [ -e "$destdir/etc/hatchery/hatchery.yaml" ] || install -D --mode 0644 "$source/packaging/hatchery.yaml" "$destdir/etc/hatchery/hatchery.yaml"
    install_documentation
    mv "$manifest.new" "$manifest"
    echo "installed $(wc -l <"$manifest") files below $destdir$prefix"
}

# It is sourced, not run.
bash_completion() { "$binaries/hatchery" --generate-completion-script bash | sed '1{/^#!/d}'; }

install_documentation() {
    local pages file share=$prefix/share
    generate 0644 "$share/bash-completion/completions/hatchery" bash_completion
    generate 0644 "$share/zsh/vendor-completions/_hatchery" "$binaries/hatchery" --generate-completion-script zsh
    generate 0644 "$share/fish/vendor_completions.d/hatchery.fish" "$binaries/hatchery" --generate-completion-script fish
    pages=$(mktemp --directory)
    python3 "$source/packaging/man.py" 1 "$binaries/hatchery" "$pages"
    python3 "$source/packaging/man.py" 8 "$binaries/hatcheryd" "$pages"
    for file in "$pages"/*; do
        gzip --best --no-name "$file"
        put 0644 "$file.gz" "$share/man/man${file##*.}/$(basename "$file").gz"
    done
    rm -r "$pages"
    for file in "$source"/{README,CHANGELOG,SECURITY}.md "$source"/Docs/*.md; do put 0644 "$file" "$share/doc/hatchery/$(basename "$file")"; done
    put 0644 "$source/LICENSE" "$share/doc/hatchery/LICENSE"
}

# The group, the place of the socket, and what to do next.
activate() {
    if ! getent group hatchery >/dev/null; then groupadd --system hatchery; fi
    install --directory --mode 0755 /run/hatchery
    if [ -d /run/systemd/system ]; then
        systemctl daemon-reload
        echo "Next: systemctl enable --now hatcheryd.socket; adduser USER hatchery"
    else
        echo "Next: $prefix/libexec/hatchery/hatcheryd, as root; adduser USER hatchery"
    fi
}

remove() {
    [ -e "$manifest" ] || fail "nothing is installed below $destdir$prefix ($manifest is not there)"
    if [ -z "$destdir" ] && [ -d /run/systemd/system ]; then
        systemctl disable --now hatcheryd.socket hatcheryd.service || true
    fi
    local place example=$destdir$prefix/share/hatchery/hatchery.yaml own=$destdir/etc/hatchery/hatchery.yaml
    if [ -e "$own" ] && cmp --quiet "$own" "$example"; then
        rm "$own"
        rmdir "$(dirname "$own")" 2>/dev/null || true
    elif [ -e "$own" ]; then
        echo "$own was changed and stays"
    fi
    while IFS= read -r place; do rm -f "$destdir$place"; done <"$manifest"
    local directories
    directories=$(while IFS= read -r place; do dirname "$place"; done <"$manifest" | sort --unique --reverse)
    rm "$manifest"
    # Only what is empty, and only where it was ours by name.
    for place in $directories "$prefix/share/hatchery"; do
        case $place in *hatchery*) rmdir "$destdir$place" 2>/dev/null || true ;; esac
    done
    echo "removed; the group hatchery stays (delgroup hatchery)"
}

main "$@"

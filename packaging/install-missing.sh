#!/usr/bin/env bash
# install-missing.sh PACKAGE...: installs by apt those of the packages that are absent, and nothing else.
# Where all are there it asks neither the network nor sudo, so that a second call is quick and works offline.
set -euo pipefail

installed=$(dpkg-query --show --showformat '${Package} ${db:Status-Status}\n' "$@" 2>/dev/null || true)
missing=()
for package in "$@"; do
    grep --quiet --line-regexp --fixed-strings "$package installed" <<<"$installed" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    as_root=(sudo)
fi
if ! command -v apt-get >/dev/null || ! command -v "${as_root[0]:-env}" >/dev/null; then
    printf 'Missing: %s\n' "${missing[*]}" >&2
    printf 'Cannot install them here (that takes apt-get, and sudo unless root). As root:\n' >&2
    printf '    apt-get update && apt-get install %s\n' "${missing[*]}" >&2
    exit 1
fi
printf '    apt-get install %s%s\n' "${missing[*]}" "${as_root[0]:+   (by sudo: it may ask for your password)}"
"${as_root[@]}" apt-get update --quiet=2
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install --quiet=2 --yes --no-install-recommends "${missing[@]}" </dev/null

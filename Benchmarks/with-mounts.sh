#!/usr/bin/env bash
# with-mounts.sh PLACE N COMMAND...: N mounts more below PLACE/many, in a mount namespace that the caller made, then COMMAND.
set -euo pipefail
place=$1 count=$2
shift 2
mkdir -p "$place/many"
mount -t tmpfs hatchery-many "$place/many"
for ((number = 0; number < count; number++)); do
    mkdir "$place/many/$number"
    mount --bind "$place/many/$number" "$place/many/$number"
done
exec "$@"

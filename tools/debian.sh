#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs the Debian or Ubuntu packages that are missing, and says which: tools/debian.sh PACKAGE...
set -euo pipefail

command -v dpkg-query > /dev/null || {
  echo "setup: this is no Debian or Ubuntu; install what these packages hold, if you have not: $*"
  exit 0
}

missing=()
for package in "$@"; do
  state="$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2> /dev/null || true)"
  [ "${state:0:2}" = "ii" ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

echo "setup: missing Debian packages: ${missing[*]}"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  # With nobody at the keyboard sudo must not wait for a password.
  if [ -t 0 ]; then as_root=(sudo); else as_root=(sudo -n); fi
  if ! command -v sudo > /dev/null || ! "${as_root[@]}" true; then
    echo "setup: cannot become root to install them. Ask an administrator to run, then try again:" >&2
    echo "    apt-get update && apt-get install -y --no-install-recommends ${missing[*]}" >&2
    exit 1
  fi
fi
"${as_root[@]}" apt-get update -q
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"

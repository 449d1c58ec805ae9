#!/usr/bin/env bash
# Makes the image of the network's proofs: busybox, Debian's perl-base, and `probe`. Prints a root file
# system as tar, for `docker import`. No network, no Dockerfile.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
root=$(mktemp -d /tmp/skep-probe-image.XXXXXX)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/{bin,usr/bin,etc,tmp,proc,sys,dev}
cp /bin/busybox "$root/bin/busybox"
for applet in sh ip cat sleep ls nc wget nslookup; do ln -s busybox "$root/bin/$applet"; done
# Perl with the libraries that it and its modules are linked to, and the resolver's, which are loaded by name.
perl=$(readlink -f "$(command -v perl)")
base=$(perl -e 'print grep { m{/perl-base$} } @INC')
cp --parents -r "$base" "$root"
cp "$perl" "$root/usr/bin/perl"
{ ldd "$perl"; find "$base" -name '*.so' -exec ldd {} \; ; } | grep -o '/[^ ]*\.so[^ ]*' | sort -u |
  while read -r library; do cp -L --parents "$library" "$root"; done
libc=$(ldd "$perl" | awk '/libc\.so/ { print $3 }')
cp -L --parents "$(dirname "$libc")"/{libnss_dns.so.2,libnss_files.so.2,libresolv.so.2} "$root"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
printf 'root:x:0:0:root:/:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\n' >"$root/etc/group"
install -m 755 "$here/probe.pl" "$root/bin/probe"
tar -C "$root" -c .

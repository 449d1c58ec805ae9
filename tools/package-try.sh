#!/usr/bin/env bash
# Installs a package on a fresh Debian in a folder of its own, starts the engine there in a network
# namespace of its own, imports an image and runs a container; then the same with the single-file
# program, without the package. Prints what it did; leaves nothing.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
deb=$(readlink -f "$1")
single=$(readlink -f "$2")
[ "$(id -u)" = 0 ] || { echo "root is needed: this makes a chroot and a network namespace" >&2; exit 1; }
command -v debootstrap >/dev/null || apt-get install -y -qq --no-install-recommends debootstrap >/dev/null

folder=$(mktemp -d /tmp/skep-try.XXXXXX)
netns=skep-try-$$
# Everything started here lives in these two namespaces of mounts and processes and dies with them.
cleanup() {
  ip netns del "$netns" 2>/dev/null || true
  if grep -q " $folder" /proc/mounts; then
    echo "still mounted below $folder: not deleted" >&2
  else
    rm -rf --one-file-system "$folder"
  fi
}
trap cleanup EXIT

step() { printf '\n\033[1m# %s\033[0m\n' "$*"; }

step "A fresh Debian"
debootstrap --variant=minbase "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$folder" >"$folder.log" 2>&1 ||
  { tail -5 "$folder.log" >&2; exit 1; }
rm -f "$folder.log"
cp "$deb" "$folder/skep.deb"
cp "$single" "$folder/skep-single"
printf '#!/bin/sh\nexit 101\n' >"$folder/usr/sbin/policy-rc.d"
chmod 755 "$folder/usr/sbin/policy-rc.d"
tools/demo-image/make.sh >"$folder/image.tar"

step "The package, with what it depends on, and a container on its engine"
ip netns add "$netns"
ip -n "$netns" link set lo up
cat >"$folder/try.sh" <<'INNER'
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
apt-get update -qq
apt-get install -y -qq --no-install-recommends /skep.deb >/install.log 2>&1 || { tail -20 /install.log; exit 1; }
echo "installed: $(dpkg-query -W skep)"
command -v node && { echo "this machine has a node of its own: it proves nothing" >&2; exit 1; }
skep --version
nsenter --net=/run/netns-of-try skep engine >/engine.log 2>&1 &
engine=$!
for _ in $(seq 100); do skep version >/dev/null 2>&1 && break; kill -0 $engine || { cat /engine.log; exit 1; }; sleep 0.1; done
skep import -c 'CMD ["httpd","-f","-p","80","-h","/www"]' /image.tar web:demo
skep run --rm web:demo echo "a container says hello"
skep run -d --name web web:demo
skep ps
skep rm -f web
kill $engine
wait $engine && echo "the engine ended cleanly"

apt-get remove -y -qq skep >/remove.log 2>&1
# The shell remembers where it found a program.
hash -r
command -v skep && { echo "the package is still there: it proves nothing" >&2; exit 1; }
mv /skep-single /usr/local/bin/skep
nsenter --net=/run/netns-of-try skep engine >/engine.log 2>&1 &
engine=$!
for _ in $(seq 100); do skep version >/dev/null 2>&1 && break; kill -0 $engine || { cat /engine.log; exit 1; }; sleep 0.1; done
skep run --rm web:demo echo "a container of the single file says hello"
kill $engine
wait $engine && echo "the single file's engine ended cleanly"
INNER
touch "$folder/run/netns-of-try"
unshare --mount --pid --fork --kill-child --mount-proc bash -euc '
  folder=$0 netns=$1
  mount --make-rprivate /
  mount --bind "$folder" "$folder"
  mount --bind "/run/netns/$netns" "$folder/run/netns-of-try"
  mount -t proc proc "$folder/proc"
  mount --rbind /sys "$folder/sys"
  mount --rbind /dev "$folder/dev"
  exec env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$folder" sh /try.sh
' "$folder" "$netns"

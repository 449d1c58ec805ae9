#!/usr/bin/env bash
# Builds dist/skep_VERSION_ARCH, one file that holds all and needs no Node, and dist/skep_VERSION_ARCH.deb: the bundles, the native module beside them, the launcher, the
# systemd unit, and the Node.js that built it, because few distributions have one that is new enough.
# `--try` installs it on a fresh Debian in a folder and runs a container there.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
version=$(node -p 'require("./package.json").version')
arch=$(dpkg --print-architecture)
scratch=$(mktemp -d /tmp/skep-package.XXXXXX)
trap 'rm -rf "$scratch"' EXIT
root=$scratch/root
install -d -m 755 "$root"

install -d "$root"/{DEBIAN,usr/bin,usr/lib/skep/bin,usr/lib/skep/dist,usr/lib/skep/node_modules,lib/systemd/system,usr/share/doc/skep}
node -p 'JSON.parse(require("node:fs").readFileSync("dist/outputs.json", "utf8")).filter((name) => !name.endsWith(".map")).join("\n")' |
  while read -r file; do cp "dist/$file" "$root/usr/lib/skep/dist/"; done
install -m 755 "$(node -p process.execPath)" "$root/usr/lib/skep/bin/node"
cp -r node_modules/koffi "$root/usr/lib/skep/node_modules/koffi"
if [ -d node_modules/@koromix ]; then cp -r node_modules/@koromix "$root/usr/lib/skep/node_modules/@koromix"; fi
# Its own Node, whatever PATH says; the link, because Node finds what is beside the launcher's real path.
sed '2s|exec node|exec /usr/lib/skep/bin/node|g' bin/skep >"$root/usr/lib/skep/bin/skep"
chmod 755 "$root/usr/lib/skep/bin/skep"
install -m 644 bin/package.json "$root/usr/lib/skep/bin/package.json"
ln -s ../lib/skep/bin/skep "$root/usr/bin/skep"
printf '{"name":"skep","version":"%s","type":"module"}\n' "$version" >"$root/usr/lib/skep/package.json"
install -m 644 packaging/skep.service "$root/lib/systemd/system/skep.service"
install -m 644 README.md LICENSE "$root/usr/share/doc/skep/"
cat >"$root/DEBIAN/control" <<EOF
Package: skep
Version: $version
Architecture: $arch
Maintainer: the skep founders <skep@localhost>
Depends: containerd, runc, nftables, libnftables1, iproute2, conntrack, libstdc++6
Recommends: tini, wireguard-tools, wireguard-go
Section: admin
Priority: optional
Description: container engine with orchestration built in
 One program on every host: docker's API and commands, swarm mode with an
 embedded Raft store, on containerd and runc.
EOF
deb=dist/skep_${version}_${arch}.deb
dpkg-deb --root-owner-group --build "$root" "$deb"
single=dist/skep_${version}_${arch}
node --import tsx tools/single-file/build.ts "$single"
if [ "${1:-}" = --try ]; then bash tools/package-try.sh "$deb" "$single"; fi

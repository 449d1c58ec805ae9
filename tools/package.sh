#!/usr/bin/env bash
# Builds dist/skep_VERSION_ARCH.deb: the bundles, the native module beside them, the launcher and the
# systemd unit. Depends on what the engine runs on; Node.js itself comes from the machine.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
version=$(node -p 'require("./package.json").version')
arch=$(dpkg --print-architecture)
root=$(mktemp -d /tmp/skep-package.XXXXXX)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"

install -d "$root"/{DEBIAN,usr/bin,usr/lib/skep/bin,usr/lib/skep/dist,usr/lib/skep/node_modules,lib/systemd/system,usr/share/doc/skep}
cp dist/*.mjs "$root/usr/lib/skep/dist/"
cp -r node_modules/koffi "$root/usr/lib/skep/node_modules/koffi"
if [ -d node_modules/@koromix ]; then cp -r node_modules/@koromix "$root/usr/lib/skep/node_modules/@koromix"; fi
install -m 755 bin/skep "$root/usr/lib/skep/bin/skep"
printf '{"name":"skep","version":"%s","type":"module"}\n' "$version" >"$root/usr/lib/skep/package.json"
ln -s ../lib/skep/bin/skep "$root/usr/bin/skep"
install -m 644 packaging/skep.service "$root/lib/systemd/system/skep.service"
install -m 644 README.md LICENSE "$root/usr/share/doc/skep/"
cat >"$root/DEBIAN/control" <<EOF
Package: skep
Version: $version
Architecture: $arch
Maintainer: the skep founders <skep@localhost>
Depends: containerd, runc, nftables, libnftables1, iproute2, conntrack
Recommends: tini, nodejs (>= 20.19)
Section: admin
Priority: optional
Description: container engine with orchestration built in
 One program on every host: docker's API and commands, swarm mode with an
 embedded Raft store, on containerd and runc.
EOF
dpkg-deb --root-owner-group --build "$root" "dist/skep_${version}_${arch}.deb"

#!/usr/bin/env bash
# Makes the demo's image from what is on this machine: a static busybox and a web server in shell that
# answers its hostname, its address and the caller's address. Prints a root file system as tar, for
# `skep import`; its command is `serve`. No network, no Dockerfile.
set -euo pipefail
root=$(mktemp -d /tmp/skep-demo-image.XXXXXX)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/{bin,etc,tmp,proc,sys,dev,www/cgi-bin}
cp /bin/busybox "$root/bin/busybox"
for applet in sh httpd hostname ip awk cat sleep echo wget nc ls ps kill true false id env; do
  ln -s busybox "$root/bin/$applet"
done
printf 'root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
cat >"$root/www/cgi-bin/index.cgi" <<'EOF'
#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\n'
echo "hostname $(hostname)"
echo "address $(ip -4 addr show scope global | awk '/inet /{print $2; exit}')"
# An IPv4 caller on a socket for both families is shown as [::ffff:ADDRESS].
caller=${REMOTE_ADDR#\[::ffff:}
echo "caller ${caller%]}"
EOF
# As process 1 it must handle SIGTERM itself, or every stop waits for its grace period to end.
cat >"$root/bin/serve" <<'EOF'
#!/bin/sh
trap 'kill $!; exit 0' TERM INT
httpd -f -p "${PORT:-80}" -h /www &
wait $!
EOF
chmod 755 "$root/www/cgi-bin/index.cgi" "$root/bin/serve"
tar -C "$root" -c .

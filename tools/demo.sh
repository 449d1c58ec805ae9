#!/usr/bin/env bash
# The main job in one command: three hosts, a swarm of three managers, a service of five replicas; then
# a host loses its power and the leader its engine, and both times the service goes on.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
skep=$PWD/bin/skep

step() { printf '\n\033[1m# %s\033[0m\n' "$*"; }
show() { printf '\033[2m$ %s\033[0m\n' "$*"; "$@"; }
on() { local host=$1; shift; DOCKER_HOST=$(socket "$host") "$@"; }
socket() { "$skep" lab env "$1" | sed 's/^export DOCKER_HOST=//'; }

[ "$(id -u)" = 0 ] || { echo "the demo needs root: it makes network namespaces" >&2; exit 1; }
export SKEP_LAB=${SKEP_LAB:-default}
if [ -n "$("$skep" lab ls --name "$SKEP_LAB" -q)" ]; then
  echo "lab $SKEP_LAB is already up; remove it first (bin/skep lab down --name $SKEP_LAB), or set SKEP_LAB to another name" >&2
  exit 1
fi
keep=0
trap '[ "$keep" = 1 ] || "$skep" lab down' EXIT

step "Three hosts on this machine, each with its own engine, joined into one swarm"
show "$skep" lab up --hosts 3 --managers 3

step "A small web image, made here, loaded on every host"
image=$(mktemp /tmp/skep-demo.XXXXXX.tar)
tools/demo-image/make.sh >"$image"
for host in h1 h2 h3; do
  on "$host" "$skep" import -c 'CMD ["serve"]' "$image" web:demo
done
rm -f "$image"

step "A service of five replicas"
show on h1 "$skep" service create --name web --replicas 5 web:demo
show on h1 "$skep" service ps web

step "Host h3 loses its power: its tasks come back on the others"
show "$skep" lab kill h3
begin=$(date +%s)
until [ "$(on h1 "$skep" service ls --format '{{.Replicas}}')" = 5/5 ] &&
  [ -z "$(on h1 "$skep" service ps -f desired-state=running --format '{{.Node}}' web | grep -x h3)" ]; do
  [ $(($(date +%s) - begin)) -lt 60 ] || { echo "the tasks did not come back within 60 s" >&2; exit 1; }
  sleep 0.5
done
echo "all five run again after $(($(date +%s) - begin)) s"
show on h1 "$skep" service ps -f desired-state=running web

step "h3 comes back"
show "$skep" lab start h3

step "The leader's engine is killed (-9): its containers go on, another manager leads"
leader=$(on h2 "$skep" node ls --format '{{if eq .ManagerStatus "Leader"}}{{.Hostname}}{{end}}' | tr -d '\n')
other=$([ "$leader" = h2 ] && echo h1 || echo h2)
show "$skep" lab stop-engine "$leader"
show on "$other" "$skep" service scale web=8
show on "$other" "$skep" node ls
show "$skep" lab start "$leader"

keep=1
cat <<EOF

The lab is still up. Try:
  eval "\$(bin/skep lab env h1)"       # any docker client now talks to h1
  docker node ls
  docker service ps web
  docker service update --force web
  bin/skep lab cut h2                 # a network partition; heal with: bin/skep lab heal h2
  bin/skep lab down                   # removes everything
EOF

#!/usr/bin/env bash
# The main job in one command: three hosts, a swarm of three managers, a service of five replicas; then
# a host loses its power and the leader its engine, and both times the service goes on. SKEP_LAB names
# the lab, for those who have one up already.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
export SKEP_LAB=${SKEP_LAB:-default}
PATIENCE=60

skep() { bin/skep "$@"; }
step() { printf '\n\033[1m# %s\033[0m\n' "$*"; }
show() { printf '\033[2m$ %s\033[0m\n' "$*"; "$@"; }
# on HOST COMMAND…: the command line against that host's engine, shown as one would type it.
on() { local host=$1; shift; printf '\033[2m%s$ %s\033[0m\n' "$host" "$*"; quiet "$host" "$@"; }
quiet() { local host=$1; shift; DOCKER_HOST=$(socket "$host") "$@"; }
socket() { skep lab env "$1" | sed 's/^export DOCKER_HOST=//'; }
address() { skep lab ls --name "$SKEP_LAB" --format '{{.Name}} {{.Address}}' | sed -n "s/^$1 //p"; }
seconds() { echo $((SECONDS - $1)); }

# running HOST: how many of the service's wanted tasks run, as that host's manager knows it.
running() {
  quiet "$1" skep service ps -f desired-state=running --format '{{.CurrentState}}' web | grep -c '^Running' || true
}
# await WHAT COMMAND…: until it succeeds, with a sign of life.
await() {
  local what=$1 begin=$SECONDS; shift
  until "$@" 2>/dev/null; do
    [ "$(seconds "$begin")" -lt $PATIENCE ] || { echo "not within $PATIENCE s: $what" >&2; exit 1; }
    [ ! -t 1 ] || printf '\r%s … %s s' "$what" "$(seconds "$begin")"
    sleep 0.3
  done
  [ ! -t 1 ] || printf '\r\033[K'
  echo "$what: after $(seconds "$begin") s"
}
# moved MANAGER HOST COUNT: that many run, and none on that host.
moved() { [ "$(running "$1")" = "$3" ] && ! quiet "$1" skep node ps -f desired-state=running "$2" | grep -q web; }
leads() { [ -n "$(leader "$1")" ] && [ "$(leader "$1")" != "$2" ]; }
leader() { quiet "$1" skep node ls --format '{{if eq .ManagerStatus "Leader"}}{{.Hostname}}{{end}}' | tr -d '\n'; }
ready() { quiet "$1" skep node ls --format '{{.Hostname}} {{.Status}} {{.ManagerStatus}}' | grep -qE "^$2 Ready (Reachable|Leader)"; }

[ "$(id -u)" = 0 ] || { echo "the demo needs root: it makes network namespaces" >&2; exit 1; }
if [ -n "$(skep lab ls --name "$SKEP_LAB" -q)" ]; then
  echo "lab $SKEP_LAB is already up; remove it first (bin/skep lab down --name $SKEP_LAB), or set SKEP_LAB to another name" >&2
  exit 1
fi
keep=0
scratch=$(mktemp -d /tmp/skep-demo.XXXXXX)
trap 'rm -rf "$scratch"; [ "$keep" = 1 ] || skep lab down' EXIT

step "Three hosts on this machine, each with its own engine, joined into one swarm"
show skep lab up --hosts 3 --managers 3
on h1 skep node ls

step "A small web image, made here, loaded on every host"
tools/demo-image/make.sh >"$scratch/rootfs.tar"
on h1 skep import -c 'CMD ["serve"]' "$scratch/rootfs.tar" web:demo
quiet h1 skep save -o "$scratch/image.tar" web:demo
for host in h2 h3; do on "$host" skep load -q -i "$scratch/image.tar"; done

step "A service of five replicas, published on every host"
on h1 skep service create --name web --replicas 5 --publish 8080:80 web:demo
on h1 skep service ps web
for host in h1 h2 h3; do show busybox wget -qO- "http://$(address "$host"):8080/"; done

step "Host h3 loses its power: what ran there comes back on the others"
show skep lab kill h3
await "all five run again, none of them on h3" moved h1 h3 5
on h1 skep service ps web

step "h3 comes back"
show skep lab start h3
await "h3 is a ready manager again" ready h1 h3

step "The leader's engine is killed (-9): its containers go on, another manager leads"
leader=$(leader h2)
other=$([ "$leader" = h2 ] && echo h1 || echo h2)
show skep lab stop-engine "$leader"
await "another manager leads" leads "$other" "$leader"
on "$other" skep service scale --detach web=8
await "eight run" moved "$other" none 8

step "Its engine starts again, and finds its containers where they were"
show skep lab start "$leader"
await "$leader is a ready manager again" ready "$other" "$leader"
on "$leader" skep node ls
on "$leader" skep ps --format 'table {{.Names}}\t{{.Status}}'

keep=1
name=$([ "$SKEP_LAB" = default ] || echo " --name $SKEP_LAB")
cat <<EOF

The lab is still up (the demo took $SECONDS s). Try:
  eval "\$(bin/skep lab env$name h1)"       # any docker client now talks to h1
  docker node ls
  docker service ps web
  docker service update --force web
  busybox wget -qO- http://$(address h2):8080/   # any host answers
  bin/skep lab cut$name h2                 # a network partition; heal with: bin/skep lab heal$name h2
  bin/skep lab down$name                   # removes everything
EOF

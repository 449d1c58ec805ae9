/** The session: networks, volumes, and the engine itself. */

export const HOST = `
network create --driver bridge --label a=b --subnet 10.77.0.0/24 --gateway 10.77.0.1 --ip-range 10.77.0.128/25 --aux-address x=10.77.0.200 --opt com.docker.network.driver.mtu=1400 --internal=false --attachable back
network create --internal inner
network create back
network create --subnet bad x
network create --ipv6 --subnet fd00:77::/64 six
network create --config-only --subnet 10.79.0.0/24 kept
network create --config-from kept --scope local copied
network create --ipam-driver default --ipam-opt a=b tuned
network create --ingress x
network inspect -f '{{.ConfigOnly}} {{.ConfigFrom.Network}} {{json .IPAM.Options}}' kept copied tuned
create --name both --network six --ip6 fd00:77::9 app:1 true
inspect -f '{{json .NetworkSettings.Networks.six.IPAMConfig}}' both
network connect --driver-opt a=b --link both:other --link-local-ip 169.254.3.3 tuned both
inspect -f '{{json .NetworkSettings.Networks.tuned.IPAMConfig}} {{.NetworkSettings.Networks.tuned.Links}}' both
network connect --ip6 fd00:78::9 tuned both
rm both
network rm copied kept tuned
network rm --force nosuch
network ls
network ls -q --no-trunc -f name=back
network ls -f driver=bridge --format '{{.Name}} {{.Driver}} {{.Scope}} {{.Internal}} {{.IPv6}} {{.Labels}}'
network inspect -f '{{.Name}} {{.Driver}} {{json .IPAM.Config}} {{.Options}} {{.Labels}}' back
network inspect -v -f {{.Name}} back
network inspect nosuch
run -d --init --name one --network back --network-alias uno --ip 10.77.0.150 app:1 sleep 1000
run --rm --network back app:1 wget -q -T 2 -O /dev/null http://uno:9
network connect --alias x --ip 10.77.0.151 back nosuch
network connect --alias inside inner one
network connect inner one
inspect -f '{{range $k, $v := .NetworkSettings.Networks}}{{$k}} {{end}}' one
network disconnect inner one
network disconnect -f inner one
network rm back
rm -f one
network rm back inner six nosuch
network rm bridge
network prune -f --filter label=nosuch
network prune -f

volume create --label a=b -o type=tmpfs -o device=tmpfs -o o=size=1m named
volume create --name other
volume create -d nosuch-driver:x bad
volume ls
volume ls -q -f name=named
volume ls --format '{{.Name}} {{.Driver}} {{.Labels}} {{.Scope}}'
volume ls -f dangling=true --format {{.Name}}
volume inspect -f '{{.Name}} {{.Driver}} {{.Labels}} {{.Options}}' named
volume inspect nosuch
run --rm -v other:/o app:1 sh -c 'echo kept > /o/f'
run --rm -v other:/o app:1 cat /o/f
volume rm other nosuch
volume rm -f named nosuch
volume prune -f --filter label=nosuch
volume ls -q

system df --format '{{.Type}} {{.TotalCount}} {{.Active}}'
system df -v --format '{{len .Volumes}}'
system events --since 1 --until 2 --filter type=container
events --since 1 --until 2 -f event=start --format {{.Action}}
system prune -f --filter label=nosuch
system prune -a -f --volumes --filter label=nosuch
builder prune -f -a --filter until=1h
builder prune -f --keep-storage 1g
plugin ls
plugin ls -q --no-trunc -f enabled=true --format {{.Name}}
plugin inspect nosuch
plugin rm nosuch
plugin disable nosuch
plugin set nosuch a=b
plugin enable --timeout 1 nosuch
plugin disable -f nosuch
plugin inspect -f {{.Name}} nosuch
plugin rm -f nosuch
plugin push nosuch
logout 127.0.0.1:5000
context ls -q
completion bash
`;

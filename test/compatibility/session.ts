/**
 * A long session on the command line, line after line: every command of docker's that concerns the
 * engine, with its flags. DIR is a folder of the run's; words are parted as a shell does it. A line
 * that begins with `<` followed by a text in brackets gets that text as its input.
 */

export const SESSION: readonly string[] = `
version --format {{.Server.Os}}/{{.Server.Arch}}
info --format '{{.OSType}} {{.NCPU}} {{.Containers}} {{.Images}}'
system info -f '{{.Swarm.LocalNodeState}} {{.CgroupDriver}} {{.LoggingDriver}}'
images
images -a --digests --no-trunc -f reference=app*
images --filter label=made --format '{{.Repository}}:{{.Tag}} {{.ID}} {{.Digest}}'
image ls -q
images nosuch
image inspect -f '{{.Id}} {{.Config.Env}} {{json .Config.Labels}} {{.Os}}' app:1
image inspect nosuch
history --no-trunc --format '{{.ID}} {{.CreatedBy}} {{.Comment}}' app:1
history -q app:1
history --human=false --format '{{.CreatedAt}}' app:1
image history nosuch
tag app:1 a/b:2
image tag app:1 Bad:2
save -o DIR/saved.tar a/b:2
rmi a/b:2
load -i DIR/saved.tar
image rm -f --no-prune a/b:2
image load -q -i DIR/saved.tar
rmi a/b:2 nosuch
load -i DIR/nosuch.tar
image save nosuch
import -c 'CMD ["true"]' -m why DIR/root.tar imp:1
image inspect -f '{{.Config.Cmd}} {{.Comment}}' imp:1
rmi imp:1
image prune -f
image prune -a -f --filter label=nosuch
tag app:1 127.0.0.1:5000/app:1
push 127.0.0.1:5000/app:1
push -q 127.0.0.1:5000/app:1
image push 127.0.0.1:5000/nosuch:1
rmi 127.0.0.1:5000/app:1
pull 127.0.0.1:5000/app:1
pull -q 127.0.0.1:5000/app:1
image pull -a -q 127.0.0.1:5000/app
pull 127.0.0.1:5000/app:nosuch
pull Bad:1
rmi 127.0.0.1:5000/app:1

run --rm app:1 echo hello
run app:1
run --rm app:1 sh -c 'echo out; echo err >&2; exit 3'
run --rm nosuch/nosuch@bad true
run --rm app:1 /nosuch
run --rm app:1 /etc/passwd
run --pull never --rm nosuch:1 true
< (typed) run -i --rm -a stdin -a stdout app:1 cat
run -d --name sleeper --hostname h1 --label a=b -l c --env X=1 -e Y=2 --init --restart on-failure:2 --stop-signal INT --stop-timeout 1 -p 127.0.0.1:8080:80 --expose 99 app:1 sleep 1000
run --name sleeper app:1 true
run --cpus 1000 app:1 true
run -v relative:/x:bad app:1 true
run --memory 1k app:1 true
run --network nosuch --name lost app:1 true
rm lost
run --unknown app:1
run
ps
ps -a --no-trunc --filter name=sleeper --format '{{.Names}} {{.Image}} {{.Command}} {{.Ports}} {{.State}} {{.Label "a"}} {{.Networks}} {{.Mounts}}'
ps -q -f status=exited -f ancestor=app:1
ps -n 1 --format {{.Names}}
ps -l --format {{.Names}}
ps -f nosuch=1
container ls -s --format {{.Names}}
container list --all --format 'table {{.Names}}\\t{{.Status}}' -f name=sleeper
inspect -f '{{.State.Status}} {{.Config.Hostname}} {{.HostConfig.RestartPolicy.Name}} {{.Config.StopSignal}}' sleeper
inspect --type container -f {{.Name}} sleeper
inspect --type image -f {{.Id}} app:1
inspect --type volume sleeper
inspect nosuch
container inspect -s -f '{{.Path}} {{.Args}}' sleeper
container inspect nosuch
port sleeper
port sleeper 80/tcp
port sleeper 99
container port nosuch
top sleeper -o comm,pid
container top nosuch
exec sleeper echo in
exec -e A=1 -w /data -u ann sleeper sh -c 'echo $A; pwd; id -u'
< (abc) exec -i sleeper cat
exec -d sleeper true
exec --env-file DIR/env sleeper sh -c 'echo $X $Y $FROM_FILE'
exec sleeper false
exec sleeper nosuch
exec nosuch true
cp DIR/env sleeper:/tmp-env
exec sleeper cat /tmp-env
cp -a sleeper:/tmp-env DIR/back
cp -q -L sleeper:/etc DIR/etc
container cp sleeper:/nosuch DIR/x
cp nosuch:/x DIR/x
diff sleeper
container diff nosuch
stats --no-stream --no-trunc --format {{.Name}} sleeper
container stats -a --no-stream --format {{.Name}} sleeper
pause sleeper
pause sleeper
ps -f status=paused --format '{{.Names}} {{.State}}'
exec sleeper true
unpause sleeper
container unpause sleeper
rename sleeper sleeps
rename sleeps sleeps
container rename nosuch x
update --memory 64m --memory-swap -1 --cpu-shares 512 --pids-limit 100 --restart no --memory-reservation 32m --cpuset-cpus 0 --cpuset-mems 0 sleeps
inspect -f '{{.HostConfig.Memory}} {{.HostConfig.CpuShares}} {{.HostConfig.PidsLimit}} {{.HostConfig.RestartPolicy.Name}}' sleeps
update --cpus 0.5 sleeps
container update --cpu-period 1 sleeps
commit -a me -m why -c 'ENV Z=9' -p sleeps committed:1
image inspect -f '{{.Author}} {{.Comment}} {{len .Config.Env}}' committed:1
run --rm committed:1 sh -c 'echo $X $Y $Z'
container commit nosuch
rmi committed:1
export -o DIR/exported.tar sleeps
container export nosuch
kill -s USR1 nosuch
kill --signal BAD sleeps
restart -t 0 sleeps
container restart nosuch
stop -t 0 sleeps
stop sleeps
container stop nosuch
start sleeps
start nosuch
kill sleeps
wait sleeps
kill sleeps
container start -a nosuch
container kill nosuch
wait nosuch
rm -v sleeps
rm sleeps
create --name made app:1 sh -c 'echo one; echo two'
start -a made
logs made
logs -n 5 made
logs --tail 0 made
logs --since 10m --until 1s nosuch
logs --details made
container logs --tail bad made
attach made
container attach nosuch
container wait made
container rm made nosuch
< (in) run -i --name typed app:1 cat
< (again) start -a -i typed
rm -f typed
container prune -f --filter label=nosuch
container prune -f
ps -aq
create --name limits --cpu-period 50000 --cpu-quota 25000 --cpu-shares 100 --cpuset-cpus 0 --cpuset-mems 0 -m 64m --memory-reservation 32m --memory-swap 128m --memory-swappiness 10 --oom-kill-disable --oom-score-adj 100 --pids-limit 10 --shm-size 1m --ulimit nofile=10:20 --blkio-weight 0 --device-read-bps BLOCK:1mb --device-write-bps BLOCK:1mb --device-read-iops BLOCK:10 --device-write-iops BLOCK:10 --kernel-memory 0 app:1 true
inspect -f '{{.HostConfig.CpuPeriod}} {{.HostConfig.CpuQuota}} {{.HostConfig.MemorySwap}} {{.HostConfig.ShmSize}} {{json .HostConfig.Ulimits}} {{.HostConfig.OomScoreAdj}} {{len .HostConfig.BlkioDeviceReadBps}}' limits
create --name rights --cap-add NET_ADMIN --cap-drop ALL --privileged --security-opt no-new-privileges --device /dev/null:/dev/n:r --device-cgroup-rule 'c 1:3 r' --group-add users -u ann:users --read-only --userns host --ipc shareable --pid host --uts host --cgroupns private --cgroup-parent /x --isolation default --runtime runc app:1 true
inspect -f '{{.HostConfig.CapAdd}} {{.HostConfig.CapDrop}} {{json .HostConfig.Devices}} {{.HostConfig.GroupAdd}} {{.Config.User}} {{.HostConfig.PidMode}} {{.HostConfig.IpcMode}}' rights
create --name driven -v vol:/vol --volume-driver local --cidfile DIR/cid-files app:1 true
rm driven
create --name files -v vol:/vol -v /etc:/hostetc:ro --mount type=tmpfs,dst=/t,tmpfs-size=1m --mount type=volume,src=vol2,dst=/v2,readonly --mount type=bind,src=/usr,dst=/u --tmpfs /run:size=1m --volumes-from limits -w /w app:1 true
inspect -f '{{len .Mounts}}{{len .HostConfig.Binds}} {{.HostConfig.Tmpfs}}' files
create --name net --network bridge --dns 9.9.9.9 --dns-search x.org --dns-option ndots:1 --add-host a:1.2.3.4 --domainname d.org --mac-address 02:42:ac:11:00:99 --network-alias n --link-local-ip 169.254.1.1 --ip 172.17.0.99 -P --publish 81:81/udp app:1 true
create --name net --dns 9.9.9.9 --dns-search x.org --dns-option ndots:1 --add-host a:1.2.3.4 --domainname d.org --hostname hh -P --publish 81:81/udp app:1 true
inspect -f '{{.HostConfig.Dns}} {{.HostConfig.DnsSearch}} {{.HostConfig.ExtraHosts}} {{.Config.Domainname}} {{.HostConfig.PublishAllPorts}} {{json .HostConfig.PortBindings}}' net
create --name rest --interactive --entrypoint /bin/sh --label-file DIR/labels --env-file DIR/env --health-cmd true --health-interval 1s --health-timeout 2s --health-retries 3 --health-start-period 4s --log-driver local --log-opt max-size=1m --sysctl net.ipv4.ip_forward=1 --detach-keys ctrl-a --sig-proxy=false --disable-content-trust --platform linux/amd64 app:1
inspect -f '{{.Config.Entrypoint}} {{.Config.Labels}} {{.Config.Env}} {{json .Config.Healthcheck}} {{.HostConfig.LogConfig}} {{.HostConfig.Sysctls}} {{.Config.Tty}}' rest
create --name sick --no-healthcheck --health-cmd x app:1 true
run --name bad --gpus all app:1 true
rm bad
create --name bad --link nosuch:x app:1 true
rm -f limits rights files net rest sick bad

network create --driver bridge --label a=b --subnet 10.77.0.0/24 --gateway 10.77.0.1 --ip-range 10.77.0.128/25 --aux-address x=10.77.0.200 --opt com.docker.network.driver.mtu=1400 --internal=false --attachable back
network create --internal inner
network create back
network create --subnet bad x
network create --ipv6 --subnet fd00:77::/64 six
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
plugin ls
plugin ls -q --no-trunc -f enabled=true --format {{.Name}}
plugin inspect nosuch
plugin rm nosuch
plugin disable nosuch
plugin set nosuch a=b
logout 127.0.0.1:5000
context ls -q
completion bash

node ls
service ls
swarm leave
swarm init --advertise-addr 127.0.0.1 --listen-addr 127.0.0.1:2377 --task-history-limit 3 --cert-expiry 100h --dispatcher-heartbeat 4s --snapshot-interval 100 --max-snapshots 1 --availability active --force-new-cluster=false
swarm init
swarm join-token -q worker
swarm join-token worker
swarm join-token --rotate -q manager
swarm unlock-key -q
swarm ca
swarm update --task-history-limit 2 --dispatcher-heartbeat 6s
swarm join --token bad 127.0.0.1:1
node ls --format '{{.Hostname}} {{.Status}} {{.Availability}} {{.ManagerStatus}} {{.Self}}'
node ls -q -f role=manager
node inspect -f '{{.Spec.Role}} {{.Status.State}}' HOSTNAME
node inspect nosuch
node update --label-add zone=a HOSTNAME
node inspect -f {{.Spec.Labels}} HOSTNAME
node update --label-rm zone HOSTNAME
node demote HOSTNAME
node promote HOSTNAME
node rm nosuch
node ps HOSTNAME
< (hush) secret create -l a=b s1 -
secret create s1 DIR/env
secret ls
secret ls -q -f name=s1
secret inspect -f '{{.Spec.Name}} {{.Spec.Labels}}' s1
secret inspect --pretty s1
secret inspect nosuch
config create -l a=b c1 DIR/env
config ls --format '{{.Name}}'
config ls -q
config inspect -f '{{.Spec.Name}} {{.Spec.Labels}}' c1
config rm nosuch
service create -d -q --name web --replicas 2 --label a=b --container-label c=d --env X=1 --env-file DIR/env --entrypoint /bin/busybox --init --hostname h --user ann --workdir /data --secret s1 --config source=c1,target=/c1 --mount type=tmpfs,dst=/t --dns 9.9.9.9 --dns-option ndots:1 --dns-search x.org --host a:1.2.3.4 --health-cmd true --health-interval 5s --health-retries 2 --health-timeout 3s --health-start-period 1s --limit-cpu 1 --limit-memory 64m --limit-pids 50 --reserve-cpu 0.1 --reserve-memory 8m --log-driver json-file --log-opt max-size=1m --group users --read-only --stop-grace-period 1s --stop-signal TERM --sysctl net.ipv4.ip_forward=1 --tty --ulimit nofile=100:200 --cap-add NET_ADMIN --cap-drop MKNOD --constraint node.role==manager --placement-pref spread=node.labels.zone --replicas-max-per-node 5 --restart-condition on-failure --restart-delay 2s --restart-max-attempts 3 --restart-window 10s --update-delay 1s --update-parallelism 2 --update-failure-action rollback --update-max-failure-ratio 0.1 --update-monitor 5s --update-order start-first --rollback-delay 1s --rollback-parallelism 1 --rollback-failure-action continue --rollback-max-failure-ratio 0.2 --rollback-monitor 4s --rollback-order stop-first --isolation default --no-resolve-image --with-registry-auth --endpoint-mode dnsrr app:1 sleep 1000
service inspect -f '{{json .Spec}}' web
service inspect --pretty web
service create --name web app:1
service create -d -q --name bare --no-resolve-image --mode global --no-healthcheck --endpoint-mode vip app:1 sleep 1000
service create -d --name bad --publish bad app:1
service ls --format '{{.Name}} {{.Mode}} {{.Image}} {{.Ports}}'
service ls -q -f name=bare
service ps -q nosuch
service ps --no-trunc --format {{.Name}} -f name=nosuch web
service update -d -q --no-resolve-image --args 'sleep 2000' --env-add Z=1 --env-rm X --label-add l=m --label-rm a --container-label-add e=f --container-label-rm c --constraint-rm node.role==manager --constraint-add node.role!=worker --dns-add 8.8.8.8 --dns-rm 9.9.9.9 --dns-option-add timeout:1 --dns-option-rm ndots:1 --dns-search-add y.org --dns-search-rm x.org --host-add b:2.3.4.5 --host-rm a --group-add 5 --group-rm users --mount-add type=tmpfs,dst=/t2 --mount-rm /t --secret-rm s1 --secret-add source=s1,target=other --config-rm c1 --config-add source=c1,target=/c2 --sysctl-add net.ipv4.conf.all.forwarding=1 --sysctl-rm net.ipv4.ip_forward --ulimit-add core=0 --ulimit-rm nofile --placement-pref-rm spread=node.labels.zone --placement-pref-add spread=node.labels.row --replicas 1 --hostname h2 --user root --workdir / --tty=false --read-only=false --init=false --force --image app:1 --entrypoint '' --stop-signal INT --stop-grace-period 2s --restart-condition any --update-delay 0s --rollback-delay 0s --limit-memory 32m --cap-add SYS_TIME --cap-drop CHOWN --endpoint-mode vip web
service inspect -f '{{json .Spec.TaskTemplate.Placement}} {{json .Spec.Mode}} {{json .Spec.UpdateConfig}}' web
service scale -d web=0 nosuch=1
service rollback -d -q web
service logs --tail 1 --no-trunc --no-resolve --no-task-ids --raw --since 1m -t --details nosuch
service rm bare web nosuch
secret rm s1
config rm c1
stack ls
stack services nosuch
stack ps nosuch
stack rm nosuch
swarm leave --force
`
  .split("\n")
  .filter((line) => line.trim() !== "");

/** Words of a line, with 'quotes'. */
export function wordsOf(line: string): readonly string[] {
  const words: string[] = [];
  for (const match of line.matchAll(/(?:[^\s']+|'[^']*')+/g)) {
    words.push(match[0].replaceAll(/'([^']*)'/g, "$1").replaceAll("\\t", "\t"));
  }
  return words;
}

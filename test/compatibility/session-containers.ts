/** The session: images, builds and containers. */

export const CONTAINERS = `
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
login -u a -p b 127.0.0.1:5000
< (b) login -u a --password-stdin 127.0.0.1:5000
push -a -q --disable-content-trust 127.0.0.1:5000/app
pull -q --disable-content-trust --platform linux/amd64 127.0.0.1:5000/app:1
logout 127.0.0.1:5000
search --limit 101 --no-trunc --format {{.Name}} --filter stars=1 app
search --filter nosuch=1 app
search
build -q -t built:1 -t built:2 -f DIR/context/Dockerfile --target second --build-arg GIVEN=yes --label by=hand --no-cache --pull=false --rm --force-rm --iidfile DIR/iid --cache-from app:1 --compress --disable-content-trust --isolation default DIR/context
image inspect -f '{{.Config.Labels}} {{.Config.Env}} {{.Config.Cmd}} {{.Config.WorkingDir}}' built:2
run --rm built:1
builder build -q --network none --add-host a:1.2.3.4 --memory 64m --memory-swap -1 --cpu-shares 512 --cpu-period 50000 --cpu-quota 25000 --cpuset-cpus 0 --cpuset-mems 0 --ulimit nofile=100:200 --shm-size 2m -f DIR/context/limits DIR/context
image build --squash DIR/context
image build -q --target nosuch --cgroup-parent /x DIR/context
image build DIR/nosuch
rmi built:1 built:2
image prune -f
builder prune -f -a
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
inspect -s --type container -f '{{.Name}} {{len .Mounts}}' sleeper
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
exec -t --detach-keys ctrl-a sleeper echo terminal
exec --privileged nosuch true
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
update --cpu-quota 20000 --kernel-memory 0 sleeps
update --blkio-weight 1 sleeps
update --cpu-rt-period 1000000 --cpu-rt-runtime 1000 nosuch
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
logs -f -t made
start -a --detach-keys ctrl-a made
attach --no-stdin --sig-proxy=false --detach-keys ctrl-a made
attach made
container attach nosuch
container wait made
container rm made nosuch
< (in) run -i --name typed app:1 cat
< (again) start -a -i typed
rm -f typed
run -d -i --name talks app:1 sh -c 'read x; sleep 1'
< (hello\\n) attach --sig-proxy=false --detach-keys ctrl-a talks
rm talks
run --rm -t --sig-proxy=false --detach-keys ctrl-a app:1 echo terminal
run -d --init --name served app:1 sleep 1000
create --name linked --link served:db app:1 true
inspect -f '{{.HostConfig.Links}}' linked
rm --link nosuch/db
rm -f linked served
run --rm --cpu-rt-period 1000000 --cpu-rt-runtime 1000 app:1 true
run --rm --storage-opt size=1G app:1 true
run --rm --blkio-weight 1 app:1 true
run --rm --blkio-weight-device BLOCK:100 app:1 true
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
create --name rest --interactive --entrypoint /bin/sh --label-file DIR/labels --env-file DIR/env --health-cmd true --health-interval 1s --health-timeout 2s --health-retries 3 --health-start-period 4s --log-driver local --log-opt max-size=1m --sysctl net.ipv4.ip_forward=1 --disable-content-trust --platform linux/amd64 app:1
inspect -f '{{.Config.Entrypoint}} {{.Config.Labels}} {{.Config.Env}} {{json .Config.Healthcheck}} {{.HostConfig.LogConfig}} {{.HostConfig.Sysctls}} {{.Config.Tty}}' rest
create --name sick --no-healthcheck --health-cmd x app:1 true
run --name bad --gpus all app:1 true
rm bad
create --name bad --link nosuch:x app:1 true
rm -f limits rights files net rest sick bad
`;

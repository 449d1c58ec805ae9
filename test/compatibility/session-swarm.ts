/** The session: a swarm of one node. */

export const SWARM = `
node ls
service ls
swarm leave
swarm init --advertise-addr 127.0.0.1 --listen-addr 127.0.0.1:2377 --autolock --data-path-addr 127.0.0.1 --data-path-port 7777 --default-addr-pool 10.88.0.0/16 --default-addr-pool-mask-length 24
swarm unlock-key
swarm unlock-key -q --rotate
< (bad) swarm unlock
swarm update --autolock=false --cert-expiry 90h --max-snapshots 2 --snapshot-interval 200
info --format '{{json .Swarm.Cluster.DefaultAddrPool}} {{.Swarm.Cluster.SubnetSize}} {{.Swarm.Cluster.DataPathPort}} {{json .Swarm.Cluster.Spec.Raft}}'
swarm update --external-ca protocol=cfssl,url=https://127.0.0.1:1
swarm update --external-ca protocol=bad,url=https://127.0.0.1:1
swarm leave --force
swarm init --advertise-addr nosuch --external-ca protocol=bad
swarm init --advertise-addr 127.0.0.1 --listen-addr 127.0.0.1:2377 --task-history-limit 3 --cert-expiry 100h --dispatcher-heartbeat 4s --snapshot-interval 100 --max-snapshots 1 --availability active --force-new-cluster=false
swarm init
swarm join-token -q worker
swarm join-token worker
swarm join-token --rotate -q manager
swarm unlock-key -q
swarm ca
swarm update --task-history-limit 2 --dispatcher-heartbeat 6s
swarm join --token bad 127.0.0.1:1
swarm join --token bad --advertise-addr 127.0.0.1 --availability drain --data-path-addr 127.0.0.1 --listen-addr 127.0.0.1:1 127.0.0.1:1
swarm ca --rotate -d -q --ca-cert DIR/ca.pem --ca-key DIR/nosuch
swarm ca --cert-expiry 80h
swarm ca --external-ca protocol=cfssl
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
node inspect --pretty HOSTNAME
node update --availability drain --role manager HOSTNAME
node update --availability active HOSTNAME
node ps --filter name=x --format {{.Name}} --no-resolve --no-trunc -q HOSTNAME
node rm --force HOSTNAME
< (hush) secret create -l a=b s1 -
secret create s1 DIR/env
secret ls
secret ls -q -f name=s1
secret inspect -f '{{.Spec.Name}} {{.Spec.Labels}}' s1
secret inspect --pretty s1
secret inspect nosuch
secret create --template-driver golang s2 DIR/env
secret create --driver nosuch s3
secret ls --format '{{.Name}} {{.Driver}}'
secret rm s2 s3
config create -l a=b c1 DIR/env
config ls --format '{{.Name}}'
config ls -q
config inspect -f '{{.Spec.Name}} {{.Spec.Labels}}' c1
config rm nosuch
config create --template-driver golang c2 DIR/env
config ls --filter name=c2 --format {{.Name}}
config inspect --pretty c2
config rm c2
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
network create -d overlay over
network create -d overlay --attachable --ingress second
network create -d overlay --attachable third
service create -d -q --name netted --replicas 0 --no-resolve-image --network name=over,alias=x --publish published=8086,target=86,mode=host --credential-spec file://spec.json --generic-resource gpu=1 app:1
service create -d -q --name batch --mode replicated-job --replicas 4 --max-concurrent 2 --no-resolve-image --constraint node.labels.none==1 app:1
service update -d -q --no-resolve-image --credential-spec registry://spec --generic-resource-add ssd=1 --generic-resource-rm gpu --health-cmd true --health-interval 6s --health-retries 3 --health-start-period 2s --health-timeout 4s --isolation default --limit-cpu 0.7 --limit-pids 40 --log-driver local --log-opt max-size=2m --network-add third --network-rm over --publish-add published=8085,target=85,mode=host --publish-rm 86 --replicas-max-per-node 4 --reserve-cpu 0.2 --reserve-memory 9m --restart-delay 3s --restart-max-attempts 4 --restart-window 11s --rollback-failure-action pause --rollback-max-failure-ratio 0.3 --rollback-monitor 6s --rollback-order start-first --rollback-parallelism 2 --update-failure-action continue --update-max-failure-ratio 0.2 --update-monitor 7s --update-order stop-first --update-parallelism 3 --with-registry-auth netted
service inspect -f '{{json .Spec}}' netted
service inspect -f '{{json .Spec}}' batch
service update -d -q --no-healthcheck netted
service update -d -q --rollback netted
service inspect -f '{{json .Spec.TaskTemplate.ContainerSpec.Healthcheck}}' netted
service update -d -q --max-concurrent 3 batch
service ps --no-resolve -q netted
service logs -f nosuch
service rollback -d -q web
service logs --tail 1 --no-trunc --no-resolve --no-task-ids --raw --since 1m -t --details nosuch
service rm bare web nosuch
secret rm s1
config rm c1
service rm netted batch
network rm third over nosuch
stack deploy -c DIR/stack.yml --prune --resolve-image never --with-registry-auth st
stack ls --format '{{.Name}} {{.Services}}'
stack services --filter name=st_a --format '{{.Name}} {{.Mode}}' st
stack services -q --filter name=nosuch st
stack ps --filter name=nosuch --format {{.Name}} --no-resolve --no-trunc -q st
stack deploy -d -q -c DIR/stack.yml st
stack config -c DIR/stack.yml
stack rm -d st
stack rm st
stack ls
stack services nosuch
stack ps nosuch
stack rm nosuch
swarm ca --rotate -d -q --cert-expiry 80h --ca-cert DIR/ca.pem --ca-key DIR/ca.key
swarm leave --force
`;

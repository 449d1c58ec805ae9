/** Compose files as projects write them: each becomes a plan, or is refused at the line that is wrong. */

import { expect, it } from "vitest";
import { mergeCompose, readCompose } from "./load.ts";
import { payloadFiles, planStack } from "./plan.ts";
import { describeError } from "./refusal.ts";
import type { StackPlan } from "./stack.ts";

function planned(text: string, profiles: readonly string[] = []) {
  const around = {
    places: { workingDir: "/srv/app", home: "/root" },
    lookup: (name: string) => ({ DB_PASSWORD: "s3cret", DOMAIN: "example.org" })[name],
    profiles,
  };
  const read = readCompose([{ name: "compose.yml", text }], around);
  if (!read.ok) return { refused: describeError(read.error), notices: [] };
  const envFiles = new Map(read.value.envFiles.map((name) => [name, "FROM_FILE=1\n"]));
  const project = mergeCompose(read.value, around, envFiles);
  if (!project.ok) return { refused: describeError(project.error), notices: [] };
  const payloads = new Map(payloadFiles(project.value).map((name) => [name, "eA=="]));
  const plan = planStack(project.value, "st", payloads);
  const { notices } = project.value;
  return plan.ok ? { plan: plan.value, notices } : { refused: describeError(plan.error), notices };
}

function plan(text: string, profiles?: readonly string[]): StackPlan {
  const { plan: made, refused } = planned(text, profiles);
  if (made === undefined) throw new Error(refused);
  return made;
}

const container = ({ services }: StackPlan, name: string) =>
  services.find(({ Name }) => Name === `st_${name}`)?.TaskTemplate?.ContainerSpec;

it("a blog: database with a health check that the application waits for, volumes, restart", () => {
  const made = plan(`
name: blog
services:
  db:
    image: mysql:8.0
    command: --default-authentication-plugin=mysql_native_password
    volumes: [db_data:/var/lib/mysql]
    restart: always
    environment:
      MYSQL_ROOT_PASSWORD: \${DB_PASSWORD:?set it}
      MYSQL_DATABASE: wordpress
    healthcheck: { test: ["CMD", "mysqladmin", "ping"], interval: 10s, start_period: 30s }
  wordpress:
    depends_on: { db: { condition: service_healthy } }
    image: wordpress:latest
    ports: ["8000:80"]
    restart: unless-stopped
    environment: [WORDPRESS_DB_HOST=db, "WORDPRESS_DB_PASSWORD=\${DB_PASSWORD}"]
volumes: { db_data: {} }
`);
  expect(made.services[1]?.Labels).toMatchObject({ "skep.start-after": "st_db=healthy" });
  expect(container(made, "wordpress")?.Env).toContain("WORDPRESS_DB_PASSWORD=s3cret");
});

it("a cloud: anchors, x- keys, secrets from files, an application with a scheduled helper", () => {
  const made = plan(`
x-app: &app
  image: nextcloud:29-apache
  volumes: [nextcloud:/var/www/html]
  environment: &env { POSTGRES_HOST: db, REDIS_HOST: redis, POSTGRES_PASSWORD_FILE: /run/secrets/pw }
services:
  db: { image: postgres:16-alpine, shm_size: 256mb, secrets: [pw], volumes: [db:/var/lib/postgresql/data] }
  redis: { image: "redis:alpine", command: redis-server --save 60 1 }
  app: { <<: *app, ports: ["127.0.0.1:8080:80"], secrets: [pw] }
  cron: { <<: *app, entrypoint: /cron.sh, environment: { <<: *env, ROLE: cron } }
volumes: { db: , nextcloud: }
secrets: { pw: { file: ./pw.txt } }
`);
  expect(container(made, "cron")?.Env).toContain("ROLE=cron");
  expect(container(made, "db")?.Labels).toMatchObject({ "skep.shm-size": String(256 << 20) });
  expect(made.secrets.map(({ Name }) => Name)).toEqual(["st_pw"]);
});

it("a proxy with applications: labels with backquotes, an external network, the socket", () => {
  const made = plan(`
services:
  traefik:
    image: traefik:v3.1
    command: ["--providers.swarm=true", "--entrypoints.web.address=:80"]
    ports: [{ target: 80, published: 80, mode: host }]
    volumes: ["/var/run/docker.sock:/var/run/docker.sock:ro"]
    security_opt: ["no-new-privileges:true"]
    deploy: { placement: { constraints: [node.role == manager] } }
    networks: [edge]
  whoami:
    image: traefik/whoami
    networks: [edge]
    deploy:
      labels: ["traefik.http.routers.who.rule=Host(\`who.\${DOMAIN}\`)"]
networks: { edge: { external: true, name: edge } }
`);
  expect(container(made, "traefik")?.Privileges?.NoNewPrivileges).toBe(true);
  expect(made.services[1]?.Labels).toMatchObject({
    "traefik.http.routers.who.rule": "Host(`who.example.org`)",
  });
});

it("a forge: ports in ranges and by protocol, an environment file, links that mean nothing", () => {
  const { plan: made, notices } = planned(`
version: "3"
services:
  server:
    image: gitea/gitea:1.22
    container_name: gitea
    env_file: .env.gitea
    restart: always
    volumes: ["./gitea:/data", "/etc/localtime:/etc/localtime:ro"]
    ports: ["3000:3000", "2222:22"]
    links: [db]
    depends_on: [db]
  db: { image: "postgres:14", networks: { default: { aliases: [database] } } }
`);
  expect(made && container(made, "server")?.Env).toEqual(["FROM_FILE=1"]);
  expect(notices.join("\n")).toContain("Ignoring unsupported options: restart");
});

it("monitoring: the host's processes and network, configs in the file's folder, profiles", () => {
  const text = `
services:
  prometheus:
    image: prom/prometheus:v2.53.0
    user: "65534"
    command: [--config.file=/etc/prometheus/prometheus.yml, --storage.tsdb.retention.time=15d]
    configs: [{ source: prom, target: /etc/prometheus/prometheus.yml }]
  node-exporter:
    image: prom/node-exporter:latest
    pid: host
    network_mode: host
    volumes: ["/:/host:ro,rslave"]
    deploy: { mode: global }
  cadvisor: { image: "gcr.io/cadvisor/cadvisor", privileged: true, devices: [/dev/kmsg] }
  grafana: { image: "grafana/grafana:11.1.0", profiles: [ui], ports: ["3000:3000"] }
configs: { prom: { file: ./prometheus.yml } }
`;
  const made = plan(text);
  expect(made.services.map(({ Name }) => Name)).not.toContain("st_grafana");
  expect(plan(text, ["ui"]).services.map(({ Name }) => Name)).toContain("st_grafana");
  expect(container(made, "node-exporter")?.Labels).toMatchObject({ "skep.pid": "host" });
  expect(made.services[1]?.TaskTemplate?.Networks).toEqual([{ Target: "host" }]);
  expect(container(made, "cadvisor")?.Labels).toMatchObject({
    "skep.privileged": "true",
    "skep.devices": "/dev/kmsg",
  });
  expect(planned(text).notices).toEqual([]);
});

it("a queue with workers: resources, updates, a job before, tmpfs and ulimits", () => {
  const made = plan(`
x-worker: &worker
  image: registry.example.org:5000/team/worker:\${TAG:-1.0}
  ulimits: { nofile: { soft: 20000, hard: 40000 } }
  tmpfs: /run
  stop_grace_period: 1m30s
services:
  migrate:
    <<: *worker
    command: migrate
    deploy: { mode: replicated-job }
  worker:
    <<: *worker
    depends_on: { migrate: { condition: service_completed_successfully } }
    deploy:
      replicas: 4
      update_config: { parallelism: 2, order: start-first, failure_action: rollback }
      resources: { limits: { cpus: "0.50", memory: 512M }, reservations: { memory: 128M } }
`);
  expect(made.services.map(({ Name }) => Name)).toEqual(["st_migrate", "st_worker"]);
  expect(made.services[1]?.Labels).toMatchObject({ "skep.start-after": "st_migrate=completed" });
});

it("a chat with its sentinels: several of a kind, a health check, names that links give", () => {
  const made = plan(`
version: "3.9"
services:
  redis-master:
    image: redis:7
    command: redis-server --appendonly yes
    volumes: ["redis:/data"]
    networks: { cache: { aliases: [master] } }
  sentinel:
    image: redis:7
    entrypoint: ["sh", "-c", "echo sentinel monitor m redis-master 6379 2 > /s.conf && exec redis-sentinel /s.conf"]
    links: ["redis-master:mymaster"]
    networks: [cache]
    deploy: { replicas: 3, placement: { max_replicas_per_node: 1 } }
    healthcheck: { test: "redis-cli -p 26379 ping | grep PONG", retries: 5 }
networks: { cache: { driver: overlay, attachable: true } }
volumes: { redis: { driver: local, driver_opts: { type: none, o: bind, device: /srv/redis } } }
`);
  const [network] = made.services[0]?.TaskTemplate?.Networks ?? [];
  expect(network?.Aliases).toEqual(["master", "redis-master", "mymaster"]);
  expect(container(made, "sentinel")?.Healthcheck?.Test?.[0]).toBe("CMD-SHELL");
});

it("a broker and its consumers: variables in names, an .env beside it, limits of containers", () => {
  const { plan: made, notices } = planned(`
services:
  kafka:
    image: bitnami/kafka:\${KAFKA_VERSION:-3.7}
    hostname: kafka
    domainname: example.org
    platform: linux/amd64
    mem_limit: 1g
    mem_reservation: 512m
    memswap_limit: 1536m
    cpus: "1.5"
    pids_limit: 500
    ulimits: { nofile: 65536 }
    ports: ["9092:9092", { target: 9093, published: "9093", app_protocol: tcp, mode: host }]
    environment:
      KAFKA_CFG_ADVERTISED_LISTENERS: PLAINTEXT://kafka.\${DOMAIN}:9092
      KAFKA_CFG_NODE_ID: 1
      ALLOW_PLAINTEXT_LISTENER: "yes"
  consumer:
    image: example/consumer
    scale: 3
    pull_policy: always
    group_add: ["1000"]
    env_file: [{ path: ./optional.env, required: false }]
    depends_on:
      kafka: { condition: service_started }
`);
  const kafka = made?.services[0];
  expect(kafka?.TaskTemplate?.Resources).toEqual({
    Limits: { NanoCPUs: 1.5e9, MemoryBytes: 1 << 30, Pids: 500 },
    Reservations: { NanoCPUs: undefined, MemoryBytes: 512 << 20, GenericResources: undefined },
    SwapBytes: 512 << 20,
  });
  expect(kafka?.TaskTemplate?.Placement?.Platforms).toEqual([
    { OS: "linux", Architecture: "amd64" },
  ]);
  expect(made?.services[1]?.Mode).toEqual({ Replicated: { Replicas: 3 } });
  expect(notices.join()).toContain("pull_policy");
});

it("a network of people: one anchor for all, jobs, a key per process, search behind a profile", () => {
  const text = `
name: social
x-mastodon: &mastodon
  image: ghcr.io/mastodon/mastodon:v4.3
  env_file: .env.production
  restart: always
  networks: [external_network, internal_network]
  volumes: ["./public/system:/mastodon/public/system"]
services:
  db:
    restart: always
    image: postgres:14-alpine
    shm_size: 256mb
    networks: [internal_network]
    healthcheck: { test: ["CMD", "pg_isready", "-U", "postgres"] }
    environment: ["POSTGRES_HOST_AUTH_METHOD=trust"]
  redis:
    image: redis:7-alpine
    networks: [internal_network]
    healthcheck: { test: ["CMD", "redis-cli", "ping"] }
  es:
    image: elasticsearch:7.17.4
    profiles: [search]
    environment: ["ES_JAVA_OPTS=-Xms512m -Xmx512m -Des.enforce.bootstrap.checks=true", "discovery.type=single-node"]
    networks: [internal_network]
    ulimits: { memlock: { soft: -1, hard: -1 }, nofile: { soft: 65536, hard: 65536 } }
    ports: ["127.0.0.1:9200:9200"]
  web:
    <<: *mastodon
    command: bundle exec puma -C config/puma.rb
    depends_on: { db: { condition: service_healthy }, redis: { condition: service_healthy } }
    ports: ["127.0.0.1:3000:3000"]
  sidekiq:
    <<: *mastodon
    command: bundle exec sidekiq
    depends_on: { db: { condition: service_healthy }, redis: { condition: service_healthy } }
networks: { external_network: , internal_network: { internal: true } }
`;
  const made = plan(text);
  expect(made.services.map(({ Name }) => Name)).toEqual([
    "st_db",
    "st_redis",
    "st_web",
    "st_sidekiq",
  ]);
  expect(made.services[3]?.Labels).toMatchObject({
    "skep.start-after": "st_db=healthy,st_redis=healthy",
  });
  expect(plan(text, ["search"]).services.map(({ Name }) => Name)).toContain("st_es");
});

it("a site with a queue: build beside image, merged variables, a job that others wait for", () => {
  const { plan: made, notices } = planned(`
x-django: &django
  build: { context: ., dockerfile: Dockerfile }
  image: registry.example.org/site/app:\${TAG:-latest}
  environment: &env
    DATABASE_URL: postgres://app:\${DB_PASSWORD:?}@db/app
    CELERY_BROKER_URL: redis://redis:6379/0
    DJANGO_SETTINGS_MODULE: site.settings
services:
  db: { image: "postgres:16", volumes: ["pg:/var/lib/postgresql/data"] }
  redis: { image: "redis:7" }
  migrate:
    <<: *django
    command: python manage.py migrate --noinput
    restart: "on-failure"
    deploy: { mode: replicated-job }
    depends_on: [db]
  web:
    <<: *django
    command: gunicorn site.wsgi -b 0.0.0.0:8000
    ports: ["8000:8000"]
    depends_on: { migrate: { condition: service_completed_successfully } }
  worker: { <<: *django, command: celery -A site worker, scale: 2, environment: { <<: *env, ROLE: worker } }
  beat: { <<: *django, command: celery -A site beat, deploy: { replicas: 1, update_config: { order: stop-first } } }
volumes: { pg: {} }
`);
  expect(made?.services.find(({ Name }) => Name === "st_web")?.Labels).toMatchObject({
    "skep.start-after": "st_migrate=completed",
  });
  expect(made && container(made, "worker")?.Env).toContain(
    "DATABASE_URL=postgres://app:s3cret@db/app",
  );
  expect(notices.join()).toContain("build");
});

it("logs in one place: files of text in the file itself, memory locked, a tmpfs, capabilities", () => {
  const made = plan(`
services:
  elasticsearch:
    image: docker.elastic.co/elasticsearch/elasticsearch:8.14.0
    environment: ["discovery.type=single-node", "xpack.security.enabled=false", "bootstrap.memory_lock=true"]
    ulimits: { memlock: { soft: -1, hard: -1 } }
    cap_add: [IPC_LOCK]
    volumes: ["esdata:/usr/share/elasticsearch/data", { type: tmpfs, target: /tmp, tmpfs: { size: 10000000 } }]
    healthcheck: { test: "curl -fs http://localhost:9200/_cluster/health || exit 1", start_period: 1m, start_interval: 2s }
  logstash:
    image: docker.elastic.co/logstash/logstash:8.14.0
    configs: [{ source: pipeline, target: /usr/share/logstash/pipeline/logstash.conf }]
    depends_on: { elasticsearch: { condition: service_healthy } }
  filebeat:
    image: docker.elastic.co/beats/filebeat:8.14.0
    user: root
    volumes: ["/var/lib/docker/containers:/var/lib/docker/containers:ro", "/var/run/docker.sock:/var/run/docker.sock"]
    deploy: { mode: global }
configs:
  pipeline:
    content: |
      input { beats { port => 5044 } }
      output { elasticsearch { hosts => ["http://elasticsearch:9200"] } }
volumes: { esdata: }
`);
  expect(atob(made.configs[0]?.Data ?? "")).toContain("beats { port => 5044 }");
  expect(container(made, "elasticsearch")?.Ulimits).toEqual([
    { Name: "memlock", Soft: -1, Hard: -1 },
  ]);
});

it.each([
  [
    "services:\n  a:\n    image: x\n    devices:\n      - fuse",
    'compose.yml:5: invalid device "fuse"',
  ],
  [
    "services:\n  a:\n    image: x\n    ipc: service:b",
    'compose.yml:4: ipc: "service:b" is not possible for a service',
  ],
  [
    "services:\n  a:\n    image: x\n    security_opt: [seccomp=./profile.json]",
    'compose.yml:4: service a: security option "seccomp=./profile.json" is not possible',
  ],
  ["services:\n  a:\n    image: x\n    shm_size: much", "compose.yml:4: invalid size: 'much'"],
  ["version: '3'\nservices:\n  a:\n    image: x\n    mem_limit: 1g", "compose.yml:5: "],
  ["services:\n  a:\n    build: .", "compose.yml:2: "],
  ["services:\n  a:\n    image: ${NO:?must be given}", "compose.yml:3: "],
])("%j is refused where it is wrong", (text, message) => {
  expect(planned(text).refused).toContain(message);
});

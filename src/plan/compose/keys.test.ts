/**
 * Every key of the Compose specification: it changes what is deployed, or it is told that it has no
 * effect, or it is refused at its line. None is passed over in silence.
 */

import { expect, it } from "vitest";
import { mergeCompose, readCompose } from "./load.ts";
import { planStack } from "./plan.ts";
import { describeError } from "./refusal.ts";

type Outcome = "honoured" | "told" | "refused";
/** Key and a value, what becomes of it, and for what is told a word of what is said (else the key). */
type Row = readonly [yaml: string, outcome: Outcome, word?: string];

const SERVICE: readonly Row[] = [
  ["annotations: { a: b }", "told"],
  ["attach: false", "told"],
  ["blkio_config: { weight: 300 }", "refused"],
  ["build: .", "told"],
  ["cap_add: [NET_ADMIN]", "honoured"],
  ["cap_drop: [ALL]", "honoured"],
  ["cgroup: host", "honoured"],
  ["cgroup_parent: /batch", "honoured"],
  ["cgroupns_mode: private", "honoured"],
  ["command: [a, b]", "honoured"],
  ["configs: [conf]", "honoured"],
  ["container_name: one", "told"],
  ["cpu_count: 2", "refused"],
  ["cpu_percent: 20", "refused"],
  ["cpu_period: 100000", "refused"],
  ["cpu_quota: 50000", "refused"],
  ["cpu_rt_period: 100000", "refused"],
  ["cpu_rt_runtime: 95000", "refused"],
  ["cpu_shares: 512", "refused"],
  ["cpus: 1.5", "honoured"],
  ["cpuset: 0,1", "refused"],
  ["credential_spec: { file: a.json }", "honoured"],
  ["depends_on: { db: { condition: service_healthy } }", "honoured"],
  [
    "depends_on: { db: { condition: service_started, restart: true } }",
    "told",
    "restart of depends_on",
  ],
  ["deploy: { replicas: 3 }", "honoured"],
  ["develop: {}", "told"],
  ["device_cgroup_rules: ['c 1:3 mr']", "refused"],
  ["devices: [/dev/fuse]", "honoured"],
  ["dns: 9.9.9.9", "honoured"],
  ["dns_opt: [use-vc]", "honoured"],
  ["dns_search: example.org", "honoured"],
  ["domainname: example.org", "honoured"],
  ["entrypoint: [a]", "honoured"],
  ["env_file: [{ path: a.env, required: false }]", "honoured"],
  ["environment: { A: b }", "honoured"],
  ["expose: [80]", "told"],
  ["extends: { service: db }", "honoured"],
  ["external_links: [other]", "told"],
  ["extra_hosts: ['a:10.0.0.1']", "honoured"],
  ["gpus: all", "refused"],
  ["group_add: [mail, 100]", "honoured"],
  ["healthcheck: { test: [CMD, a], start_interval: 1s }", "honoured"],
  ["hostname: h", "honoured"],
  ["init: true", "honoured"],
  ["ipc: host", "honoured"],
  ["isolation: default", "honoured"],
  ["label_file: a.labels", "refused"],
  ["labels: { a: b }", "honoured"],
  ["links: ['db:database']", "honoured"],
  ["logging: { driver: json-file }", "honoured"],
  ["mac_address: '02:42:ac:11:65:43'", "told"],
  ["mem_limit: 512m", "honoured"],
  ["mem_reservation: 128m", "honoured"],
  ["mem_swappiness: 10", "honoured"],
  ["memswap_limit: -1", "honoured"],
  ["models: [m]", "refused"],
  ["network_mode: host", "honoured"],
  ["network_mode: 'service:db'", "refused"],
  ["networks: { front: { aliases: [a] } }", "honoured"],
  ["networks: { front: { ipv4_address: 10.0.0.7 } }", "told", "ipv4_address of network"],
  ["networks: { front: { ipv6_address: 'fd00::7' } }", "told", "ipv6_address of network"],
  ["networks: { front: { link_local_ips: [169.254.1.1] } }", "told", "link_local_ips of network"],
  ["networks: { front: { mac_address: '02:42:ac:11:65:43' } }", "told", "mac_address of network"],
  ["networks: { front: { interface_name: eth7 } }", "told", "interface_name of network"],
  ["networks: { front: { priority: 10 } }", "told", "priority of network"],
  ["networks: { front: { gw_priority: 10 } }", "told", "gw_priority of network"],
  ["networks: { front: { driver_opts: { a: b } } }", "honoured"],
  ["oom_kill_disable: true", "refused"],
  ["oom_score_adj: 100", "honoured"],
  ["pid: host", "honoured"],
  ["pids_limit: 100", "honoured"],
  ["platform: linux/amd64", "honoured"],
  ["ports: ['8080:80']", "honoured"],
  ["ports: [{ target: 80, published: '8080', app_protocol: http, name: web }]", "honoured"],
  ["ports: [{ target: 80, host_ip: 127.0.0.1 }]", "told", "ignoring IP-address (127.0.0.1:"],
  ["post_start: [{ command: a }]", "refused"],
  ["pre_stop: [{ command: a }]", "refused"],
  ["privileged: true", "honoured"],
  ["profiles: [debug]", "honoured"],
  ["provider: { type: a }", "refused"],
  ["pull_policy: always", "told"],
  ["pull_refresh_after: 24h", "told"],
  ["read_only: true", "honoured"],
  ["restart: 'on-failure:3'", "honoured"],
  ["runtime: runsc", "refused"],
  ["scale: 3", "honoured"],
  ["secrets: [key]", "honoured"],
  ["security_opt: ['no-new-privileges:true']", "honoured"],
  ["security_opt: ['seccomp=./a.json']", "refused"],
  ["shm_size: 64m", "honoured"],
  ["stdin_open: true", "honoured"],
  ["stop_grace_period: 1m", "honoured"],
  ["stop_signal: SIGINT", "honoured"],
  ["storage_opt: { size: 1G }", "refused"],
  ["sysctls: { net.core.somaxconn: 1024 }", "honoured"],
  ["tmpfs: /run", "honoured"],
  ["tty: true", "honoured"],
  ["ulimits: { nproc: 65535 }", "honoured"],
  ["use_api_socket: true", "refused"],
  ["user: '7'", "honoured"],
  ["userns_mode: keep-id", "refused"],
  ["uts: host", "refused"],
  ["volumes: ['data:/data']", "honoured"],
  [
    "volumes: [{ type: bind, source: ./a, target: /a, bind: { create_host_path: true } }]",
    "honoured",
  ],
  ["volumes: [{ type: bind, source: ./a, target: /a, bind: { selinux: z } }]", "refused"],
  ["volumes: [{ type: tmpfs, target: /a, tmpfs: { mode: 1777, size: 1000 } }]", "honoured"],
  ["volumes: [{ type: image, source: a, target: /a }]", "refused"],
  ["volumes_from: [db]", "refused"],
  ["working_dir: /a", "honoured"],
];

const DEPLOY: readonly Row[] = [
  ["endpoint_mode: dnsrr", "honoured"],
  ["labels: { a: b }", "honoured"],
  ["mode: global", "honoured"],
  ["placement: { constraints: [node.role == worker] }", "honoured"],
  ["placement: { preferences: [{ spread: node.labels.zone }] }", "honoured"],
  ["placement: { max_replicas_per_node: 1 }", "honoured"],
  ["replicas: 2", "honoured"],
  ["resources: { limits: { cpus: '1', memory: 1g, pids: 5 } }", "honoured"],
  ["resources: { reservations: { cpus: '1', memory: 1g } }", "honoured"],
  ["resources: { reservations: { devices: [{ capabilities: [gpu] }] } }", "refused"],
  [
    "resources: { reservations: { generic_resources: [{ discrete_resource_spec: { kind: g, value: 1 } }] } }",
    "honoured",
  ],
  ["restart_policy: { condition: on-failure, delay: 1s, max_attempts: 1, window: 1s }", "honoured"],
  ["rollback_config: { parallelism: 2 }", "honoured"],
  ["update_config: { parallelism: 2, order: start-first }", "honoured"],
];

const NETWORK: readonly Row[] = [
  ["attachable: true", "honoured"],
  ["driver: bridge", "told", "a bridge is of one host"],
  ["driver: weave", "honoured"],
  ["driver_opts: { encrypted: '' }", "honoured"],
  ["enable_ipv4: false", "refused"],
  ["enable_ipv6: true", "honoured"],
  ["external: true", "honoured"],
  ["internal: true", "honoured"],
  ["ipam: { config: [{ subnet: 10.9.0.0/24, gateway: 10.9.0.1 }] }", "honoured"],
  ["ipam: { config: [{ subnet: 10.9.0.0/24, ip_range: 10.9.0.128/25 }] }", "honoured"],
  ["ipam: { config: [{ subnet: 10.9.0.0/24, aux_addresses: { a: 10.9.0.9 } }] }", "honoured"],
  ["ipam: { driver: mine, options: { a: b } }", "honoured"],
  ["labels: { a: b }", "honoured"],
  ["name: other", "honoured"],
];

const VOLUME: readonly Row[] = [
  ["driver: nfs", "honoured"],
  ["driver_opts: { a: b }", "honoured"],
  ["external: true", "honoured"],
  ["labels: { a: b }", "honoured"],
  ["name: other", "honoured"],
];

const CONFIG: readonly Row[] = [
  ["content: hello", "honoured"],
  ["environment: CONTENT", "honoured"],
  ["environment: UNSET", "refused"],
  ["file: ./other", "honoured"],
  ["external: true", "honoured"],
  ["labels: { a: b }", "honoured"],
  ["name: other", "honoured"],
  ["template_driver: golang", "honoured"],
];

const SECRET: readonly Row[] = [
  ["environment: CONTENT", "honoured"],
  ["file: ./other", "honoured"],
  ["external: true", "honoured"],
  ["labels: { a: b }", "honoured"],
  ["name: other", "honoured"],
  ["template_driver: golang", "honoured"],
  ["driver: vault", "honoured"],
];

interface File {
  readonly web?: string;
  readonly deploy?: string;
  readonly network?: string;
  readonly volume?: string;
  readonly config?: string;
  readonly secret?: string;
}

/** One service, and one of everything, each with a line of its own. */
function fileOf({ web = "", deploy = "", network = "", volume = "", config, secret }: File) {
  const own = (key: string) => (web.startsWith(`${key}:`) ? [] : [key]);
  const lines = [
    "services:",
    "  db: { image: db, init: true, networks: [front, other] }",
    "  web:",
    "    image: web",
    ...own("networks").map(() =>
      web.startsWith("network_mode") ? "    init: true" : "    networks: [front, other]",
    ),
    ...own("volumes").map(() => "    volumes: ['data:/var']"),
    ...own("configs").map(() => "    configs: [{ source: conf, target: /c }]"),
    ...own("secrets").map(() => "    secrets: [{ source: key, target: k }]"),
    ...(web === "" ? [] : [`    ${web}`]),
    ...(deploy === "" ? [] : ["    deploy:", `      ${deploy}`]),
    "networks:",
    "  other: {}",
    "  front:",
    `    ${network === "" ? "x-a: 1" : network}`,
    "volumes:",
    "  data:",
    `    ${volume === "" ? "x-a: 1" : volume}`,
    "configs:",
    "  conf:",
    `    ${config ?? "file: ./conf"}`,
    ...(config?.startsWith("labels") || config?.startsWith("name") || config?.startsWith("temp")
      ? ["    file: ./conf"]
      : []),
    "secrets:",
    "  key:",
    `    ${secret ?? "file: ./key"}`,
    ...(secret?.startsWith("labels") || secret?.startsWith("name") || secret?.startsWith("temp")
      ? ["    file: ./key"]
      : []),
  ];
  return lines.join("\n");
}

function deployed(text: string) {
  const around = {
    places: { workingDir: "/srv", home: "/root" },
    lookup: (name: string) => (name === "CONTENT" ? "from outside" : undefined),
  };
  const read = readCompose([{ name: "compose.yml", text }], around);
  if (!read.ok) return { refused: describeError(read.error) };
  const envFiles = new Map(read.value.envFiles.map((name) => [name, "FROM=file\n"]));
  const project = mergeCompose(read.value, around, envFiles);
  if (!project.ok) return { refused: describeError(project.error) };
  const payloads = new Map(
    ["conf", "key", "other"].map((name) => [`/srv/${name}`, btoa(`data of ${name}`)]),
  );
  const plan = planStack(project.value, "st", payloads);
  if (!plan.ok) return { refused: describeError(plan.error) };
  const { warnings, notices } = project.value;
  return { told: [...warnings, ...notices].join("\n"), plan: JSON.stringify(plan.value) };
}

const SECTIONS: readonly (readonly [keyof File, readonly Row[]])[] = [
  ["web", SERVICE],
  ["deploy", DEPLOY],
  ["network", NETWORK],
  ["volume", VOLUME],
  ["config", CONFIG],
  ["secret", SECRET],
];
const rows = SECTIONS.flatMap(([where, own]) =>
  own.map(([yaml, outcome, word]) => ({
    where,
    yaml,
    outcome,
    word: word ?? /^\w+/.exec(yaml)?.[0] ?? "",
  })),
);

it.each(rows)("$where $yaml: $outcome", ({ where, yaml, outcome, word }) => {
  const text = fileOf({ [where]: yaml });
  const { refused, told = "", plan = "" } = deployed(text);
  const without = deployed(
    fileOf(
      where === "web" && yaml.startsWith("network_mode") ? { web: "network_mode: bridge" } : {},
    ),
  );
  switch (outcome) {
    case "refused": {
      const line = text.split("\n").findIndex((each) => each.trim() === yaml) + 1;
      expect(refused).toMatch(new RegExp(`^compose\\.yml:${line}: `));
      return;
    }
    case "told":
      expect(told).toContain(word);
      return;
    case "honoured":
      expect(refused).toBeUndefined();
      expect(plan).not.toBe(without.plan);
      // `restart` is honoured, and docker says that it is not; its words are kept.
      if (!yaml.startsWith("restart:")) expect(told).toBe("");
  }
});

it("top-level keys", () => {
  const file = "services: { web: { image: a } }\n";
  expect(deployed(`name: other\n${file}`).refused).toBeUndefined();
  expect(deployed(`x-mine: { a: 1 }\n${file}`).refused).toBeUndefined();
  expect(deployed(`${file}models: { m: { model: a } }\n`).refused).toMatch(/^compose\.yml:2: /);
  expect(deployed(`${file}anything: 1\n`).refused).toMatch(/^compose\.yml:2: /);
});

it.each([
  ["web", "whatever: 1"],
  ["deploy", "whatever: 1"],
  ["network", "whatever: 1"],
  ["volume", "whatever: 1"],
  ["config", "whatever: 1"],
  ["secret", "whatever: 1"],
])("what no version knows is refused: %s %s", (where, yaml) => {
  expect(deployed(fileOf({ [where]: yaml })).refused).toContain("whatever");
});

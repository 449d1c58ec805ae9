/**
 * The requests of the comparison, in order: each builds on what those before it made. Names are given,
 * so that both engines speak of the same things; what an engine chose itself is kept by `save` and
 * put into later paths as `{{name}}`.
 */

import type { Call } from "./call.ts";

export interface Request extends Omit<Call, "method" | "path"> {
  /** As the Engine API's documentation names it: "GET /containers/{id}/json". */
  readonly endpoint: string;
  /** What is really asked, without the version. */
  readonly path: string;
  /** Keeps the first group of the pattern, found in the answer's body, under a name. */
  readonly save?: readonly [name: string, pattern: string];
  /** Only for us: dockerd 20.10 would do it, or does not know it. */
  readonly alone?: boolean;
}

export const IMAGE = "app:1";

function ask(
  endpoint: string,
  path: string,
  more: Omit<Request, "endpoint" | "path"> = {},
): Request {
  return { endpoint, path, ...more };
}

/** A request whose path is its endpoint's, with the parameter filled in. */
function of(
  endpoint: string,
  name: string,
  more: Omit<Request, "endpoint" | "path"> = {},
): Request {
  const path = (endpoint.split(" ")[1] ?? "").replace(/\{[^}]+\}/, name);
  return { endpoint, path, ...more };
}

/** A command that is waited for. */
function inContainer(name: string, script: string): readonly Request[] {
  return [
    of("POST /containers/{id}/exec", name, {
      body: { Cmd: ["sh", "-c", script], AttachStdout: true },
      save: ["exec", '"Id":"(\\w+)"'],
    }),
    of("POST /exec/{id}/start", "{{exec}}", { body: { Detach: false }, hijack: "" }),
  ];
}

function filters(value: unknown): string {
  return `filters=${encodeURIComponent(JSON.stringify(value))}`;
}

/** A build's context: an archive of one file, the Dockerfile. */
function contextOf(dockerfile: string): Uint8Array {
  const content = new TextEncoder().encode(dockerfile);
  const header = new Uint8Array(512);
  const put = (at: number, text: string) => header.set(new TextEncoder().encode(text), at);
  const octal = (value: number) => value.toString(8).padStart(11, "0");
  put(0, "Dockerfile");
  put(100, ["0000644", "0000000", "0000000", ""].join("\0"));
  put(124, `${octal(content.length)}\0${octal(0)}\0        0`);
  put(257, ["ustar", "00"].join("\0"));
  const sum = header.reduce((total, byte) => total + byte, 0);
  put(148, `${sum.toString(8).padStart(6, "0")}\0 `);
  const archive = new Uint8Array(512 + Math.ceil(content.length / 512) * 512 + 1024);
  archive.set(header);
  archive.set(content, 512);
  return archive;
}

const create = (name: string, body: object): Request =>
  ask("POST /containers/create", `/containers/create?name=${name}`, { body });
const SLEEP = { Image: IMAGE, Cmd: ["sleep", "1000"], HostConfig: { Init: true } };

const SYSTEM: readonly Request[] = [
  ask("GET /_ping", "/_ping"),
  ask("HEAD /_ping", "/_ping"),
  ask("GET /version", "/version"),
  ask("GET /info", "/info"),
  ask("POST /auth", "/auth", {
    body: { username: "a", password: "b", serveraddress: "127.0.0.1:1" },
  }),
  ask("GET any other path", "/nosuch"),
];

const IMAGES: readonly Request[] = [
  ask("GET /images/json", "/images/json"),
  ask("GET /images/json", "/images/json?digests=1&all=1"),
  ask("GET /images/json", `/images/json?${filters({ reference: ["app*"] })}`),
  ask("GET /images/json", `/images/json?${filters({ dangling: ["true"] })}`),
  ask("GET /images/json", `/images/json?${filters({ nosuch: ["true"] })}`),
  of("GET /images/{name}/json", IMAGE),
  of("GET /images/{name}/json", "nosuch"),
  of("GET /images/{name}/json", "Bad:Na:me"),
  of("GET /images/{name}/history", IMAGE),
  of("GET /images/{name}/history", "nosuch"),
  ask("POST /images/{name}/tag", `/images/${IMAGE}/tag?repo=other&tag=2`),
  ask("POST /images/{name}/tag", `/images/${IMAGE}/tag?repo=BAD&tag=2`),
  ask("POST /images/{name}/tag", `/images/nosuch/tag?repo=other&tag=2`),
  of("GET /images/{name}/get", "other:2"),
  of("GET /images/{name}/get", "nosuch"),
  ask("GET /images/get", `/images/get?names=${IMAGE}&names=other:2`),
  of("DELETE /images/{name}", "other:2"),
  of("DELETE /images/{name}", "other:2"),
  ask("POST /images/load", "/images/load", { raw: new Uint8Array(1024) }),
  ask("POST /images/load", "/images/load", { raw: new TextEncoder().encode("not a tar archive") }),
  ask("POST /images/create", "/images/create?fromImage=127.0.0.1:1/x&tag=1"),
  ask("POST /images/create", "/images/create?fromImage=Bad&tag=1"),
  ask("POST /images/create", "/images/create?fromSrc=-&repo=imported&tag=1&changes=CMD%20true", {
    raw: new Uint8Array(1024),
  }),
  of("GET /images/{name}/json", "imported:1"),
  of("DELETE /images/{name}", "imported:1"),
  of("POST /images/{name}/push", "nosuch", { headers: { "X-Registry-Auth": "e30=" } }),
  ask("GET /images/search", "/images/search?term=x&limit=101"),
  ask("GET /images/search", "/images/search?term=127.0.0.1:1/x"),
  ask("POST /images/prune", "/images/prune"),
  ask("POST /images/prune", `/images/prune?${filters({ nosuch: ["1"] })}`),
  of("GET /distribution/{name}/json", "127.0.0.1:1/x"),
];

const CONTAINERS: readonly Request[] = [
  create("one", { ...SLEEP, Labels: { a: "b" }, Env: ["X=1"] }),
  create("one", SLEEP),
  create("bad%20name", SLEEP),
  create("noimage", { Image: "nosuch:1" }),
  create("noimage", {}),
  ask("POST /containers/create", "/containers/create?name=nobody"),
  create("wrong1", { ...SLEEP, Hostname: 7 }),
  create("wrong2", { ...SLEEP, HostConfig: { Memory: 1 } }),
  create("wrong3", { ...SLEEP, HostConfig: { NetworkMode: "nosuch" } }),
  create("wrong4", { ...SLEEP, HostConfig: { Binds: ["/x:rel"] } }),
  create("wrong5", { ...SLEEP, HostConfig: { RestartPolicy: { Name: "x" } } }),
  create("wrong6", { ...SLEEP, HostConfig: { PortBindings: { "x/tcp": [{}] } } }),
  create("wrong8", {
    ...SLEEP,
    HostConfig: { AutoRemove: true, RestartPolicy: { Name: "always" } },
  }),
  of("GET /containers/{id}/json", "one"),
  of("GET /containers/{id}/json", "nosuch"),
  ask("GET /containers/{id}/json", "/containers/one/json?size=1"),
  of("GET /containers/{id}/logs", "one"),
  ask("GET /containers/{id}/logs", "/containers/one/logs?stdout=1"),
  of("GET /containers/{id}/top", "one"),
  of("GET /containers/{id}/changes", "one"),
  of("POST /containers/{id}/stop", "one"),
  of("POST /containers/{id}/kill", "one"),
  of("POST /containers/{id}/pause", "one"),
  of("POST /containers/{id}/unpause", "one"),
  ask("POST /containers/{id}/resize", "/containers/one/resize?h=1&w=1"),
  of("POST /containers/{id}/start", "one"),
  of("POST /containers/{id}/start", "one"),
  of("POST /containers/{id}/start", "nosuch"),
  of("GET /containers/{id}/json", "one"),
  ask("GET /containers/json", "/containers/json"),
  ask("GET /containers/json", `/containers/json?all=1&size=1&${filters({ name: ["one"] })}`),
  ask("GET /containers/json", `/containers/json?${filters({ status: ["bad"] })}`),
  ask("GET /containers/json", `/containers/json?${filters({ nosuch: ["bad"] })}`),
  ask("GET /containers/json", `/containers/json?filters=bad`),
  ask("GET /containers/json", `/containers/json?limit=x`),
  ask("GET /containers/json", `/containers/json?before=nosuch`),
  of("GET /containers/{id}/top", "one"),
  ask("GET /containers/{id}/top", "/containers/one/top?ps_args=-o%20pid,comm"),
  ask("GET /containers/{id}/top", "/containers/one/top?ps_args=--bad"),
  ask("GET /containers/{id}/stats", "/containers/one/stats?stream=0"),
  ask("GET /containers/{id}/stats", "/containers/one/stats?stream=0&one-shot=1"),
  ask("GET /containers/{id}/stats", "/containers/nosuch/stats?stream=0"),
  of("POST /containers/{id}/pause", "one"),
  of("POST /containers/{id}/pause", "one"),
  of("GET /containers/{id}/json", "one"),
  of("POST /containers/{id}/start", "one"),
  of("POST /containers/{id}/unpause", "one"),
  of("POST /containers/{id}/unpause", "one"),
  ask("POST /containers/{id}/rename", "/containers/one/rename?name=uno"),
  ask("POST /containers/{id}/rename", "/containers/uno/rename?name=uno"),
  ask("POST /containers/{id}/rename", "/containers/uno/rename?name="),
  ask("POST /containers/{id}/rename", "/containers/uno/rename?name=bad%20name"),
  ask("POST /containers/{id}/rename", "/containers/uno/rename?name=one"),
  of("POST /containers/{id}/update", "one", { body: { Memory: 33554432, MemorySwap: -1 } }),
  of("POST /containers/{id}/update", "one", {
    body: { RestartPolicy: { Name: "on-failure", MaximumRetryCount: 2 } },
  }),
  of("POST /containers/{id}/update", "one", { body: { RestartPolicy: { Name: "bad" } } }),
  of("POST /containers/{id}/update", "one", { body: { Memory: 1 } }),
  of("POST /containers/{id}/update", "nosuch", { body: {} }),
  of("POST /containers/{id}/exec", "one", {
    body: { Cmd: ["echo", "hi"], AttachStdout: true },
    save: ["exec", '"Id":"(\\w+)"'],
  }),
  of("GET /exec/{id}/json", "{{exec}}"),
  of("POST /exec/{id}/start", "{{exec}}", { body: { Detach: false }, hijack: "" }),
  of("GET /exec/{id}/json", "{{exec}}"),
  of("POST /exec/{id}/start", "{{exec}}", { body: { Detach: false } }),
  of("POST /exec/{id}/start", "nosuch", { body: { Detach: false } }),
  of("GET /exec/{id}/json", "nosuch"),
  of("POST /containers/{id}/exec", "one", {
    body: {
      Cmd: ["sh", "-c", "cat >&2"],
      AttachStdin: true,
      AttachStdout: true,
      AttachStderr: true,
    },
    save: ["exec", '"Id":"(\\w+)"'],
  }),
  of("POST /exec/{id}/start", "{{exec}}", { body: { Detach: false }, hijack: "typed\n" }),
  of("POST /containers/{id}/exec", "one", {
    body: { Cmd: ["nosuch"], AttachStdout: true },
    save: ["exec", '"Id":"(\\w+)"'],
  }),
  of("POST /exec/{id}/start", "{{exec}}", { body: { Detach: false }, hijack: "" }),
  of("GET /exec/{id}/json", "{{exec}}"),
  of("POST /containers/{id}/exec", "one", {
    body: { Cmd: ["sleep", "100"], Tty: true, Env: ["A=1"], User: "ann", WorkingDir: "/data" },
    save: ["exec", '"Id":"(\\w+)"'],
  }),
  of("POST /exec/{id}/start", "{{exec}}", { body: { Detach: true, Tty: true } }),
  of("GET /exec/{id}/json", "{{exec}}"),
  ask("POST /exec/{id}/resize", "/exec/{{exec}}/resize?h=20&w=70"),
  ask("POST /exec/{id}/resize", "/exec/{{exec}}/resize?h=x&w=70"),
  of("POST /containers/{id}/exec", "one", { body: {} }),
  of("POST /containers/{id}/exec", "nosuch", { body: { Cmd: ["true"] } }),
  ask("HEAD /containers/{id}/archive", "/containers/one/archive?path=/data/seed"),
  ask("HEAD /containers/{id}/archive", "/containers/one/archive?path=/nosuch"),
  ask("HEAD /containers/{id}/archive", "/containers/one/archive"),
  ask("GET /containers/{id}/archive", "/containers/one/archive?path=/data/seed"),
  ask("GET /containers/{id}/archive", "/containers/one/archive?path=/nosuch"),
  ask("GET /containers/{id}/archive", "/containers/nosuch/archive?path=/nosuch"),
  ask("PUT /containers/{id}/archive", "/containers/one/archive?path=/data", {
    raw: new Uint8Array(1024),
  }),
  ask("PUT /containers/{id}/archive", "/containers/one/archive?path=/nosuch", {
    raw: new Uint8Array(1024),
  }),
  ask("PUT /containers/{id}/archive", "/containers/one/archive?path=/data/seed", {
    raw: new Uint8Array(1024),
  }),
  ask("PUT /containers/{id}/archive", "/containers/one/archive?path=/data", {
    raw: new TextEncoder().encode("no tar"),
  }),
  of("GET /containers/{id}/export", "one"),
  of("GET /containers/{id}/export", "nosuch"),
  ask(
    "POST /commit",
    "/commit?container=one&repo=made&tag=1&comment=why&author=me&changes=ENV%20Y=2",
  ),
  of("GET /images/{name}/json", "made:1"),
  of("GET /images/{name}/history", "made:1"),
  ask("POST /commit", "/commit?container=nosuch"),
  ask("POST /commit", "/commit?container=one&changes=BAD"),
  of("DELETE /images/{name}", IMAGE),
  of("DELETE /images/{name}", "made:1"),
  ask("POST /containers/{id}/attach", "/containers/nosuch/attach?stream=1&stdout=1"),
  create("says", { Image: IMAGE, Cmd: ["sh", "-c", "echo out; echo err >&2; exit 3"] }),
  of("POST /containers/{id}/start", "says"),
  of("POST /containers/{id}/wait", "says"),
  ask("GET /containers/{id}/logs", "/containers/says/logs?stdout=1"),
  ask("GET /containers/{id}/logs", "/containers/says/logs?stderr=1&timestamps=1"),
  ask("GET /containers/{id}/logs", "/containers/says/logs?stdout=1&stderr=1&tail=0"),
  ask("GET /containers/{id}/logs", "/containers/says/logs?stdout=1&tail=bad"),
  ask("GET /containers/{id}/logs", "/containers/says/logs?stdout=1&since=bad"),
  ask("GET /containers/{id}/logs", "/containers/nosuch/logs?stdout=1"),
  ask("POST /containers/{id}/attach", "/containers/says/attach?stdout=1&logs=1", { hijack: "" }),
  of("GET /containers/{id}/json", "says"),
  ask("GET /containers/{id}/stats", "/containers/says/stats?stream=0"),
  of("GET /containers/{id}/changes", "says"),
  ask("GET /containers/json", `/containers/json?${filters({ exited: ["3"] })}&all=1`),
  ask("POST /containers/{id}/wait", "/containers/says/wait?condition=bad"),
  of("POST /containers/{id}/wait", "nosuch"),
  of("POST /containers/{id}/exec", "says", { body: { Cmd: ["true"] } }),
  create("fails", { Image: IMAGE, Cmd: ["nosuch"] }),
  of("POST /containers/{id}/start", "fails"),
  of("GET /containers/{id}/json", "fails"),
  of("DELETE /containers/{id}", "fails"),
  of("GET /containers/{id}/attach/ws", "nosuch"),
  of("GET /containers/{id}/attach/ws", "one"),
  ask("POST /containers/{id}/kill", "/containers/one/kill?signal=BAD"),
  ask("POST /containers/{id}/kill", "/containers/one/kill?signal=WINCH"),
  ask("POST /containers/{id}/restart", "/containers/one/restart?t=0"),
  ask("POST /containers/{id}/restart", "/containers/nosuch/restart?t=0"),
  ask("POST /containers/{id}/stop", "/containers/one/stop?t=x"),
  of("DELETE /containers/{id}", "one"),
  // It ends by TERM for sure: there is a process that takes it, and no KILL is on its heels.
  ...inContainer(
    "one",
    "until cat /proc/[0-9]*/cmdline | busybox grep -q '100[0]'; do sleep 0.1; done",
  ),
  ask("POST /containers/{id}/stop", "/containers/one/stop?t=60"),
  ask("POST /containers/{id}/stop", "/containers/one/stop?t=0"),
  of("GET /containers/{id}/json", "one"),
  ask("DELETE /containers/{id}", "/containers/one?v=1&force=1"),
  of("DELETE /containers/{id}", "one"),
  ask("DELETE /containers/{id}", "/containers/one?link=1"),
  ask("POST /containers/prune", `/containers/prune?${filters({ label: ["none"] })}`),
  ask("POST /containers/prune", `/containers/prune?${filters({ nosuch: ["none"] })}`),
  of("DELETE /containers/{id}", "says"),
  of("GET /containers/{id}/checkpoints", "nosuch"),
  ...["wrong1", "wrong2", "wrong3", "wrong4", "wrong5", "wrong6", "wrong8"].map((name) =>
    ask("DELETE /containers/{id}", `/containers/${name}?force=1`),
  ),
];

const RICH = {
  Hostname: "host",
  Domainname: "example.org",
  User: "ann",
  Env: ["A=1", "B"],
  Cmd: ["sleep", "1000"],
  Entrypoint: ["/bin/busybox"],
  Image: IMAGE,
  WorkingDir: "/data",
  Labels: { x: "y" },
  StopSignal: "SIGINT",
  StopTimeout: 3,
  Tty: true,
  OpenStdin: true,
  ExposedPorts: { "81/udp": {} },
  Volumes: { "/anon": {} },
  Healthcheck: {
    Test: ["CMD", "true"],
    Interval: 100_000_000_000,
    Timeout: 1_000_000_000,
    Retries: 2,
  },
  HostConfig: {
    Binds: ["named:/named:ro", "/etc:/hostetc"],
    PortBindings: {
      "80/tcp": [{ HostPort: "8080" }],
      "81/udp": [{ HostIp: "127.0.0.1", HostPort: "" }],
    },
    RestartPolicy: { Name: "unless-stopped" },
    CapAdd: ["NET_ADMIN"],
    CapDrop: ["MKNOD"],
    Dns: ["9.9.9.9"],
    DnsSearch: ["example.org"],
    DnsOptions: ["ndots:1"],
    ExtraHosts: ["a:1.2.3.4"],
    GroupAdd: ["users"],
    IpcMode: "shareable",
    LogConfig: { Type: "json-file", Config: { "max-size": "1m" } },
    Mounts: [
      { Type: "tmpfs", Target: "/t", TmpfsOptions: { SizeBytes: 65536, Mode: 511 } },
      {
        Type: "volume",
        Source: "named2",
        Target: "/n2",
        VolumeOptions: { Labels: { q: "r" }, NoCopy: true },
      },
      {
        Type: "bind",
        Source: "/usr",
        Target: "/hostusr",
        ReadOnly: true,
        BindOptions: { Propagation: "rprivate" },
      },
    ],
    NanoCpus: 500_000_000,
    Memory: 67108864,
    MemoryReservation: 33554432,
    OomScoreAdj: 10,
    PidsLimit: 50,
    ReadonlyRootfs: true,
    SecurityOpt: ["no-new-privileges"],
    ShmSize: 1048576,
    Sysctls: { "net.ipv4.ip_forward": "1" },
    Tmpfs: { "/run": "size=1m" },
    Ulimits: [{ Name: "nofile", Soft: 100, Hard: 200 }],
    Devices: [{ PathOnHost: "/dev/null", PathInContainer: "/dev/mynull", CgroupPermissions: "r" }],
  },
  NetworkingConfig: {
    EndpointsConfig: { back: { Aliases: ["nick"], IPAMConfig: { IPv4Address: "10.99.0.9" } } },
  },
};

const NETWORKS: readonly Request[] = [
  ask("GET /networks", "/networks"),
  ask("GET /networks", `/networks?${filters({ driver: ["host"] })}`),
  ask("GET /networks", `/networks?${filters({ nosuch: ["host"] })}`),
  ask("POST /networks/create", "/networks/create", {
    body: {
      Name: "back",
      CheckDuplicate: true,
      Labels: { a: "b" },
      IPAM: { Config: [{ Subnet: "10.99.0.0/24", Gateway: "10.99.0.1" }] },
    },
  }),
  ask("POST /networks/create", "/networks/create", {
    body: { Name: "back", CheckDuplicate: true },
  }),
  ask("POST /networks/create", "/networks/create", { body: { Name: "", CheckDuplicate: true } }),
  ask("POST /networks/create", "/networks/create", {
    body: { Name: "x", IPAM: { Config: [{ Subnet: "bad" }] } },
  }),
  ask("POST /networks/create", "/networks/create", { body: { Name: "bridge" } }),
  of("GET /networks/{id}", "back"),
  ask("GET /networks/{id}", "/networks/back?verbose=1"),
  ask("GET /networks/{id}", "/networks/back?scope=swarm"),
  of("GET /networks/{id}", "nosuch"),
  create("rich", { ...RICH, HostConfig: { ...RICH.HostConfig, NetworkMode: "back" } }),
  of("GET /containers/{id}/json", "rich"),
  of("POST /containers/{id}/start", "rich"),
  of("GET /containers/{id}/json", "rich"),
  ask("GET /containers/json", `/containers/json?${filters({ network: ["back"] })}`),
  of("GET /networks/{id}", "back"),
  of("DELETE /networks/{id}", "back"),
  of("POST /networks/{id}/connect", "bridge", { body: { Container: "rich" } }),
  of("POST /networks/{id}/connect", "bridge", { body: { Container: "rich" } }),
  of("POST /networks/{id}/connect", "bridge", { body: { Container: "nosuch" } }),
  of("POST /networks/{id}/connect", "nosuch", { body: { Container: "rich" } }),
  of("GET /containers/{id}/json", "rich"),
  of("POST /networks/{id}/disconnect", "bridge", { body: { Container: "rich" } }),
  of("POST /networks/{id}/disconnect", "bridge", { body: { Container: "rich" } }),
  ask("DELETE /containers/{id}", "/containers/rich?v=1&force=1"),
  create("hosty", { ...SLEEP, HostConfig: { NetworkMode: "host" } }),
  of("POST /containers/{id}/start", "hosty"),
  of("GET /containers/{id}/json", "hosty"),
  ask("DELETE /containers/{id}", "/containers/hosty?v=1&force=1"),
  create("nonet", { ...SLEEP, HostConfig: { NetworkMode: "none" } }),
  of("POST /containers/{id}/start", "nonet"),
  of("GET /containers/{id}/json", "nonet"),
  create("joined", { ...SLEEP, HostConfig: { NetworkMode: "container:nonet" } }),
  of("GET /containers/{id}/json", "joined"),
  of("POST /containers/{id}/start", "joined"),
  of("GET /containers/{id}/json", "joined"),
  ask("DELETE /containers/{id}", "/containers/joined?v=1&force=1"),
  ask("DELETE /containers/{id}", "/containers/nonet?v=1&force=1"),
  of("DELETE /networks/{id}", "back"),
  of("DELETE /networks/{id}", "back"),
  of("DELETE /networks/{id}", "bridge"),
  ask("POST /networks/prune", "/networks/prune"),
  ask("POST /networks/prune", `/networks/prune?${filters({ nosuch: ["1"] })}`),
];

const VOLUMES: readonly Request[] = [
  ask("POST /volumes/create", "/volumes/create", { body: { Name: "v1", Labels: { a: "b" } } }),
  ask("POST /volumes/create", "/volumes/create", { body: { Name: "v1" } }),
  ask("POST /volumes/create", "/volumes/create", {
    body: { Name: "v2", DriverOpts: { type: "tmpfs", device: "tmpfs", o: "size=1m" } },
  }),
  ask("POST /volumes/create", "/volumes/create", {
    body: { Name: "v3", DriverOpts: { bad: "1" } },
  }),
  ask("POST /volumes/create", "/volumes/create", { body: { Name: "../v" } }),
  ask("POST /volumes/create", "/volumes/create", { body: { Name: 7 } }),
  ask("POST /volumes/create", "/volumes/create", {
    headers: { "Content-Type": "application/json" },
    raw: new TextEncoder().encode("{"),
  }),
  of("GET /volumes/{name}", "v1"),
  of("GET /volumes/{name}", "v2"),
  of("GET /volumes/{name}", "nosuch"),
  ask("GET /volumes", `/volumes?${filters({ name: ["v1"] })}`),
  ask("GET /volumes", `/volumes?${filters({ nosuch: ["v1"] })}`),
  ask("GET /volumes", `/volumes?${filters({ label: ["nosuch"] })}`),
  create("user", { ...SLEEP, HostConfig: { Binds: ["v1:/v"] } }),
  of("DELETE /volumes/{name}", "v1"),
  ask("DELETE /volumes/{name}", "/volumes/v1?force=1"),
  of("DELETE /containers/{id}", "user"),
  of("DELETE /volumes/{name}", "v1"),
  of("DELETE /volumes/{name}", "v1"),
  ask("DELETE /volumes/{name}", "/volumes/v1?force=1"),
  ask("POST /volumes/prune", `/volumes/prune?${filters({ label: ["nosuch"] })}`),
  ask("POST /volumes/prune", `/volumes/prune?${filters({ nosuch: ["1"] })}`),
  of("DELETE /volumes/{name}", "v2"),
  of("DELETE /volumes/{name}", "named"),
  of("DELETE /volumes/{name}", "named2"),
];

const REST: readonly Request[] = [
  ask("GET /system/df", "/system/df"),
  ask("GET /events", `/events?since=1&until=2`),
  ask("GET /events", `/events?since=bad&until=2`),
  ask("GET /events", `/events?since=1&until=2&${filters({ nosuch: ["1"] })}`),
  ask("POST /build", "/build?q=1&t=built:1", { raw: contextOf(`FROM ${IMAGE}\nENV A=b\n`) }),
  ask("POST /build", "/build", { raw: contextOf("") }),
  ask("POST /build", "/build?dockerfile=nosuch", { raw: contextOf("FROM scratch\n") }),
  ask("POST /build", "/build?t=Bad", { raw: contextOf("FROM scratch\n") }),
  ask("POST /build/cancel", "/build/cancel"),
  ask("POST /build/prune", "/build/prune"),
  ask("GET /plugins", "/plugins"),
  of("GET /plugins/{name}/json", "nosuch"),
  ask("POST /plugins/{name}/enable", "/plugins/nosuch/enable?timeout=1"),
  of("POST /plugins/{name}/disable", "nosuch"),
  of("DELETE /plugins/{name}", "nosuch"),
  ask("POST /plugins/{name}/upgrade", "/plugins/nosuch/upgrade?remote=x:1", { body: [] }),
  of("POST /plugins/{name}/push", "nosuch"),
  of("POST /plugins/{name}/set", "nosuch", { body: [] }),
];

const NO_SWARM: readonly Request[] = [
  "GET /swarm",
  "GET /swarm/unlockkey",
  "GET /nodes",
  "GET /nodes/{id}",
  "GET /services",
  "GET /services/{id}",
  "GET /services/{id}/logs",
  "GET /tasks",
  "GET /tasks/{id}",
  "GET /tasks/{id}/logs",
  "GET /secrets",
  "GET /secrets/{id}",
  "GET /configs",
  "GET /configs/{id}",
  "DELETE /services/{id}",
  "DELETE /nodes/{id}",
  "DELETE /secrets/{id}",
  "DELETE /configs/{id}",
]
  .map((endpoint) => of(endpoint, "nosuch"))
  .concat([
    ask("POST /swarm/leave", "/swarm/leave"),
    ask("POST /swarm/unlock", "/swarm/unlock", { body: { UnlockKey: "x" } }),
    ask("POST /swarm/update", "/swarm/update?version=1", { body: {} }),
    ask("POST /swarm/join", "/swarm/join", {
      body: { RemoteAddrs: ["127.0.0.1:1"], JoinToken: "bad" },
    }),
    ask("POST /services/create", "/services/create", { body: {} }),
    ask("POST /services/{id}/update", "/services/nosuch/update?version=1", { body: {} }),
    ask("POST /nodes/{id}/update", "/nodes/nosuch/update?version=1", { body: {} }),
    ask("POST /secrets/create", "/secrets/create", { body: {} }),
    ask("POST /configs/create", "/configs/create", { body: {} }),
  ]);

const SERVICE = {
  Name: "web",
  TaskTemplate: { ContainerSpec: { Image: IMAGE, Command: ["sleep", "1000"], Init: true } },
  Mode: { Replicated: { Replicas: 1 } },
};
const SWARM: readonly Request[] = [
  ask("POST /swarm/init", "/swarm/init", {
    body: { ListenAddr: "127.0.0.1:2377", AdvertiseAddr: "bad" },
  }),
  ask("POST /swarm/init", "/swarm/init", {
    body: { ListenAddr: "127.0.0.1:2377", AdvertiseAddr: "127.0.0.1", Spec: {} },
    save: ["node", '"(\\w+)"'],
  }),
  ask("POST /swarm/init", "/swarm/init", {
    body: { ListenAddr: "127.0.0.1:2377", AdvertiseAddr: "127.0.0.1" },
  }),
  ask("GET /swarm", "/swarm"),
  ask("GET /swarm/unlockkey", "/swarm/unlockkey"),
  ask("POST /swarm/update", "/swarm/update?version=1", { body: {} }),
  ask("POST /swarm/update", "/swarm/update?version=x", { body: {} }),
  ask("POST /swarm/leave", "/swarm/leave"),
  ask("GET /nodes", "/nodes"),
  of("GET /nodes/{id}", "{{node}}"),
  of("GET /nodes/{id}", "nosuch"),
  of("DELETE /nodes/{id}", "{{node}}"),
  ask("POST /nodes/{id}/update", "/nodes/{{node}}/update?version=1", {
    body: { Role: "manager", Availability: "active" },
  }),
  ask("POST /secrets/create", "/secrets/create", {
    body: { Name: "s1", Data: "aGk=", Labels: { a: "b" } },
    save: ["secret", '"ID":"(\\w+)"'],
  }),
  ask("POST /secrets/create", "/secrets/create", { body: { Name: "s1", Data: "aGk=" } }),
  ask("POST /secrets/create", "/secrets/create", { body: { Name: "bad name!", Data: "aGk=" } }),
  ask("GET /secrets", "/secrets"),
  of("GET /secrets/{id}", "{{secret}}"),
  of("GET /secrets/{id}", "s1"),
  of("GET /secrets/{id}", "nosuch"),
  ask("POST /secrets/{id}/update", "/secrets/{{secret}}/update?version=1", {
    body: { Name: "s1", Labels: { c: "d" } },
  }),
  ask("POST /configs/create", "/configs/create", {
    body: { Name: "c1", Data: "aGk=" },
    save: ["config", '"ID":"(\\w+)"'],
  }),
  ask("POST /configs/create", "/configs/create", { body: { Name: "c1", Data: "aGk=" } }),
  ask("GET /configs", "/configs"),
  of("GET /configs/{id}", "{{config}}"),
  of("GET /configs/{id}", "nosuch"),
  ask("POST /configs/{id}/update", "/configs/{{config}}/update?version=1", {
    body: { Name: "c1", Labels: { c: "d" } },
  }),
  ask("POST /services/create", "/services/create", {
    body: SERVICE,
    save: ["service", '"ID":"(\\w+)"'],
  }),
  ask("POST /services/create", "/services/create", { body: SERVICE }),
  ask("POST /services/create", "/services/create", { body: { Name: "bad name" } }),
  ask("POST /services/create", "/services/create", {
    body: { Name: "x", TaskTemplate: { ContainerSpec: {} } },
  }),
  ask("GET /services", "/services"),
  of("GET /services/{id}", "web"),
  of("GET /services/{id}", "nosuch"),
  ask("POST /services/{id}/update", "/services/web/update?version=1", { body: SERVICE }),
  ask("GET /services", "/services?status=1"),
  ask("GET /tasks", `/tasks?${filters({ nosuch: ["x"] })}`),
  of("GET /tasks/{id}", "nosuch"),
  of("GET /tasks/{id}/logs", "nosuch"),
  ask("GET /services/{id}/logs", "/services/web/logs?stdout=1"),
  ask("GET /services/{id}/logs", "/services/web/logs"),
  of("DELETE /services/{id}", "web"),
  of("DELETE /services/{id}", "web"),
  of("DELETE /secrets/{id}", "{{secret}}"),
  of("DELETE /secrets/{id}", "{{secret}}"),
  of("DELETE /configs/{id}", "{{config}}"),
  of("DELETE /configs/{id}", "{{config}}"),
  ask("POST /swarm/leave", "/swarm/leave?force=1"),
];

/** What we refuse, and what is newer than dockerd 20.10. */
const ALONE: readonly Request[] = [
  ask("POST /session", "/session"),
  ask("POST /grpc", "/grpc"),
  ask("GET /plugins/privileges", "/plugins/privileges?remote=x"),
  ask("POST /plugins/pull", "/plugins/pull?remote=x"),
  ask("POST /plugins/create", "/plugins/create?name=x"),
  of("POST /containers/{id}/checkpoints", "nosuch"),
  ask("DELETE /containers/{id}/checkpoints/{checkpoint}", "/containers/nosuch/checkpoints/x"),
  of("PUT /volumes/{name}", "nosuch", { body: {} }),
].map((request) => ({ ...request, alone: true }));

export const REQUESTS: readonly Request[] = [
  ...SYSTEM,
  ...IMAGES,
  ...CONTAINERS,
  ...NETWORKS,
  ...VOLUMES,
  ...REST,
  ...NO_SWARM,
  ...SWARM,
  ...ALONE,
];

import { afterAll, beforeAll, expect, test } from "vitest";
import type { NetworkSandbox } from "#engine/ports.ts";
import { ask, type Fabric, type FabricHost, makeFabric, type Place, run, table } from "./fabric.ts";

let fabric: Fabric;
let h1: FabricHost;
let h2: FabricHost;
let one: NetworkSandbox;
let two: NetworkSandbox;

/** h2's WireGuard has the usual port. */
const portOf = (number: number) => (number === 1 ? 40_001 : 51_820);

/** `first`: where managers say that h1 is. */
const network = (keys: "right" | "none" | "swapped", first?: string) =>
  table({
    networkId: "sec00000000000000000000aa",
    name: "sec",
    encrypted: true,
    subnets: [
      { subnet: "10.0.1.0/24", gateway: "10.0.1.1", vni: 4097 },
      { subnet: "fd00:1::/64", gateway: "fd00:1::1", vni: 4098 },
    ],
    peers: fabric.hosts.map(({ number, nodeId, v4, publicKey }) => ({
      nodeId,
      dataPathAddr: number === 1 && first !== undefined ? first : v4,
      wireguardPort: number === 1 ? portOf(1) : 0,
      addresses: [`10.0.1.20${number}`, `fd00:1::20${number}`],
      publicKey:
        keys === "right"
          ? publicKey
          : keys === "none"
            ? new Uint8Array()
            : publicKey.map((byte) => byte ^ 1),
    })),
    endpoints: [1, 2].map((number) => ({
      taskId: `t${number}`,
      nodeId: `node${number}`,
      serviceId: "web",
      addresses: [`10.0.1.1${number}`, `fd00:1::1${number}`],
      ready: true,
    })),
    services: [{ serviceId: "web", name: "web", virtualIps: ["10.0.1.2"] }],
  });

const tables = async (...given: Parameters<typeof network>) => {
  await Promise.all(fabric.hosts.map((host) => host.tables([network(...given)])));
};

const place = (host: FabricHost): Place => ({ netnsPath: host.netns.path });

/** Packets that h2 gets from the switch: VXLAN in clear, and WireGuard's. */
const counted = () => {
  const text = run(place(h2), "nft", "list", "table", "inet", "watch");
  const [clear = "", secret = ""] = [...text.matchAll(/packets (\d+)/g)].map((match) => match[1]);
  return { clear: Number(clear), secret: Number(secret) };
};

beforeAll(async () => {
  fabric = await makeFabric(2, portOf);
  [h1, h2] = fabric.hosts as [FabricHost, FabricHost];
  const chain = "{ type filter hook prerouting priority -400; }";
  const rules = ["udp dport 4789", "udp dport 51820"].map(
    (match) => `add rule inet watch c iifname "eth0" ${match} counter`,
  );
  run(
    place(h2),
    "nft",
    [`add table inet watch; add chain inet watch c ${chain}`, ...rules].join("; "),
  );
  await tables("right");
  one = await h1.container({ sec: ["10.0.1.11", "fd00:1::11"] });
  two = await h2.container({ sec: ["10.0.1.12", "fd00:1::12"] });
  await fabric.serve(two, 80, "two");
  await fabric.serve(one, 80, "one");
});

afterAll(async () => {
  await fabric?.end();
});

test("containers reach each other, by WireGuard and by nothing else", () => {
  const before = counted();
  expect(ask(one, "tcp", "10.0.1.12", 80)).toBe("two 10.0.1.11");
  expect(ask(one, "udp", "fd00:1::12", 80)).toBe("two fd00:1::11");
  expect(new Set([1, 2, 3, 4].map(() => ask(one, "tcp", "10.0.1.2", 80).slice(0, 3)))).toEqual(
    new Set(["one", "two"]),
  );
  const after = counted();
  expect(after.secret).toBeGreaterThan(before.secret);
  expect(after.clear).toBe(0);
  expect(run(one, "ip", "link", "show", "eth0")).toContain("mtu 1350");
  expect(run(one, "ping", "-c1", "-W2", "-M", "do", "-s", "1322", "10.0.1.12")).toContain(
    "1 received",
  );
});

test("a node without a key, or with another one, is not reached, and nothing goes in clear", async () => {
  for (const keys of ["none", "swapped"] as const) {
    await tables(keys);
    expect([keys, ask(one, "tcp", "10.0.1.12", 80)]).toEqual([keys, ""]);
  }
  await tables("right");
  expect(ask(one, "tcp", "10.0.1.12", 80)).toBe("two 10.0.1.11");
  expect(counted().clear).toBe(0);
});

test("WireGuard taken away comes back, and nothing goes in clear meanwhile", async () => {
  // A default route would take what has lost its own.
  run(place(h1), "ip", "-6", "route", "add", "default", "via", h2.v6);
  run(
    place(h1),
    "ip",
    "link",
    "del",
    `wg-${Buffer.from(h1.publicKey).toString("hex").slice(0, 12)}`,
  );
  for (let attempt = 0; attempt < 3; attempt += 1) ask(one, "udp", "10.0.1.12", 80);
  await expect
    .poll(() => ask(one, "tcp", "10.0.1.12", 80), { timeout: 10_000 })
    .toBe("two 10.0.1.11");
  expect(counted().clear).toBe(0);
});

test("a stranger's packets in clear are dropped", async () => {
  const vxlan = ["type", "vxlan", "id", "4097", "dstport", "4789", "remote", h1.v4];
  run(fabric.client, "ip", "link", "add", "vx", ...vxlan, "local", fabric.client.v4);
  run(fabric.client, "ip", "link", "set", "vx", "up");
  run(fabric.client, "ip", "route", "add", "10.0.1.0/24", "dev", "vx");
  run(fabric.client, "ip", "neigh", "add", "10.0.1.11", "lladdr", "02:42:0a:00:01:0b", "dev", "vx");
  const before = (await h1.status()).foreignPackets;
  ask(fabric.client, "udp", "10.0.1.11", 80);
  expect((await h1.status()).foreignPackets).toBeGreaterThan(before);
});

test("a host that has another address tells the others by itself; managers' word counts, too", async () => {
  const device = `wg-${Buffer.from(h2.publicKey).toString("hex").slice(0, 12)}`;
  const endpoint = () => run(place(h2), "wg", "show", device, "endpoints").split("\t")[1]?.trim();
  for (const host of [h1, h2]) await host.audit();
  expect(run(place(h2), "wg", "show", device, "persistent-keepalive")).toMatch(/\t25$/m);
  expect(endpoint()).toBe(`${h1.v4}:40001`);
  run(place(h1), "ip", "addr", "del", `${h1.v4}/24`, "dev", "eth0");
  run(place(h1), "ip", "addr", "add", "192.0.2.51/24", "dev", "eth0");
  // Nobody sends anything: it is the keepalive that comes from elsewhere.
  await expect.poll(endpoint, { timeout: 60_000 }).toBe("192.0.2.51:40001");
  await h2.audit();
  expect(endpoint()).toBe("192.0.2.51:40001");
  run(place(h1), "ip", "addr", "del", "192.0.2.51/24", "dev", "eth0");
  run(place(h1), "ip", "addr", "add", `${h1.v4}/24`, "dev", "eth0");
  await h2.tables([network("right", "192.0.2.77")]);
  expect(endpoint()).toBe("192.0.2.77:40001");
  await h2.tables([network("right")]);
  expect(endpoint()).toBe(`${h1.v4}:40001`);
  await expect.poll(() => ask(two, "tcp", "10.0.1.11", 80), { timeout: 20_000 }).toMatch(/^one/);
});

test("when no network is encrypted any more, WireGuard goes", async () => {
  await h1.detach(one);
  await h2.detach(two);
  await Promise.all(fabric.hosts.map((host) => host.tables([])));
  for (const host of [h1, h2]) {
    expect(run(place(host), "ip", "-br", "link")).not.toMatch(/wg-|ov-|vx-/);
  }
});

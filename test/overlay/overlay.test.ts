import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { NetworkSandbox } from "#engine/ports.ts";
import { ask, type Fabric, type FabricHost, makeFabric, run, stay, table } from "./fabric.ts";

let fabric: Fabric;
let h1: FabricHost;
let h2: FabricHost;
let web1: NetworkSandbox;
let web2: NetworkSandbox;
let user: NetworkSandbox;

const ov = (endpoints: Parameters<typeof table>[0]["endpoints"], more = {}) =>
  table({
    networkId: "ov000000000000000000000aa",
    name: "ov",
    subnets: [
      { subnet: "10.0.1.0/24", gateway: "10.0.1.1", vni: 4097 },
      { subnet: "fd00:1::/64", gateway: "fd00:1::1", vni: 4098 },
    ],
    peers: fabric.hosts.map(({ number, nodeId, v4 }) => ({
      nodeId,
      dataPathAddr: v4,
      addresses: [`10.0.1.20${number}`, `fd00:1::20${number}`],
    })),
    endpoints: endpoints ?? [],
    services: [
      { serviceId: "web", name: "web", virtualIps: ["10.0.1.2", "fd00:1::2"] },
      { serviceId: "none", name: "none", virtualIps: ["10.0.1.3", "fd00:1::3"] },
    ],
    ...more,
  });

const row = (taskId: string, node: number, last: number, more = {}) => ({
  taskId,
  nodeId: `node${node}`,
  serviceId: "web",
  addresses: [`10.0.1.${last}`, `fd00:1::${last}`],
  ready: true,
  name: `web.${last}.${taskId}`,
  slot: BigInt(last),
  ...more,
});

const ROWS = [row("t1", 1, 11), row("t2", 2, 12), row("t3", 1, 13, { serviceId: "user" })];

async function tables(endpoints: Parameters<typeof ov>[0], more = {}): Promise<void> {
  await Promise.all(fabric.hosts.map((host) => host.tables([ov(endpoints, more)])));
}

beforeAll(async () => {
  fabric = await makeFabric(2);
  [h1, h2] = fabric.hosts as [FabricHost, FabricHost];
  await tables(ROWS);
  web1 = await h1.container({ ov: ["10.0.1.11", "fd00:1::11"] });
  web2 = await h2.container({ ov: ["10.0.1.12", "fd00:1::12"] });
  user = await h1.container({ ov: ["10.0.1.13", "fd00:1::13"] });
  await fabric.serve(web1, 80, "web1");
  await fabric.serve(web2, 80, "web2");
});

afterAll(async () => {
  await fabric?.end();
});

test("containers reach each other on one host and over hosts, in both families", () => {
  for (const protocol of ["tcp", "udp"] as const) {
    expect(ask(user, protocol, "10.0.1.11", 80)).toBe("web1 10.0.1.13");
    expect(ask(user, protocol, "10.0.1.12", 80)).toBe("web2 10.0.1.13");
    expect(ask(user, protocol, "fd00:1::11", 80)).toBe("web1 fd00:1::13");
    expect(ask(user, protocol, "fd00:1::12", 80)).toBe("web2 fd00:1::13");
  }
});

describe("a virtual address", () => {
  const many = (protocol: "tcp" | "udp", address: string, times = 6) =>
    new Set(Array.from({ length: times }, () => ask(user, protocol, address, 80)));

  test("is answered by every ready task, for TCP, UDP and ping, in both families", () => {
    const all = new Set(["web1 10.0.1.13", "web2 10.0.1.13"]);
    expect(many("tcp", "10.0.1.2")).toEqual(all);
    expect(many("udp", "10.0.1.2")).toEqual(all);
    const six = new Set(["web1 fd00:1::13", "web2 fd00:1::13"]);
    expect(many("tcp", "fd00:1::2")).toEqual(six);
    expect(many("udp", "fd00:1::2")).toEqual(six);
    expect(run(user, "ping", "-c1", "-W1", "10.0.1.2")).toContain("1 received");
    expect(run(user, "ping", "-c1", "-W1", "fd00:1::2")).toContain("1 received");
    // A task reaches its own service too, also by itself.
    expect(
      new Set(Array.from({ length: 4 }, () => ask(web1, "tcp", "10.0.1.2", 80).slice(0, 4))),
    ).toEqual(new Set(["web1", "web2"]));
  });

  test("with nobody behind it refuses at once", () => {
    for (const address of ["10.0.1.3", "fd00:1::3"]) {
      for (const protocol of ["tcp", "udp"] as const) {
        expect([address, protocol, ask(user, protocol, address, 80)]).toEqual([
          address,
          protocol,
          "refused",
        ]);
      }
    }
  });

  test("follows readiness", async () => {
    await tables([ROWS[0], { ...ROWS[1], ready: false }, ROWS[2]].map((one) => one ?? {}));
    expect(many("tcp", "10.0.1.2")).toEqual(new Set(["web1 10.0.1.13"]));
    // It can be reached for as long as it has a row.
    expect(ask(user, "tcp", "10.0.1.12", 80)).toBe("web2 10.0.1.13");
    await tables(ROWS);
    expect(many("tcp", "10.0.1.2").size).toBe(2);
  });

  test("connections: of a withdrawn task they live on, datagrams go elsewhere at once", async () => {
    await tables([row("t2", 2, 12), ROWS[2] ?? {}]);
    const [tcp, udp] = [stay(user, "tcp", "10.0.1.2", 80), stay(user, "udp", "10.0.1.2", 80)];
    const six = stay(user, "udp", "fd00:1::2", 80);
    try {
      expect(await tcp.say("")).toBe("web2 10.0.1.13");
      // Idle, it is remembered for days.
      expect(run(user, "conntrack", "-L", "-p", "tcp", "--orig-dst", "10.0.1.2")).toMatch(
        /^tcp +6 43\d{4} ESTABLISHED /m,
      );
      expect(await udp.say("x")).toBe("web2 10.0.1.13");
      expect(await six.say("x")).toBe("web2 fd00:1::13");
      await tables([row("t1", 1, 11), row("t2", 2, 12, { ready: false }), ROWS[2] ?? {}]);
      expect(await tcp.say("stay")).toBe("here");
      expect(await udp.say("x")).toBe("web1 10.0.1.13");
      expect(await six.say("x")).toBe("web1 fd00:1::13");
      // The task is gone: what still waits for it hears so.
      await tables([row("t1", 1, 11), ROWS[2] ?? {}]);
      expect(await tcp.say("stay")).toBe("closed");
    } finally {
      tcp.end();
      udp.end();
      six.end();
      await tables(ROWS);
    }
  });
});

test("a task waits until the tables have a place for it", async () => {
  const task = (options: Record<string, string> = {}) => ({
    id: "t9",
    nodeId: "node1",
    networks: [
      {
        network: {
          id: "ov000000000000000000000aa",
          driverState: { name: "overlay", options },
        },
        addresses: ["10.0.1.19/24"],
      },
      { network: { id: "somewhere", driverState: { name: "bridge" } } },
    ],
  });
  const waiting = h1.ensure(task());
  // The network is here, and what is here may be from before the task.
  const first = await Promise.race([
    waiting.then(() => "placed"),
    h1.audit().then(() => "audited"),
  ]);
  expect(first).toBe("audited");
  await h1.tables([ov([...ROWS, row("t9", 1, 19)])]);
  await waiting;
  await tables(ROWS);
});

describe("what crosses the edge of a network", () => {
  const other = (more = {}) =>
    table({
      networkId: "other000000000000000000aa",
      name: "other",
      subnets: [{ subnet: "10.0.2.0/24", gateway: "10.0.2.1", vni: 4100 }],
      peers: fabric.hosts.map(({ number, nodeId, v4 }) => ({
        nodeId,
        dataPathAddr: v4,
        addresses: [`10.0.2.20${number}`],
      })),
      endpoints: [],
      services: [],
      ...more,
    });

  test("containers reach the world under the host's address, and no other network", async () => {
    await h1.tables([ov(ROWS), other()]);
    const stranger = await h1.container({ other: ["10.0.2.11"] });
    await fabric.serve(fabric.client, 80, "world");
    expect(ask(user, "tcp", fabric.client.v4, 80)).toBe(`world ${h1.v4}`);
    expect(ask(user, "udp", fabric.client.v6, 80)).toBe(`world ${h1.v6}`);
    expect(ask(stranger, "tcp", fabric.client.v4, 80)).toBe(`world ${h1.v4}`);
    expect(ask(stranger, "tcp", "10.0.1.11", 80)).toBe("");
    expect(ask(stranger, "tcp", "10.0.1.2", 80)).toBe("");
    expect(ask(stranger, "tcp", "127.0.0.1", 80)).toBe("refused");
    await h1.detach(stranger);
  });

  test("an internal network leads nowhere", async () => {
    await h1.tables([ov(ROWS), other({ internal: true })]);
    const inside = await h1.container({ other: ["10.0.2.11"] });
    expect(run(inside, "ip", "route")).not.toContain("default");
    run(inside, "ip", "route", "add", "default", "via", "10.0.2.201");
    expect(ask(inside, "tcp", fabric.client.v4, 80)).toBe("");
    await h1.detach(inside);
    await h1.tables([ov(ROWS)]);
  });

  test("a network that is served no more stays for as long as a container is on it", async () => {
    await h1.tables([ov(ROWS), other()]);
    const last = await h1.container({ other: ["10.0.2.11"] });
    await h1.tables([ov(ROWS)]);
    const host = { netnsPath: h1.netns.path };
    expect(run(last, "ping", "-c1", "-W1", "10.0.2.201")).toContain("1 received");
    await h1.detach(last);
    await expect.poll(() => run(host, "ip", "-br", "link")).not.toContain("ov-other");
  });
});

test("another port for the data path: devices are made anew for it", async () => {
  const place = { netnsPath: h1.netns.path };
  for (const port of [4790, 4789]) {
    await Promise.all(fabric.hosts.map((host) => host.tables([ov(ROWS)], port)));
    expect(run(place, "ip", "-d", "link", "show", "type", "vxlan")).toContain(`dstport ${port} `);
    expect(ask(user, "tcp", "10.0.1.12", 80)).toBe("web2 10.0.1.13");
  }
});

test("hosts may be joined by IPv6, and devices are made anew for it", async () => {
  const peers = fabric.hosts.map(({ number, nodeId, v6 }) => ({
    nodeId,
    dataPathAddr: v6,
    addresses: [`10.0.1.20${number}`, `fd00:1::20${number}`],
  }));
  await tables(ROWS, { peers });
  expect(ask(user, "tcp", "10.0.1.12", 80)).toBe("web2 10.0.1.13");
  expect(ask(user, "udp", "fd00:1::12", 80)).toBe("web2 fd00:1::13");
  expect(run({ netnsPath: h1.netns.path }, "ip", "-d", "link", "show", "type", "vxlan")).toMatch(
    /mtu 1430[\s\S]*local6? 2001:db8::1 /,
  );
  await tables(ROWS);
});

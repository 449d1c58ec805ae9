import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PortConfig_Protocol as Protocol } from "#wire/gen/swarmkit/types_pb.js";
import {
  ask,
  type Fabric,
  type FabricHost,
  makeFabric,
  type Place,
  run,
  stay,
  table,
} from "./fabric.ts";

let fabric: Fabric;
let h1: FabricHost;
let h2: FabricHost;
let h3: FabricHost;

function ingress(
  more: {
    endpoints?: ReturnType<typeof row>[];
    localFirst?: boolean;
    port?: number;
    /** Where the ports 8085 and 8090 answer. */
    on?: readonly string[];
  } = {},
) {
  return table({
    networkId: "ing00000000000000000000aa",
    name: "ingress",
    ingress: true,
    subnets: [
      { subnet: "10.0.0.0/24", gateway: "10.0.0.1", vni: 4096 },
      { subnet: "fd00:0:0:1::/64", gateway: "fd00:0:0:1::1", vni: 4099 },
    ],
    peers: fabric.hosts.map(({ number, nodeId, v4 }) => ({
      nodeId,
      dataPathAddr: v4,
      addresses: [`10.0.0.20${number}`, `fd00:0:0:1::20${number}`],
    })),
    endpoints: more.endpoints ?? ROWS,
    services: [
      {
        serviceId: "web",
        name: "web",
        localFirst: more.localFirst ?? false,
        addresses: more.on === undefined ? {} : { "tcp/8085": { cidrs: [...more.on] } },
        ports: [
          { publishedPort: 8080, targetPort: 80 },
          ...(more.port === undefined ? [] : [{ publishedPort: more.port, targetPort: 80 }]),
          ...(more.on === undefined ? [] : [{ publishedPort: 8085, targetPort: 80 }]),
          { publishedPort: 8081, targetPort: 80, protocol: Protocol.UDP },
        ],
      },
      {
        serviceId: "none",
        name: "none",
        addresses: more.on === undefined ? {} : { "tcp/8090": { cidrs: [...more.on] } },
        ports: [
          { publishedPort: 8090, targetPort: 80 },
          { publishedPort: 8091, targetPort: 80, protocol: Protocol.UDP },
        ],
      },
    ],
  });
}

const row = (taskId: string, node: number, last: number, more = {}) => ({
  taskId,
  nodeId: `node${node}`,
  serviceId: "web",
  addresses: [`10.0.0.${last}`, `fd00:0:0:1::${last}`],
  ready: true,
  ...more,
});

const ROWS = [row("t1", 1, 11), row("t2", 2, 12)];

async function tables(more: Parameters<typeof ingress>[0] = {}): Promise<void> {
  await Promise.all(fabric.hosts.map((host) => host.tables([ingress(more)])));
}

const place = (host: FabricHost): Place => ({ netnsPath: host.netns.path });
const ports = { tcp: 8080, udp: 8081 } as const;

function answers(from: Place, protocol: "tcp" | "udp", address: string, times = 4) {
  return new Set(
    Array.from({ length: times }, () => ask(from, protocol, address, ports[protocol])),
  );
}

beforeAll(async () => {
  fabric = await makeFabric(3);
  [h1, h2, h3] = fabric.hosts as [FabricHost, FabricHost, FabricHost];
  await tables();
  const first = await h1.container({ ingress: ["10.0.0.11", "fd00:0:0:1::11"] });
  const second = await h2.container({ ingress: ["10.0.0.12", "fd00:0:0:1::12"] });
  await fabric.serve(first, 80, "web1");
  await fabric.serve(second, 80, "web2");
});

afterAll(async () => {
  await fabric?.end();
});

describe("a published port", () => {
  test("answers on every host, and the server sees the client's own address", () => {
    const { client, hosts } = fabric;
    for (const { v4, v6 } of hosts) {
      for (const protocol of ["tcp", "udp"] as const) {
        expect([v4, protocol, answers(client, protocol, v4)]).toEqual([
          v4,
          protocol,
          new Set([`web1 ${client.v4}`, `web2 ${client.v4}`]),
        ]);
        expect([v6, protocol, answers(client, protocol, v6)]).toEqual([
          v6,
          protocol,
          new Set([`web1 ${client.v6}`, `web2 ${client.v6}`]),
        ]);
      }
    }
  });

  test("answers on the host itself, by each of its addresses and by loopback", () => {
    for (const host of [h1, h3]) {
      for (const protocol of ["tcp", "udp"] as const) {
        for (const address of [host.v4, "127.0.0.1", host.v6]) {
          const found = [...answers(place(host), protocol, address)].map(
            (one) => one.split(" ")[0],
          );
          expect([host.nodeId, protocol, address, new Set(found)]).toEqual([
            host.nodeId,
            protocol,
            address,
            new Set(["web1", "web2"]),
          ]);
        }
      }
    }
  });

  test("answers on ::1, or refuses there where bridged packets are filtered", async () => {
    const bridged = "net.bridge.bridge-nf-call-ip6tables";
    for (const host of [h1, h3]) {
      for (const [value, answer] of [
        ["1", new Set(["refused"])],
        ["0", new Set(["web1", "web2"])],
      ] as const) {
        run(place(host), "sysctl", "-q", "-w", `${bridged}=${value}`);
        await host.audit();
        for (const protocol of ["tcp", "udp"] as const) {
          const found = [...answers(place(host), protocol, "::1")].map((one) => one.split(" ")[0]);
          expect([host.nodeId, protocol, value, new Set(found)]).toEqual([
            host.nodeId,
            protocol,
            value,
            answer,
          ]);
        }
      }
    }
  });

  test("answers on chosen addresses only; on the others it is the host's own", async () => {
    await tables({ on: ["127.0.0.0/8", `${h1.v4}/32`, `${h3.v4}/32`, "2001:db8::/64"] });
    // Nobody behind 8090: refused at once where it would answer.
    expect(ask(fabric.client, "tcp", h3.v4, 8090)).toBe("refused");
    for (const host of [h1, h3]) {
      expect(ask(fabric.client, "tcp", host.v4, 8085)).toMatch(/^web/);
      expect(ask(fabric.client, "tcp", host.v6, 8085)).toMatch(/^web/);
      expect(ask(place(host), "tcp", "127.0.0.1", 8085)).toMatch(/^web/);
    }
    // h2 has no such IPv4 address but loopback's: there, the port is any program's.
    expect(ask(fabric.client, "tcp", h2.v4, 8085)).toBe("refused");
    expect(ask(place(h2), "tcp", "127.0.0.1", 8085)).toMatch(/^web/);
    await fabric.start(
      place(h2),
      `require("net").createServer((s) => s.end("mine\\n")).listen(8085, "${h2.v4}", () => console.log("ready"))`,
    );
    expect(ask(fabric.client, "tcp", h2.v4, 8085)).toBe("mine");
    expect((await h2.status()).refusedPorts).toEqual([]);
    const listen = `require("net").createServer().on("error", (e) => console.log(e.code)).listen(8085, "${h1.v4}", () => process.exit())`;
    expect(run(place(h1), process.execPath, "-e", listen)).toContain("EADDRINUSE");
    // The address goes, and comes back.
    run(place(h1), "ip", "addr", "add", "192.0.2.77/24", "dev", "eth0");
    await tables({ on: ["192.0.2.77/32"] });
    expect(ask(fabric.client, "tcp", "192.0.2.77", 8085)).toMatch(/^web/);
    expect(ask(fabric.client, "tcp", h1.v4, 8085)).toBe("refused");
    run(place(h1), "ip", "addr", "del", "192.0.2.77/24", "dev", "eth0");
    await h1.audit();
    await tables({ on: ["192.0.2.0/24"] });
    // Only now it meets the program on h2.
    expect((await h2.status()).refusedPorts).toEqual(["tcp/8085"]);
    expect(ask(fabric.client, "tcp", h2.v4, 8085)).toBe("mine");
    expect(ask(fabric.client, "tcp", h1.v4, 8085)).toMatch(/^web/);
    await tables();
  });

  test("with nobody behind it refuses at once", async () => {
    for (const address of [h3.v4, h3.v6]) {
      expect(ask(fabric.client, "tcp", address, 8090)).toBe("refused");
      expect(ask(fabric.client, "udp", address, 8091)).toBe("refused");
    }
    expect(ask(place(h3), "tcp", "127.0.0.1", 8090)).toBe("refused");
    expect(ask(place(h3), "udp", "127.0.0.1", 8091)).toBe("refused");
  });

  test("prefers the host's own tasks if the service wants that", async () => {
    await tables({ localFirst: true });
    expect(answers(fabric.client, "tcp", h1.v4)).toEqual(new Set([`web1 ${fabric.client.v4}`]));
    expect(answers(fabric.client, "tcp", h2.v4)).toEqual(new Set([`web2 ${fabric.client.v4}`]));
    expect(answers(fabric.client, "tcp", h3.v4).size).toBe(2);
    await tables();
  });

  test("is held against programs, and what a program has stays the program's", async () => {
    const taken = run(place(h3), "busybox", "timeout", "1", "busybox", "nc", "-l", "-p", "8080");
    expect(taken).toMatch(/in use/i);
    await fabric.serve(place(h3), 8095, "program");
    await tables({ port: 8095 });
    expect((await h3.status()).refusedPorts).toEqual(["tcp/8095"]);
    expect(ask(fabric.client, "tcp", h3.v4, 8095)).toBe(`program ${fabric.client.v4}`);
    expect(ask(fabric.client, "tcp", h1.v4, 8095)).toMatch(/^web/);
    await tables();
    expect((await h3.status()).refusedPorts).toEqual([]);
  });

  test("connections live on when their task is withdrawn, datagrams go elsewhere", async () => {
    await tables({ endpoints: [row("t2", 2, 12)] });
    const tcp = stay(fabric.client, "tcp", h1.v4, 8080);
    const udp = stay(fabric.client, "udp", h1.v4, 8081);
    try {
      expect(await tcp.say("")).toBe(`web2 ${fabric.client.v4}`);
      // Idle, it is remembered for days by both hosts that it passes.
      for (const [host, end] of [
        [h1, "dport=8080"],
        [h2, "dst=10.0.0.12"],
      ] as const) {
        const listed = run(place(host), "conntrack", "-L", "-p", "tcp", "--state", "ESTABLISHED");
        expect(listed, host.nodeId).toMatch(
          new RegExp(`^tcp +6 43\\d{4} ESTABLISHED .*${end} `, "m"),
        );
      }
      expect(await udp.say("x")).toBe(`web2 ${fabric.client.v4}`);
      expect(ask(fabric.client, "tcp", h1.v4, 8080)).toBe(`web2 ${fabric.client.v4}`);
      await tables({ endpoints: [row("t1", 1, 11), row("t2", 2, 12, { ready: false })] });
      expect(await tcp.say("stay")).toBe("here");
      expect(await udp.say("x")).toBe(`web1 ${fabric.client.v4}`);
      // Of those that have ended, somebody else may have the port by now.
      const ended = run(place(h1), "conntrack", "-L", "-p", "tcp", "--state", "TIME_WAIT");
      expect(ended).toContain("src=10.0.0.12 ");
      await tables({ endpoints: [row("t1", 1, 11)] });
      expect(await tcp.say("stay")).toBe("closed");
      const left = run(place(h1), "conntrack", "-L", "-p", "tcp", "--state", "TIME_WAIT");
      expect(left).toContain("src=10.0.0.12 ");
    } finally {
      tcp.end();
      udp.end();
      await tables();
    }
  });
});

test("another program's firewall that is in the way is told of, and left alone", async () => {
  const drop = "{ type filter hook forward priority 0; policy drop; }";
  run(place(h3), "nft", `add table ip other; add chain ip other FORWARD ${drop}`);
  await h3.audit();
  expect((await h3.status()).foreignDrops).toEqual(["ip other FORWARD"]);
  expect(run(place(h3), "nft", "list", "table", "ip", "other")).toContain("policy drop");
  run(place(h3), "nft", "delete", "table", "ip", "other");
  await h3.audit();
  expect((await h3.status()).foreignDrops).toEqual([]);
});

describe("nothing else gets in", () => {
  test("not from outside, not with a stranger's tunnel packets", async () => {
    run(fabric.client, "ip", "route", "add", "10.0.0.0/24", "via", h1.v4);
    run(fabric.client, "ip", "-6", "route", "add", "fd00:0:0:1::/64", "via", h1.v6);
    expect(ask(fabric.client, "tcp", "10.0.0.11", 80)).toBe("");
    expect(ask(fabric.client, "tcp", "fd00:0:0:1::11", 80)).toBe("");
    const vxlan = ["type", "vxlan", "id", "4096", "dstport", "4789", "remote", h1.v4];
    run(fabric.client, "ip", "link", "add", "vx", ...vxlan, "local", fabric.client.v4);
    run(fabric.client, "ip", "link", "set", "vx", "up");
    run(fabric.client, "ip", "route", "replace", "10.0.0.0/24", "dev", "vx");
    run(
      fabric.client,
      "ip",
      "neigh",
      "add",
      "10.0.0.11",
      "lladdr",
      "02:42:0a:00:00:0b",
      "dev",
      "vx",
    );
    expect(ask(fabric.client, "udp", "10.0.0.11", 80)).toBe("");
    expect((await h1.status()).foreignPackets).toBeGreaterThan(0);
    run(fabric.client, "ip", "link", "del", "vx");
  });
});

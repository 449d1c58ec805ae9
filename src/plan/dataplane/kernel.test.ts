import { create } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { type NetworkTable, NetworkTableSchema } from "#wire/gen/skep/dataplane_pb.js";
import { toBackends } from "./balance.ts";
import { innerAddress } from "./encryption.ts";
import { type KernelInput, planKernel } from "./kernel.ts";
import { lostFlows } from "./lost-flows.ts";
import { bridgeName, macOfAddresses, vxlanName } from "./placed-network.ts";

const key = (byte: number) => new Uint8Array(32).fill(byte);

const NETWORK = create(NetworkTableSchema, {
  networkId: "abcdefghijklmnopqrstuvwxy",
  name: "ov",
  driver: "overlay",
  subnets: [
    { subnet: "10.0.1.0/24", vni: 4097 },
    { subnet: "10.0.2.0/24", vni: 4098 },
  ],
  peers: [
    { nodeId: "n2", dataPathAddr: "192.0.2.2", addresses: ["10.0.1.202"], publicKey: key(2) },
    { nodeId: "n1", dataPathAddr: "192.0.2.1", addresses: ["10.0.1.201"], publicKey: key(1) },
  ],
  endpoints: [
    { taskId: "t1", nodeId: "n1", serviceId: "s", addresses: ["10.0.1.11"], ready: true },
    { taskId: "t2", nodeId: "n2", serviceId: "s", addresses: ["10.0.2.12"], ready: true },
    { taskId: "t3", nodeId: "gone", serviceId: "s", addresses: ["10.0.1.13"], ready: true },
  ],
  services: [{ serviceId: "s", name: "web", virtualIps: ["10.0.1.2"] }],
});

function input(table: NetworkTable, more: Partial<KernelInput> = {}): KernelInput {
  return {
    tables: new Map([[table.networkId, table]]),
    nodeId: "n1",
    dataPath: { port: 4789, mtuOf: () => 1500 },
    containers: [
      {
        id: "c1",
        endpoints: [
          {
            networkId: table.networkId,
            interface: "eth0",
            hostInterface: "veth1",
            addresses: ["10.0.1.11/24"],
          },
        ],
      },
    ],
    refusedPorts: new Set(),
    meshAddresses: [],
    silentNodes: new Set(),
    loopback6: true,
    encryption: undefined,
    ...more,
  };
}

const plan = (table: NetworkTable, more?: Partial<KernelInput>) => planKernel(input(table, more));

describe("planKernel", () => {
  test("on a network of a plug-in only the balance inside of containers is ours", () => {
    const subnets = NETWORK.subnets.map((subnet) => ({ ...subnet, vni: 0 }));
    const peers = NETWORK.peers.map((peer) => ({ ...peer, addresses: [] }));
    const of = (driver: string) => plan({ ...NETWORK, driver, subnets, peers });
    const { overlays, routes, rules, peers: asked, containers, table } = of("plug");
    expect({ overlays, routes, rules, asked: [...asked] }).toEqual({
      overlays: [],
      routes: [],
      rules: [],
      asked: [],
    });
    expect(table).toEqual(planKernel({ ...input(NETWORK), tables: new Map() }).table);
    expect(containers.get("c1")).toMatchObject({
      balances: [{ vip: "10.0.1.2", backends: ["10.0.1.11", "10.0.2.12", "10.0.1.13"] }],
      routes: [],
      rules: [],
    });
    expect(of("bridge").containers.size).toBe(0);
  });

  test("a canary gets its share, and everything when it is alone", () => {
    const [first, second, third] = NETWORK.endpoints;
    const rules = (endpoints: NetworkTable["endpoints"], share = 10) => {
      const services = NETWORK.services.map((one) => ({ ...one, canaryShare: share }));
      const { containers } = plan({ ...NETWORK, endpoints, services });
      const chains = [...containers.values()].flatMap(({ table }) => table.chains);
      return chains.find(({ name }) => name === "to_10_0_1_2")?.rules;
    };
    if (first === undefined || second === undefined || third === undefined) throw new Error("rows");
    const canary = { ...third, canary: true };
    expect(rules([first, second, canary])).toEqual([
      "numgen random mod 100 < 10 dnat ip to numgen inc mod 1 map { 0 : 10.0.1.13 }",
      expect.stringMatching(/^dnat ip to numgen inc mod 2 map \{ 0 : 10.0.[12].1[12], 1 : /),
      "dnat ip to 10.0.1.11",
    ]);
    expect(rules([canary])).toEqual([
      "dnat ip to numgen inc mod 1 map { 0 : 10.0.1.13 }",
      "dnat ip to 10.0.1.13",
    ]);
    expect(rules([first, second, canary], 0)).toEqual([
      expect.stringMatching(/^dnat ip to numgen inc mod 3 map/),
      "dnat ip to 10.0.1.11",
    ]);
  });

  test("a packet that misses a map which is just replaced has somebody all the same", () => {
    const none = { backends: [], share: 0 };
    const last = (family: string, backend: string) =>
      toBackends("meta l4proto tcp ", family, [backend], none, "node").at(-1);
    expect(last("ip", "10.0.1.11 . 80")).toBe("meta l4proto tcp dnat ip to 10.0.1.11:80");
    expect(last("ip6", "fd00::1 . 80")).toBe("meta l4proto tcp dnat ip6 to [fd00::1]:80");
    expect(last("ip6", "fd00::1")).toBe("meta l4proto tcp dnat ip6 to fd00::1");
  });

  test("a network's devices: what is remote is known by table, what is local by the bridge", () => {
    expect(plan(NETWORK).overlays).toEqual([
      {
        networkId: NETWORK.networkId,
        bridge: "ov-abcdefghijkl",
        mac: "02:42:0a:00:01:c9",
        addresses: ["10.0.1.201/24"],
        vxlan: "vx-abcdefghijkl",
        vni: 4097,
        port: 4789,
        local: "192.0.2.1",
        mtu: 1450,
        fdb: new Map([
          ["02:42:0a:00:01:ca", "192.0.2.2"],
          ["02:42:0a:00:02:0c", "192.0.2.2"],
        ]),
        neighbours: new Map([
          ["10.0.1.202", "02:42:0a:00:01:ca"],
          ["10.0.2.12", "02:42:0a:00:02:0c"],
        ]),
        routes: [
          { dev: "ov-abcdefghijkl", dst: "10.0.1.0/24", src: "10.0.1.201" },
          { dev: "ov-abcdefghijkl", dst: "10.0.2.0/24", src: "10.0.1.201" },
        ],
        members: ["veth1"],
      },
    ]);
  });

  test("a container reaches every subnet, and answers leave by where the request came in", () => {
    const inside = plan(NETWORK).containers.get("c1");
    expect(inside?.routes).toEqual([
      { dev: "eth0", dst: "10.0.2.0/24", src: "10.0.1.11" },
      { dev: "eth0", dst: "10.0.1.0/24", src: "10.0.1.11", table: 23776 },
      { dev: "eth0", dst: "10.0.2.0/24", src: "10.0.1.11", table: 23776 },
      { dev: "eth0", dst: "default", via: "10.0.1.201", table: 23776 },
    ]);
    expect(inside?.rules).toEqual([{ family: 4, table: 23776, match: { from: "10.0.1.11" } }]);
    const internal = plan({ ...NETWORK, internal: true });
    expect(internal.containers.get("c1")?.rules).toEqual([]);
    expect(internal.table.sets.find(({ name }) => name === "leave4")?.elements).toEqual([]);
  });

  test("is the same whatever the order of rows", () => {
    const turned = {
      ...NETWORK,
      peers: [...NETWORK.peers].reverse(),
      endpoints: [...NETWORK.endpoints].reverse(),
    };
    expect(plan(turned)).toEqual(plan(NETWORK));
  });

  test("without an address of its own a node still leads to its tasks and to the others", () => {
    const peers = NETWORK.peers.map((peer) =>
      peer.nodeId === "n1" ? { ...peer, addresses: [] } : peer,
    );
    const [overlay] = plan({ ...NETWORK, peers }).overlays;
    expect(overlay?.mac).toMatch(/^02:43:/);
    expect(overlay?.addresses).toEqual([]);
    expect(overlay?.neighbours).toEqual(plan(NETWORK).overlays[0]?.neighbours);
    expect(overlay?.members).toEqual(["veth1"]);
  });

  test("where the node does not serve it, or for another driver, there is nothing", () => {
    expect(plan(NETWORK, { nodeId: "n9" }).overlays).toEqual([]);
    expect(plan({ ...NETWORK, driver: "macvlan" }).overlays).toEqual([]);
    expect(plan({ ...NETWORK, subnets: [] }).overlays).toEqual([]);
  });

  test("encrypted: never in clear, and only with who has a key", () => {
    const secret = { ...NETWORK, encrypted: true };
    expect(plan(secret).overlays).toEqual([]);
    const encryption = { device: "wg-x", publicKey: key(1), port: 51_820 };
    const [peer] = NETWORK.peers;
    const found = plan(secret, { encryption });
    const end = "fd73:6b65:202:202:202:202:202:202";
    expect(innerAddress(key(2))).toBe(end);
    expect(found.wireguard).toEqual({
      device: "wg-x",
      address: "fd73:6b65:101:101:101:101:101:101",
      mtu: 1420,
      port: 51820,
      peers: [{ publicKey: "02".repeat(32), endpoint: "192.0.2.2:51820", address: end }],
    });
    expect(found.overlays[0]).toMatchObject({ local: found.wireguard?.address, mtu: 1350 });
    expect(new Set(found.overlays[0]?.fdb.values())).toEqual(new Set([end]));
    const keyless = {
      ...secret,
      peers: [{ ...peer!, publicKey: key(2).slice(1) }, NETWORK.peers[1]!],
    };
    expect(plan(keyless, { encryption }).overlays[0]?.fdb.size).toBe(0);
  });

  test("names fit the kernel, addresses have the MAC that everybody expects", () => {
    expect(bridgeName(NETWORK.networkId)).toHaveLength(15);
    expect(vxlanName("a-b")).toBe("vx-a_b");
    expect(macOfAddresses(["fd00::1:2", "10.0.0.5/24"])).toBe("02:42:0a:00:00:05");
    expect(macOfAddresses(["fd00::1:2"])).toBe("02:42:00:01:00:02");
    expect(macOfAddresses(["nonsense"])).toBeUndefined();
  });
});

describe("lostFlows", () => {
  const changed = (endpoints: typeof NETWORK.endpoints) =>
    lostFlows(plan(NETWORK), plan({ ...NETWORK, endpoints }));
  const [t1, t2, t3] = NETWORK.endpoints;

  test("a withdrawn task loses its datagrams and who waits for an answer, a gone one everything", () => {
    expect(changed([t1!, { ...t2!, ready: false }, t3!])).toEqual([
      {
        containerId: "c1",
        protocol: "udp",
        virtual: { address: "10.0.1.2" },
        backend: "10.0.2.12",
      },
      {
        containerId: "c1",
        protocol: "tcp",
        halfOpen: true,
        virtual: { address: "10.0.1.2" },
        backend: "10.0.2.12",
      },
    ]);
    const gone = { protocol: undefined, virtual: undefined, backend: "10.0.2.12" };
    expect(changed([t1!, t3!])).toEqual([
      { containerId: undefined, ...gone },
      { containerId: "c1", ...gone },
      {
        containerId: "c1",
        protocol: "udp",
        virtual: { address: "10.0.1.2" },
        backend: "10.0.2.12",
      },
      {
        containerId: "c1",
        protocol: "tcp",
        halfOpen: true,
        virtual: { address: "10.0.1.2" },
        backend: "10.0.2.12",
      },
    ]);
    expect(changed([...NETWORK.endpoints])).toEqual([]);
  });
});

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { NetworkSandbox } from "#engine/ports.ts";
import type { NetworkTable } from "#wire/gen/skep/dataplane_pb.js";
import { ask, type Fabric, type FabricHost, makeFabric, type Place, run, table } from "./fabric.ts";

/** Within how long whatever somebody did to the kernel is undone. */
const REPAIR_MS = 5_000;

let fabric: Fabric;
let h1: FabricHost;
let here: Place;
let user: NetworkSandbox;

const peers = (subnet: number) =>
  [1, 2, 3].map((number) => ({
    nodeId: `node${number}`,
    dataPathAddr: `192.0.2.${number}`,
    addresses: [`10.0.${subnet}.20${number}`, `fd00:${subnet}::20${number}`],
  }));

const rows = (subnet: number, lasts: readonly number[], ready: (last: number) => boolean) =>
  lasts.map((last) => ({
    taskId: `t${subnet}x${last}`,
    nodeId: `node${(last % 3) + 1}`,
    serviceId: `s${last % 2}`,
    addresses: [`10.0.${subnet}.${last}`, `fd00:${subnet}::${last}`],
    ready: ready(last),
  }));

function network(
  subnet: number,
  lasts: readonly number[],
  more: { ready?: (last: number) => boolean; peers?: ReturnType<typeof peers> } = {},
): NetworkTable {
  const isIngress = subnet === 0;
  return table({
    networkId: `n${subnet}0000000000000000000000a`,
    name: `net${subnet}`,
    ingress: isIngress,
    subnets: [
      { subnet: `10.0.${subnet}.0/24`, gateway: `10.0.${subnet}.1`, vni: 4096 + subnet },
      { subnet: `fd00:${subnet}::/64`, gateway: `fd00:${subnet}::1`, vni: 5096 + subnet },
    ],
    peers: more.peers ?? peers(subnet),
    endpoints: rows(subnet, lasts, more.ready ?? (() => true)),
    services: [0, 1].map((number) => ({
      serviceId: `s${number}`,
      name: `service${number}`,
      virtualIps: [`10.0.${subnet}.${100 + number}`, `fd00:${subnet}::${100 + number}`],
      ports: isIngress ? [{ publishedPort: 8080 + number, targetPort: 80 }] : [],
    })),
  });
}

/** Everything of ours in the host's kernel, and in a container's, without what counts by itself. */
function snapshot(container: NetworkSandbox | undefined): string {
  const show = (place: Place, ...words: string[]) =>
    run(place, ...words)
      .split("\n")
      .map((line) =>
        line
          .replace(/^\d+: /, "")
          .replace(
            /@if\d+|packets \d+ bytes \d+|link\/ether \S+ brd|(bridge|root)_id \S+|gc_timer +\S+/g,
            "",
          )
          .replace(
            / (qdisc|state|qlen|promiscuity|allmulti|id 0x|designated_port|mcast\S*) ?\S*/g,
            "",
          ),
      )
      .filter((line) => !/fe80:|valid_lft|00:00:00:00:00|permanent.*(33:33|01:00:5e)/.test(line))
      .sort()
      .join("\n");
  const [devices, addresses, rest] = [
    show(here, "ip", "-d", "link", "show", "type", "vxlan"),
    show(here, "ip", "-o", "addr", "show"),
    ["-4", "-6"].map((family) =>
      [
        show(here, "ip", family, "route", "show", "table", "all", "proto", "115"),
        show(here, "ip", family, "rule", "show"),
        show(here, "ip", family, "neigh", "show", "nud", "permanent"),
      ].join("\n"),
    ),
  ];
  const inside =
    container === undefined
      ? ""
      : ["-4", "-6"]
          .map((family) => show(container, "ip", family, "rule", "show"))
          .concat(show(container, "nft", "list", "ruleset"))
          .join("\n");
  const fdb = run(here, "bridge", "fdb", "show")
    .split("\n")
    .filter((line) => /dev vx-/.test(line) && /dst|static/.test(line))
    .sort()
    .join("\n");
  const rules = show(here, "nft", "list", "table", "inet", "skep_overlay");
  return [devices, addresses, ...(rest ?? []), fdb, rules, inside].join("\n----\n");
}

beforeAll(async () => {
  fabric = await makeFabric(1);
  [h1] = fabric.hosts as [FabricHost];
  here = { netnsPath: h1.netns.path };
});

afterAll(async () => {
  await fabric?.end();
});

describe("whatever somebody does to the kernel is undone", () => {
  let right = "";

  beforeAll(async () => {
    await h1.tables([network(0, [10, 11, 12]), network(1, [10, 11, 12])]);
    user = await h1.container({ net1: ["10.0.1.12", "fd00:1::12"], net0: ["10.0.0.12"] });
    await fabric.serve(user, 80, "user");
    right = snapshot(user);
  });

  const ENDED = "net.netfilter.nf_conntrack_tcp_timeout_time_wait";
  const [bridge, vxlan] = ["ov-n00000000000", "vx-n00000000000"];
  const mac = "02:42:0a:00:00:0a";
  const deeds: readonly (readonly [string, string, "inside"?])[] = [
    ["all of nftables flushed", "nft flush ruleset"],
    ["our table deleted", "nft delete table inet skep_overlay"],
    ["a base chain emptied", "nft flush chain inet skep_overlay prerouting"],
    ["a chain of a port emptied", "nft flush chain inet skep_overlay port_tcp_8080"],
    ["a rule added", "nft insert rule inet skep_overlay crossing counter accept"],
    ["an element removed", `nft delete element inet skep_overlay overlays { "${bridge}" }`],
    ["a forwarding entry removed", `bridge fdb del ${mac} dev ${vxlan} dst 192.0.2.2 self`],
    ["a forwarding entry led astray", `bridge fdb replace ${mac} dev ${vxlan} dst 192.0.2.77 self`],
    ["an entry of the bridge removed", `bridge fdb del ${mac} dev ${vxlan} master`],
    ["a neighbour removed", `ip neigh del 10.0.0.10 dev ${vxlan}`],
    [
      "a neighbour falsified",
      `ip neigh replace 10.0.0.10 lladdr 02:42:00:00:00:01 dev ${vxlan} nud permanent`,
    ],
    ["the VXLAN device deleted", `ip link del ${vxlan}`],
    ["the VXLAN device down", `ip link set ${vxlan} down`],
    ["the VXLAN device unplugged", `ip link set ${vxlan} nomaster`],
    ["the bridge deleted", `ip link del ${bridge}`],
    ["the bridge down", `ip link set ${bridge} down`],
    ["its address removed", `ip addr del 10.0.0.201/24 dev ${bridge}`],
    ["a route to a task removed", "ip route del 10.0.0.10"],
    ["the network's route removed", `ip route del 10.0.0.0/24 dev ${bridge}`],
    ["the way back of a node removed", "ip route flush table 1558184138"],
    ["a rule removed", "ip rule del fwmark 0x5ce000ca"],
    ["a rule of IPv6 removed", "ip -6 rule del fwmark 0x5ce000ca"],
    ["loopback shut for the mesh", `sysctl -qw net.ipv4.conf.${bridge}.route_localnet=0`],
    ["ports of ended connections kept for long", `sysctl -qw ${ENDED}=120`],
    ["a container's nftables flushed", "nft flush ruleset", "inside"],
    ["a container's balance emptied", "nft flush chain inet skep_balance to_10_0_1_100", "inside"],
    ["a container's rule removed", "ip rule del from 10.0.1.12", "inside"],
  ];

  test.each(deeds)("%s", async (_name, deed, where) => {
    const before = (await h1.status()).repairs;
    run(where === "inside" ? user : here, "bash", "-c", deed ?? "");
    await expect
      .poll(async () => (await h1.status()).repairs, { timeout: REPAIR_MS, interval: 50 })
      .toBeGreaterThan(before);
    expect(snapshot(user)).toBe(right);
    expect(ask(user, "tcp", "10.0.1.201", 80)).toBe("refused");
    expect(ask(here, "tcp", "10.0.1.12", 80)).toBe("user 10.0.1.201");
  });

  test("nothing is repaired when nothing is wrong, nor by a restart", async () => {
    await h1.audit();
    const { repairs } = await h1.status();
    await h1.audit();
    expect((await h1.status()).repairs).toBe(repairs);
    const events = fabric.watch(here, "nft", "monitor");
    await h1.restart();
    await h1.audit();
    expect((await h1.status()).repairs).toBe(0);
    expect(snapshot(user)).toBe(right);
    expect(events.text()).not.toContain("skep_overlay");
    expect(ask(here, "tcp", "10.0.1.12", 80)).toBe("user 10.0.1.201");
  });
});

describe("any order of tables leads to the same kernel", () => {
  test("random tables, then quiet; leaving takes everything away", async () => {
    await h1.detach(user);
    await h1.leave();
    const empty = snapshot(undefined);
    let seed = 20_261_126;
    const random = (bound: number) => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
      return Math.floor((seed / 2 ** 32) * bound);
    };
    const some = (count: number) =>
      Array.from({ length: count }, (_, at) => at + 10).filter(() => random(2) === 1);
    let last: NetworkTable[] = [];
    for (let round = 0; round < 2; round += 1) {
      const pending: Promise<void>[] = [];
      for (let step = 0; step < 12; step += 1) {
        last = [0, 1, 2]
          .filter(() => random(4) > 0)
          .map((subnet) =>
            network(subnet, some(12), {
              ready: () => random(3) > 0,
              peers: peers(subnet).filter(({ nodeId }) => nodeId === "node1" || random(3) > 0),
            }),
          );
        pending.push(h1.tables(last));
        if (random(3) === 0) await Promise.all(pending);
      }
      await Promise.all(pending);
      const after = snapshot(undefined);
      await h1.leave();
      expect(snapshot(undefined)).toBe(empty);
      await h1.tables(last);
      expect(after).toBe(snapshot(undefined));
    }
    await h1.leave();
  });
});

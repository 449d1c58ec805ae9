/**
 * The host's own part, pure: published ports of the mesh, what may cross into and out of the swarm's
 * networks, and the way back of connections that another node took. The node that took a connection
 * rewrites its destination only; the task's node marks it by the MAC address that it came from, and
 * routes answers by the mark. The server sees the client's own address.
 *
 *  overlays, internal   interfaces of the networks; of those that lead nowhere
 *  pairs                an interface with itself: what stays on a network
 *  own4/6               subnets of the networks; leave4/6: those that leave under the host's address
 *  mesh                 published port → chain of its service
 *  returning4/6         an address of a node, and that node as the next hop
 */

import { type ProtocolName, protocolName } from "#model/protocol.ts";
import type { ServiceEntry } from "#wire/gen/skep/dataplane_pb.js";
import { PortConfig_PublishMode as PublishMode } from "#wire/gen/swarmkit/types_pb.js";
import { REFUSE, toBackends } from "./balance.ts";
import { INNER_PREFIX } from "./encryption.ts";
import type { KernelInput, Route, Rule } from "./kernel.ts";
import type { PlacedNetwork, PlacedPeer, PlacedTask } from "./placed-network.ts";
import type { NftChain, NftSet, NftTable } from "./ruleset.ts";
import { sourcePortRules } from "./source-ports.ts";

export const HOST_TABLE = "skep_overlay";
/** Counts VXLAN packets that came from no node of their network. */
export const FOREIGN_COUNTER = "foreign_vxlan";
/** Marks of connections, and routing tables, of the nodes that took them. */
export const MARK_BASE = 0x5ce00000;
const MARK_MASK = 0xffff0000;

export interface MeshPort {
  readonly protocol: ProtocolName;
  readonly port: number;
  /** Addresses of the tasks that this node sends to. */
  readonly backends: readonly string[];
  /** CIDRs of this host's addresses that the port answers on; empty = all. */
  readonly on: readonly string[];
}

export interface MeshPlan {
  readonly routes: readonly Route[];
  readonly rules: readonly Rule[];
  readonly table: NftTable;
  readonly ports: readonly MeshPort[];
}

export function planMesh(networks: readonly PlacedNetwork[], input: KernelInput): MeshPlan {
  const ingress = networks.find(({ table }) => table.ingress);
  const published = ingress === undefined ? [] : publishedPorts(ingress, input.meshAddresses);
  const served = published.filter(({ key }) => !input.refusedPorts.has(key));
  const marked = ingress === undefined ? [] : markedPeers(ingress.peers);
  return {
    routes: ingress === undefined ? [] : meshRoutes(ingress, marked),
    rules: ingress === undefined ? [] : marked.flatMap((peer) => meshRules(peer, ingress.bridge)),
    table: hostTable({ networks, ingress, served, marked, input }),
    ports: published.map(({ protocol, port, backends, on }) => ({ protocol, port, backends, on })),
  };
}

export function portKey({ protocol, port }: Pick<MeshPort, "protocol" | "port">): string {
  return `${protocol}/${port}`;
}

export interface Published extends MeshPort {
  readonly key: string;
  readonly target: number;
  readonly tasks: readonly PlacedTask[];
  readonly canaryShare: number;
}

/** Who stands behind each port here: with local-first the tasks of this node while it has any. */
export function publishedPorts(
  ingress: PlacedNetwork,
  meshAddresses: readonly string[],
): readonly Published[] {
  const found = new Map<string, Published>();
  for (const service of ingress.table.services) {
    const tasks = behind(service, ingress);
    for (const config of service.ports) {
      const { publishMode, publishedPort: port, targetPort: target } = config;
      if (publishMode !== PublishMode.INGRESS || port === 0) continue;
      const protocol = protocolName(config.protocol);
      const key = portKey({ protocol, port });
      const backends = tasks.flatMap(({ v4, v6 }) => [v4, v6].filter((one) => one !== undefined));
      const on = service.addresses[key]?.cidrs ?? meshAddresses;
      const { canaryShare } = service;
      found.set(key, { protocol, port, key, target, tasks, backends, on, canaryShare });
    }
  }
  return [...found.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
}

function behind(service: ServiceEntry, { tasks, own }: PlacedNetwork): readonly PlacedTask[] {
  const ready = tasks.filter((task) => task.ready && task.serviceId === service.serviceId);
  const local = ready.filter(({ nodeId }) => nodeId === own.nodeId);
  return service.localFirst && local.length > 0 ? local : ready;
}

interface MarkedPeer extends PlacedPeer {
  readonly mark: number;
}

/**
 * A mark from the node's own address, so that it stays the same whoever comes and goes. In a network
 * so large that two nodes share the last bits, the second takes the next free one.
 */
function markedPeers(peers: readonly PlacedPeer[]): readonly MarkedPeer[] {
  const taken = new Set<number>();
  return peers.map((peer) => {
    let low = Number.parseInt(peer.mac.replaceAll(":", "").slice(-4), 16);
    while (taken.has(low)) low = (low + 1) & 0xffff;
    taken.add(low);
    return { ...peer, mark: MARK_BASE + low };
  });
}

/** To the node of each task, not just to the task: its IP stack has to see the packet. */
function meshRoutes(ingress: PlacedNetwork, marked: readonly MarkedPeer[]): readonly Route[] {
  const { bridge, tasks, peers } = ingress;
  const nodes = new Map(peers.map((peer) => [peer.nodeId, peer]));
  const toTasks = tasks.flatMap((task) => {
    const peer = nodes.get(task.nodeId);
    if (peer === undefined) return [];
    return (["v4", "v6"] as const).flatMap((family) => {
      const [dst, via] = [task[family], peer[family]];
      return dst === undefined || via === undefined ? [] : [{ dev: bridge, dst, via }];
    });
  });
  const back = marked.flatMap(({ mark, v4, v6 }) =>
    [v4, v6].flatMap((via) =>
      via === undefined ? [] : [{ dev: bridge, dst: "default", via, table: mark }],
    ),
  );
  return [...toTasks, ...back];
}

/** Only what comes in from the bridge: the tunnel's own packets inherit the mark. */
function meshRules({ mark, v4, v6 }: MarkedPeer, iif: string): readonly Rule[] {
  return [
    ...(v4 === undefined ? [] : [{ family: 4 as const, table: mark, match: { mark, iif } }]),
    ...(v6 === undefined ? [] : [{ family: 6 as const, table: mark, match: { mark, iif } }]),
  ];
}

interface HostParts {
  readonly networks: readonly PlacedNetwork[];
  readonly ingress: PlacedNetwork | undefined;
  readonly served: readonly Published[];
  readonly marked: readonly MarkedPeer[];
  readonly input: KernelInput;
}

function hostTable(parts: HostParts): NftTable {
  const { served, input } = parts;
  return {
    name: HOST_TABLE,
    counters: [FOREIGN_COUNTER],
    sets: hostSets(parts),
    chains: [
      ...filterChains(parts),
      ...natChains(input.loopback6, sourcePortRules(parts.ingress)),
      { name: "refuse", rules: REFUSE },
      ...served
        .filter(({ tasks }) => tasks.length > 0)
        .map((published) => portChain(published, input.nodeId)),
    ],
  };
}

function hostSets({ networks, ingress, served }: HostParts): readonly NftSet[] {
  const quoted = (list: readonly PlacedNetwork[]) => list.map(({ bridge }) => `"${bridge}"`);
  const outgoing = networks.filter(({ table }) => !table.internal);
  const set = (name: string, type: string, elements: readonly string[]): NftSet => ({
    name,
    kind: "set",
    type,
    elements,
  });
  const subnets = (name: string, from: readonly PlacedNetwork[]): readonly NftSet[] =>
    ([4, 6] as const).map((family) => ({
      ...set(
        `${name}${family}`,
        `ipv${family}_addr`,
        from.flatMap((network) =>
          network.subnets.filter((subnet) => subnet.includes(":") === (family === 6)),
        ),
      ),
      interval: true,
    }));
  // A port that answers on some addresses is a program's on the others.
  const everywhere = served.filter(({ on }) => on.length === 0);
  const keys = everywhere.map(({ protocol, port }) => `${protocol} . ${port}`);
  return [
    set("overlays", "ifname", quoted(networks)),
    set("internal", "ifname", quoted(networks.filter(({ table }) => table.internal))),
    set("ingress", "ifname", quoted(networks.filter(({ table }) => table.ingress))),
    set(
      "pairs",
      "ifname . ifname",
      quoted(networks).map((name) => `${name} . ${name}`),
    ),
    ...subnets("own", networks),
    ...subnets("leave", outgoing),
    ...returningSets(ingress),
    set("mesh_ports", "inet_proto . inet_service", keys),
    {
      name: "mesh",
      kind: "map",
      type: "inet_proto . inet_service : verdict",
      elements: served
        .filter(({ tasks }) => tasks.length > 0)
        .map(({ protocol, port }) => `${protocol} . ${port} : goto port_${protocol}_${port}`),
    },
  ];
}

/** Nodes that ask here, and would be led back to a task of their own. */
function returningSets(ingress: PlacedNetwork | undefined): readonly NftSet[] {
  const pairs = (six: boolean) =>
    (ingress?.peers ?? []).flatMap(({ hostAddresses, v4, v6 }) => {
      const hop = six ? v6 : v4;
      if (hop === undefined) return [];
      return hostAddresses
        .filter((address) => address.includes(":") === six)
        .map((address) => `${address} . ${hop}`);
    });
  return ([4, 6] as const).map((family) => ({
    name: `returning${family}`,
    kind: "set",
    type: `ipv${family}_addr . ipv${family}_addr`,
    elements: pairs(family === 6),
  }));
}

function filterChains({
  networks,
  ingress,
  served,
  marked,
  input,
}: HostParts): readonly NftChain[] {
  return [
    {
      // Mesh ports answer on 127.0.0.1 too, for which the bridges route it: nobody may use that.
      name: "guard",
      hook: "type filter hook prerouting priority -300",
      rules: ["iifname @overlays ip daddr 127.0.0.0/8 drop"],
    },
    {
      name: "came_by",
      hook: "type filter hook prerouting priority -150",
      rules: ingress === undefined ? [] : marking(ingress, marked),
    },
    {
      name: "tunnels",
      hook: "type filter hook input priority -5",
      rules: networks.flatMap((network) => tunnelRules(network, input)),
    },
    {
      // A port of the mesh that was not rewritten has nobody behind it.
      name: "unanswered",
      hook: "type filter hook input priority 0",
      rules: [
        "ct state new fib daddr type local meta l4proto . th dport @mesh_ports goto refuse",
        ...served.flatMap(refuseSomewhere),
      ],
    },
    {
      name: "crossing",
      hook: "type filter hook forward priority 0",
      rules: [
        "ct state established,related accept",
        "iifname . oifname @pairs accept",
        // The mesh, and ports that a container publishes on this host alone.
        "ct status dnat oifname @ingress accept",
        "ct status dnat oifname @overlays oifname != @internal accept",
        "oifname @overlays drop",
        "iifname @internal drop",
      ],
    },
    {
      // "Send it to the other node directly" would be obeyed, and is wrong.
      name: "redirects",
      hook: "type filter hook output priority 0",
      rules: [
        "ip saddr @own4 icmp type redirect drop",
        "oifname @overlays icmpv6 type nd-redirect drop",
      ],
    },
    {
      // Without WireGuard, packets of encrypted networks would go by the default route, in clear.
      name: "in_clear",
      hook: "type filter hook output priority 5",
      rules: [`ip6 daddr ${INNER_PREFIX} oifname != "${input.encryption?.device ?? "none"}" drop`],
    },
  ];
}

function marking({ bridge }: PlacedNetwork, marked: readonly MarkedPeer[]): readonly string[] {
  if (marked.length === 0) return [];
  const marks = marked.map(({ mac, mark }) => `${mac} : 0x${mark.toString(16)}`).join(", ");
  const mask = `0x${MARK_MASK.toString(16)}`;
  return [
    `iifname "${bridge}" ct state new ct mark set ether saddr map { ${marks} }`,
    `iifname "${bridge}" ct direction reply ct mark and ${mask} == 0x${MARK_BASE.toString(16)} meta mark set ct mark`,
  ];
}

/** Anybody can send a packet that says it is of our network; only nodes are believed. */
function tunnelRules(
  { vni, peers, own, table }: PlacedNetwork,
  { dataPath, encryption }: KernelInput,
): readonly string[] {
  const six = own.dataPath.includes(":");
  const known = [...new Set(peers.map((peer) => peer.dataPath))].filter(
    (address) => address.includes(":") === six,
  );
  const from =
    known.length === 0 ? "" : `${six ? "ip6" : "ip"} saddr != { ${known.sort().join(", ")} } `;
  // The identifier lies behind the headers of UDP (8 bytes) and VXLAN's flags (4).
  const packet = `udp dport ${dataPath.port} @th,96,24 ${vni}`;
  const drop = `counter name ${FOREIGN_COUNTER} drop`;
  return [
    `${packet} ${from}${drop}`,
    ...(table.encrypted ? [`${packet} iifname != "${encryption?.device ?? ""}" ${drop}`] : []),
  ];
}

function refuseSomewhere({ protocol, port, on }: Published): readonly string[] {
  return byFamily(on).map(
    ({ ip, cidrs }) =>
      `ct state new fib daddr type local ${protocol} dport ${port} ${ip} daddr { ${cidrs.join(", ")} } goto refuse`,
  );
}

/** The families that there are, each with its CIDRs. */
function byFamily(cidrs: readonly string[]) {
  return [
    { ip: "ip", nfproto: "ipv4", cidrs: cidrs.filter((cidr) => !cidr.includes(":")) },
    { ip: "ip6", nfproto: "ipv6", cidrs: cidrs.filter((cidr) => cidr.includes(":")) },
  ].filter((family) => family.cidrs.length > 0);
}

function natChains(loopback6: boolean, sourcePorts: readonly string[]): readonly NftChain[] {
  const port = ["fib daddr type local meta l4proto . th dport vmap @mesh"];
  return [
    { name: "prerouting", hook: "type nat hook prerouting priority -100", rules: port },
    {
      name: "output",
      hook: "type nat hook output priority -100",
      // Where answers for ::1 do not come in: refused at once, so that clients go on to 127.0.0.1.
      rules: loopback6 ? port : ["ip6 daddr ::1 return", ...port],
    },
    {
      name: "postrouting",
      hook: "type nat hook postrouting priority 100",
      rules: [
        "ct status dnat oifname @overlays ip saddr 127.0.0.0/8 masquerade",
        "ct status dnat oifname @overlays ip6 saddr ::1 masquerade",
        // Containers may be neighbours of who answers, and would hear from a stranger.
        "ct status dnat oifname @overlays ip saddr @own4 masquerade",
        "ct status dnat oifname @overlays ip6 saddr @own6 masquerade",
        // A kernel drops what comes in from its own address: such a client is seen by ours.
        "ct status dnat oifname @ingress ip saddr . rt ip nexthop @returning4 masquerade",
        "ct status dnat oifname @ingress ip6 saddr . rt ip6 nexthop @returning6 masquerade",
        ...sourcePorts,
        "ip saddr @leave4 oifname != @overlays masquerade",
        "ip6 saddr @leave6 oifname != @overlays masquerade",
      ],
    },
  ];
}

function portChain(published: Published, nodeId: string): NftChain {
  const { protocol, port, target, tasks, on, canaryShare: share } = published;
  const rules = (nfproto: string, family: string, version: "v4" | "v6") => {
    const ends = (some: readonly PlacedTask[]) =>
      some.flatMap((task) => (task[version] === undefined ? [] : `${task[version]} . ${target}`));
    const backends = ends(tasks);
    if (backends.length === 0) return [];
    const canaries = { backends: ends(tasks.filter(({ canary }) => canary)), share };
    const match = `meta nfproto ${nfproto} meta l4proto ${protocol} `;
    return toBackends(match, family, backends, canaries, nodeId);
  };
  return {
    name: `port_${protocol}_${port}`,
    rules: [...onlyOn(on), ...rules("ipv4", "ip", "v4"), ...rules("ipv6", "ip6", "v6")],
  };
}

/** Leaves alone what comes to other addresses of this host. */
function onlyOn(on: readonly string[]): readonly string[] {
  if (on.length === 0) return [];
  const families = byFamily(on);
  const left = ["ipv4", "ipv6"].filter((name) => !families.some(({ nfproto }) => nfproto === name));
  return [
    ...families.map(({ ip, cidrs }) => `${ip} daddr != { ${cidrs.join(", ")} } return`),
    ...left.map((nfproto) => `meta nfproto ${nfproto} return`),
  ];
}

/**
 * Inside a container: its services' virtual addresses, balanced where the connection begins, and the
 * routes by which answers leave the way the request came. The hooks stand from the container's start;
 * a revision changes rules and elements only.
 */

import type { LocalContainer, LocalEndpoint, Route, Rule } from "./kernel.ts";
import { canonical, contains, type PlacedNetwork, type PlacedTask } from "./placed-network.ts";
import { hashOf, type NftChain, type NftTable } from "./ruleset.ts";

export const BALANCE_TABLE = "skep_balance";
/** Routing tables of a container's networks, and how their rules are ordered. */
const ROUTE_TABLE = 0x5ce0;

export interface ContainerPlan {
  /** Ids of the networks that it is on. */
  readonly networks: readonly string[];
  readonly balances: readonly Balance[];
  readonly table: NftTable;
  readonly routes: readonly Route[];
  readonly rules: readonly Rule[];
}

/** A virtual address and who stands behind it. */
export interface Balance {
  readonly vip: string;
  readonly backends: readonly string[];
  /** Those of the backends that get a share of their own. */
  readonly canaries: Canaries;
}

/** Backends that try out a version, and how much of the new connections they get in per cent. */
export interface Canaries {
  readonly backends: readonly string[];
  readonly share: number;
}

/** Undefined for a container that is on none of the placed networks. */
export function planContainer(
  container: LocalContainer,
  networks: readonly PlacedNetwork[],
): ContainerPlan | undefined {
  const places = container.endpoints.flatMap((endpoint) => {
    const network = networks.find(({ id }) => id === endpoint.networkId);
    return network === undefined ? [] : [{ endpoint, network }];
  });
  if (places.length === 0) return undefined;
  const balances = unique(
    places.flatMap(({ network }) => (network.table.ingress ? [] : balancesOf(network))),
  );
  const routing = places.map(({ endpoint, network }) => routingOf(endpoint, network));
  return {
    networks: places.map(({ network }) => network.id),
    balances,
    table: balanceTable(balances, container.id),
    routes: routing.flatMap(({ routes }) => routes),
    rules: routing.flatMap(({ rules }) => rules),
  };
}

const known = new WeakMap<PlacedNetwork, readonly Balance[]>();

/** The same for every container on the network. */
export function balancesOf(network: PlacedNetwork): readonly Balance[] {
  const balances = known.get(network) ?? computeBalances(network);
  known.set(network, balances);
  return balances;
}

function computeBalances({ table, tasks }: PlacedNetwork): readonly Balance[] {
  const ready = new Map<string, PlacedTask[]>();
  for (const task of tasks) {
    if (!task.ready || task.serviceId === "") continue;
    const others = ready.get(task.serviceId);
    if (others === undefined) ready.set(task.serviceId, [task]);
    else others.push(task);
  }
  return table.services.flatMap(({ serviceId, virtualIps, canaryShare }) =>
    virtualIps.flatMap((text) => {
      const vip = canonical(text);
      if (vip === undefined) return [];
      const [behind, six] = [ready.get(serviceId) ?? [], vip.includes(":")];
      const canaries = behind.filter(({ canary }) => canary);
      const share = { backends: backendsOf(canaries, six), share: canaryShare };
      return [{ vip, backends: backendsOf(behind, six), canaries: share }];
    }),
  );
}

function backendsOf(tasks: readonly PlacedTask[], six: boolean): readonly string[] {
  return tasks.flatMap(({ v4, v6 }) => (six ? v6 : v4) ?? []);
}

/** While a service moves its address, two rows may name it for a moment. */
function unique(balances: readonly Balance[]): readonly Balance[] {
  return [...new Map(balances.map((balance) => [balance.vip, balance])).values()];
}

function balanceTable(balances: readonly Balance[], containerId: string): NftTable {
  const of = (six: boolean) => balances.filter(({ vip }) => vip.includes(":") === six);
  const vips = (six: boolean) => of(six).map(({ vip }) => vip);
  const jumps = (six: boolean) =>
    of(six)
      .filter(({ backends }) => backends.length > 0)
      .map(({ vip }) => `${vip} : goto ${chainOf(vip)}`);
  return {
    name: BALANCE_TABLE,
    counters: [],
    sets: [
      { name: "vips4", kind: "set", type: "ipv4_addr", elements: vips(false) },
      { name: "vips6", kind: "set", type: "ipv6_addr", elements: vips(true) },
      { name: "balance4", kind: "map", type: "ipv4_addr : verdict", elements: jumps(false) },
      { name: "balance6", kind: "map", type: "ipv6_addr : verdict", elements: jumps(true) },
    ],
    chains: [
      {
        name: "output",
        hook: "type nat hook output priority -100",
        rules: ["ip daddr vmap @balance4", "ip6 daddr vmap @balance6"],
      },
      // What still has a virtual address here has nobody behind it.
      {
        name: "unanswered",
        hook: "type filter hook output priority 0",
        rules: ["ip daddr @vips4 goto refuse", "ip6 daddr @vips6 goto refuse"],
      },
      { name: "refuse", rules: REFUSE },
      ...balances
        .filter(({ backends }) => backends.length > 0)
        .map((one) => spread(one, containerId)),
    ],
  };
}

/** Says no at once: a reset for TCP, ICMP for the rest. */
export const REFUSE: readonly string[] = [
  "meta l4proto tcp reject with tcp reset",
  "reject with icmpx type port-unreachable",
];

function spread({ vip, backends, canaries }: Balance, containerId: string): NftChain {
  const family = vip.includes(":") ? "ip6" : "ip";
  return { name: chainOf(vip), rules: toBackends("", family, backends, canaries, containerId) };
}

/** Rules that send a new connection, if it matches, to one of the backends. */
export function toBackends(
  match: string,
  family: string,
  backends: readonly string[],
  { backends: canaries, share }: Canaries,
  seed: string,
): readonly string[] {
  const to = (some: readonly string[]) => `dnat ${family} to ${inTurn(some, seed)}`;
  const others = backends.filter((one) => !canaries.includes(one));
  // Alone, either of the two gets everything.
  if (share === 0 || canaries.length === 0 || others.length === 0) {
    return [match + to(backends), ...spare(match, family, backends)];
  }
  return [
    `${match}numgen random mod 100 < ${share} ${to(canaries)}`,
    match + to(others),
    ...spare(match, family, others),
  ];
}

/**
 * For a packet that is between two generations of the chain. When a rule is replaced, the kernel takes
 * the elements out of its map at once, also for a packet that had begun with the old rule: it would find
 * nobody, and be refused. Seen once in 50,000 connections while the rule was replaced 90 times a second.
 */
function spare(match: string, family: string, backends: readonly string[]): readonly string[] {
  return backends.slice(0, 1).map((backend) => `${match}dnat ${family} to ${literal(backend)}`);
}

/** "10.0.1.2 . 80" of a map, as it is written outside of one. */
function literal(backend: string): string {
  const [address = "", port] = backend.split(" . ");
  if (port === undefined) return address;
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

/**
 * One after the other. Everyone begins at another one, or the first connections of many clients
 * would all go to the same backend.
 */
export function inTurn(backends: readonly string[], seed: string): string {
  const start = Number.parseInt(hashOf(seed), 16) % backends.length;
  const turned = [...backends.slice(start), ...backends.slice(0, start)];
  const elements = turned.map((backend, at) => `${at} : ${backend}`).join(", ");
  return `numgen inc mod ${backends.length} map { ${elements} }`;
}

/** "to_10_0_1_2": an operator finds the address in the listing. */
function chainOf(vip: string): string {
  return `to_${vip.replace(/[.:]/g, "_")}`;
}

function routingOf(endpoint: LocalEndpoint, network: PlacedNetwork) {
  const { own, subnets, table, overlay } = network;
  const dev = endpoint.interface;
  const routes: Route[] = [];
  const rules: Rule[] = [];
  if (!overlay) return { routes, rules };
  for (const six of [false, true]) {
    const address = endpoint.addresses.find((one) => one.includes(":") === six)?.split("/")[0];
    if (address === undefined) continue;
    const family = six ? 6 : 4;
    const number = ROUTE_TABLE + Number(dev.replace(/\D/g, ""));
    const here = subnets.filter((subnet) => subnet.includes(":") === six);
    // Every subnet of the network is one link; the kernel itself knows of the address's own.
    routes.push(
      ...here
        .filter((subnet) => !contains(subnet, address))
        .map((dst) => ({ dev, dst, src: address })),
    );
    const via = six ? own.v6 : own.v4;
    if (table.internal || via === undefined) continue;
    routes.push(...here.map((dst) => ({ dev, dst, src: address, table: number })));
    routes.push({ dev, dst: "default", via, table: number });
    rules.push({ family, table: number, match: { from: address } });
  }
  return { routes, rules };
}

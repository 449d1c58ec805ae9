/**
 * The engine's nftables table as text, pure. Chains never change: what comes and goes are elements
 * of sets and maps, which cost the kernel a millisecond where a base chain costs twenty. One table,
 * rebuilt whole in one transaction at start, is the only thing we touch.
 *
 *  publish4/6        port of any local address → container
 *  publish4/6_ip     port of one local address → container
 *  bridges           interfaces of our networks; internal: those that lead nowhere
 *  pairs             interface with itself: traffic that stays on a network
 *  masquerade4/6     subnets that leave the host under its own address
 *  hairpin4/6        subnet with itself: who reaches a neighbour through a published port
 */

import type { PublishedPort } from "./records.ts";

export interface RulesetNetwork {
  readonly bridge: string;
  readonly internal: boolean;
  readonly masquerade: boolean;
  readonly subnets4: readonly string[];
  readonly subnets6: readonly string[];
}

/**
 * Creates the table anew with everything in it, replacing one that is there. Unless connections to
 * ::1 can be led into a bridge (`loopback6`), they are left to the host, which refuses them at once.
 */
export function renderTable(
  table: string,
  loopback6: boolean,
  networks: readonly RulesetNetwork[],
  ports: readonly PublishedPort[],
): string {
  return [
    `add table inet ${table}`,
    `delete table inet ${table}`,
    skeleton(table, loopback6),
    ...networks.map((network) => renderNetwork(table, network, "add")),
    renderPorts(table, ports, "add"),
  ].join("\n");
}

function skeleton(table: string, loopback6: boolean): string {
  return `table inet ${table} {
  set bridges { type ifname; }
  set internal { type ifname; }
  set pairs { type ifname . ifname; }
  set masquerade4 { type ipv4_addr; flags interval; }
  set masquerade6 { type ipv6_addr; flags interval; }
  set hairpin4 { type ipv4_addr . ipv4_addr; flags interval; }
  set hairpin6 { type ipv6_addr . ipv6_addr; flags interval; }
  map publish4 { type inet_proto . inet_service : ipv4_addr . inet_service; }
  map publish6 { type inet_proto . inet_service : ipv6_addr . inet_service; }
  map publish4_ip { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
  map publish6_ip { type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; }
  chain published {
    dnat ip to ip daddr . meta l4proto . th dport map @publish4_ip
    fib daddr type local dnat ip to meta l4proto . th dport map @publish4
    dnat ip6 to ip6 daddr . meta l4proto . th dport map @publish6_ip
    fib daddr type local dnat ip6 to meta l4proto . th dport map @publish6
  }
  chain guard {
    type filter hook prerouting priority -300; policy accept;
    iifname @bridges ip daddr 127.0.0.0/8 drop
  }
  chain prerouting {
    type nat hook prerouting priority -100; policy accept;
    jump published
  }
  chain output {
    type nat hook output priority -100; policy accept;${loopback6 ? "" : "\n    ip6 daddr ::1 return"}
    jump published
  }
  chain postrouting {
    type nat hook postrouting priority 100; policy accept;
    ip saddr @masquerade4 oifname != @bridges masquerade
    ip6 saddr @masquerade6 oifname != @bridges masquerade
    ip saddr 127.0.0.0/8 oifname @bridges masquerade
    ip6 saddr ::1 oifname @bridges masquerade
    ct status dnat ip saddr . ip daddr @hairpin4 masquerade
    ct status dnat ip6 saddr . ip6 daddr @hairpin6 masquerade
  }
  chain forward {
    type filter hook forward priority 0; policy accept;
    ct state established,related accept
    iifname . oifname @pairs accept
    iifname @internal drop
    oifname @internal drop
    ct status dnat accept
    iifname @bridges oifname @bridges drop
    iifname @bridges accept
    oifname @bridges drop
  }
}`;
}

export function renderNetwork(
  table: string,
  network: RulesetNetwork,
  verb: "add" | "delete",
): string {
  const name = JSON.stringify(network.bridge);
  const lines = [
    element(verb, table, "bridges", name),
    element(verb, table, "pairs", `${name} . ${name}`),
  ];
  if (network.internal) lines.push(element(verb, table, "internal", name));
  for (const [family, subnets] of [
    ["4", network.subnets4],
    ["6", network.subnets6],
  ] as const) {
    for (const subnet of subnets) {
      if (network.masquerade && !network.internal) {
        lines.push(element(verb, table, `masquerade${family}`, subnet));
      }
      lines.push(element(verb, table, `hairpin${family}`, `${subnet} . ${subnet}`));
    }
  }
  return lines.join("\n");
}

export function renderPorts(
  table: string,
  ports: readonly PublishedPort[],
  verb: "add" | "delete",
): string {
  return ports.map((port) => renderPort(table, port, verb)).join("\n");
}

function renderPort(table: string, port: PublishedPort, verb: "add" | "delete"): string {
  const { protocol, hostIp, hostPort, containerIp, containerPort } = port;
  const family = containerIp.includes(":") ? "6" : "4";
  const any = hostIp === "0.0.0.0" || hostIp === "::";
  const map = any ? `publish${family}` : `publish${family}_ip`;
  const key = `${any ? "" : `${hostIp} . `}${protocol} . ${hostPort}`;
  return element(verb, table, map, `${key} : ${containerIp} . ${containerPort}`);
}

function element(verb: string, table: string, set: string, value: string): string {
  return `${verb} element inet ${table} ${set} { ${value} }`;
}

/** Name of a chain, set or map to how many rules or elements it has. */
export type PartCounts = ReadonlyMap<string, number>;

/** What a script of `renderTable` makes. */
export function countParts(script: string): PartCounts {
  const counts = new Map<string, number>();
  const elements = new Set<string>();
  let chain: string | undefined;
  for (const line of script.split("\n").map((text) => text.trim())) {
    const opened = /^(chain|set|map) (\w+) \{/.exec(line);
    if (opened !== null) {
      counts.set(opened[2] ?? "", 0);
      chain = opened[1] === "chain" ? opened[2] : undefined;
      continue;
    }
    const set = /^add element inet \S+ (\w+) \{/.exec(line)?.[1];
    if (set !== undefined) {
      if (!elements.has(line)) counts.set(set, (counts.get(set) ?? 0) + 1);
      elements.add(line);
    } else if (line === "}") {
      chain = undefined;
    } else if (chain !== undefined && !line.startsWith("type ")) {
      counts.set(chain, (counts.get(chain) ?? 0) + 1);
    }
  }
  return counts;
}

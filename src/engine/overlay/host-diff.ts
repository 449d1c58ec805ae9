/**
 * A host's devices against its plan, as commands, pure. What bears our mark and is in no plan goes;
 * what bears nobody's mark is left alone.
 */

import type { KernelPlan } from "#plan/dataplane/kernel.ts";
import type { OverlayPlan } from "#plan/dataplane/overlay-devices.ts";
import type { DumpedFdb, DumpedHost, DumpedLink } from "#platform/net/dump.ts";
import { type Changes, diffRouting, noChanges } from "./routing-diff.ts";

/** Begins the alias of every device of ours. */
export const ALIAS = "skep-overlay:";

export function diffHost(plan: KernelPlan, host: DumpedHost): Changes {
  const changes = noChanges();
  const wanted = new Set(plan.wireguard === undefined ? [] : [plan.wireguard.device]);
  for (const overlay of plan.overlays) {
    wanted.add(overlay.bridge).add(overlay.vxlan);
    diffBridge(overlay, host, changes);
    const fresh = diffVxlan(overlay, host, changes);
    diffMembers(overlay, host, changes);
    diffNeighbours(overlay, fresh ? { ...host, neighbours: [] } : host, changes);
    diffFdb(overlay, fresh ? [] : host.fdb, changes);
  }
  for (const link of host.links.values()) {
    if (!isOurs(link) || wanted.has(link.ifname)) continue;
    changes.remove.ip.push(`link del dev ${link.ifname}`);
  }
  diffRouting(plan.routes, plan.rules, withoutLost(host, changes), changes);
  return changes;
}

/** Routes of a device go with it, whether it is made anew or not. */
function withoutLost(host: DumpedHost, { add, remove }: Changes): DumpedHost {
  const lost = new Set(
    [...add.ip, ...remove.ip].flatMap(
      (command) => /^link (?:add name|del dev) (\S+)/.exec(command)?.[1] ?? [],
    ),
  );
  return { ...host, routes: host.routes.filter(({ dev }) => !lost.has(dev ?? "")) };
}

export function isOurs({ ifalias }: DumpedLink): boolean {
  return (ifalias ?? "").startsWith(ALIAS);
}

function diffBridge(overlay: OverlayPlan, { links }: DumpedHost, { add }: Changes): void {
  const { bridge: name, mac, mtu, addresses, networkId } = overlay;
  let link = links.get(name);
  if (link !== undefined && link.linkinfo?.info_kind !== "bridge" && isOurs(link)) {
    add.ip.push(`link del dev ${name}`);
    link = undefined;
  }
  if (link === undefined) {
    const kind = "type bridge stp_state 0 forward_delay 0 mcast_snooping 0";
    add.ip.push(`link add name ${name} mtu ${mtu} address ${mac} ${kind}`);
    add.ip.push(`link set dev ${name} addrgenmode none`);
  } else {
    if (link.address !== mac) add.ip.push(`link set dev ${name} address ${mac}`);
    if (link.mtu !== mtu) add.ip.push(`link set dev ${name} mtu ${mtu}`);
  }
  setAlias(link, name, networkId, add.ip);
  setUp(link, name, add.ip);
  const held = (link?.addr_info ?? [])
    .filter(({ scope }) => scope === "global" || scope === "link")
    .map(({ local, prefixlen }) => `${local}/${prefixlen}`);
  for (const address of held) {
    if (!addresses.includes(address)) add.ip.push(`addr del ${address} dev ${name}`);
  }
  for (const address of addresses) {
    if (held.includes(address)) continue;
    const nodad = address.includes(":") ? " nodad" : "";
    add.ip.push(`addr add ${address} dev ${name} noprefixroute${nodad}`);
  }
}

/** True when it is made anew, and with it everything in it. */
function diffVxlan(overlay: OverlayPlan, { links }: DumpedHost, { add }: Changes): boolean {
  const { vxlan: name, bridge, vni, port, local, mtu, networkId } = overlay;
  let link = links.get(name);
  if (link !== undefined && !isSameTunnel(link, overlay)) {
    add.ip.push(`link del dev ${name}`);
    link = undefined;
  }
  const fresh = link === undefined;
  if (fresh) {
    const kind = `type vxlan id ${vni} local ${local} dstport ${port} nolearning proxy`;
    add.ip.push(`link add name ${name} mtu ${mtu} ${kind}`);
    add.ip.push(`link set dev ${name} addrgenmode none`);
  } else if (link?.mtu !== mtu) {
    add.ip.push(`link set dev ${name} mtu ${mtu}`);
  }
  setAlias(link, name, networkId, add.ip);
  const slave = link?.linkinfo?.info_slave_data;
  const plugged = link?.master === bridge && links.has(bridge);
  if (!plugged) add.ip.push(`link set dev ${name} master ${bridge}`);
  if (!plugged || slave?.["learning"] !== false || slave["flood"] !== false) {
    add.ip.push(`link set dev ${name} type bridge_slave learning off flood off`);
  }
  setUp(link, name, add.ip);
  return fresh;
}

function isSameTunnel({ linkinfo }: DumpedLink, { vni, port, local }: OverlayPlan): boolean {
  const data = linkinfo?.info_data ?? {};
  return (
    linkinfo?.info_kind === "vxlan" &&
    data["id"] === vni &&
    data["port"] === port &&
    (data["local"] ?? data["local6"]) === local &&
    data["learning"] === false &&
    data["proxy"] === true
  );
}

function setAlias(
  link: DumpedLink | undefined,
  name: string,
  networkId: string,
  commands: string[],
): void {
  const alias = `${ALIAS}${networkId}`;
  if (link?.ifalias !== alias) commands.push(`link set dev ${name} alias ${alias}`);
}

function setUp(link: DumpedLink | undefined, name: string, commands: string[]): void {
  if (link?.flags.includes("UP") !== true) commands.push(`link set dev ${name} up`);
}

/** Containers lose their bridge when somebody deletes it. */
function diffMembers(
  { members, bridge }: OverlayPlan,
  { links }: DumpedHost,
  { add }: Changes,
): void {
  for (const name of members) {
    const link = links.get(name);
    if (link === undefined) continue;
    if (link.master !== bridge || !links.has(bridge)) {
      add.ip.push(`link set dev ${name} master ${bridge}`);
      add.ip.push(`link set dev ${name} type bridge_slave hairpin on isolated off`);
    }
    setUp(link, name, add.ip);
  }
}

function diffNeighbours(
  { neighbours, vxlan }: OverlayPlan,
  host: DumpedHost,
  { add, remove }: Changes,
): void {
  const there = new Map(
    host.neighbours.flatMap(({ dev, dst, lladdr }) => (dev === vxlan ? [[dst, lladdr]] : [])),
  );
  for (const [address, mac] of neighbours) {
    if (there.get(address) === mac) continue;
    add.ip.push(`neigh replace ${address} lladdr ${mac} dev ${vxlan} nud permanent`);
  }
  for (const address of there.keys()) {
    if (address === undefined || neighbours.has(address)) continue;
    remove.ip.push(`neigh del ${address} dev ${vxlan}`);
  }
}

/**
 * Twice for each MAC address: where the tunnel sends it, and that the bridge sends it into the
 * tunnel. The second is static too, or the bridge would flood what it has not seen for a while.
 */
function diffFdb(
  { fdb, vxlan }: OverlayPlan,
  found: readonly DumpedFdb[],
  { add, remove }: Changes,
): void {
  const ends = new Map<string, string[]>();
  const bridged = new Set<string>();
  for (const { ifname, mac, dst, master, state } of found) {
    if (ifname !== vxlan) continue;
    if (dst !== undefined) ends.set(mac, [...(ends.get(mac) ?? []), dst]);
    else if (master !== undefined && state === "static") bridged.add(mac);
  }
  for (const [mac, end] of fdb) {
    const there = ends.get(mac) ?? [];
    if (there.length !== 1 || there[0] !== end) {
      add.bridge.push(`fdb replace ${mac} dev ${vxlan} dst ${end} self`);
    }
    if (!bridged.has(mac)) add.bridge.push(`fdb replace ${mac} dev ${vxlan} master static`);
  }
  for (const [mac, there] of ends) {
    if (fdb.has(mac)) continue;
    for (const end of there) remove.bridge.push(`fdb del ${mac} dev ${vxlan} dst ${end} self`);
  }
  for (const mac of bridged) {
    if (!fdb.has(mac)) remove.bridge.push(`fdb del ${mac} dev ${vxlan} master`);
  }
}

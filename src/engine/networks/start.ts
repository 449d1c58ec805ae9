/**
 * The start of the network service, after a clean end or a crash alike: records are read, predefined
 * networks are made, the kernel is brought to what the records say, and what bears our mark and
 * belongs to nobody is deleted.
 */

import { EngineError } from "#base/error.ts";
import { newHexId } from "#base/ids.ts";
import { type Prefix, parsePrefix } from "#model/ip.ts";
import type { IpLink } from "#platform/net/ip.ts";
import type { NetworkSandbox } from "../ports.ts";
import { detachContainer, wire } from "./attach.ts";
import { takeBack } from "./connect.ts";
import { cutSubnet, formatPrefix, networkOf } from "./ipam.ts";
import { isPlugged, LocalNetwork, OPTION } from "./network.ts";
import { PREDEFINED, withGateway } from "./network-spec.ts";
import { hasParent } from "./parent.ts";
import type { AttachmentRecord, IpamRecord, NetworkRecord } from "./records.ts";
import { settleDebts } from "./remote-debts.ts";
import { forgetRemote } from "./remote-network.ts";
import { replayRequests } from "./remote-replay.ts";
import {
  announceNames,
  type NetworkOptions,
  type NetworkState,
  saveAttachment,
  writeTable,
} from "./state.ts";
import { bridgePlan } from "./wiring.ts";

export async function startNetworks(state: NetworkState): Promise<void> {
  const { log } = state;
  for (const record of await state.networkFiles.load(log)) {
    if (record.unfinished === true) {
      log.warn("a network that was being made when the engine ended is given up", {
        network: record.name,
      });
      await forgetRemote(state, record);
      await state.networkFiles.remove(record.id);
      continue;
    }
    state.networks.set(record.id, new LocalNetwork(record));
  }
  for (const attachment of await state.attachmentFiles.load(log)) adopt(state, attachment);
  await ensurePredefined(state);
  state.wiring.enableForwarding([...state.networks.values()].some(({ record }) => record.ipv6));
  await mendBridges(state);
  await writeTable(state);
}

/** What a container of an earlier run holds stays held until `reconcile` knows whether it runs. */
function adopt(state: NetworkState, attachment: AttachmentRecord): void {
  const { containerId, endpoints, ports } = attachment;
  state.attachments.set(containerId, attachment);
  for (const endpoint of endpoints) {
    state.networks.get(endpoint.networkId)?.join(containerId, endpoint);
  }
  for (const { protocol, hostIp, hostPort } of ports) {
    state.ports.adopt({ protocol, address: hostIp, port: hostPort });
  }
}

async function ensurePredefined(state: NetworkState): Promise<void> {
  const named = await onePredefined(state);
  for (const [name, driver] of [
    ["host", "host"],
    ["none", "null"],
  ] as const) {
    if (!named.has(name)) await addNetwork(state, emptyRecord(state.options, name, driver));
  }
  const before = named.get("bridge");
  const record = await defaultBridge(state, before?.record ?? bridgeInUse(state));
  if (before !== undefined && JSON.stringify(before.record) === JSON.stringify(record)) return;
  if (before !== undefined && before.record.bridge !== record.bridge) {
    await state.wiring.removeLinks([before.record.bridge]);
  }
  await addNetwork(state, record);
  const network = state.networks.get(record.id);
  for (const { containerId, endpoints } of state.attachments.values()) {
    const endpoint = endpoints.find(({ networkId }) => networkId === record.id);
    if (endpoint !== undefined) network?.join(containerId, endpoint);
  }
}

/**
 * The predefined networks by name. One whose record was damaged has been made anew; once the old one
 * is back there are two, and the one that is in use, or the older, stays.
 */
async function onePredefined(state: NetworkState): Promise<Map<string, LocalNetwork>> {
  const named = new Map<string, LocalNetwork>();
  const all = [...state.networks.values()].filter(({ record }) => PREDEFINED.includes(record.name));
  const users = ({ endpoints }: LocalNetwork) => Math.min(endpoints.size, 1);
  all.sort((a, b) => users(b) - users(a) || (a.record.created < b.record.created ? -1 : 1));
  for (const network of all) {
    const { id, name } = network.record;
    if (!named.has(name)) {
      named.set(name, network);
      continue;
    }
    state.log.warn("a second record of a predefined network is removed", { network: name, id });
    state.networks.delete(id);
    await state.networkFiles.remove(id);
  }
  return named;
}

/**
 * The default bridge as the containers on it know it, when its own record is damaged: under another
 * id it would give their addresses to others.
 */
function bridgeInUse(state: NetworkState): NetworkRecord | undefined {
  for (const { endpoints } of state.attachments.values()) {
    const endpoint = endpoints.find(({ networkId }) => state.networkFiles.damaged.has(networkId));
    const address = parsePrefix(endpoint?.ipv4 ?? "");
    if (endpoint?.networkName !== "bridge" || address === undefined) continue;
    const subnet = formatPrefix(networkOf(address));
    const gateway = endpoint.gateway4;
    state.log.warn("the default bridge's record is made anew from what containers hold on it", {
      subnet,
    });
    return {
      ...emptyRecord(state.options, "bridge", "bridge"),
      id: endpoint.networkId,
      bridge: endpoint.bridge,
      ipam: [gateway === undefined ? withGateway({ subnet }) : { subnet, gateway }],
    };
  }
  return undefined;
}

async function addNetwork(state: NetworkState, record: NetworkRecord): Promise<void> {
  await state.networkFiles.save(record.id, record);
  state.networks.set(record.id, new LocalNetwork(record));
}

function emptyRecord(
  options: NetworkOptions,
  name: string,
  driver: NetworkRecord["driver"],
): NetworkRecord {
  return {
    version: 1,
    id: newHexId(options.random),
    name,
    driver,
    created: new Date(options.clock.nowMs()).toISOString(),
    ipv6: false,
    internal: false,
    attachable: false,
    ipamDriver: "default",
    ipamOptions: null,
    ipam: [],
    userSubnet: false,
    options: {},
    labels: {},
    bridge: "",
  };
}

/** The default bridge as configured now; its id and, unless told otherwise, its subnet stay. */
async function defaultBridge(
  state: NetworkState,
  before: NetworkRecord | undefined,
): Promise<NetworkRecord> {
  const { options } = state;
  const { name, mtu, defaultBindIp } = options.bridge;
  const base = before ?? emptyRecord(options, "bridge", "bridge");
  return {
    ...base,
    bridge: name,
    ipam: [await defaultPool(state, before?.ipam[0])],
    options: {
      [OPTION.defaultBridge]: "true",
      [OPTION.icc]: "true",
      [OPTION.masquerade]: "true",
      [OPTION.hostBinding]: defaultBindIp,
      [OPTION.bridgeName]: name,
      [OPTION.mtu]: String(mtu),
    },
  };
}

async function defaultPool(
  state: NetworkState,
  before: IpamRecord | undefined,
): Promise<IpamRecord> {
  const { cidr, fixedCidr } = state.options.bridge;
  if (cidr === undefined && before !== undefined) return before;
  if (cidr === undefined) {
    const taken = [...takenSubnets(state), ...(await hostSubnets(state))];
    const subnet = cutSubnet(state.pools, taken);
    if (subnet === undefined) {
      throw new EngineError(
        "resource-exhausted",
        "no free subnet for the default bridge: set --bip, or --default-address-pool",
      );
    }
    return withGateway({ subnet });
  }
  const address = parsePrefix(cidr);
  if (address === undefined) {
    throw new EngineError("invalid-argument", `invalid address of the default bridge: ${cidr}`);
  }
  const range = fixedCidr === undefined ? undefined : parsePrefix(fixedCidr);
  if (fixedCidr !== undefined && range === undefined) {
    throw new EngineError("invalid-argument", `invalid --fixed-cidr: ${fixedCidr}`);
  }
  return {
    subnet: formatPrefix(networkOf(address)),
    gateway: cidr.split("/")[0] ?? cidr,
    ...(range === undefined ? {} : { range: formatPrefix(networkOf(range)) }),
  };
}

export function takenSubnets(state: NetworkState): Prefix[] {
  return [...state.networks.values()].flatMap(({ record }) =>
    record.configOnly ? [] : record.ipam.flatMap(({ subnet }) => parsePrefix(subnet) ?? []),
  );
}

export async function hostSubnets(state: NetworkState): Promise<readonly Prefix[]> {
  const subnets = await state.wiring.usedSubnets();
  return subnets.flatMap((subnet) => parsePrefix(subnet) ?? []);
}

async function mendBridges(state: NetworkState): Promise<void> {
  const links = await state.wiring.links();
  const wanted = new Set<string>();
  for (const network of state.networks.values()) {
    const { record } = network;
    if (record.bridge === "") continue;
    wanted.add(record.bridge);
    if (hasParent(record.driver)) {
      await mendParent(state, record, links);
      continue;
    }
    await state.wiring.ensureBridge(
      bridgePlan(record, network.mtu(state.options.bridge.mtu)),
      links,
    );
  }
  const stray = links.filter(
    (link) =>
      state.wiring.isOurs(link) &&
      ["bridge", "vlan"].includes(link.linkinfo?.info_kind ?? "") &&
      !wanted.has(link.ifname),
  );
  if (stray.length === 0) return;
  if (state.networkFiles.damaged.size > 0) {
    state.log.warn("interfaces stay that may be those of networks whose records are damaged", {
      interfaces: stray.map(({ ifname }) => ifname),
    });
    return;
  }
  state.log.info("interfaces of networks that are no more removed", {
    interfaces: stray.map(({ ifname }) => ifname),
  });
  await state.wiring.removeLinks(stray.map(({ ifname }) => ifname));
}

/** An interface that was pulled out must not keep the engine from its other networks. */
async function mendParent(
  state: NetworkState,
  record: NetworkRecord,
  links: readonly IpLink[],
): Promise<void> {
  try {
    await state.wiring.ensureParent(record, links);
  } catch (error) {
    state.log.error("a network has lost its parent interface", { network: record.name, error });
  }
}

/** What running containers hold is mended, the rest is freed. */
export async function reconcileContainers(
  state: NetworkState,
  running: ReadonlyMap<string, NetworkSandbox>,
): Promise<void> {
  await replayRequests(state);
  await settleDebts(state);
  // Side by side: a plug-in that is gone may be waited for with each.
  const gone = [...state.attachments.keys()].filter((containerId) => !running.has(containerId));
  await Promise.all(gone.map((containerId) => detachContainer(state, containerId)));
  const links = new Map((await state.wiring.links()).map((link) => [link.ifname, link]));
  // A parent of our own making is no container's.
  const held = new Set([...state.networks.values()].map(({ record }) => record.bridge));
  for (const [containerId, attachment] of state.attachments) {
    const sandbox = running.get(containerId);
    for (const endpoint of attachment.endpoints.filter(isPlugged)) {
      held.add(endpoint.hostInterface);
      if (sandbox === undefined) continue;
      const link = links.get(endpoint.hostInterface);
      if (link === undefined) await rewire(state, sandbox, attachment, endpoint.hostInterface);
      else if (link.master !== endpoint.bridge) await state.wiring.replug(endpoint);
    }
    if (sandbox === undefined) continue;
    await mendRemotes(state, sandbox, [...links.keys()]);
    await announceNames(state, sandbox, state.attachments.get(containerId)?.endpoints ?? []).catch(
      (error: unknown) =>
        state.log.error("a running container is without DNS", { container: containerId, error }),
    );
  }
  const stray = [...links.values()].filter(
    (link) =>
      state.wiring.isOurs(link) && link.linkinfo?.info_kind === "veth" && !held.has(link.ifname),
  );
  const unknown: string[] = [];
  for (const containerId of state.attachmentFiles.damaged) {
    if (running.has(containerId)) unknown.push(containerId);
    else await state.attachmentFiles.remove(containerId);
  }
  if (unknown.length === 0) {
    await state.wiring.removeLinks(stray.map(({ ifname }) => ifname));
  } else {
    state.log.error(
      "what a running container holds of its networks is not known, its interfaces are left alone: restart it",
      { containers: unknown },
    );
  }
  await writeTable(state);
}

/** Plug-ins' endpoints of a running container that a crash left on the way. */
async function mendRemotes(
  state: NetworkState,
  sandbox: NetworkSandbox,
  hostLinks: readonly string[],
): Promise<void> {
  const attachment = state.attachments.get(sandbox.containerId);
  for (const endpoint of attachment?.endpoints ?? []) {
    const { remote } = endpoint;
    if (attachment === undefined || remote === undefined) continue;
    if (remote.stage !== "joined") {
      await takeBack(state, sandbox, endpoint);
      const now = state.attachments.get(sandbox.containerId) ?? attachment;
      const rest = now.endpoints.filter(({ endpointId }) => endpointId !== endpoint.endpointId);
      await saveAttachment(state, sandbox, rest, now.ports);
    } else if (remote.source !== undefined && hostLinks.includes(remote.source)) {
      // The plug-in has made it, and the container has not got it yet.
      await wire(state, sandbox, [endpoint]).catch((error: unknown) =>
        state.log.error("it could not be made", { container: sandbox.containerId, error }),
      );
    }
  }
}

async function rewire(
  state: NetworkState,
  sandbox: NetworkSandbox,
  attachment: AttachmentRecord,
  hostInterface: string,
): Promise<void> {
  const endpoint = attachment.endpoints.find((one) => one.hostInterface === hostInterface);
  if (endpoint === undefined) return;
  state.log.warn("an interface of a running container was gone, it is made anew", {
    container: sandbox.containerId,
    interface: hostInterface,
  });
  await wire(state, sandbox, [endpoint]).catch((error: unknown) =>
    state.log.error("it could not be made", { container: sandbox.containerId, error }),
  );
}

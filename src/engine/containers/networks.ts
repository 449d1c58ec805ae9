/**
 * A container's networks as its record and state have them. One that does not run is connected by
 * its record alone, and wired at its next start; one that runs is wired at once, and its files follow.
 */

import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import { must } from "#base/invariant.ts";
import type { ContainerConfig, HostConfig } from "#wire/docker/containers.ts";
import type { EndpointSettings, NetworkInspect } from "#wire/docker/networks.ts";
import type { AttachResult, NetworkSandbox } from "../ports.ts";
import type { Container } from "./container.ts";
import type { ContainerContext } from "./context.ts";
import { planPorts } from "./port-bindings.ts";
import { writeNetworkFiles } from "./prepare-spec.ts";
import { type ContainerRecord, type NetworkState, NO_NETWORK } from "./record.ts";
import { isAlive } from "./state.ts";

type Endpoints = Readonly<Record<string, EndpointSettings>>;

/** Settings per network as called by the request: the one of the mode first, then the others. */
export function planEndpoints(
  hostConfig: HostConfig,
  config: ContainerConfig,
  requested: Readonly<Record<string, EndpointSettings | null>>,
): Endpoints {
  const mode = hostConfig.NetworkMode ?? "bridge";
  if (mode.startsWith("container:") || config.NetworkDisabled) return {};
  // An old client's settings for a mode that has none are passed over, as docker does.
  if (mode === "host" || mode === "none") return { [mode]: {} };
  const given = Object.entries(requested).map(
    ([name, settings]) => [name === "default" ? "bridge" : name, settings ?? {}] as const,
  );
  const endpoints: Record<string, EndpointSettings> = { [mode]: {}, ...Object.fromEntries(given) };
  const main = endpoints[mode] ?? {};
  const links = hostConfig.Links ?? [];
  endpoints[mode] = {
    ...main,
    ...(config.MacAddress && !main.MacAddress ? { MacAddress: config.MacAddress } : {}),
    ...(links.length > 0 && !main.Links ? { Links: links } : {}),
  };
  return endpoints;
}

/** Where the process `pid` of a container is, for the networks. */
export function sandboxOf(record: ContainerRecord, pid: number): NetworkSandbox {
  return {
    containerId: record.id,
    containerName: record.name,
    netnsPath: `/proc/${pid}/ns/net`,
    pid,
    hostname: record.config.Hostname ?? "",
    dns: record.hostConfig.Dns ?? [],
  };
}

/** Wires a process that was just made. A container that was taken off all its networks stays so. */
export async function attachNetworks(
  context: ContainerContext,
  container: Container,
  pid: number,
): Promise<NetworkState> {
  const { record } = container;
  const { endpoints } = record;
  if (Object.keys(endpoints).length === 0) return NO_NETWORK;
  const ports = planPorts(record.config, record.hostConfig);
  requireLinked(context, endpoints);
  const result = await context.networks.attach(sandboxOf(record, pid), endpoints, ports);
  await writeNetworkFiles(context, container, { ...result, gateway: gatewayOf(result) });
  return { networks: result.networks, ports: result.ports };
}

export function gatewayOf(result: Pick<AttachResult, "networks">): string | undefined {
  return result.networks.map(({ endpoint }) => endpoint.Gateway).find((gateway) => gateway);
}

/** Links of the default bridge are lines of /etc/hosts: who is linked to must have an address. */
function requireLinked(context: ContainerContext, endpoints: Endpoints): void {
  for (const link of endpoints["bridge"]?.Links ?? []) {
    const [target = "", alias = target] = link.split(":");
    const other = context.registry.find(target);
    if (isAlive(other.state.phase)) continue;
    throw new EngineError(
      "internal",
      `Cannot link to a non running container: /${other.name} AS ${alias}`,
    );
  }
}

export async function connectNetwork(
  context: ContainerContext,
  container: Container,
  network: string,
  settings: EndpointSettings,
): Promise<void> {
  await context.locks.run(container.id, async () => {
    const { record, state } = container;
    requirePresent(container);
    const [entry] = Object.entries(await context.networks.resolve({ [network]: settings }));
    const [name, resolved] = must(entry, "the network that was resolved");
    requireCompatible(record, name);
    const endpoints = { ...record.endpoints, [name]: resolved };
    if (!isAlive(state.phase)) {
      await saveEndpoints(context, container, endpoints);
      return;
    }
    const result = await context.networks.connect(
      sandboxOf(record, state.pid),
      { reference: name, settings: resolved },
      planPorts(record.config, record.hostConfig),
    );
    await saveEndpoints(context, container, endpoints);
    await applyResult(context, container, result);
  });
}

/** Also from a network that is no more, by the name that the record has. */
export async function disconnectNetwork(
  context: ContainerContext,
  container: Container,
  reference: string,
): Promise<void> {
  await context.locks.run(container.id, async () => {
    const { record, state } = container;
    requirePresent(container);
    const network = await findOrGone(context, reference);
    const name = network?.Name ?? reference;
    if (network === undefined && !(name in record.endpoints)) {
      throw new EngineError("not-found", `network ${reference} not found`);
    }
    if (network?.Driver === "host" && name in record.endpoints) throw conflictHost();
    const { [name]: gone, ...rest } = record.endpoints;
    const alive = isAlive(state.phase);
    if (!alive && gone === undefined) {
      throw new EngineError(
        "forbidden",
        `container ${container.id} is not connected to the network ${name}`,
      );
    }
    const result = alive
      ? await context.networks.disconnect(
          sandboxOf(record, state.pid),
          name,
          planPorts(record.config, record.hostConfig),
        )
      : undefined;
    await saveEndpoints(context, container, rest);
    if (result !== undefined) await applyResult(context, container, result);
    else if (network !== undefined) context.networks.announceDisconnect(name, container.id);
  });
}

function requirePresent(container: Container): void {
  const { phase } = container.state;
  if (phase !== "removing" && phase !== "dead") return;
  throw new EngineError(
    "conflict",
    `Container ${container.id} is marked for removal and cannot be connected or disconnected to the network`,
  );
}

/** Docker's rules of what goes together in one container. */
function requireCompatible(record: ContainerRecord, network: string): void {
  const mode = record.hostConfig.NetworkMode ?? "";
  if (mode.startsWith("container:")) {
    throw new EngineError(
      "invalid-argument",
      "container sharing network namespace with another container or host cannot be connected to any other network",
    );
  }
  const names = Object.keys(record.endpoints);
  if (network === "host" || names.includes("host")) throw conflictHost();
  const others = names.filter((name) => name !== network);
  if (others.length > 0 && (network === "none" || others.includes("none"))) {
    throw new EngineError(
      "invalid-argument",
      "container cannot be connected to multiple networks with one of the networks in private (none) mode",
    );
  }
}

function conflictHost(): EngineError {
  return new EngineError(
    "invalid-argument",
    "container cannot be disconnected from host network or connected to host network",
  );
}

async function saveEndpoints(
  context: ContainerContext,
  container: Container,
  endpoints: Endpoints,
): Promise<void> {
  const record = { ...container.record, endpoints };
  await context.store.saveRecord(record);
  container.record = record;
}

async function applyResult(
  context: ContainerContext,
  container: Container,
  result: AttachResult,
): Promise<void> {
  await writeNetworkFiles(context, container, { ...result, gateway: gatewayOf(result) });
  const network = { networks: result.networks, ports: result.ports };
  container.state = { ...container.state, network };
  await context.store.keepState(container.id, container.state, context.log);
}

/**
 * After a restart of the engine: what running containers show of their networks is made what the
 * networks say, also after a connect that a crash cut off.
 */
export async function refreshNetworks(context: ContainerContext): Promise<void> {
  const running = context.registry.all().filter(({ state }) => isAlive(state.phase));
  await Promise.all(
    running.map((container) =>
      context.locks
        .run(container.id, () => refresh(context, container))
        .catch((error: unknown) =>
          context.log.error("a container's networks cannot be taken up", {
            container: container.id,
            reason: messageOf(error),
          }),
        ),
    ),
  );
}

async function refresh(context: ContainerContext, container: Container): Promise<void> {
  const { record, state } = container;
  if (!isAlive(state.phase)) return;
  const result = await context.networks.attached(sandboxOf(record, state.pid));
  if (result === undefined) return;
  const known = new Map(
    state.network.networks.map(({ networkName, endpoint }) => [networkName, endpoint]),
  );
  const same =
    known.size === result.networks.length &&
    result.networks.every(
      ({ networkName, endpoint }) => known.get(networkName)?.EndpointID === endpoint.EndpointID,
    );
  if (same) return;
  const endpoints = Object.fromEntries(
    result.networks.map(({ networkName, endpoint }) => [
      networkName,
      record.endpoints[networkName] ?? askedFor(endpoint),
    ]),
  );
  await saveEndpoints(context, container, endpoints);
  await applyResult(context, container, result);
}

/** Of an endpoint as inspect shows it, what its user has chosen. */
function askedFor(endpoint: EndpointSettings): EndpointSettings {
  const { IPAMConfig = null, Links = null, Aliases = null, DriverOpts = null } = endpoint;
  const { GwPriority = 0 } = endpoint;
  return { IPAMConfig, Links, Aliases, DriverOpts, GwPriority };
}

/** Undefined when the network is no more, and only records speak of it. */
async function findOrGone(
  context: ContainerContext,
  reference: string,
): Promise<NetworkInspect | undefined> {
  try {
    return await context.networks.inspect(reference);
  } catch (error) {
    if (isErrorCode(error, "not-found")) return undefined;
    throw error;
  }
}

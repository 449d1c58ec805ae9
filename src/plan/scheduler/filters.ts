/**
 * The filters that a node must pass to be given a task, in order; the first that refuses is the
 * reason. Their sentences are SwarmKit's, which users know from `docker service ps`.
 */

import { nodeMatches, unmetBy } from "#model/constraint.ts";
import { ALLOW_LABEL, notAllowed } from "#model/host-access.ts";
import { isDown, takesTasks } from "#model/node.ts";
import type { Node, Task } from "#wire/gen/swarmkit/objects_pb.js";
import type { Platform } from "#wire/gen/swarmkit/types_pb.js";
import { hostPortsOf, type Needs, needsOf, networkDriversOf } from "./needs.ts";
import type { NodeInfo } from "./node-info.ts";

/** Driver of the swarm's own networks. */
const OVERLAY_DRIVER = "overlay";

/** What tasks of one service and spec have in common. */
export interface Demand {
  readonly serviceId: string;
  readonly needs: Needs;
  readonly hostPorts: readonly string[];
  readonly networkDrivers: readonly string[];
}

export function demandOf(task: Task): Demand {
  return {
    serviceId: task.serviceId,
    needs: needsOf(task.spec),
    hostPorts: hostPortsOf(task),
    networkDrivers: networkDriversOf(task),
  };
}

interface Filter {
  readonly name: string;
  readonly passes: (info: NodeInfo, demand: Demand) => boolean;
  readonly explain: (nodes: number) => string;
  /** What a node that it refuses would have to have, for people. */
  readonly lacks: (info: NodeInfo, demand: Demand) => string;
}

const on = (nodes: number) => (nodes === 1 ? "1 node" : `${nodes} nodes`);

export const FILTERS: readonly Filter[] = [
  {
    name: "ready",
    passes: ({ node }) => takesTasks(node),
    explain: (nodes) => `${on(nodes)} not available for new tasks`,
    lacks: ({ node }) =>
      isDown(node) ? "it is down" : "it is drained, paused or not ready: skep node inspect",
  },
  {
    name: "resources",
    passes: (info, { needs }) => info.fits(needs),
    explain: (nodes) => `insufficient resources on ${on(nodes)}`,
    lacks: (info, { needs }) => `it lacks ${info.shortage(needs).join(" and ")}`,
  },
  {
    name: "plugins",
    passes: hasPlugins,
    explain: (nodes) => `missing plugin on ${on(nodes)}`,
    lacks: (_info, { needs, networkDrivers }) =>
      `it lacks one of the plugins ${[...needs.volumeDrivers, ...networkDrivers, needs.logDriver]
        .filter((name) => name !== "")
        .join(", ")}`,
  },
  {
    name: "swarm networks",
    passes: ({ node }, { networkDrivers }) =>
      !networkDrivers.includes(OVERLAY_DRIVER) || carriesOverlays(node),
    explain: (nodes) => `networks of the swarm do not reach ${on(nodes)}`,
    lacks: () => "it is a Docker Engine, which the networks of this swarm do not reach",
  },
  {
    name: "constraints",
    passes: ({ node }, { needs }) => nodeMatches(needs.constraints, node),
    explain: (nodes) => `scheduling constraints not satisfied on ${on(nodes)}`,
    lacks: ({ node }, { needs }) =>
      `not true of it: ${unmetBy(needs.constraints, node).join(", ")}`,
  },
  {
    name: "platform",
    passes: runsPlatform,
    explain: (nodes) => `unsupported platform on ${on(nodes)}`,
    lacks: ({ node }, { needs }) => {
      const { os = "?", architecture: arch = "?" } = node.description?.platform ?? {};
      const images = needs.platforms.map((one) => `${one.os}/${one.architecture}`).join(", ");
      return `it is ${os}/${arch}, the image is for ${images}`;
    },
  },
  {
    name: "host access",
    passes: ({ node }, { needs }) => refusedAccess(node, needs).length === 0,
    explain: (nodes) => `access to the host not allowed to services on ${on(nodes)}`,
    lacks: ({ node }, { needs }) =>
      `services may not have there: ${refusedAccess(node, needs).join(", ")} (label ${ALLOW_LABEL} of its engine)`,
  },
  {
    name: "host ports",
    passes: (info, { hostPorts }) => !hostPorts.some((port) => info.usesPort(port)),
    explain: (nodes) => `host-mode port already in use on ${on(nodes)}`,
    lacks: (info, { hostPorts }) => {
      const taken = hostPorts.filter((port) => info.usesPort(port));
      return `taken: port ${taken.map((port) => port.split("/")[1] ?? port).join(", ")}`;
    },
  },
  {
    name: "max replicas",
    passes: (info, { needs, serviceId }) =>
      needs.maxReplicas === 0 || info.countOf(serviceId) < needs.maxReplicas,
    explain: () => "max replicas per node limit exceed",
    lacks: (_info, { needs }) => `it has ${needs.maxReplicas} of the service, as many as it may`,
  },
];

/** The index of the first filter that refuses the node; -1 when all let it pass. */
export function refusalOf(info: NodeInfo, demand: Demand): number {
  return FILTERS.findIndex((filter) => !filter.passes(info, demand));
}

/** All filters that refuse the node, in their order. */
export function refusalsOf(info: NodeInfo, demand: Demand): readonly Filter[] {
  return FILTERS.filter((filter) => !filter.passes(info, demand));
}

/** Which filter refused each node. */
export class Refusals {
  readonly #filters = new Map<NodeInfo, number>();

  add(info: NodeInfo, filter: number): void {
    this.#filters.set(info, filter);
  }

  /** Per filter that refused any, the one that refused most first. */
  reasons(): readonly { readonly filter: string; readonly nodes: number; readonly text: string }[] {
    const counts = FILTERS.map(() => 0);
    for (const filter of this.#filters.values()) counts[filter] = (counts[filter] ?? 0) + 1;
    return FILTERS.map((filter, at) => ({ filter, nodes: counts[at] ?? 0 }))
      .filter(({ nodes }) => nodes > 0)
      .sort((a, b) => b.nodes - a.nodes)
      .map(({ filter, nodes }) => ({ filter: filter.name, nodes, text: filter.explain(nodes) }));
  }

  /** The error of a task that found no node. */
  text(): string {
    const reasons = this.reasons().map(({ text }) => text);
    return reasons.length === 0 ? "no suitable node" : `no suitable node (${reasons.join("; ")})`;
  }
}

function hasPlugins({ node }: NodeInfo, { needs, networkDrivers }: Demand): boolean {
  const plugins = node.description?.engine?.plugins;
  if (plugins === undefined || plugins.length === 0) return true;
  // A node that reports no plugin of a type does not report that type.
  const has = (type: string, name: string) =>
    !plugins.some((plugin) => plugin.type === type) ||
    plugins.some((plugin) => plugin.type === type && isNamed(plugin.name, name));
  const log = needs.logDriver;
  return (
    needs.volumeDrivers.every((name) => has("Volume", name)) &&
    networkDrivers.every((name) => has("Network", name)) &&
    (log === "" || log === "none" || has("Log", log))
  );
}

/**
 * A Docker Engine hears of its neighbours' containers by gossip, which nobody here speaks: a task there
 * would run, and reach nobody. It is known by a network driver without an address for the tables' sake;
 * a node that reports no drivers does not report the address either.
 */
function carriesOverlays({ description }: Node): boolean {
  if ((description?.dataPathAddr ?? "") !== "") return true;
  return description?.engine?.plugins.some(({ type }) => type === "Network") !== true;
}

function refusedAccess({ description }: Node, { hostAccess }: Needs): readonly string[] {
  if (hostAccess.length === 0) return hostAccess;
  return notAllowed(hostAccess, description?.engine?.labels);
}

function isNamed(plugin: string, name: string): boolean {
  return plugin === name || plugin === `${name}:latest` || `${plugin}:latest` === name;
}

function runsPlatform({ node }: NodeInfo, { needs }: Demand): boolean {
  if (needs.platforms.length === 0) return true;
  const actual = node.description?.platform;
  return actual !== undefined && needs.platforms.some((wanted) => platformsAgree(wanted, actual));
}

function platformsAgree(wanted: Platform, actual: Platform): boolean {
  const arch = architecture(wanted.architecture);
  if (arch !== "" && arch !== architecture(actual.architecture)) return false;
  return wanted.os === "" || wanted.os === actual.os;
}

function architecture(name: string): string {
  if (name === "x86_64") return "amd64";
  return name === "aarch64" ? "arm64" : name;
}

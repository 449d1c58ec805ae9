/**
 * Clients of the services: programs on the swarm's networks, and strangers who come by the mesh of any
 * machine. Each request goes where the kernel of its machine leads it at that moment, and arrives a
 * little later, if the machines can reach each other at all.
 */

import type { SeededRandom } from "../random.ts";
import type { Timeline } from "../timeline.ts";
import type { Host } from "./host.ts";
import type { NoTrafficToWhatStops } from "./laws/traffic.ts";
import type { RpcNetwork } from "./rpc.ts";

export interface TrafficWorld {
  readonly timeline: Timeline;
  readonly random: SeededRandom;
  readonly network: RpcNetwork;
  readonly hosts: readonly Host[];
  readonly law: NoTrafficToWhatStops;
  /** Whether requests are judged now. */
  isJudged(): boolean;
  /** Runs what may throw a `Violation`. */
  judged(check: () => void): void;
}

/** Between two bursts, milliseconds, and requests in one: some tables are rarely right for long. */
const PAUSE_MS = [20, 300] as const;
const BURST = 4;
const LATENCY_MS = [0, 40] as const;
/** How long a request takes; some outlast the grace of a task. */
const QUICK_MS: readonly [number, number] = [1, 200];
const SLOW_MS: readonly [number, number] = [1_000, 15_000];
const SLOW_CHANCE = 0.05;

/** Sends requests for as long as the world lasts. */
export function sendRequests(world: TrafficWorld): void {
  world.timeline.after(world.random.between(...PAUSE_MS), () => {
    for (let count = 0; count < BURST; count++) sendOne(world);
    sendRequests(world);
  });
}

function sendOne({ random, timeline, network, hosts, law, ...world }: TrafficWorld): void {
  const host = random.pick(hosts);
  const route = random.pick(host?.dataPath.routes() ?? []);
  const to = random.pick(route?.backends ?? []);
  const durationMs = random.between(...(random.chance(SLOW_CHANCE) ? SLOW_MS : QUICK_MS));
  const latencyMs = random.between(...LATENCY_MS);
  if (host === undefined || route === undefined || to === undefined) return;
  // Who is on no network has only the mesh.
  if (!route.isMesh && !host.machine.isOn(route.networkId)) return;
  const { networkId } = route;
  const led = { from: host.nodeId, networkId, revision: host.dataPath.revision, to };
  timeline.after(latencyMs, () => {
    const target = hosts.find(({ nodeId }) => nodeId === to.nodeId);
    if (target === undefined || network.isCut(host.nodeId, to.nodeId)) return;
    const end = target.machine.receives(to.taskId, durationMs, timeline);
    if (world.isJudged()) world.judged(() => law.arrives(led, end));
  });
}

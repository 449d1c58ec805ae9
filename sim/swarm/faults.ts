/** What goes wrong with the machines of a swarm, their processes, disks and links. */

import type { RaftNode } from "#manager/raft/node.ts";
import { NodeRole } from "#wire/gen/swarmkit/types_pb.js";
import type { SeededRandom } from "../random.ts";
import type { Timeline } from "../timeline.ts";
import type { Host } from "./host.ts";
import type { Removal, SwarmProfile } from "./profile.ts";
import type { RpcNetwork } from "./rpc.ts";

export interface SwarmVictims {
  readonly timeline: Timeline;
  readonly random: SeededRandom;
  readonly profile: SwarmProfile;
  readonly network: RpcNetwork;
  readonly hosts: readonly Host[];
  isChaos(): boolean;
  leader(): RaftNode | undefined;
  say(who: string, line: () => string): void;
  /** Most managers are lost; `survivor` is to go on alone. */
  majorityLost(survivor: Host): void;
  /** An operator sets a node to DRAIN. */
  drain(host: Host): void;
}

const VOTERS_TO_LOSE_MIN = 3;

export function unleash(world: SwarmVictims): void {
  const { profile, random, timeline, hosts } = world;
  const repeatedly = (meanMs: number, body: () => void) => repeat(world, meanMs, body);
  repeatedly(profile.killEveryMs, () => takeDown(world, (host) => host.kill()));
  repeatedly(profile.powerCutEveryMs, () => takeDown(world, (host) => host.powerCut()));
  repeatedly(profile.partitionEveryMs, () => partition(world));
  repeatedly(profile.holdEveryMs, () => victim(world)?.hold(random.between(50, 8_000)));
  repeatedly(profile.stallEveryMs, () => victim(world)?.disk.stall(random.between(100, 5_000)));
  repeatedly(profile.exitEveryMs, () => {
    const host = random.pick(hosts);
    const taskId = host?.machine.exitSome();
    if (taskId !== undefined) {
      world.say(host?.nodeId ?? "", () => `the program of ${taskId} ends`);
    }
  });
  const { removal } = profile;
  if (removal !== undefined) timeline.after(removal.atMs, () => removeOne(world, removal));
  // One of the two: what both leave over may be nothing.
  const disaster = profile.losesMajority ? loseMajority : profile.rots ? rotOne : undefined;
  if (disaster === undefined) return;
  timeline.after(random.between(10_000, profile.chaosMs - 10_000), () => disaster(world));
}

/** Calls `body` again and again while chaos lasts, `meanMs` apart on average. */
export function repeat(
  world: Pick<SwarmVictims, "timeline" | "random" | "isChaos">,
  meanMs: number,
  body: () => void,
): void {
  if (meanMs === 0) return;
  world.timeline.after(world.random.between(1, 2 * meanMs), () => {
    if (!world.isChaos()) return;
    body();
    repeat(world, meanMs, body);
  });
}

function takeDown(world: SwarmVictims, how: (host: Host) => void): void {
  const { random, timeline, profile, hosts } = world;
  const many = random.chance(0.1);
  const doomed = many ? hosts.filter(() => random.chance(0.6)) : [victim(world)];
  for (const host of doomed) {
    if (host === undefined || !host.isUp) continue;
    how(host);
    timeline.after(random.between(...profile.downMs), () => host.start());
  }
}

function partition(world: SwarmVictims): void {
  const { random, network, timeline, hosts } = world;
  const ids = random.shuffle(hosts.map(({ nodeId }) => nodeId));
  const inside = ids.slice(0, random.between(1, Math.max(1, ids.length - 1)));
  const outside = ids.filter((id) => !inside.includes(id));
  const direction = random.pick(["both", "in", "out"] as const) ?? "both";
  world.say("net", () => `cuts ${inside.join()} from ${outside.join()} (${direction})`);
  for (const a of inside) {
    for (const b of outside) {
      if (direction !== "in") network.cut(a, b);
      if (direction !== "out") network.cut(b, a);
    }
  }
  timeline.after(random.between(500, 20_000), () => {
    world.say("net", () => "mends");
    network.mend();
  });
}

/** Of three voters and more: what the others hold must be enough. */
function rotOne(world: SwarmVictims): void {
  const { random, timeline, profile, hosts } = world;
  const voters = world.leader()?.status().voters ?? [];
  const host = random.pick(hosts.filter(({ nodeId }) => voters.includes(nodeId)));
  if (host === undefined || voters.length < VOTERS_TO_LOSE_MIN) return;
  host.rot();
  timeline.after(random.between(...profile.downMs), () => host.start());
}

/** A worker that nobody has plans with; its node is removed once it is down. */
function removeOne(world: SwarmVictims, { drainMs, pick }: Removal): void {
  const view = world.leader()?.state.view();
  const mayGo = world.hosts.filter((host) => {
    const node = view?.get("node", host.nodeId);
    const isWorker = node?.role === NodeRole.WORKER && node.spec?.desiredRole === NodeRole.WORKER;
    return isWorker && host.manager === undefined;
  });
  const host = mayGo[pick % Math.max(mayGo.length, 1)];
  if (host === undefined) return;
  if (drainMs > 0) world.drain(host);
  world.timeline.after(drainMs, () => {
    // Somebody may have promoted it meanwhile.
    if (world.isChaos() && host.manager === undefined && !isVoter(world, host)) host.retire();
  });
}

function isVoter(world: SwarmVictims, { nodeId }: Host): boolean {
  return world.hosts.some(({ manager }) => manager?.status().voters.includes(nodeId) === true);
}

/** The operator takes the one that knows most of those that are left, and sets the others up anew. */
function loseMajority(world: SwarmVictims): void {
  const { random, timeline, hosts } = world;
  const voters = world.leader()?.status().voters ?? [];
  const managers = random.shuffle(hosts.filter(({ nodeId }) => voters.includes(nodeId)));
  const left = managers.slice(0, Math.floor((managers.length - 1) / 2));
  const alive = left.filter(({ manager }) => manager?.status().raftId !== undefined);
  const survivor = alive.toSorted((a, b) => appliedOf(b) - appliedOf(a))[0];
  if (survivor === undefined || voters.length < VOTERS_TO_LOSE_MIN) return;
  // Machines that are managers without a vote belong to the old group, too.
  const others = hosts.filter(
    (host) => host !== survivor && (host.manager !== undefined || managers.includes(host)),
  );
  for (const host of others) if (!left.includes(host)) host.lose();
  timeline.after(random.between(1_000, 5_000), () => {
    for (const host of others) host.lose();
    world.majorityLost(survivor);
    for (const host of others) {
      host.tellOf(survivor);
      timeline.after(random.between(1_000, 8_000), () => host.start());
    }
  });
}

function appliedOf({ manager }: Host): number {
  return manager?.status().applied ?? 0;
}

/** Leaders are hit more often than their number says: their faults teach the most. */
function victim({ random, hosts }: SwarmVictims): Host | undefined {
  const leaders = hosts.filter(({ manager }) => manager?.state.isLeader() === true);
  const leader = random.chance(0.4) ? random.pick(leaders) : undefined;
  return leader ?? random.pick(hosts);
}

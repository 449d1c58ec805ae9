/**
 * What goes wrong, when: each kind of fault comes back at random intervals around its mean, until the
 * world is healed.
 */

import type { NodeId } from "#raft/index.ts";
import type { Network } from "./network.ts";
import type { SimNode } from "./node.ts";
import type { Profile } from "./profile.ts";
import type { SeededRandom } from "./random.ts";
import type { Timeline } from "./timeline.ts";
import type { Trace } from "./trace.ts";

export interface Victims {
  readonly timeline: Timeline;
  readonly random: SeededRandom;
  readonly profile: Profile;
  readonly network: Network;
  readonly trace: Trace;
  nodes(): readonly SimNode[];
  leaders(): readonly SimNode[];
  /** Whether faults may still happen. */
  isChaos(): boolean;
}

export function unleashFaults(victims: Victims): void {
  const { profile } = victims;
  repeat(victims, profile.crashEveryMs, () => crashSome(victims));
  repeat(victims, profile.partitionEveryMs, () => partition(victims));
  repeat(victims, profile.pauseEveryMs, () => {
    target(victims)?.pause(victims.random.between(50, 3_000));
  });
  repeat(victims, profile.stallEveryMs, () => {
    target(victims)?.stallDisk(victims.random.between(100, 3_000));
  });
  repeat(victims, profile.rotEveryMs, () => rotSome(victims));
  repeat(victims, profile.transferEveryMs, () => {
    const to = victims.random.pick(victims.nodes());
    if (to !== undefined) victims.random.pick(victims.leaders())?.transferTo(to.id);
  });
  repeat(victims, profile.campaignEveryMs, () => victims.random.pick(victims.nodes())?.campaign());
}

/** Calls `body` again and again while chaos lasts, `meanMs` apart on average. */
export function repeat(victims: Victims, meanMs: number, body: () => void): void {
  if (meanMs === 0) return;
  victims.timeline.after(victims.random.between(1, 2 * meanMs), () => {
    if (!victims.isChaos()) return;
    body();
    repeat(victims, meanMs, body);
  });
}

/** Leaders are hit more often than their number says: their faults teach the most. */
function target(victims: Victims): SimNode | undefined {
  const { random } = victims;
  const leader = random.chance(0.4) ? random.pick(victims.leaders()) : undefined;
  return leader ?? random.pick(victims.nodes());
}

function crashSome(victims: Victims): void {
  const { random } = victims;
  const many = random.chance(0.15);
  const doomed = many ? victims.nodes().filter(() => random.chance(0.7)) : [target(victims)];
  for (const node of doomed) {
    if (node === undefined || !node.isUp) continue;
    node.crash();
    victims.timeline.after(random.between(...victims.profile.restartMs), () => node.start());
  }
}

/** No more disks than the group can do without. */
function rotSome(victims: Victims): void {
  const nodes = victims.nodes();
  const lost = nodes.filter(({ isLost }) => isLost).length;
  const spare = Math.floor((nodes.length - 1) / 2) - lost;
  const node = target(victims);
  if (spare <= 0 || node === undefined || !node.isUp) return;
  node.rotDisk();
  victims.timeline.after(victims.random.between(...victims.profile.restartMs), () => node.start());
}

function partition(victims: Victims): void {
  const { random, network, trace, timeline } = victims;
  const ids = random.shuffle(victims.nodes().map((node) => node.id));
  const isolated = random.chance(0.3) ? random.pick(victims.leaders())?.id : undefined;
  const some = ids.slice(0, random.between(1, Math.max(1, ids.length - 1)));
  const inside = isolated === undefined ? new Set(some) : new Set([isolated]);
  const outside = ids.filter((id) => !inside.has(id));
  const direction = random.pick(["both", "in", "out"] as const) ?? "both";
  trace.add(
    timeline.now,
    "net",
    () => `cuts ${names(inside)} from ${names(outside)} (${direction})`,
  );
  for (const a of inside) {
    for (const b of outside) {
      if (direction !== "in") network.cut(a, b);
      if (direction !== "out") network.cut(b, a);
    }
  }
  timeline.after(random.between(200, 6_000), () => {
    if (!victims.isChaos()) return;
    trace.add(timeline.now, "net", () => "mends");
    network.mend();
  });
}

function names(ids: Iterable<NodeId>): string {
  return [...ids].map((id) => `n${id}`).join(",");
}

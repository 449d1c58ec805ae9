/**
 * Negative controls of the swarm: methods of the real code replaced by wrong ones while a run lasts,
 * each with the laws that it may break. If no law speaks up, the laws are blind.
 */

import { create } from "@bufbuild/protobuf";
import { AssignmentSet } from "#manager/dispatcher/assignment-set.ts";
import { Driver } from "#manager/raft/driver.ts";
import { isHeldBack } from "#model/start-order.ts";
import { Allocator } from "#plan/allocator/allocator.ts";
import { NetworkTable } from "#plan/allocator/network-table.ts";
import { PortSpace } from "#plan/allocator/port-space.ts";
import { DrainBarrier } from "#plan/dataplane/barrier.ts";
import { TablesFeed } from "#plan/dataplane/feed.ts";
import { Desk } from "#plan/orchestrator/desk.ts";
import { ServiceEntry } from "#plan/orchestrator/service-entry.ts";
import type { PlanContext } from "#plan/planner.ts";
import { StartOrder } from "#plan/start-order/start-order.ts";
import type { ReadView } from "#store/types.ts";
import { AssignmentChangeSchema } from "#wire/gen/swarmkit/dispatcher_pb.js";
import { TaskState } from "#wire/gen/swarmkit/types_pb.js";
import type { Law } from "../checker.ts";
import { DataPath } from "./data-path.ts";

export const SWARM_BUGS = [
  /** Reads are answered by whatever a manager has. */
  "staleRead",
  /** A change is acknowledged before it is committed. */
  "ackBeforeCommit",
  /** A new leader does not count the addresses that are in use. */
  "addressesForgotten",
  /** Addresses never come free. */
  "addressesKept",
  /** A new leader does not count the ports that are in use. */
  "portsForgotten",
  /** An update forgets which slots are at work. */
  "workForgotten",
  /** A job has two tasks for each that it needs. */
  "jobsDoubled",
  /** Every node is sent every secret. */
  "secretsToAll",
  /** The allocator is not told that a node was removed. */
  "removalsUnseen",
  /** Services do not wait for others. */
  "orderForgotten",
  /** A task may stop before any node has heard that it shall. */
  "barrierOpen",
  /** Nodes are not told of every task that comes or goes. */
  "rowsUnsent",
  /** Nodes acknowledge tables that are not on their disks yet. */
  "diskNotAwaited",
] as const;
export type SwarmBug = (typeof SWARM_BUGS)[number];

export const SWARM_LAWS: Readonly<Record<SwarmBug, readonly Law[]>> = {
  staleRead: ["linearizability"],
  ackBeforeCommit: ["durability", "linearizability"],
  addressesForgotten: ["allocation"],
  addressesKept: ["liveness"],
  portsForgotten: ["allocation", "liveness"],
  workForgotten: ["availability", "surge"],
  jobsDoubled: ["jobs"],
  secretsToAll: ["secrecy"],
  removalsUnseen: ["liveness"],
  orderForgotten: ["order"],
  barrierOpen: ["traffic"],
  rowsUnsent: ["traffic", "availability", "liveness"],
  diskNotAwaited: ["traffic"],
};

/** Those that do harm where processes are killed often and come back soon. */
export const RESTLESS_BUGS: ReadonlySet<SwarmBug> = new Set(["diskNotAwaited"]);

export function isSwarmBug(name: string | undefined): name is SwarmBug {
  return (SWARM_BUGS as readonly (string | undefined)[]).includes(name);
}

/** Runs `body` with the code broken as asked, and mends it afterwards. */
export async function withBrokenSwarm<T>(
  bug: SwarmBug | undefined,
  body: () => Promise<T>,
): Promise<T> {
  const mend = bug === undefined ? undefined : BREAK[bug]?.();
  try {
    return await body();
  } finally {
    mend?.();
  }
}

const DISK_BEHIND_MS = 2_000;

const BREAK: Partial<Record<SwarmBug, () => () => void>> = {
  ackBeforeCommit: () =>
    replace(Driver.prototype, "propose", (original) => {
      return async function (this: Driver, data: Uint8Array): Promise<void> {
        original.call(this, data).catch(() => undefined);
      };
    }),
  addressesForgotten: () => replace(NetworkTable.prototype, "occupy", () => () => undefined),
  addressesKept: () => replace(NetworkTable.prototype, "release", () => () => true),
  portsForgotten: () => replace(PortSpace.prototype, "take", () => () => true),
  workForgotten: () =>
    replace(ServiceEntry.prototype, "put", (original) => {
      return function (this: ServiceEntry, task) {
        original.call(this, task);
        this.progress.busy.clear();
      };
    }),
  jobsDoubled: () =>
    replace(Desk.prototype, "spawn", (original) => {
      return function (this: Desk, actor, service, place, desiredState) {
        original.call(this, actor, service, place, desiredState);
        if (desiredState !== TaskState.COMPLETE) return;
        original.call(this, actor, service, place, desiredState);
      };
    }),
  secretsToAll: sendAllSecrets,
  removalsUnseen: () =>
    replace(Allocator.prototype, "step", (original) => {
      return function (this: Allocator, context, changes) {
        const told = changes.filter(({ kind, action }) => kind !== "node" || action !== "delete");
        original.call(this, context, told);
      };
    }),
  orderForgotten: () => replace(StartOrder.prototype, "step", () => startAll),
  barrierOpen: () =>
    replace(DrainBarrier.prototype, "task", (original) => {
      return function (this: DrainBarrier, task, gone) {
        original.call(this, task, gone);
        const { MAX_SAFE_INTEGER } = Number;
        for (const nodeId of this.lateSince(MAX_SAFE_INTEGER).keys()) {
          this.acknowledge(nodeId, MAX_SAFE_INTEGER);
        }
      };
    }),
  diskNotAwaited: () =>
    replace(DataPath.prototype, "store", (original) => {
      return async function (this: DataPath, process, message): Promise<void> {
        void process.sleep(DISK_BEHIND_MS).then(() => original.call(this, process, message));
      };
    }),
  rowsUnsent: () =>
    replace(TablesFeed.prototype, "row", (original) => {
      return function (this: TablesFeed, networkId, kind, id) {
        if (kind !== "endpoints" || !/[a-h]$/.test(id)) original.call(this, networkId, kind, id);
      };
    }),
};

function startAll(context: PlanContext): void {
  for (const service of context.tx.all("service")) {
    if (isHeldBack(service)) context.tx.update("service", { ...service, startAfter: [] });
  }
}

function sendAllSecrets(): () => void {
  const views = new WeakMap<AssignmentSet, ReadView>();
  const mendLoad = replace(AssignmentSet.prototype, "load", (original) => {
    return function (this: AssignmentSet, view) {
      views.set(this, view);
      original.call(this, view);
    };
  });
  const mendTake = replace(AssignmentSet.prototype, "take", (original) => {
    return function (this: AssignmentSet, maxChanges, maxBytes) {
      const secrets = [...(views.get(this)?.all("secret") ?? [])].map((value) =>
        create(AssignmentChangeSchema, { assignment: { item: { case: "secret", value } } }),
      );
      return [...secrets, ...original.call(this, maxChanges, maxBytes)];
    };
  });
  return () => {
    mendLoad();
    mendTake();
  };
}

/** Puts another method in the place of one; returns how to put it back. */
function replace<Owner extends object, Name extends keyof Owner>(
  owner: Owner,
  name: Name,
  make: (original: Owner[Name]) => Owner[Name],
): () => void {
  const original = owner[name];
  owner[name] = make(original);
  return () => {
    owner[name] = original;
  };
}

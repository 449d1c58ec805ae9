/**
 * A swarm out of a backup, written by its new first manager into an empty store. Everything is as it
 * was, except for what cannot be any more: the managers of before are replaced by this one, so their
 * nodes are removed, their certificates barred for good (they may have newer ones than the backup
 * knows), and what ran on them is given up. Workers stay: those that find this manager come back with
 * what they run.
 *
 * In parts, because a store may be larger than an entry; the cluster object comes last, and until it
 * is there nothing of the swarm begins.
 */

import { create } from "@bufbuild/protobuf";
import { timestampOf } from "#model/time.ts";
import { KIND_RULES, KINDS, type Stored } from "#store/kinds.ts";
import { objectsOfSnapshot } from "#store/snapshot.ts";
import type { Kind, Tx } from "#store/types.ts";
import { encodeMessage } from "#wire/encode.ts";
import type { Cluster, Node, Task } from "#wire/gen/swarmkit/objects_pb.js";
import type { StoreSnapshot } from "#wire/gen/swarmkit/snapshot_pb.js";
import {
  BlacklistedCertificateSchema,
  NodeRole,
  TaskState,
  TaskStatusSchema,
} from "#wire/gen/swarmkit/types_pb.js";
import type { ClusterState } from "./state.ts";

/** Bounds of one part; well under what a transaction may have. */
const PART_MAX_BYTES = 2 * 1024 * 1024;
const PART_MAX_OBJECTS = 2_000;

interface Item {
  readonly kind: Kind;
  readonly object: Stored;
}

/** `manager` is the node of the one who restores. */
export async function writeRestored(
  state: ClusterState,
  backup: StoreSnapshot,
  manager: Node,
  nowMs: number,
): Promise<void> {
  const [cluster] = backup.clusters;
  if (cluster === undefined) return;
  const gone = new Set(
    backup.nodes.filter(({ role }) => role === NodeRole.MANAGER).map(({ id }) => id),
  );
  for (const part of partsOf(kept(backup, gone, nowMs))) {
    await state.update("leader", (tx) => {
      for (const item of part) put(tx, item);
    });
  }
  await state.update("leader", (tx) => {
    put(tx, { kind: "node", object: manager });
    put(tx, { kind: "cluster", object: withBarred(cluster, gone) });
  });
}

/** A restore that was interrupted goes over what is there. */
function put(tx: Tx, { kind, object }: Item): void {
  // The object is one of that kind.
  if (tx.get(kind, object.id) === undefined) tx.create(kind, object as never);
}

function* kept(backup: StoreSnapshot, gone: ReadonlySet<string>, nowMs: number): Iterable<Item> {
  for (const kind of KINDS) {
    if (kind === "cluster") continue;
    for (const object of objectsOfSnapshot(backup, kind)) {
      if (kind === "node" && gone.has(object.id)) continue;
      yield { kind, object: kind === "task" ? taskWithout(object as Task, gone, nowMs) : object };
    }
  }
}

/** Nobody is left who could report the end of what ran on a node that is gone. */
function taskWithout(task: Task, gone: ReadonlySet<string>, nowMs: number): Task {
  if (!gone.has(task.nodeId) || (task.status?.state ?? 0) >= TaskState.COMPLETE) return task;
  const status = create(TaskStatusSchema, {
    timestamp: timestampOf(nowMs),
    state: TaskState.ORPHANED,
    message: "The task's node was a manager from before the swarm was restored",
  });
  return { ...task, status };
}

function withBarred(cluster: Cluster, gone: ReadonlySet<string>): Cluster {
  const barred = [...gone].map((id) => [id, create(BlacklistedCertificateSchema)] as const);
  const blacklistedCertificates = {
    ...cluster.blacklistedCertificates,
    ...Object.fromEntries(barred),
  };
  return { ...cluster, blacklistedCertificates };
}

function* partsOf(items: Iterable<Item>): Iterable<readonly Item[]> {
  let part: Item[] = [];
  let bytes = 0;
  for (const item of items) {
    const size = encodeMessage(KIND_RULES[item.kind].schema, item.object as never).length;
    if (part.length > 0 && (bytes + size > PART_MAX_BYTES || part.length >= PART_MAX_OBJECTS)) {
      yield part;
      part = [];
      bytes = 0;
    }
    part.push(item);
    bytes += size;
  }
  if (part.length > 0) yield part;
}

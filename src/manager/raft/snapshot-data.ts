/**
 * The state machine as the bytes of a raft snapshot: SwarmKit's Snapshot message. Encoded in pieces
 * with pauses between them, because a large store takes longer than the group waits for a leader.
 */

import { create } from "@bufbuild/protobuf";
import { EngineError, messageOf } from "#base/error.ts";
import { KINDS } from "#store/kinds.ts";
import { storeSnapshotPart } from "#store/snapshot.ts";
import type { ReadView } from "#store/types.ts";
import { decodeMessage } from "#wire/decode.ts";
import { encodeMessage } from "#wire/encode.ts";
import {
  type ClusterSnapshot,
  type Snapshot,
  SnapshotSchema,
} from "#wire/gen/swarmkit/snapshot_pb.js";

/** Objects that are encoded without a pause. */
const PIECE_OBJECTS = 500;

/**
 * The pieces, to be written one after another. A message that is split over its fields and written
 * in pieces is, joined, the whole message: that is how protobuf merges.
 */
export async function encodeSnapshot(
  members: ClusterSnapshot,
  view: ReadView,
): Promise<readonly Uint8Array[]> {
  const pieces = [encodeMessage(SnapshotSchema, create(SnapshotSchema, { membership: members }))];
  for (const kind of KINDS) {
    let part: unknown[] = [];
    const flush = async () => {
      const store = storeSnapshotPart(kind, part as never);
      pieces.push(encodeMessage(SnapshotSchema, create(SnapshotSchema, { store })));
      part = [];
      await new Promise((resolve) => setImmediate(resolve));
    };
    for (const object of view.all(kind)) {
      part.push(object);
      if (part.length >= PIECE_OBJECTS) await flush();
    }
    if (part.length > 0) await flush();
  }
  return pieces;
}

export function decodeSnapshot(data: Uint8Array): Snapshot {
  try {
    return decodeMessage(SnapshotSchema, data);
  } catch (error) {
    throw new EngineError("data-loss", `the raft snapshot cannot be read: ${messageOf(error)}`);
  }
}

/**
 * The state machine as the bytes of a raft snapshot: SwarmKit's Snapshot message. Made and read piece
 * by piece with pauses between, because a large store takes longer than the group waits for a leader,
 * and more memory than there may be.
 */

import { create } from "@bufbuild/protobuf";
import { EngineError, messageOf } from "#base/error.ts";
import { KINDS } from "#store/kinds.ts";
import { StateBuilder, storeSnapshotPart } from "#store/snapshot.ts";
import type { State } from "#store/tables.ts";
import type { ReadView } from "#store/types.ts";
import { decodeMessage } from "#wire/decode.ts";
import { encodeMessage, encodeOnto } from "#wire/encode.ts";
import {
  type ClusterSnapshot,
  SnapshotSchema,
  StoreSnapshotSchema,
} from "#wire/gen/swarmkit/snapshot_pb.js";
import { SnapshotParser } from "./snapshot-parser.ts";

/** Objects that are encoded without a pause: a fraction of a millisecond. */
const RUN_OBJECTS = 25;
/** Size of a piece, bytes; an object that is larger is one of its own. */
const PIECE_BYTES = 128 * 1024;
/** Fields beside the store, bytes: the membership. */
const FACTS_MAX_BYTES = 64 * 1024 * 1024;

/**
 * The pieces, to be written one after another. A message that is split over its fields and written
 * in pieces is, joined, the whole message: that is how protobuf merges.
 */
export async function* encodeSnapshot(
  members: ClusterSnapshot,
  view: ReadView,
): AsyncGenerator<Uint8Array> {
  yield encodeMessage(SnapshotSchema, create(SnapshotSchema, { membership: members }));
  let piece = Buffer.allocUnsafeSlow(PIECE_BYTES);
  let used = 0;
  let run = 0;
  for (const kind of KINDS) {
    for (const object of view.all(kind)) {
      // One by one: how large an object is shows only when it is encoded.
      const part = create(SnapshotSchema, { store: storeSnapshotPart(kind, [object]) });
      const full = encodeOnto(SnapshotSchema, part, (size, write) => {
        const before = used + size > piece.length ? piece.subarray(0, used) : undefined;
        if (before !== undefined) {
          piece = Buffer.allocUnsafeSlow(Math.max(PIECE_BYTES, size));
          used = 0;
        }
        write(piece, used);
        used += size;
        return before;
      });
      if (full !== undefined && full.length > 0) yield full;
      run += 1;
      if (run % RUN_OBJECTS === 0) await pause();
    }
  }
  if (used > 0) yield piece.subarray(0, used);
}

export interface DecodedSnapshot {
  readonly state: State;
  /** Undefined where the snapshot does not tell. */
  readonly membership: ClusterSnapshot | undefined;
}

/** Throws `data-loss` for bytes that are no snapshot. */
export async function decodeSnapshot(
  pieces: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): Promise<DecodedSnapshot> {
  const parser = new SnapshotParser();
  const store = new StateBuilder();
  const facts: Uint8Array[] = [];
  let factBytes = 0;
  for await (const piece of pieces) {
    for (const { of, bytes } of parser.push(piece)) {
      if (of === "store") {
        store.add(decoded(() => decodeMessage(StoreSnapshotSchema, bytes)));
        await pause();
        continue;
      }
      // A copy: the piece is not held for it.
      facts.push(Buffer.from(bytes));
      factBytes += bytes.length;
      if (factBytes > FACTS_MAX_BYTES) throw unreadable("it holds more than a store");
    }
  }
  parser.end();
  const { membership } = decoded(() => decodeMessage(SnapshotSchema, Buffer.concat(facts)));
  return { state: store.state, membership };
}

function decoded<T>(decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    throw unreadable(messageOf(error));
  }
}

function unreadable(what: string): EngineError {
  return new EngineError("data-loss", `the raft snapshot cannot be read: ${what}`);
}

/** Lets timers and sockets have their turn. */
function pause(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

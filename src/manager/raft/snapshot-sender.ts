/**
 * Sends a snapshot from the disk to another member, chunk by chunk: no more of it is in memory than
 * what is on its way. The receiver is asked first how much of it an earlier attempt has left there.
 */

import { EngineError, isErrorCode } from "#base/error.ts";
import type { Clock, Log } from "#base/ports.ts";
import type { RpcChannel } from "#platform/grpc/client.ts";
import type { Message } from "#raft/index.ts";
import type { Message as MessagePb } from "#wire/gen/raft/raftpb_pb.js";
import { RaftSnapshots } from "#wire/gen/skep/raft_pb.js";
import { Raft } from "#wire/gen/swarmkit/raft_pb.js";
import { hexId } from "./members.ts";
import { toRaftpb } from "./raftpb.ts";
import { encodeChecksum, encodeResumption, SNAPSHOT_METADATA } from "./snapshot-wire.ts";
import type { StoredSnapshot } from "./stored-snapshot.ts";
import { Watchdog } from "./watchdog.ts";

/** The receiver reads what it has, to tell how much of it is good. */
const HELD_TIMEOUT_MS = 30_000;
/** A stream of which no chunk gets through for this long is given up. */
const CHUNK_TIMEOUT_MS = 10_000;
/** The receiver has the whole snapshot and looks at it. */
const STORE_TIMEOUT_MS = 120_000;
const NOTHING = new Uint8Array(0);

export interface SendTools {
  readonly channel: RpcChannel;
  /** Sent with the stream. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** Resolves when the receiver has taken it. */
export async function sendSnapshot(
  m: Message,
  open: () => Promise<StoredSnapshot>,
  { channel, metadata: common, clock, log, signal }: SendTools,
): Promise<void> {
  const stored = await open().catch((error: unknown) => {
    throw asDamage(error);
  });
  const watchdog = new Watchdog(clock, signal);
  // What went wrong while reading ends the call, whose error says nothing of it.
  let damage: unknown;
  try {
    const from = await heldBy(channel, stored, watchdog.signal);
    const { metadata, content } = stored;
    const facts = { member: hexId(m.to), index: metadata.index, bytes: content.length, from };
    log.info("sending a snapshot", facts);
    const chunks = chunksOf(m, stored, { from, watchdog, damaged: (error) => (damage = error) });
    await channel.client(Raft).streamRaftMessage(chunks, {
      signal: watchdog.signal,
      metadata: { ...common, [SNAPSHOT_METADATA]: encodeResumption(content, from) },
    });
  } catch (error) {
    throw damage ?? error;
  } finally {
    watchdog.stop();
    await stored.close();
  }
}

/** Whether an error says that this member's own snapshot cannot be read. */
export function isDamage(error: unknown): boolean {
  return error instanceof UnreadableSnapshot;
}

class UnreadableSnapshot extends EngineError {}

async function heldBy(
  channel: RpcChannel,
  { metadata, content }: StoredSnapshot,
  signal: AbortSignal,
): Promise<number> {
  const request = {
    index: BigInt(metadata.index),
    term: BigInt(metadata.term),
    contentId: Buffer.from(content.id, "hex"),
    length: BigInt(content.length),
    crc: content.crc,
  };
  try {
    const options = { timeoutMs: HELD_TIMEOUT_MS, signal };
    const { bytes } = await channel.client(RaftSnapshots).held(request, options);
    return Math.min(Number(bytes), content.length);
  } catch (error) {
    // SwarmKit's managers, and older ones of ours.
    if (isErrorCode(error, "unimplemented")) return 0;
    throw error;
  }
}

/** Each message repeats the metadata, as SwarmKit's managers expect; at least one is sent. */
async function* chunksOf(
  m: Message,
  stored: StoredSnapshot,
  stream: {
    readonly from: number;
    readonly watchdog: Watchdog;
    readonly damaged: (error: unknown) => void;
  },
): AsyncGenerator<{ message: MessagePb }> {
  const { from, watchdog } = stream;
  const { metadata, content } = stored;
  const context = encodeChecksum(content);
  const messageOf = (data: Uint8Array) => ({
    message: toRaftpb({ ...m, context, snapshot: { metadata, data } }),
  });
  let sent = 0;
  for await (const data of readable(stored.chunks(from), stream.damaged)) {
    watchdog.expect(CHUNK_TIMEOUT_MS);
    yield messageOf(data);
    sent += 1;
  }
  if (sent === 0) yield messageOf(NOTHING);
  watchdog.expect(STORE_TIMEOUT_MS);
}

async function* readable(
  chunks: AsyncIterable<Uint8Array>,
  damaged: (error: unknown) => void,
): AsyncGenerator<Uint8Array> {
  try {
    yield* chunks;
  } catch (error) {
    damaged(asDamage(error));
    throw error;
  }
}

/** A snapshot that is gone was replaced by a newer one; that is no damage. */
function asDamage(error: unknown): unknown {
  return error instanceof EngineError
    ? new UnreadableSnapshot("data-loss", error.message, { cause: error })
    : error;
}

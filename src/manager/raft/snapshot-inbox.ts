/**
 * Takes snapshots that a leader sends: chunk by chunk to the disk, checked as a whole, read, and only
 * then shown to the core, which forgets its log for it. What breaks off stays for the next attempt.
 */

import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import type { Log } from "#base/ports.ts";
import type { RpcContext, RpcHandlers } from "#platform/grpc/server.ts";
import { isDiskFull } from "#platform/wal/files.ts";
import type { SnapshotReceiver } from "#platform/wal/snapshot-receiver.ts";
import { EMPTY_BYTES, type Message, type SnapshotMetadata } from "#raft/index.ts";
import type { Message as MessagePb } from "#wire/gen/raft/raftpb_pb.js";
import type { RaftSnapshots } from "#wire/gen/skep/raft_pb.js";
import type { StreamRaftMessageRequest } from "#wire/gen/swarmkit/raft_pb.js";
import type { Disk } from "./disk.ts";
import { hexId } from "./members.ts";
import { fromRaftpb } from "./raftpb.ts";
import { type DecodedSnapshot, decodeSnapshot } from "./snapshot-data.ts";
import { readAnnouncement } from "./snapshot-wire.ts";

/** Largest snapshot that is taken from a leader, bytes. */
const SNAPSHOT_MAX_BYTES = 4 * 1024 * 1024 * 1024;

export interface SnapshotInboxOptions {
  readonly disk: Disk;
  /** Throws unless the message may come from this caller, for this member. */
  readonly admit: (m: Message, context: RpcContext) => void;
  readonly step: (m: Message, metadata: SnapshotMetadata, decoded: DecodedSnapshot) => void;
  /** The disk failed. */
  readonly failed: (error: unknown) => void;
  readonly log: Log;
}

export class SnapshotInbox {
  readonly #options: SnapshotInboxOptions;

  constructor(options: SnapshotInboxOptions) {
    this.#options = options;
  }

  readonly service: RpcHandlers<typeof RaftSnapshots> = {
    held: async ({ index, term, contentId, length, crc }) => {
      const id = Buffer.from(contentId).toString("hex");
      const name = { index: Number(index), term: Number(term) };
      const content = { id, length: Number(length), crc };
      return { bytes: BigInt(await this.#options.disk.heldOf(name, content)) };
    },
  };

  /** A stream of messages that carry the pieces of one snapshot; the first of them was read. */
  async take(
    first: MessagePb,
    rest: AsyncIterable<StreamRaftMessageRequest>,
    context: RpcContext,
  ): Promise<void> {
    const { snapshot, ...facts } = fromRaftpb(first);
    if (snapshot === undefined) throw refused("a MsgSnap without a snapshot");
    const { metadata } = snapshot;
    // The core never sees the data: it is on the disk.
    const m: Message = {
      ...facts,
      context: EMPTY_BYTES,
      snapshot: { metadata, data: EMPTY_BYTES },
    };
    this.#options.admit(m, context);
    const { announced, from } = readAnnouncement(facts.context, context.metadata);
    if ((announced?.length ?? 0) > SNAPSHOT_MAX_BYTES)
      throw refused("a snapshot that is too large");
    const { disk, log } = this.#options;
    const about = { index: metadata.index, bytes: announced?.length, from };
    log.info("receiving a snapshot", { ...about, member: hexId(m.from) });
    const receiver = await this.#kept(disk.receiveSnapshot(metadata, announced, from));
    try {
      await this.#fill(receiver, first, rest);
    } catch (error) {
      await receiver.suspend();
      throw error;
    }
    const decoded = await this.#read(m, metadata);
    this.#options.step(m, metadata, decoded);
  }

  async #fill(
    receiver: SnapshotReceiver,
    first: MessagePb,
    rest: AsyncIterable<StreamRaftMessageRequest>,
  ): Promise<void> {
    let bytes = 0;
    const take = async (data: Uint8Array | undefined) => {
      if (data === undefined || data.length === 0) return;
      bytes += data.length;
      if (bytes > SNAPSHOT_MAX_BYTES) throw refused("a snapshot that is too large");
      await this.#kept(receiver.append(data));
    };
    await take(first.snapshot?.data);
    for await (const { message } of rest) {
      if (message === undefined) continue;
      if (message.index !== first.index || message.type !== first.type) {
        throw refused("chunks of different raft messages in one stream");
      }
      await take(message.snapshot?.data);
    }
    await this.#kept(receiver.finish());
  }

  /** A full disk is told to the sender, who tries again; a disk that fails otherwise is the end. */
  async #kept<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      if (isDiskFull(error)) {
        const message = `no room on the disk for a snapshot of the store: ${messageOf(error)}`;
        throw new EngineError("resource-exhausted", message, { cause: error });
      }
      if (!(error instanceof EngineError)) this.#options.failed(error);
      throw error;
    }
  }

  /** What has arrived; a damaged one is refused before the core forgets its log for it. */
  async #read(m: Message, metadata: SnapshotMetadata): Promise<DecodedSnapshot> {
    const { disk, log } = this.#options;
    try {
      const stored = await disk.openArrived(metadata);
      try {
        return await decodeSnapshot(stored.chunks());
      } finally {
        await stored.close();
      }
    } catch (error) {
      await disk.rejectSnapshot(metadata);
      if (isErrorCode(error, "data-loss")) {
        const facts = { member: hexId(m.from), index: metadata.index, reason: messageOf(error) };
        log.error("a snapshot of the leader cannot be read", facts);
      }
      throw error;
    }
  }
}

function refused(what: string): EngineError {
  return new EngineError("invalid-argument", `${what} is not accepted`);
}

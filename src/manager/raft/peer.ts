/**
 * The way to one other member. Messages wait in a bounded queue, where appends that follow on each
 * other are joined. Raft repairs what is lost, so a failure drops what waits, tells the core, and
 * the next message tries again.
 *
 * The first messages go by single calls, as between SwarmKit's managers, a few at once. A peer that
 * answers like one of ours is then sent one long stream, which costs a fraction of it.
 * Snapshots go their own way: streamed in chunks, one at a time, while everything else flows on.
 */

import { EngineError, messageOf } from "#base/error.ts";
import type { Clock, Log } from "#base/ports.ts";
import { type Deferred, deferred } from "#platform/async.ts";
import type { RpcChannel, RpcClient } from "#platform/grpc/client.ts";
import {
  entriesSize,
  type Message,
  type NodeId,
  type SnapshotMetadata,
  type SnapshotStatus,
} from "#raft/index.ts";
import type { Message as MessagePb } from "#wire/gen/raft/raftpb_pb.js";
import { Raft } from "#wire/gen/swarmkit/raft_pb.js";
import { ADDRESS_METADATA, acceptsStream, STREAM_METADATA } from "./long-stream.ts";
import { hexId } from "./members.ts";
import { toRaftpb } from "./raftpb.ts";
import { saysRemoved } from "./removal.ts";
import { isDamage, sendSnapshot } from "./snapshot-sender.ts";
import type { StoredSnapshot } from "./stored-snapshot.ts";

const QUEUE_MAX_MESSAGES = 4_096;
const QUEUE_MAX_BYTES = 64 * 1024 * 1024;
/** Joined appends grow to this size, bytes; one entry may exceed it. */
const JOINED_MAX_BYTES = 1024 * 1024;
const CALLS_MAX = 4;
const CALL_TIMEOUT_MS = 2_000;
/** Slowest line that a large message must get through on, bytes per millisecond. */
const SLOWEST_LINE = 100;

export interface PeerEvents {
  unreachable(id: NodeId): void;
  snapshotDone(id: NodeId, status: SnapshotStatus): void;
  /** The snapshot on this member's disk cannot be read: another is needed. */
  snapshotDamaged(): void;
  /** The stream to the peer broke. */
  disconnected(id: NodeId): void;
  /** The peer says that this member was removed from the group. */
  removed(): void;
}

export interface PeerOptions {
  readonly id: NodeId;
  readonly ownAddr: () => string;
  /** The channel to the peer's present address, which may change; undefined if none is known. */
  readonly channel: () => RpcChannel | undefined;
  readonly openSnapshot: (metadata: SnapshotMetadata) => Promise<StoredSnapshot>;
  readonly events: PeerEvents;
  readonly clock: Clock;
  readonly log: Log;
}

export class Peer {
  readonly #options: PeerOptions;
  readonly #closing = new AbortController();
  #queue: Message[] = [];
  #bytes = 0;
  #calls = 0;
  #sendsSnapshot = false;
  #failing = false;
  /** The peer can take a long stream. */
  #streams = false;
  /** The stream that is open, and what its sender waits for. */
  #stream: { wake: Deferred<void> } | undefined;

  constructor(options: PeerOptions) {
    this.#options = options;
  }

  send(m: Message): void {
    if (this.#closing.signal.aborted) return;
    if (m.type === "MsgSnap") {
      void this.#sendSnapshot(m);
      return;
    }
    const size = entriesSize(m.entries);
    if (this.#queue.length >= QUEUE_MAX_MESSAGES || this.#bytes + size > QUEUE_MAX_BYTES) {
      this.#options.events.unreachable(this.#options.id);
      return;
    }
    const last = this.#queue.at(-1);
    const joined = last === undefined ? undefined : join(last, m);
    if (joined === undefined) this.#queue.push(m);
    else this.#queue[this.#queue.length - 1] = joined;
    this.#bytes += size;
    this.#pump();
  }

  close(): void {
    this.#closing.abort();
    this.#queue = [];
    this.#stream?.wake.resolve();
  }

  #pump(): void {
    if (this.#queue.length === 0) return;
    if (this.#stream !== undefined) {
      this.#stream.wake.resolve();
      return;
    }
    // Calls under way are waited for, so that the stream does not overtake them.
    if (this.#streams) {
      if (this.#calls === 0) void this.#openStream();
      return;
    }
    while (this.#calls < CALLS_MAX) {
      const m = this.#next();
      if (m === undefined) return;
      void this.#call(m);
    }
  }

  #next(): Message | undefined {
    const m = this.#queue.shift();
    if (m !== undefined) this.#bytes -= entriesSize(m.entries);
    return m;
  }

  async #call(m: Message): Promise<void> {
    this.#calls += 1;
    try {
      const timeoutMs = CALL_TIMEOUT_MS + entriesSize(m.entries) / SLOWEST_LINE;
      const { signal } = this.#closing;
      const answer = await this.#client().processRaftMessage(
        { message: toRaftpb(m) },
        { timeoutMs, signal, metadata: this.#metadata() },
      );
      this.#failing = false;
      this.#streams ||= acceptsStream(answer);
    } catch (error) {
      this.#failed(error);
    } finally {
      this.#calls -= 1;
      this.#pump();
    }
  }

  async #openStream(): Promise<void> {
    const stream = { wake: deferred() };
    this.#stream = stream;
    try {
      await this.#client().streamRaftMessage(this.#outgoing(stream), {
        signal: this.#closing.signal,
        metadata: { ...this.#metadata(), [STREAM_METADATA]: "1" },
      });
    } catch (error) {
      // A call finds out whether the peer is there again, and whether it still takes streams.
      this.#streams = false;
      this.#failed(error);
      if (!this.#closing.signal.aborted) this.#options.events.disconnected(this.#options.id);
    } finally {
      this.#stream = undefined;
      stream.wake.resolve();
      this.#pump();
    }
  }

  /** What waits, as it comes, for as long as the stream is the open one. */
  async *#outgoing(stream: { wake: Deferred<void> }): AsyncGenerator<{ message: MessagePb }> {
    while (this.#stream === stream && !this.#closing.signal.aborted) {
      const m = this.#next();
      if (m !== undefined) {
        yield { message: toRaftpb(m) };
      } else {
        stream.wake = deferred();
        await stream.wake.promise;
      }
    }
  }

  #metadata(): Readonly<Record<string, string>> {
    return { [ADDRESS_METADATA]: this.#options.ownAddr() };
  }

  #client(): RpcClient<typeof Raft> {
    return this.#channel().client(Raft);
  }

  #channel(): RpcChannel {
    const channel = this.#options.channel();
    if (channel === undefined) {
      throw new EngineError("unavailable", "the address of the raft member is not known");
    }
    return channel;
  }

  #failed(error: unknown): void {
    const { id, events, log } = this.#options;
    if (this.#closing.signal.aborted) return;
    if (!this.#failing) log.info("raft member is not reachable", describe(id, error));
    this.#failing = true;
    this.#queue = [];
    this.#bytes = 0;
    this.#judge(error);
    events.unreachable(id);
  }

  async #sendSnapshot(m: Message): Promise<void> {
    const { id, events, openSnapshot, clock, log } = this.#options;
    const { snapshot } = m;
    if (this.#sendsSnapshot || snapshot === undefined) {
      events.snapshotDone(id, "failure");
      return;
    }
    this.#sendsSnapshot = true;
    const { signal } = this.#closing;
    try {
      const tools = { channel: this.#channel(), metadata: this.#metadata(), clock, log, signal };
      await sendSnapshot(m, () => openSnapshot(snapshot.metadata), tools);
      events.snapshotDone(id, "finish");
    } catch (error) {
      if (signal.aborted) return;
      log.warn("a snapshot was not delivered", describe(id, error));
      this.#judge(error);
      if (isDamage(error)) events.snapshotDamaged();
      events.snapshotDone(id, "failure");
    } finally {
      this.#sendsSnapshot = false;
    }
  }

  #judge(error: unknown): void {
    if (saysRemoved(error)) this.#options.events.removed();
  }
}

/** Two messages as one, if the second is an append that goes on where the first ends. */
function join(a: Message, b: Message): Message | undefined {
  if (a.type !== "MsgApp" || b.type !== "MsgApp" || a.term !== b.term) return undefined;
  if (a.entries.length === 0 || b.entries.length === 0) return undefined;
  const last = a.entries.at(-1);
  if (last === undefined || b.index !== last.index || b.logTerm !== last.term) return undefined;
  const entries = [...a.entries, ...b.entries];
  if (entriesSize(entries) > JOINED_MAX_BYTES) return undefined;
  return { ...a, entries, commit: Math.max(a.commit, b.commit) };
}

function describe(id: NodeId, error: unknown): { member: string; reason: string; code?: string } {
  const code = (error as Partial<EngineError>).code;
  const facts = { member: hexId(id), reason: messageOf(error) };
  return code === undefined ? facts : { ...facts, code };
}

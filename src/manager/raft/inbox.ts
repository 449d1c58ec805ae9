/**
 * What other members say: the Raft service. A message must come from the node that owns the raft id
 * it is sent under, and messages that only a node may give itself are refused. A removed member is
 * told so, because it may have missed its own removal.
 */

import { EngineError } from "#base/error.ts";
import type { Log } from "#base/ports.ts";
import type { RpcContext, RpcHandlers } from "#platform/grpc/server.ts";
import type { Message, NodeId } from "#raft/index.ts";
import type { Message as MessagePb } from "#wire/gen/raft/raftpb_pb.js";
import type { Raft } from "#wire/gen/swarmkit/raft_pb.js";
import { ADDRESS_METADATA, STREAM_METADATA, streamingAnswer } from "./long-stream.ts";
import type { Members } from "./members.ts";
import { hexId, snapshotChecksum } from "./peer.ts";
import { fromRaftpb } from "./raftpb.ts";
import { removedRefusal } from "./removal.ts";
import { decodeSnapshot } from "./snapshot-data.ts";

/** Largest snapshot that is taken from a leader, bytes. */
const SNAPSHOT_MAX_BYTES = 1024 * 1024 * 1024;

export interface InboxOptions {
  readonly members: Members;
  /** This member's raft id; undefined until it has one. */
  readonly self: () => NodeId | undefined;
  /** The node id of the caller; undefined where the transport vouches for nobody. */
  readonly callerOf: (context: RpcContext) => string | undefined;
  readonly step: (m: Message) => void;
  /** A member that is not known here says where it is. */
  readonly met: (id: NodeId, addr: string) => void;
  readonly log: Log;
}

export function createRaftService(options: InboxOptions): RpcHandlers<typeof Raft> {
  return {
    processRaftMessage: ({ message }, context) => {
      if (message !== undefined) receive(options, message, context);
      return streamingAnswer();
    },
    streamRaftMessage: async (requests, context) => {
      if (context.metadata[STREAM_METADATA] !== undefined) {
        for await (const { message } of requests) {
          if (message !== undefined) receive(options, message, context);
        }
        return {};
      }
      let first: MessagePb | undefined;
      const pieces: Uint8Array[] = [];
      let bytes = 0;
      for await (const { message } of requests) {
        if (message === undefined) continue;
        first ??= message;
        if (message.index !== first.index || message.type !== first.type) {
          throw refused("chunks of different raft messages in one stream");
        }
        const data = message.snapshot?.data ?? new Uint8Array(0);
        bytes += data.length;
        if (bytes > SNAPSHOT_MAX_BYTES) throw refused("a snapshot that is too large");
        pieces.push(data);
      }
      if (first?.snapshot !== undefined) first.snapshot.data = Buffer.concat(pieces);
      if (first !== undefined) receive(options, first, context);
      return {};
    },
    resolveAddress: ({ raftId }) => {
      const member = options.members.get(Number(raftId));
      if (member === undefined) {
        throw new EngineError("not-found", `member ${raftId.toString(16)} not found`);
      }
      return { addr: member.addr };
    },
  };
}

function receive(options: InboxOptions, pb: MessagePb, context: RpcContext): void {
  const { members, self, step, met, log } = options;
  const m = fromRaftpb(pb);
  if (members.isRemoved(m.from)) {
    throw removedRefusal();
  }
  ensureOwner(options, m.from, context);
  // Only a leader proposes: it alone knows what its proposals build on.
  if (m.type === "MsgProp") return;
  if (m.to !== self()) {
    log.debug("a raft message for another member", { to: hexId(m.to), from: hexId(m.from) });
    return;
  }
  if (m.type === "MsgSnap") ensureWhole(m);
  const addr = context.metadata[ADDRESS_METADATA];
  if (addr !== undefined && members.get(m.from) === undefined) met(m.from, addr);
  step(m);
}

function ensureOwner(options: InboxOptions, from: NodeId, context: RpcContext): void {
  const owner = options.members.get(from)?.nodeId;
  const caller = options.callerOf(context);
  if (owner === undefined || caller === undefined || owner === caller) return;
  const message = `node ${caller} may not speak for raft member ${from.toString(16)}`;
  throw new EngineError("permission-denied", message);
}

/** Refuses a damaged snapshot before the core forgets its log for it. */
function ensureWhole(m: Message): void {
  const data = m.snapshot?.data ?? new Uint8Array(0);
  // Managers that are not ours send no checksum.
  if (m.context.length > 0 && !Buffer.from(snapshotChecksum(data)).equals(m.context)) {
    throw refused("a snapshot whose checksum is wrong");
  }
  decodeSnapshot(data);
}

function refused(what: string): EngineError {
  return new EngineError("invalid-argument", `${what} is not accepted`);
}

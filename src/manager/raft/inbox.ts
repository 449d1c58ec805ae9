/**
 * What other members say: the Raft service. A message must come from the node that owns the raft id
 * it is sent under, and messages that only a node may give itself are refused. A removed member is
 * told so, because it may have missed its own removal.
 */

import { EngineError } from "#base/error.ts";
import type { Log } from "#base/ports.ts";
import type { RpcContext, RpcHandlers } from "#platform/grpc/server.ts";
import type { Message, NodeId } from "#raft/index.ts";
import { type Message as MessagePb, MessageType } from "#wire/gen/raft/raftpb_pb.js";
import type { RaftSnapshots } from "#wire/gen/skep/raft_pb.js";
import type { Raft, StreamRaftMessageRequest } from "#wire/gen/swarmkit/raft_pb.js";
import { ADDRESS_METADATA, STREAM_METADATA, streamingAnswer } from "./long-stream.ts";
import { hexId, type Members } from "./members.ts";
import { fromRaftpb } from "./raftpb.ts";
import { removedRefusal } from "./removal.ts";
import { SnapshotInbox, type SnapshotInboxOptions } from "./snapshot-inbox.ts";

export interface InboxOptions extends Pick<SnapshotInboxOptions, "disk" | "failed"> {
  readonly members: Members;
  /** This member's raft id; undefined until it has one. */
  readonly self: () => NodeId | undefined;
  /** The node id of the caller; undefined where the transport vouches for nobody. */
  readonly callerOf: (context: RpcContext) => string | undefined;
  /** Why the caller's certificate is not believed where it has to speak for itself. */
  readonly refusalOf: (context: RpcContext) => string | undefined;
  readonly step: (m: Message) => void;
  /** A member that is not known here says where it is. */
  readonly met: (id: NodeId, addr: string) => void;
  readonly stepSnapshot: SnapshotInboxOptions["step"];
  readonly log: Log;
}

export interface RaftServices {
  readonly raft: RpcHandlers<typeof Raft>;
  readonly snapshots: RpcHandlers<typeof RaftSnapshots>;
}

export function createRaftServices(options: InboxOptions): RaftServices {
  const { disk, stepSnapshot, failed, log } = options;
  const snapshots = new SnapshotInbox({
    disk,
    admit: (m, context) => {
      admit(options, m, context);
      if (!isForUs(options, m)) throw refused("a snapshot for another member");
    },
    step: stepSnapshot,
    failed,
    log,
  });
  return { raft: createRaftService(options, snapshots), snapshots: snapshots.service };
}

function createRaftService(
  options: InboxOptions,
  snapshots: SnapshotInbox,
): RpcHandlers<typeof Raft> {
  return {
    processRaftMessage: async ({ message }, context) => {
      if (isSnapshot(message)) await snapshots.take(message, NOTHING_MORE, context);
      else if (message !== undefined) receive(options, message, context);
      return streamingAnswer();
    },
    streamRaftMessage: async (requests, context) => {
      const messages = requests[Symbol.asyncIterator]();
      const rest = { [Symbol.asyncIterator]: () => messages };
      const isLong = context.metadata[STREAM_METADATA] !== undefined;
      for await (const { message } of rest) {
        if (!isLong && isSnapshot(message)) await snapshots.take(message, rest, context);
        else if (message !== undefined) receive(options, message, context);
      }
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

const NOTHING_MORE: AsyncIterable<StreamRaftMessageRequest> = (async function* () {})();

function isSnapshot(message: MessagePb | undefined): message is MessagePb {
  return message?.type === MessageType.MsgSnap;
}

function receive(options: InboxOptions, pb: MessagePb, context: RpcContext): void {
  const { step, log } = options;
  const m = fromRaftpb(pb);
  admit(options, m, context);
  // Only a leader proposes: it alone knows what its proposals build on.
  if (m.type === "MsgProp") return;
  if (!isForUs(options, m)) {
    log.debug("a raft message for another member", { to: hexId(m.to), from: hexId(m.from) });
    return;
  }
  // Its data goes to the disk first: it comes in a stream of its own.
  if (m.type === "MsgSnap") throw refused("a snapshot among other messages");
  step(m);
}

/** Throws unless the caller may speak for the member that the message is from. */
function admit(options: InboxOptions, m: Message, context: RpcContext): void {
  const { members, met } = options;
  if (members.isRemoved(m.from)) throw removedRefusal();
  ensureOwner(options, m.from, context);
  const addr = context.metadata[ADDRESS_METADATA];
  if (addr !== undefined && isForUs(options, m) && members.get(m.from) === undefined) {
    met(m.from, addr);
  }
}

function isForUs({ self }: InboxOptions, m: Message): boolean {
  return m.to === self();
}

function ensureOwner(options: InboxOptions, from: NodeId, context: RpcContext): void {
  const owner = options.members.get(from)?.nodeId;
  // Whoever is not known here may have come in while this member slept; but not with any certificate.
  const refusal = owner === undefined ? options.refusalOf(context) : undefined;
  if (refusal !== undefined) throw new EngineError("permission-denied", refusal);
  const caller = options.callerOf(context);
  if (owner === undefined || caller === undefined || owner === caller) return;
  const message = `node ${caller} may not speak for raft member ${from.toString(16)}`;
  throw new EngineError("permission-denied", message);
}

function refused(what: string): EngineError {
  return new EngineError("invalid-argument", `${what} is not accepted`);
}

/** The members by their node ids, as the rest of the manager asks for them. */

import { EngineError } from "#base/error.ts";
import { NONE, type NodeId } from "#raft/index.ts";
import { RaftMemberStatus_Reachability as Reachability } from "#wire/gen/swarmkit/types_pb.js";
import type { Membership } from "../manager-ports.ts";
import type { Admission } from "./admission.ts";
import type { Driver } from "./driver.ts";
import type { Members } from "./members.ts";

export interface MembershipOptions {
  readonly members: Members;
  /** Undefined until the member has its place in the group. */
  readonly self: () => NodeId | undefined;
  /** Both undefined until the member has its place in the group. */
  readonly driver: () => Driver | undefined;
  readonly admission: () => Admission | undefined;
  readonly transfer: () => Promise<void>;
}

export function createMembership(options: MembershipOptions): Membership {
  const { members, self, driver, admission, transfer } = options;
  const reachability = (raftId: NodeId): Reachability => {
    if (driver()?.leads !== true) return Reachability.UNKNOWN;
    if (admission()?.isReachable(raftId) !== true) return Reachability.UNREACHABLE;
    // Without a vote it is not one of those on whom the majority can rely.
    return members.isLearner(raftId) ? Reachability.UNKNOWN : Reachability.REACHABLE;
  };
  return {
    list: () =>
      members.list().map(({ raftId, nodeId, addr }) => ({
        raftId: BigInt(raftId),
        nodeId,
        addr,
        leader: driver()?.leadId === raftId,
        voter: members.isVoter(raftId),
        reachability: reachability(raftId),
      })),
    hasVote: () => members.isVoter(self() ?? NONE),
    canRemove: (nodeId) => {
      const member = members.byNodeId(nodeId);
      return member === undefined || admission()?.canRemove(member.raftId) === true;
    },
    remove: async (nodeId) => {
      const member = members.byNodeId(nodeId);
      if (member !== undefined) await required(admission()).remove(member.raftId);
    },
    transferLeadership: transfer,
    onChange: (listener) => members.onChange(listener),
  };
}

export function required(admission: Admission | undefined): Admission {
  if (admission !== undefined) return admission;
  const message = "raft: node is not yet part of a raft cluster";
  throw new EngineError("failed-precondition", message);
}

/** Brings a node to life from its storage, as a follower of nobody. */

import { invariant } from "#base/invariant.ts";
import { encodeConfChange } from "./confchange/codec.ts";
import { ensureValidConfig, type RaftConfig } from "./config.ts";
import { hex } from "./describe.ts";
import { applyConfChange, loadMembership } from "./membership.ts";
import { isEmptyHardState } from "./message.ts";
import { Raft } from "./raft.ts";
import { becomeFollower } from "./roles.ts";
import { type ConfChange, type Entry, NONE, type NodeId } from "./types.ts";

/** A first member of a group. */
export interface Peer {
  readonly id: NodeId;
  /** Travels in the membership entry that adds the peer. */
  readonly context: Uint8Array;
}

export function startRaft(config: RaftConfig): Raft {
  ensureValidConfig(config);
  const r = new Raft(config);
  const { hardState, confState } = config.storage.initialState();
  loadMembership(r, confState);
  if (!isEmptyHardState(hardState)) {
    r.log.loadCommitted(hardState.commit);
    r.term = hardState.term;
    r.vote = hardState.vote;
  } else {
    // It never followed anybody, so there is nobody to whom it could have promised its vote.
    r.sinceLeader = config.electionTick;
  }
  if (config.applied > 0) r.log.appliedTo(config.applied, 0);
  becomeFollower(r, r.term, NONE);
  const peers = r.tracker.config.voters.ids.map(hex).join(",");
  const last = r.log.lastEntryId();
  r.logger.info(
    `newRaft ${hex(r.id)} [peers: [${peers}], term: ${r.term}, commit: ${r.log.committed}, applied: ${r.log.applied}, lastindex: ${last.index}, lastterm: ${last.term}]`,
  );
  return r;
}

/**
 * Gives an empty node its first log: one committed entry per peer, the same on every peer. The
 * entries take effect here and again, harmlessly, when the driver applies them.
 */
export function bootstrapRaft(r: Raft, peers: readonly Peer[]): void {
  invariant(peers.length > 0, "a group has at least one peer");
  invariant(r.log.lastIndex() === 0, "only an empty log is bootstrapped");
  becomeFollower(r, 1, NONE);
  const changes = peers.map(({ id, context }): ConfChange => {
    return { version: 1, id: 0n, type: "addNode", nodeId: id, context };
  });
  const entries = changes.map((change, position): Entry => {
    return { term: 1, index: position + 1, ...encodeConfChange(change) };
  });
  r.log.append(entries);
  r.log.commitTo(entries.length);
  for (const change of changes) applyConfChange(r, change);
}

/**
 * The state machine: what the group has agreed on becomes part of store and membership, in order and
 * each entry once. Proposals of this member are matched with what comes, and their outcome is told.
 */

import { EngineError } from "#base/error.ts";
import {
  type ConfChange,
  type ConfState,
  decodeConfChange,
  type Entry,
  type NodeId,
  type SnapshotMetadata,
} from "#raft/index.ts";
import type { Store } from "#store/store.ts";
import { decodeMessage } from "#wire/decode.ts";
import { InternalRaftRequestSchema } from "#wire/gen/swarmkit/raft_pb.js";
import type { Members } from "./members.ts";
import { notProposed, outcomeUnknown, type Proposals } from "./proposals.ts";
import type { DecodedSnapshot } from "./snapshot-data.ts";

export interface ApplierOptions {
  readonly id: NodeId;
  readonly store: Store;
  readonly members: Members;
  readonly proposals: Proposals;
  /** Term of the newest entry that the store holds already. */
  readonly term: number;
  /** Makes the core follow a change of membership. */
  readonly follow: (change: ConfChange) => ConfState;
  /** What is in flight will not come to pass as it was proposed; whether at all, the error says. */
  readonly giveUp: (error: EngineError) => void;
  /** This member was removed from the group by a committed entry. */
  readonly removedSelf: () => void;
}

export class Applier {
  readonly #options: ApplierOptions;
  #term: number;
  /** Payload bytes applied since this was last reset. */
  bytes = 0;

  constructor(options: ApplierOptions) {
    this.#options = options;
    this.#term = options.term;
  }

  /** Term of the newest entry that was applied. */
  get term(): number {
    return this.#term;
  }

  apply(entry: Entry): void {
    const { store, proposals, giveUp } = this.#options;
    const { index, term } = entry;
    const whose = proposals.match(index, term);
    if (whose === "overwritten") giveUp(notProposed("another leader came before it"));
    this.#term = term;
    this.bytes += entry.data.length;
    if (entry.type !== "normal") this.#applyChange(entry);
    else if (entry.data.length === 0) store.skip(index);
    else if (whose === "mine" && !proposals.orphaned) store.commitHead(index);
    else store.apply(decodeMessage(InternalRaftRequestSchema, entry.data).action, index);
    if (whose !== "mine") return;
    // The core puts an empty entry in the place of a membership change that may not be made now.
    if (entry.type === "normal" && entry.data.length === 0) {
      proposals.rejectOldest(notProposed("another change of membership is under way"));
    } else {
      proposals.resolveOldest();
    }
  }

  /** A leader's snapshot takes the place of everything. */
  restore(metadata: SnapshotMetadata, { state, membership }: DecodedSnapshot): void {
    const { store, members, giveUp } = this.#options;
    giveUp(outcomeUnknown());
    store.restore(state, metadata.index);
    members.restore(membership, metadata.confState);
    this.#term = metadata.term;
  }

  #applyChange(entry: Entry): void {
    const { id, members, store, follow, removedSelf } = this.#options;
    const change = decodeConfChange(entry);
    if (!change.ok) throw new EngineError("data-loss", `a membership entry: ${change.error}`);
    const wasMember = members.isVoter(id) || members.isLearner(id);
    const confState = follow(change.value);
    members.apply(change.value, confState);
    store.skip(entry.index);
    if (wasMember && members.isRemoved(id)) removedSelf();
  }
}

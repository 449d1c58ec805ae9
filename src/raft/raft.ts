/**
 * The state of one raft node: fields only. What may happen to them is in the modules beside:
 *   step.ts → leader.ts, follower.ts, candidate.ts   consume a message
 *   roles.ts, election.ts                            change role, ask for and give votes
 *   replicate.ts, propose.ts, apply.ts, reads.ts     move the log and answer reads
 *   membership.ts                                    change who counts
 *   tick.ts                                          time
 * `rawnode.ts` is the only door from outside.
 *
 * Two outboxes carry the durability rule. `msgs` may leave at once. `msgsAfterAppend` holds what
 * promises something to others (votes, acknowledged entries): it must not leave before everything
 * that is unstable now is on disk.
 */

import type { RaftConfig } from "./config.ts";
import { RaftLog } from "./log.ts";
import { ReadOnly } from "./read-only.ts";
import { type Membership, ProgressTracker } from "./tracker/tracker.ts";
import {
  type HardState,
  type Message,
  NONE,
  type NodeId,
  type RaftLogger,
  type ReadState,
  type SoftState,
  type StateType,
} from "./types.ts";

export class Raft {
  readonly id: NodeId;
  readonly config: RaftConfig;
  readonly logger: RaftLogger;
  readonly log: RaftLog;
  readonly tracker: ProgressTracker;

  term = 0;
  /** Who got our vote in `term`. */
  vote: NodeId = NONE;
  state: StateType = "follower";
  lead: NodeId = NONE;
  /** Whether the active membership has this node as a learner. */
  isLearner = false;

  /** The membership of entries still being applied, while a newer snapshot waits to be stored. */
  overtakenMembership: Membership | undefined;

  msgs: Message[] = [];
  msgsAfterAppend: Message[] = [];
  readStates: ReadState[] = [];

  /** Leader: who is to take over, while a transfer runs. */
  leadTransferee: NodeId = NONE;
  /** Leader: no membership change is proposed before this index is applied. */
  pendingConfIndex = 0;
  /** Leader: payload bytes beyond the commit index; an estimate that is never too high. */
  uncommittedSize = 0;
  /** Leader: reads that wait for a quorum to confirm that we still lead. */
  readOnly = new ReadOnly();
  /** Leader: reads that wait for the first commit of our term. */
  pendingReads: Message[] = [];

  /** Ticks since the last election timeout (leader, candidate) or since the leader was heard. */
  electionElapsed = 0;
  heartbeatElapsed = 0;
  /** In [electionTick, 2 * electionTick - 1], drawn anew at every change of role or term. */
  randomizedElectionTimeout = 0;

  constructor(config: RaftConfig) {
    this.id = config.id;
    this.config = config;
    this.logger = config.logger;
    this.log = new RaftLog(config.storage, config.logger, config.maxCommittedSizePerReady);
    this.tracker = new ProgressTracker(config.maxInflightMsgs, config.maxInflightBytes);
  }

  get hardState(): HardState {
    return { term: this.term, vote: this.vote, commit: this.log.committed };
  }

  get softState(): SoftState {
    return { lead: this.lead, raftState: this.state };
  }
}

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
 *
 * Invariants, asserted with every Ready by `invariants.ts`:
 *   R1  the term never falls; within a term the vote is given once and stays; the commit never falls
 *   R2  a leader follows itself, a (pre-)candidate nobody, a follower somebody else or nobody
 *   R3  candidates and leaders voted for themselves
 *   R4  applied <= applying <= committed <= last index
 *   R5  no entry is of a later term than the node, once it has seen any
 *   R6  a leader knows of every member: match < next, match <= last index, next <= last index + 1
 *   R7  a member waits for a snapshot exactly in snapshot state, and is served from behind it then
 *   R8  only a leader hands over, and only to another voter
 *   R9  only a leader holds reads, and never more than its limit
 *   R10 progress is kept of exactly the voters of both halves and the learners
 *   R11 what is being written is part of what is unstable; an unstable snapshot comes before it
 */

import type { RaftConfig } from "./config.ts";
import { Lease } from "./lease.ts";
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
  /** Leader: until when nobody else can lead. */
  lease = new Lease();
  /** Leader: reads that wait for the first commit of our term. */
  pendingReads: Message[] = [];

  /** Ticks since the last election timeout (leader, candidate) or since the leader was heard. */
  electionElapsed = 0;
  heartbeatElapsed = 0;
  /** Ticks since a leader was heard, whatever became of our term and role since: see `lease.ts`. */
  sinceLeader = 0;
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

/**
 * One member of a raft group, as its driver sees it: feed it ticks, messages and proposals, then
 * carry out each `Ready`. Synchronous and single-owner; it never performs IO.
 *
 * Invariant: nothing is given out twice. What a Ready carries counts as given out; the matching
 * `advance()` (or the storage answers, in asynchronous mode) then moves the log on.
 */

import { invariant } from "#base/invariant.ts";
import { encodeConfChange } from "./confchange/codec.ts";
import { isLocalTarget, type RaftConfig } from "./config.ts";
import { entriesSize } from "./entries.ts";
import { checkInvariants } from "./invariants.ts";
import { applyConfChange } from "./membership.ts";
import {
  EMPTY_HARD_STATE,
  isLocalMessage,
  isResponseMessage,
  type MessageInit,
  message,
  proposedEntry,
  sameHardState,
} from "./message.ts";
import type { Raft } from "./raft.ts";
import { storageAppend, storageAppendAnswer, storageApply, storageApplyAnswer } from "./ready.ts";
import { bootstrapRaft, type Peer, startRaft } from "./start.ts";
import type { BasicStatus, ProgressStatus, Status } from "./status.ts";
import { step } from "./step.ts";
import { tick } from "./tick.ts";
import type {
  ConfChange,
  ConfState,
  HardState,
  Message,
  NodeId,
  Ready,
  SnapshotStatus,
  SoftState,
  StepError,
} from "./types.ts";

export class RawNode {
  readonly #raft: Raft;
  readonly #async: boolean;
  #softState: SoftState;
  #hardState: HardState;
  /** Answers that this node owes itself for the Ready in work; stepped by `advance`. */
  #stepsOnAdvance: Message[] = [];
  #awaitsAdvance = false;

  /** Starts from what `config.storage` holds. A wrong configuration throws. */
  constructor(config: RaftConfig) {
    this.#raft = startRaft(config);
    this.#async = config.asyncStorageWrites;
    this.#softState = this.#raft.softState;
    this.#hardState = this.#raft.hardState;
  }

  /** One step of the logical clock. */
  tick(): void {
    tick(this.#raft);
  }

  /** Start an election now. */
  campaign(): StepError | undefined {
    return this.#step({ type: "MsgHup" });
  }

  /** Ask for an entry to be committed. It may be lost without a word: retry, or watch what is applied. */
  propose(data: Uint8Array): StepError | undefined {
    return this.proposeBatch([data]);
  }

  /** Several entries at once: all appended or none, and replicated in one message. */
  proposeBatch(batch: readonly Uint8Array[]): StepError | undefined {
    const entries = batch.map((data) => proposedEntry(data));
    return this.#step({ type: "MsgProp", from: this.#raft.id, entries });
  }

  /** A change that does not fit at the leader is committed as an empty normal entry instead. */
  proposeConfChange(change: ConfChange): StepError | undefined {
    const { type, data } = encodeConfChange(change);
    return this.#step({ type: "MsgProp", entries: [proposedEntry(data, type)] });
  }

  /**
   * To be called when a committed membership entry is applied, with its change; or, to refuse the
   * change, not at all. Returns the membership to store with the next snapshot.
   */
  applyConfChange(change: ConfChange): ConfState {
    return applyConfChange(this.#raft, change);
  }

  /** A message from another member, or an answer of the local storage. */
  step(m: Message): StepError | undefined {
    const fromStorage = isLocalTarget(m.from);
    if (isLocalMessage(m.type) && !fromStorage) return "localMessage";
    const isKnown = fromStorage || this.#raft.tracker.progress.has(m.from);
    if (isResponseMessage(m.type) && !isKnown) return "peerNotFound";
    return step(this.#raft, m);
  }

  /**
   * Linearizable read: a `ReadState` with this context comes in a later Ready. It may be lost, with a
   * message or with the leader; ask again after a while.
   */
  readIndex(ctx: Uint8Array): void {
    this.#step({ type: "MsgReadIndex", entries: [proposedEntry(ctx)] });
  }

  /** Ask the leader to make `transferee` the leader; gives up after an election timeout. */
  transferLeader(transferee: NodeId): void {
    this.#step({ type: "MsgTransferLeader", from: transferee });
  }

  /** Follower only: stop trusting the current leader, so that others may win our vote. */
  forgetLeader(): void {
    this.#step({ type: "MsgForgetLeader" });
  }

  /** The last message to `id` could not be sent. */
  reportUnreachable(id: NodeId): void {
    this.#step({ type: "MsgUnreachable", from: id });
  }

  /** How the delivery of a MsgSnap ended. Owed for every one, or replication to `id` stops. */
  reportSnapshot(id: NodeId, status: SnapshotStatus): void {
    this.#step({ type: "MsgSnapStatus", from: id, reject: status === "failure" });
  }

  hasReady(): boolean {
    const r = this.#raft;
    return (
      r.msgs.length > 0 ||
      r.msgsAfterAppend.length > 0 ||
      r.readStates.length > 0 ||
      r.log.unstable.hasNextEntries() ||
      r.log.hasNextCommittedEntries(!this.#async) ||
      r.log.unstable.nextSnapshot() !== undefined ||
      this.#changedSoftState() !== undefined ||
      this.#changedHardState() !== undefined
    );
  }

  /** Everything to do now. Must be carried out; without asynchronous writes, before the next one. */
  ready(): Ready {
    invariant(!this.#awaitsAdvance, "a Ready is followed by advance before the next one");
    checkInvariants(this.#raft, this.#hardState);
    const ready = this.#collect();
    this.#accept(ready);
    return ready;
  }

  /** The last Ready is stored, sent and applied. Not with asynchronous storage writes. */
  advance(): void {
    invariant(!this.#async, "asynchronous storage answers instead of advance");
    this.#awaitsAdvance = false;
    const steps = this.#stepsOnAdvance;
    this.#stepsOnAdvance = [];
    for (const m of steps) step(this.#raft, m);
  }

  /** Last index of the log; what a leader proposes next comes right after it. */
  get lastIndex(): number {
    return this.#raft.log.lastIndex();
  }

  basicStatus(): BasicStatus {
    const { id, hardState, softState, log, leadTransferee } = this.#raft;
    return { id, hardState, softState, applied: log.applied, leadTransferee };
  }

  status(): Status {
    const { tracker, state } = this.#raft;
    const progress = new Map<NodeId, ProgressStatus>();
    if (state === "leader") {
      for (const [id, member] of tracker.progress) progress.set(id, member.toStatus());
    }
    return { ...this.basicStatus(), config: tracker.config, progress };
  }

  /**
   * Makes `peers` the first members of a group, on a node with empty storage. Every peer must be
   * given the same list. Starting from a snapshot that holds the membership does the same.
   */
  bootstrap(peers: readonly Peer[]): void {
    // The first Ready must store term and commit even though the node already has them.
    this.#hardState = EMPTY_HARD_STATE;
    bootstrapRaft(this.#raft, peers);
  }

  /** For tests that need one particular timeout; it holds until the role or term changes. */
  setRandomizedElectionTimeout(ticks: number): void {
    this.#raft.randomizedElectionTimeout = ticks;
  }

  #step(init: MessageInit): StepError | undefined {
    return step(this.#raft, message(init));
  }

  #collect(): Ready {
    const r = this.#raft;
    const entries = r.log.unstable.nextEntries();
    const { hardState } = r;
    const { vote, term } = this.#hardState;
    const ready: Ready = {
      softState: this.#changedSoftState(),
      hardState: this.#changedHardState(),
      readStates: r.readStates,
      entries,
      snapshot: r.log.unstable.nextSnapshot(),
      committedEntries: r.log.nextCommittedEntries(!this.#async),
      messages: r.msgs,
      mustSync: entries.length > 0 || hardState.vote !== vote || hardState.term !== term,
    };
    return { ...ready, messages: [...r.msgs, ...this.#storageMessages(ready)] };
  }

  /** What joins the immediate messages: storage work, or what may follow the caller's own work. */
  #storageMessages(ready: Ready): readonly Message[] {
    const r = this.#raft;
    if (!this.#async) return r.msgsAfterAppend.filter((m) => m.to !== r.id);
    const append = storageAppend(r, ready);
    const messages = append === undefined ? [] : [append];
    if (ready.committedEntries.length > 0) messages.push(storageApply(r, ready.committedEntries));
    return messages;
  }

  #accept(ready: Ready): void {
    const r = this.#raft;
    this.#softState = ready.softState ?? this.#softState;
    this.#hardState = ready.hardState ?? this.#hardState;
    if (!this.#async) {
      this.#awaitsAdvance = true;
      this.#stepsOnAdvance = this.#answersOf(ready);
    }
    r.readStates = [];
    r.msgs = [];
    r.msgsAfterAppend = [];
    r.log.unstable.acceptInProgress();
    const last = ready.committedEntries.at(-1);
    if (last === undefined) return;
    r.log.acceptApplying(last.index, entriesSize(ready.committedEntries), !this.#async);
  }

  #answersOf(ready: Ready): Message[] {
    const r = this.#raft;
    const answers = r.msgsAfterAppend.filter((m) => m.to === r.id);
    const append = storageAppendAnswer(r, ready);
    if (append !== undefined) answers.push(append);
    if (ready.committedEntries.length > 0) {
      answers.push(storageApplyAnswer(r, ready.committedEntries));
    }
    return answers;
  }

  #changedSoftState(): SoftState | undefined {
    const { lead, state, softState } = this.#raft;
    const same = lead === this.#softState.lead && state === this.#softState.raftState;
    return same ? undefined : softState;
  }

  #changedHardState(): HardState | undefined {
    const { hardState } = this.#raft;
    return sameHardState(hardState, this.#hardState) ? undefined : hardState;
  }
}

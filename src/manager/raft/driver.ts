/**
 * Drives the consensus core: feeds it ticks, messages and proposals, and carries out what it asks
 * for. Its writes go through `storage-writes.ts`, and messages flow meanwhile.
 *
 * Invariants: the core is touched by this class alone, synchronously; proposals that gather are
 * handed to it before anything else, so that each gets the index that it was promised. An exception in
 * here is a bug or a broken disk: the node stops.
 */

import { EngineError, messageOf } from "#base/error.ts";
import { invariant } from "#base/invariant.ts";
import type { Clock, Log, Random, Timer } from "#base/ports.ts";
import {
  type ConfChange,
  type MemoryStorage,
  type Message,
  NONE,
  type NodeId,
  RAFT_DEFAULTS,
  type RaftLogger,
  RawNode,
  type Ready,
  type SnapshotMetadata,
  type Status,
} from "#raft/index.ts";
import type { Store } from "#store/store.ts";
import { AppliedWaiters } from "./applied-waiters.ts";
import { Applier } from "./applier.ts";
import type { Disk } from "./disk.ts";
import type { Members } from "./members.ts";
import { notLeading, notProposed, outcomeUnknown, Proposals } from "./proposals.ts";
import { Reads } from "./reads.ts";
import type { DecodedSnapshot } from "./snapshot-data.ts";
import { StorageWrites } from "./storage-writes.ts";

/** Work is interrupted after this long for timers and sockets, milliseconds. */
const SLICE_MS = 20;
/** Bytes under way to one follower. */
const INFLIGHT_MAX_BYTES = 64 * 1024 * 1024;
/** How much faster the core's clock runs while an election is hurried. */
const HURRY = 5;
/**
 * A candidate that has not won after so many ticks is tied with another: neither has lost as long as
 * a third one that is dead does not answer.
 */
const TIE_TICKS = 2;
/** Hurried ticks after the loss of a leader, in election timeouts; then patience again. */
const HURRY_TIMEOUTS = 4;
/** How long what a reign leaves in flight is waited for, in election timeouts: the next leader commits it soon. */
const ORPHANS_TIMEOUTS = 4;

export interface DriverEvents {
  send(m: Message): void;
  /** The store has advanced. */
  applied(): void;
  /** Leadership, the leader or the term may have changed. */
  roleChanged(): void;
  /** This member was removed from the group by a committed entry. */
  removedSelf(): void;
  /** Nothing can go on. */
  failed(error: unknown): void;
  ticked(): void;
}

export interface DriverOptions {
  readonly id: NodeId;
  readonly storage: MemoryStorage;
  /** Index that the store has when the driver starts. */
  readonly applied: number;
  readonly disk: Disk;
  readonly store: Store;
  readonly members: Members;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly tickMs: number;
  readonly electionTick: number;
  readonly events: DriverEvents;
}

export class Driver {
  readonly #options: DriverOptions;
  readonly #core: RawNode;
  readonly #proposals = new Proposals();
  readonly #reads: Reads;
  readonly #heard = new Map<NodeId, number>();
  /** Proposals of this turn, not yet handed to the core. */
  #gathering: Uint8Array[] = [];
  readonly #writes: StorageWrites;
  readonly #applier: Applier;
  #lead: NodeId = NONE;
  #leads = false;
  /** Term of the newest Ready. */
  #roleTerm = 0;
  #scheduled = false;
  #stopped = false;
  #timer: Timer | undefined;
  #leaderChanges = 0;
  /** Hurried ticks that are left. */
  #hurried = 0;
  /** Ticks as a candidate; undefined when it is none. */
  #standing: number | undefined;
  #hasHurriedTie = false;
  /** Ticks since a reign ended with proposals in flight. */
  #orphanTicks = 0;
  readonly #applying = new AppliedWaiters();

  constructor(options: DriverOptions) {
    this.#options = options;
    const { id, storage, applied, random, log, electionTick } = options;
    this.#core = new RawNode({
      ...RAFT_DEFAULTS,
      id,
      storage,
      applied,
      random: (bound) => random.int(bound),
      logger: coreLogger(log),
      electionTick,
      asyncStorageWrites: true,
      // Not by lease: `hurry` makes ticks shorter, and a lease counts them.
      readOnlyOption: "safe",
      maxInflightBytes: INFLIGHT_MAX_BYTES,
      disableProposalForwarding: true,
    });
    this.#reads = new Reads(
      (context) => this.#act(() => this.#core.readIndex(context)),
      random.bytes(8),
    );
    this.#writes = new StorageWrites({
      disk: options.disk,
      storage,
      log,
      isStopped: () => this.#stopped,
      deliver: (responses) => this.#deliver(responses),
      restored: (metadata, snapshot) => this.#restore(metadata, snapshot),
      failed: (error) => this.#fail(error),
      ended: () => this.#schedule(),
    });
    const term = storage.term(applied);
    this.#applier = new Applier({
      id,
      store: options.store,
      members: options.members,
      proposals: this.#proposals,
      term: typeof term === "number" ? term : 0,
      follow: (change) => this.#core.applyConfChange(change),
      giveUp: (error) => this.#giveUp(error),
      removedSelf: () => options.events.removedSelf(),
    });
  }

  /** Begins to tick. `bootstrap` makes this member the first one of a new group. */
  start(bootstrap?: Uint8Array): void {
    const { id } = this.#options;
    if (bootstrap !== undefined) this.#core.bootstrap([{ id, context: bootstrap }]);
    this.#armTick();
    this.#schedule();
  }

  /** Stands for election at once, unless it does already: for when nobody else could. */
  campaign(): void {
    if (this.#core.basicStatus().softState.raftState !== "follower") return;
    this.#act(() => this.#core.campaign());
  }

  get leads(): boolean {
    return this.#leads;
  }

  /** The leader as far as known, or `NONE`. */
  get leadId(): NodeId {
    return this.#lead;
  }

  get term(): number {
    return this.#core.basicStatus().hardState.term;
  }

  /** How often another leader than the last was heard of, or the same one again after none. */
  get leaderChanges(): number {
    return this.#leaderChanges;
  }

  /** True once this leader has applied an entry of its own term, and with it all earlier ones. */
  get caughtUp(): boolean {
    return this.#leads && this.#applier.term === this.term;
  }

  get pending(): number {
    return this.#proposals.size;
  }

  /** Payload bytes applied since this was last reset. */
  get appliedBytes(): number {
    return this.#applier.bytes;
  }

  resetAppliedBytes(): void {
    this.#applier.bytes = 0;
  }

  status(): Status {
    return this.#core.status();
  }

  /** Milliseconds (monotonic) at which the member was last heard. */
  lastHeardMs(id: NodeId): number | undefined {
    return this.#heard.get(id);
  }

  /** The index of the entry that `propose` would make now. */
  get nextIndex(): number {
    return this.#core.lastIndex + this.#gathering.length + 1;
  }

  /** Proposes an entry at `nextIndex`; resolves when it is committed and applied here. */
  propose(data: Uint8Array): Promise<void> {
    if (this.#stopped) return Promise.reject(notLeading());
    this.#giveUpOrphans();
    const done = this.#proposals.add(this.nextIndex, this.term);
    this.#gathering.push(data);
    this.#schedule();
    return done;
  }

  /** Proposes a change of membership; one at a time, others are refused. */
  async proposeChange(change: ConfChange): Promise<void> {
    if (this.#stopped || !this.#leads) throw notLeading();
    this.#flush();
    this.#giveUpOrphans();
    const index = this.#core.lastIndex + 1;
    const dropped = this.#core.proposeConfChange(change);
    if (dropped !== undefined) throw notProposed(dropped);
    const done = this.#proposals.add(index, this.term);
    this.#schedule();
    await done;
  }

  /** Resolves when all that is proposed is committed; rejects when that is lost. */
  drained(): Promise<void> {
    return this.#proposals.drained();
  }

  /** Resolves once the store contains everything acknowledged before the call. */
  async readBarrier(): Promise<void> {
    if (this.#stopped) throw notLeading();
    const index = await this.#reads.index();
    // Once stopped, nothing is applied any more that could be waited for.
    await this.applied(index);
  }

  /**
   * Resolves if this member has led from when the term was looked up until after this call, as a
   * majority says; else rejects with `unavailable`.
   */
  async confirmReign(term: number): Promise<void> {
    await this.readBarrier();
    if (!this.#leads || this.term !== term) throw notLeading();
  }

  /** Resolves once the entry of that index is applied. */
  async applied(index: number): Promise<void> {
    if (this.#stopped) throw notLeading();
    if (this.#options.store.view().index < index) await this.#applying.wait(index);
    if (this.#stopped) throw notLeading();
  }

  step(m: Message): void {
    const { clock, members } = this.#options;
    if (members.get(m.from) !== undefined) this.#heard.set(m.from, clock.monotonicMs());
    this.#act(() => this.#core.step(m));
  }

  /** As `step`, for the message that brought a snapshot, which is on disk by now. */
  stepSnapshot(m: Message, metadata: SnapshotMetadata, decoded: DecodedSnapshot): void {
    if (this.#stopped) return;
    this.#writes.offer(metadata, decoded);
    this.step(m);
  }

  reportUnreachable(id: NodeId): void {
    this.#act(() => this.#core.reportUnreachable(id));
  }

  reportSnapshot(id: NodeId, status: "finish" | "failure"): void {
    this.#act(() => this.#core.reportSnapshot(id, status));
  }

  transferTo(id: NodeId): void {
    this.#act(() => this.#core.transferLeader(id));
  }

  /** The leader is surely gone: lets the time until the election pass faster, for a while. */
  hurry(leader: NodeId): void {
    if (this.#stopped || leader !== this.#lead || this.#leads) return;
    this.#options.log.info("the leader is gone", { member: leader.toString(16) });
    this.#hurryNow();
  }

  #hurryNow(): void {
    this.#hurried = HURRY_TIMEOUTS * this.#options.electionTick;
    this.#timer?.cancel();
    this.#armTick();
  }

  /**
   * Ends a tie soon: to stand again takes a random time, and a whole one would double the pause. Once
   * until there is a leader: where answers take longer than that, patience is what helps.
   */
  #noticeTie(): void {
    if (this.#standing === undefined) return;
    this.#standing += 1;
    if (this.#standing < TIE_TICKS || this.#hasHurriedTie) return;
    this.#hasHurriedTie = true;
    this.#hurryNow();
  }

  /** Takes no more part; what waits is told so. Resolves when writes under way have ended. */
  async stop(): Promise<void> {
    this.#halt();
    await this.#writes.settled;
  }

  #halt(reason = outcomeUnknown()): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#timer?.cancel();
    this.#leads = false;
    this.#lead = NONE;
    this.#giveUp(reason);
    this.#reads.fail(new EngineError("unavailable", "this manager is shutting down"));
    this.#applying.reached(Number.MAX_SAFE_INTEGER);
  }

  #fail(error: unknown): void {
    if (this.#stopped) return;
    this.#halt(outcomeUnknown(messageOf(error)));
    this.#options.events.failed(error);
  }

  #armTick(): void {
    const { tickMs } = this.#options;
    const isHurried = this.#hurried > 0;
    this.#timer = this.#options.clock.setTimer(isHurried ? tickMs / HURRY : tickMs, () => {
      if (this.#stopped) return;
      if (isHurried) this.#hurried -= 1;
      // One tick however late it comes: a process that was held up must not think that the others
      // were silent meanwhile.
      this.#armTick();
      this.#act(() => this.#core.tick());
      if (isHurried) return;
      this.#noticeTie();
      this.#reads.tick();
      this.#tickOrphans();
      this.#options.events.ticked();
    });
  }

  /** Touches the core, behind the proposals that came before. */
  #act(touch: () => void): void {
    if (this.#stopped) return;
    try {
      this.#flush();
      touch();
    } catch (error) {
      this.#fail(error);
    }
    this.#schedule();
  }

  #flush(): void {
    const batch = this.#gathering;
    if (batch.length === 0) return;
    this.#gathering = [];
    const first = this.#core.lastIndex + 1;
    const dropped = this.#core.proposeBatch(batch);
    if (dropped !== undefined) {
      this.#giveUp(notProposed("the leader is handing over or has too much to do"), first);
      return;
    }
    invariant(this.#core.lastIndex === first + batch.length - 1, "proposals keep their index");
  }

  /** Forgets the proposals from `index` on, and what the store holds of them. */
  #giveUp(error: EngineError, index = 0): void {
    if (index === 0) this.#gathering = [];
    this.#options.store.dropHead(index);
    this.#proposals.fail(error, index);
  }

  /**
   * The end of a reign: what it proposed is no longer the head of anything, but may be in the log of
   * the next leader. What of it was not handed to the core yet is not.
   */
  #orphan(): void {
    const kept = this.#gathering.length;
    this.#gathering = [];
    this.#options.store.dropHead();
    this.#proposals.failNewest(kept, notLeading());
    this.#proposals.orphan();
    this.#orphanTicks = 0;
  }

  /** Whose next leader is not heard of, or commits nothing, learns no more. */
  #tickOrphans(): void {
    if (!this.#proposals.orphaned) return;
    this.#orphanTicks += 1;
    if (this.#orphanTicks > ORPHANS_TIMEOUTS * this.#options.electionTick) this.#giveUpOrphans();
  }

  #giveUpOrphans(): void {
    if (this.#proposals.orphaned) this.#proposals.fail(outcomeUnknown());
  }

  #schedule(): void {
    if (this.#scheduled || this.#stopped) return;
    this.#scheduled = true;
    // Behind all that has arrived by now: what many ask for in one turn of the loop becomes one
    // write to the disk and one message to each follower.
    setImmediate(() => this.#pump());
  }

  #pump(): void {
    this.#scheduled = false;
    const { clock } = this.#options;
    const start = clock.monotonicMs();
    try {
      this.#flush();
      while (!this.#stopped && this.#core.hasReady()) {
        this.#carryOut(this.#core.ready());
        if (clock.monotonicMs() - start > SLICE_MS) {
          this.#scheduled = true;
          setImmediate(() => this.#pump());
          return;
        }
      }
      this.#writes.withdrawOffer();
    } catch (error) {
      this.#fail(error);
    }
  }

  #carryOut(ready: Ready): void {
    for (const { requestCtx, index } of ready.readStates) this.#reads.answer(requestCtx, index);
    for (const m of ready.messages) {
      if (m.type === "MsgStorageAppend") this.#writes.persist(m);
      else if (m.type === "MsgStorageApply") this.#apply(m);
      else this.#options.events.send(m);
      if (this.#stopped) return;
    }
    if (ready.softState !== undefined || ready.hardState !== undefined) this.#checkRole(ready);
  }

  #checkRole({ softState, hardState }: Ready): void {
    const led = this.#leads;
    if (softState !== undefined) {
      const isNew = softState.lead !== this.#lead;
      this.#lead = softState.lead;
      this.#leads = softState.raftState === "leader";
      this.#standing = softState.raftState === "candidate" ? 0 : undefined;
      if (isNew && this.#lead !== NONE) {
        this.#hurried = 0;
        this.#hasHurriedTie = false;
        this.#leaderChanges += 1;
        this.#reads.retry();
      }
    }
    // What is in flight belongs to one term: with the end of the reign it is the next leader's.
    const isNewTerm = hardState !== undefined && hardState.term !== this.#roleTerm;
    if (led && (!this.#leads || isNewTerm)) this.#orphan();
    this.#roleTerm = hardState?.term ?? this.#roleTerm;
    this.#options.events.roleChanged();
  }

  #deliver(responses: readonly Message[]): void {
    const { id, events } = this.#options;
    for (const response of responses) {
      if (response.to === id) this.#act(() => this.#core.step(response));
      else events.send(response);
    }
  }

  #restore(metadata: SnapshotMetadata, snapshot: DecodedSnapshot): void {
    this.#applier.restore(metadata, snapshot);
    this.#options.events.applied();
    this.#applying.reached(this.#options.store.view().index);
  }

  #apply(m: Message): void {
    for (const entry of m.entries) {
      this.#applier.apply(entry);
      if (this.#stopped) return;
    }
    this.#options.events.applied();
    this.#applying.reached(this.#options.store.view().index);
    this.#deliver(m.responses);
    this.#options.events.roleChanged();
  }
}

/** The core speaks of every step of an election; only its warnings are for operators. */
function coreLogger(log: Log): RaftLogger {
  return {
    debug: (text) => log.debug(text),
    info: (text) => log.debug(text),
    warn: (text) => log.warn(text),
    error: (text) => log.error(text),
  };
}

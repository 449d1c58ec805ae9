/**
 * One simulated machine: the real core, a small driver around it, a disk, and a replica of the state.
 * Crashes lose everything but the synced part of the disk.
 */

import {
  type BasicStatus,
  type ConfChange,
  describeMessage,
  isLocalTarget,
  type MemoryStorage,
  type Message,
  type NodeId,
  type RaftLogger,
  RawNode,
  type Ready,
  type Snapshot,
  type Status,
} from "#raft/index.ts";
import type { Bug } from "./bugs.ts";
import type { Checker } from "./checker.ts";
import { Disk } from "./disk.ts";
import { LogShadow } from "./log-shadow.ts";
import type { Fate } from "./network.ts";
import type { Profile } from "./profile.ts";
import type { SeededRandom } from "./random.ts";
import { Replica, readContext } from "./replica.ts";
import { describeRequest, encodeRequest, type WriteRequest } from "./state-machine.ts";
import type { Timeline } from "./timeline.ts";
import type { Trace } from "./trace.ts";

export interface Surroundings {
  readonly timeline: Timeline;
  readonly random: SeededRandom;
  readonly profile: Profile;
  readonly checker: Checker;
  readonly trace: Trace;
  readonly bug: Bug | undefined;
  send(m: Message): Fate;
}

/** What a crash wipes out. */
interface Life {
  readonly raw: RawNode;
  readonly storage: MemoryStorage;
  readonly shadow: LogShadow;
  readonly replica: Replica;
  readonly applyQueue: Message[];
  /** The last term that this life was seen to lead. */
  ledTerm: number;
  /** Synchronous driver: a Ready is being stored. */
  isStoring: boolean;
  isApplying: boolean;
}

export class SimNode {
  readonly id: NodeId;
  readonly #world: Surroundings;
  readonly #random: SeededRandom;
  readonly #disk: Disk;
  readonly #tickMs: number;
  #life: Life | undefined;
  #pausedUntil = 0;
  #reads = 0;

  constructor(id: NodeId, world: Surroundings, initial: Snapshot) {
    this.id = id;
    this.#world = world;
    this.#random = world.random.fork(`node ${id}`);
    const { timeline, profile } = world;
    this.#disk = new Disk(timeline, this.#random.fork("disk"), profile, initial);
    // Clocks of machines do not run alike.
    this.#tickMs = Math.round((profile.tickMs * this.#random.between(85, 115)) / 100);
  }

  /** Its disk is damaged: it must not take part any more, and no operator replaces it here. */
  get isLost(): boolean {
    return this.#disk.isRotten;
  }

  get isUp(): boolean {
    return this.#life !== undefined;
  }

  get applied(): number {
    return this.#life?.replica.applied ?? 0;
  }

  status(): Status | undefined {
    return this.#life?.raw.status();
  }

  basicStatus(): BasicStatus | undefined {
    return this.#life?.raw.basicStatus();
  }

  start(): void {
    if (this.isUp) return;
    if (this.isLost && this.#world.bug !== "rotUnseen") {
      this.#say(() => "finds its disk damaged and does not start");
      return;
    }
    const storage = this.#disk.load();
    const applied = storage.snapshot().metadata.index;
    this.#say(() => `starts at applied ${applied}, log to ${storage.lastIndex()}`);
    const { checker, profile } = this.#world;
    const raw = new RawNode({
      ...profile.raft,
      id: this.id,
      storage,
      random: (bound) => this.#random.int(bound),
      logger: this.#logger(),
      applied,
      disableConfChangeValidation:
        profile.raft.disableConfChangeValidation || this.#world.bug === "overlappingChanges",
    });
    const say = (line: () => string) => this.#say(line);
    const dropsRepeats = this.#world.bug !== "lostDedup";
    const disk = this.#disk;
    const parts = { id: this.id, raw, storage, disk, checker, profile, dropsRepeats, say };
    const life: Life = {
      raw,
      storage,
      shadow: new LogShadow(this.id, checker, storage),
      replica: new Replica(parts),
      applyQueue: [],
      ledTerm: 0,
      isStoring: false,
      isApplying: false,
    };
    this.#life = life;
    this.#tickFor(life);
  }

  crash(): void {
    if (!this.isUp) return;
    this.#say(() => "crashes");
    this.#life = undefined;
    this.#disk.crash();
  }

  /** Nothing runs for a while, as in a long garbage collection; then everything that waited does. */
  pause(durationMs: number): void {
    this.#say(() => `pauses for ${durationMs}ms`);
    this.#pausedUntil = this.#world.timeline.now + durationMs;
  }

  /** Dies, and finds its disk damaged when it would start again. */
  rotDisk(): void {
    if (!this.#disk.rot()) return;
    this.#say(() => "has a disk that rots");
    this.crash();
  }

  stallDisk(durationMs: number): void {
    this.#say(() => `disk stalls for ${durationMs}ms`);
    this.#disk.stall(durationMs);
  }

  receive(m: Message): void {
    const life = this.#life;
    if (life === undefined) return;
    const wait = this.#pausedUntil - this.#world.timeline.now;
    if (wait > 0) {
      this.#world.timeline.after(wait, () => life === this.#life && this.receive(m));
      return;
    }
    this.#say(() => `gets ${describeMessage(m, describeRequest)}`);
    life.raw.step(this.#asReceived(life, m));
    this.#pump(life);
  }

  /** `done` hears the outcome; never, if the request is refused or lost. */
  write(request: WriteRequest, padding: number, done: (ok: boolean) => void): void {
    this.#withLife((life) => {
      const { client, serial, key, action } = request;
      const refused = life.raw.propose(encodeRequest(request, padding));
      const text = `c${client}#${serial}: ${action.kind} k${key} ${action.value}`;
      this.#say(() => `client asks ${text}: ${refused ?? "proposed"}`);
      if (refused !== undefined) return;
      if (this.#world.bug === "ackBeforeCommit") done(true);
      else life.replica.awaitWrite(client, serial, done);
    });
  }

  /** `done` hears the value; never, if the request is lost. */
  read(client: number, key: number, done: (value: number) => void): void {
    this.#withLife((life) => {
      const number = ++this.#reads;
      const floor = this.#world.checker.lastAcked;
      this.#say(() => `c${client} reads k${key} as r${number}, ${floor} is acknowledged`);
      const leads = life.raw.basicStatus().softState.raftState === "leader";
      if (this.#world.bug === "staleRead" && leads) {
        done(life.replica.valueOf(key));
        return;
      }
      life.replica.awaitRead(number, key, done);
      life.raw.readIndex(readContext(number));
    });
  }

  proposeChange(change: ConfChange, text: string): void {
    this.#withLife((life) => {
      const refused = life.raw.proposeConfChange(change);
      this.#say(() => `is asked to change members: ${text}: ${refused ?? "proposed"}`);
    });
  }

  transferTo(id: NodeId): void {
    this.#withLife((life) => {
      this.#say(() => `is asked to hand over to n${id}`);
      life.raw.transferLeader(id);
    });
  }

  campaign(): void {
    this.#withLife((life) => {
      this.#say(() => "is asked to campaign");
      life.raw.campaign();
    });
  }

  #withLife(body: (life: Life) => void): void {
    const life = this.#life;
    if (life === undefined || this.#pausedUntil > this.#world.timeline.now) return;
    body(life);
    this.#pump(life);
  }

  #tickFor(life: Life): void {
    this.#world.timeline.after(this.#tickMs, () => {
      if (life !== this.#life) return;
      if (this.#pausedUntil <= this.#world.timeline.now) {
        life.raw.tick();
        this.#pump(life);
      }
      this.#tickFor(life);
    });
  }

  #pump(life: Life): void {
    while (life === this.#life && !life.isStoring && life.raw.hasReady()) {
      const ready = life.raw.ready();
      this.#observe(life, ready);
      if (this.#world.profile.raft.asyncStorageWrites) this.#dispatch(life, ready);
      else this.#store(life, ready);
    }
  }

  #observe(life: Life, ready: Ready): void {
    if (ready.snapshot !== undefined) life.shadow.restore(ready.snapshot);
    life.shadow.append(ready.entries);
    const { softState, hardState } = life.raw.basicStatus();
    if (softState.raftState === "leader" && hardState.term !== life.ledTerm) {
      life.ledTerm = hardState.term;
      this.#say(() => `leads term ${hardState.term}`);
      this.#world.checker.leads(this.id, hardState.term, life.shadow);
    }
    life.replica.confirmReads(ready.readStates);
  }

  /** The synchronous driver: store, then send, apply and advance. */
  #store(life: Life, ready: Ready): void {
    const { entries, snapshot, mustSync } = ready;
    const batch = { hardState: this.#asStored(ready.hardState), entries, snapshot };
    const finish = () => {
      if (snapshot !== undefined) life.replica.restore(snapshot);
      life.storage.append(entries);
      for (const m of ready.messages) this.#send(life, m);
      life.replica.apply(ready.committedEntries);
      life.raw.advance();
      life.isStoring = false;
      this.#pump(life);
    };
    life.isStoring = true;
    if (!mustSync && snapshot === undefined) {
      this.#disk.writeLazily(batch);
      finish();
    } else if (this.#world.bug === "ackBeforeSync") {
      this.#disk.write(batch, () => {});
      finish();
    } else {
      this.#disk.write(batch, () => life === this.#life && finish());
    }
  }

  /** The asynchronous driver: everything is a message, and storage answers when it is done. */
  #dispatch(life: Life, ready: Ready): void {
    for (const m of ready.messages) {
      if (!isLocalTarget(m.to)) this.#send(life, m);
      else if (m.type === "MsgStorageAppend") this.#storeMessage(life, m);
      else this.#queueApply(life, m);
    }
  }

  #storeMessage(life: Life, m: Message): void {
    const { term, vote, commit, entries, snapshot, responses } = m;
    const changed = term !== 0 || vote !== 0 || commit !== 0;
    const hardState = this.#asStored(changed ? { term, vote, commit } : undefined);
    const batch = { hardState, entries, snapshot };
    const finish = () => {
      if (life !== this.#life) return;
      if (snapshot !== undefined) life.replica.restore(snapshot);
      life.storage.append(entries);
      for (const response of responses) this.#respond(life, response);
      this.#pump(life);
    };
    if (responses.length === 0) {
      this.#disk.writeLazily(batch);
    } else if (this.#world.bug === "ackBeforeSync") {
      this.#disk.write(batch, () => {});
      this.#world.timeline.after(0, finish);
    } else {
      this.#disk.write(batch, finish);
    }
  }

  #queueApply(life: Life, m: Message): void {
    life.applyQueue.push(m);
    if (life.isApplying) return;
    life.isApplying = true;
    this.#world.timeline.after(this.#random.int(5), () => this.#workApplyQueue(life));
  }

  #workApplyQueue(life: Life): void {
    if (life !== this.#life) return;
    life.isApplying = false;
    const m = life.applyQueue.shift();
    if (m === undefined) return;
    life.replica.apply(m.entries);
    for (const response of m.responses) this.#respond(life, response);
    if (life.applyQueue.length > 0) {
      life.isApplying = true;
      this.#world.timeline.after(this.#random.int(5), () => this.#workApplyQueue(life));
    }
    this.#pump(life);
  }

  #respond(life: Life, m: Message): void {
    if (m.to === this.id) life.raw.step(m);
    else this.#send(life, m);
  }

  #send(life: Life, m: Message): void {
    const fate = this.#world.send(m);
    const { timeline, profile } = this.#world;
    if (m.type === "MsgSnap") {
      const status = fate === "delivered" ? "finish" : "failure";
      timeline.after(2 * profile.latencyMs[1], () => {
        if (life !== this.#life) return;
        life.raw.reportSnapshot(m.to, status);
        this.#pump(life);
      });
    } else if (fate === "lost" && this.#random.chance(0.2)) {
      life.raw.reportUnreachable(m.to);
    }
  }

  #asReceived(life: Life, m: Message): Message {
    if (this.#world.bug !== "acceptOldTerm" || m.term === 0) return m;
    return { ...m, term: Math.max(m.term, life.raw.basicStatus().hardState.term) };
  }

  #asStored(hardState: Ready["hardState"]): Ready["hardState"] {
    if (hardState === undefined || this.#world.bug !== "voteNotStored") return hardState;
    return { ...hardState, vote: 0 };
  }

  #say(line: () => string): void {
    this.#world.trace.add(this.#world.timeline.now, `n${this.id}`, line);
  }

  #logger(): RaftLogger {
    const say = (message: string) => this.#say(() => `raft: ${message}`);
    return { debug: say, info: say, warn: say, error: say };
  }
}

/**
 * One member of the raft group: its disk, its driver, the ways to the others and the two services
 * that they call. Where it comes from (a new group, an old disk, an invitation) is decided here;
 * nothing in here knows of certificates: channels and callers' names are handed in.
 *
 * Order of use: `openRaftNode`, `register` the services, listen, `run`. The leader asks a joiner
 * whether it is well before it takes it in, so it must be listening by then.
 */

import { EngineError, messageOf } from "#base/error.ts";
import type { Clock, Log, Random } from "#base/ports.ts";
import { sleep } from "#platform/async.ts";
import type { RpcChannel } from "#platform/grpc/client.ts";
import type { RpcContext } from "#platform/grpc/server.ts";
import type { KeyRing } from "#platform/wal/key-ring.ts";
import { NONE, type NodeId } from "#raft/index.ts";
import type { Change } from "#store/types.ts";
import { RaftSnapshots } from "#wire/gen/skep/raft_pb.js";
import { Raft, RaftMembership } from "#wire/gen/swarmkit/raft_pb.js";
import { RaftMemberStatus_Reachability as Reachability } from "#wire/gen/swarmkit/types_pb.js";
import type { Member, Membership, Registrar } from "../manager-ports.ts";
import type { Actor, ClusterState } from "../state.ts";
import { Admission } from "./admission.ts";
import { lookAfter } from "./bereavement.ts";
import { ChangeFeed } from "./change-feed.ts";
import { type Disk, type DiskOptions, openDisk } from "./disk.ts";
import { Driver } from "./driver.ts";
import { Greeter } from "./greeter.ts";
import { createRaftServices } from "./inbox.ts";
import { announceAddress, joinGroup } from "./joining.ts";
import { Leadership } from "./leadership.ts";
import { encodeMember, freshRaftId, type KnownMember } from "./members.ts";
import { Peers } from "./peers.ts";
import { notLeading } from "./proposals.ts";
import { createRaftState } from "./raft-state.ts";
import { forceNewCluster, type Recovered, recover } from "./recovery.ts";
import type { Loaded } from "./replayed-log.ts";
import { Snapshotter } from "./snapshotter.ts";

/** With the ticks below, an election comes 0.8 to 1.6 s after the leader was last heard. */
const TICK_MS = 80;
const ELECTION_TICKS = 10;
/** Pause before a reign that failed is begun again where nobody else can lead. */
const REIGN_RETRY_MS = 1_000;

export interface RaftNodeOptions {
  /** Directory of the log and the snapshots; nobody else's. */
  readonly dir: string;
  readonly keys: KeyRing;
  readonly nodeId: string;
  /** "host:port" under which the other members reach this one; asked for when it is needed. */
  readonly addr: () => string;
  /** A shared channel to a manager's port; the caller owns it. */
  readonly channelTo: (addr: string) => RpcChannel;
  /** Managers that may take this one in, for a disk that never took part; else a new group. */
  readonly join?: (() => readonly string[]) | undefined;
  /** Makes this member the only one, after the majority was lost for good. */
  readonly forceNewCluster?: boolean | undefined;
  /** The node id that the transport vouches for; default: that of the caller's certificate. */
  readonly callerOf?: ((context: RpcContext) => string | undefined) | undefined;
  /** Throws if the actor may not make the change. */
  readonly checkChange?: ((actor: Actor, change: Change) => void) | undefined;
  /** The disk failed or an invariant broke: log it and end the process. */
  readonly onFatal: (error: unknown) => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly tickMs?: number | undefined;
  readonly electionTicks?: number | undefined;
  readonly snapshotEvery?: number | undefined;
  readonly keepEntries?: number | undefined;
  readonly segmentBytes?: number | undefined;
  readonly chunkBytes?: number | undefined;
  readonly fs?: DiskOptions["fs"];
  /** Told how long things took. */
  readonly timings?: RaftTimings | undefined;
}

/** What is worth a histogram; all in seconds. */
export interface RaftTimings {
  /** From the proposal of a change until it was applied here; or that its outcome is not known. */
  transaction(seconds: number, outcome: "applied" | "lost"): void;
  /** A snapshot of the store, encoded and on disk. */
  snapshot(seconds: number): void;
}

/** Where a member stands, for operators and tests. */
export interface RaftNodeStatus {
  /** Undefined before the member has its place in a group. */
  readonly raftId: NodeId | undefined;
  readonly term: number;
  /** Node ids of the members that vote, and of those that only learn yet. */
  readonly voters: readonly string[];
  readonly learners: readonly string[];
  /** Index of the newest applied entry. */
  readonly applied: number;
  /** Index of the oldest entry that the log in memory still has. */
  readonly firstIndex: number;
  /** Index of the newest entry that is known to be committed. */
  readonly committed: number;
  /** Whether this member knows who leads. */
  readonly hasLeader: boolean;
  /** Leaders that were heard of since the start, each time anew. */
  readonly leaderChanges: number;
  /** Changes that wait for their commit. */
  readonly pending: number;
}

export interface RaftNode {
  readonly state: ClusterState;
  readonly membership: Membership;
  status(): RaftNodeStatus;
  register(services: Registrar): void;
  /** Takes part. Resolves when the member is in the group, not when there is a leader. */
  run(): Promise<void>;
  /** Resolves when the group has removed this member. */
  readonly removed: Promise<void>;
  /**
   * Resolves when nothing is on disk any more that the key ring's current key does not open; rejects
   * when that is not so yet, to be tried again.
   */
  reseal(): Promise<void>;
  /** Hands leadership over if it has it, and lets go of everything. */
  close(): Promise<void>;
  /** Lets go of everything at once, as if the process had died. */
  kill(): Promise<void>;
}

/** Reads the disk; takes no part in the group yet. */
export async function openRaftNode(options: RaftNodeOptions): Promise<RaftNode> {
  const { dir, keys, random, segmentBytes, chunkBytes, fs, onFatal } = options;
  const settings = { dir, keys, random, segmentBytes, chunkBytes, fs, onFailure: onFatal };
  const { disk, loaded } = await openDisk(settings);
  try {
    const { self } = loaded;
    const isForced = options.forceNewCluster === true && self !== undefined;
    const start = isForced ? await goOnAlone(disk, loaded, self, options.log) : loaded;
    return new RunningNode(options, disk, start, await recover(start));
  } catch (error) {
    await loaded.snapshot?.close();
    await disk.close();
    throw error;
  }
}

async function goOnAlone(disk: Disk, loaded: Loaded, self: KnownMember, log: Log): Promise<Loaded> {
  const forced = await forceNewCluster(disk, loaded, self);
  const { unconfirmed, lost } = forced;
  log.warn(
    "this manager goes on alone: changes that reached only the lost managers are gone, and those must leave the swarm and join again",
    { lostManagers: lost, changesOfUnknownOutcomeKept: unconfirmed },
  );
  return forced.loaded;
}

/** A disk from which nothing can be learnt about the group. */
function isBlank({ entries, snapshot }: Loaded): boolean {
  return entries.length === 0 && snapshot === undefined;
}

class RunningNode implements RaftNode {
  readonly #options: RaftNodeOptions;
  readonly #disk: Disk;
  readonly #loaded: Loaded;
  readonly #recovered: Recovered;
  readonly #feed: ChangeFeed;
  readonly #leadership: Leadership;
  readonly #peers: Peers;
  readonly #snapshotter: Snapshotter;
  readonly #closing = new AbortController();
  readonly #tickMs: number;
  readonly #electionTicks: number;
  readonly state: ClusterState;
  readonly membership: Membership;
  readonly removed: Promise<void>;
  #tellRemoved: () => void = () => undefined;
  #driver: Driver | undefined;
  #admission: Admission | undefined;
  #self: KnownMember | undefined;
  /** A reign failed and is being handed over. */
  #abdicating = false;
  /** Callbacks of those who wait for another role or leader. */
  readonly #roleWaiters = new Set<() => void>();

  constructor(options: RaftNodeOptions, disk: Disk, loaded: Loaded, recovered: Recovered) {
    const { clock, random, log, channelTo, onFatal } = options;
    const { store, members, storage } = recovered;
    this.#options = options;
    this.#disk = disk;
    this.#loaded = loaded;
    this.#recovered = recovered;
    this.#tickMs = options.tickMs ?? TICK_MS;
    this.#electionTicks = options.electionTicks ?? ELECTION_TICKS;
    this.#feed = new ChangeFeed(store);
    this.#leadership = new Leadership((error) => void this.#abdicate(error));
    this.removed = new Promise((resolve) => {
      this.#tellRemoved = resolve;
    });
    this.#peers = new Peers({
      members,
      addr: options.addr,
      channelTo,
      openSnapshot: (metadata) => disk.openSnapshot(metadata),
      events: {
        unreachable: (id) => this.#driver?.reportUnreachable(id),
        disconnected: (id) =>
          void lookAfter(id, {
            members,
            leadId: () => this.#driver?.leadId ?? NONE,
            gone: (leader) => this.#driver?.hurry(leader),
          }),
        snapshotDone: (id, status) => this.#driver?.reportSnapshot(id, status),
        snapshotDamaged: () => void this.#snapshotter.renew().catch(() => undefined),
        removed: () => this.#onRemoved(),
      },
      clock,
      log,
    });
    this.#snapshotter = new Snapshotter(
      {
        storage,
        disk,
        store,
        members,
        log,
        every: options.snapshotEvery,
        keepEntries: options.keepEntries,
        failed: onFatal,
        clock,
        timings: options.timings,
      },
      recovered,
    );
    this.state = createRaftState({
      store,
      members,
      feed: this.#feed,
      leadership: this.#leadership,
      driver: () => this.#driver,
      checkChange: options.checkChange,
      timings: options.timings,
      clock,
      random,
    });
    this.membership = {
      list: () => this.#list(),
      canRemove: (nodeId) => this.#canRemove(nodeId),
      remove: (nodeId) => this.#remove(nodeId),
      transferLeadership: () => this.#transfer(),
      onChange: (listener) => members.onChange(listener),
    };
  }

  status(): RaftNodeStatus {
    const { members, storage, store } = this.#recovered;
    const { voters, learners } = members.confState;
    const namesOf = (ids: readonly NodeId[]) => ids.map((id) => members.get(id)?.nodeId ?? "");
    return {
      raftId: this.#self?.raftId,
      term: this.#driver?.term ?? 0,
      voters: namesOf(voters),
      learners: namesOf(learners),
      applied: store.view().index,
      firstIndex: storage.firstIndex(),
      committed: this.#driver?.status().hardState.commit ?? 0,
      hasLeader: (this.#driver?.leadId ?? NONE) !== NONE,
      leaderChanges: this.#driver?.leaderChanges ?? 0,
      pending: this.#driver?.pending ?? 0,
    };
  }

  register(services: Registrar): void {
    const { members } = this.#recovered;
    const { raft, snapshots } = createRaftServices({
      members,
      disk: this.#disk,
      self: () => (this.#driver === undefined ? undefined : this.#self?.raftId),
      callerOf: (context) => this.#callerOf(context),
      step: (m) => this.#driver?.step(m),
      stepSnapshot: (m, metadata, decoded) => this.#driver?.stepSnapshot(m, metadata, decoded),
      met: (id, addr) => this.#peers.meet(id, addr),
      failed: (error) => this.#failed(error),
      log: this.#options.log,
    });
    services.add(Raft, raft);
    services.add(RaftSnapshots, snapshots);
    services.add(RaftMembership, {
      join: (request, context) => this.#requireAdmission().join(request, context),
      leave: async ({ node }) => {
        if (node === undefined) {
          throw new EngineError("invalid-argument", "no node information provided");
        }
        await this.#requireAdmission().leave(Number(node.raftId));
        return {};
      },
    });
  }

  async run(): Promise<void> {
    this.#closing.signal.throwIfAborted();
    const { members } = this.#recovered;
    const known = this.#loaded.self;
    if (known !== undefined && !isBlank(this.#loaded)) {
      this.#start(known);
      void this.#tellAddress(known);
      return;
    }
    // One that ended before it had stored a word of the group has nobody to talk to: it comes anew,
    // and the leader takes out the member that it was to be.
    const { nodeId, join, random } = this.#options;
    if (join === undefined) {
      const raftId = known?.raftId ?? freshRaftId(random);
      const self = { raftId, nodeId, addr: this.#options.addr() };
      await this.#disk.identify(self);
      this.#closing.signal.throwIfAborted();
      this.#start(self, encodeMember(self));
      return;
    }
    const request = { addrs: join, nodeId, addr: this.#options.addr() };
    const joined = await joinGroup(request, this.#options, this.#closing.signal);
    await this.#disk.identify(joined.self);
    this.#closing.signal.throwIfAborted();
    members.learn(joined.members);
    this.#start(joined.self);
  }

  /**
   * The log goes on under the current key; a snapshot takes the place of what is sealed with others.
   * Entries are waited for that no snapshot can cover yet, because they are not committed.
   */
  async reseal(): Promise<void> {
    const index = await this.#disk.changeKey();
    await this.#requireDriver().applied(Math.max(index, 1));
    await this.#snapshotter.renew();
    if (await this.#disk.isSealedAnew()) return;
    throw new EngineError("unavailable", "a snapshot came in that is sealed with the old key");
  }

  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    await this.#handOver();
    await this.#end();
    await this.#snapshotter.idle();
    await this.#disk.close();
  }

  async kill(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    const abandoned = this.#disk.abandon();
    await this.#end();
    await abandoned;
  }

  async #end(): Promise<void> {
    this.#closing.abort(new EngineError("unavailable", "this manager is shutting down"));
    this.#leadership.end();
    await this.#driver?.stop();
    this.#peers.close();
    this.#feed.close();
    await this.#leadership.settled();
  }

  #start(self: KnownMember, bootstrap?: Uint8Array): void {
    const { clock, random, log, channelTo } = this.#options;
    const { storage, store, members, applied } = this.#recovered;
    this.#self = self;
    const greeter = new Greeter({
      self: self.raftId,
      members,
      everyTicks: 2 * this.#electionTicks,
      send: (m) => this.#peers.send(m),
    });
    const driver = new Driver({
      id: self.raftId,
      storage,
      applied,
      disk: this.#disk,
      store,
      members,
      clock,
      random,
      log,
      tickMs: this.#tickMs,
      electionTick: this.#electionTicks,
      events: {
        send: (m) => this.#peers.send(m),
        applied: () => this.#onApplied(),
        roleChanged: () => this.#onRoleChanged(),
        removedSelf: () => this.#onRemoved(),
        failed: (error) => this.#failed(error),
        ticked: () => {
          this.#admission?.tick();
          greeter.tick(driver.leadId, driver.term);
        },
      },
    });
    this.#driver = driver;
    this.#admission = new Admission({
      driver,
      self: self.raftId,
      members,
      channelTo,
      callerOf: (context) => this.#callerOf(context),
      silenceMs: 2 * this.#tickMs * this.#electionTicks,
      clock,
      random,
      log,
    });
    driver.start(bootstrap);
  }

  #failed(error: unknown): void {
    if (this.#closing.signal.aborted) return;
    this.#leadership.end();
    this.#options.onFatal(error);
  }

  #onApplied(): void {
    this.#feed.notify();
    const driver = this.#driver;
    if (driver !== undefined && this.#snapshotter.consider(driver.appliedBytes)) {
      driver.resetAppliedBytes();
    }
  }

  #onRoleChanged(): void {
    const driver = this.#driver;
    if (driver === undefined) return;
    if (!driver.leads) this.#leadership.end();
    else if (driver.caughtUp && !this.#abdicating) this.#leadership.begin();
    if (this.#isAlone() && driver.leadId === NONE) driver.campaign();
    for (const wake of this.#roleWaiters) wake();
  }

  /** Whether this member is the only voter, so that there is nobody to wait for. */
  #isAlone(): boolean {
    const { voters, votersOutgoing } = this.#recovered.members.confState;
    return voters.length === 1 && votersOutgoing.length === 0 && voters[0] === this.#self?.raftId;
  }

  #onRemoved(): void {
    if (this.#closing.signal.aborted) return;
    this.#options.log.warn("this manager was removed from the raft group");
    this.#leadership.end();
    this.#peers.close();
    void this.#driver?.stop();
    this.#tellRemoved();
  }

  /** A function of the leader failed: somebody else shall lead, or this one from a fresh start. */
  async #abdicate(cause: unknown): Promise<void> {
    const { log, clock } = this.#options;
    log.error("what the leader runs failed", { reason: messageOf(cause) });
    this.#abdicating = true;
    this.#leadership.end();
    try {
      await this.#transfer();
    } catch (reason) {
      log.info("nobody else can lead, beginning anew", { reason: messageOf(reason) });
      await sleep(clock, REIGN_RETRY_MS, this.#closing.signal).catch(() => undefined);
    } finally {
      this.#abdicating = false;
      if (!this.#closing.signal.aborted) this.#onRoleChanged();
    }
  }

  #list(): readonly Member[] {
    const driver = this.#driver;
    const isLeading = driver?.leads === true;
    return this.#recovered.members.list().map(({ raftId, nodeId, addr }) => ({
      raftId: BigInt(raftId),
      nodeId,
      addr,
      leader: driver?.leadId === raftId,
      voter: this.#recovered.members.isVoter(raftId),
      reachability: isLeading ? this.#reachability(raftId) : Reachability.UNKNOWN,
    }));
  }

  #reachability(raftId: NodeId): Reachability {
    const reachable = this.#admission?.isReachable(raftId) === true;
    return reachable ? Reachability.REACHABLE : Reachability.UNREACHABLE;
  }

  #canRemove(nodeId: string): boolean {
    const member = this.#recovered.members.byNodeId(nodeId);
    return member === undefined || this.#admission?.canRemove(member.raftId) === true;
  }

  async #remove(nodeId: string): Promise<void> {
    const member = this.#recovered.members.byNodeId(nodeId);
    if (member !== undefined) await this.#requireAdmission().remove(member.raftId);
  }

  /** Hands leadership to the voter that is furthest and was heard of lately. */
  async #transfer(): Promise<void> {
    const driver = this.#driver;
    if (driver === undefined || !driver.leads) throw notLeading();
    const { progress } = driver.status();
    const candidates = [...progress]
      .filter(([id, state]) => id !== this.#self?.raftId && !state.isLearner && state.recentActive)
      .toSorted(([, a], [, b]) => b.match - a.match);
    const target = candidates[0]?.[0];
    if (target === undefined) {
      throw new EngineError("failed-precondition", "no other manager can take the leadership");
    }
    driver.transferTo(target);
    await this.#roleUntil(() => !driver.leads, 2 * this.#electionTicks * this.#tickMs);
    if (driver.leads) {
      throw new EngineError("unavailable", "the other manager did not take the leadership in time");
    }
  }

  async #handOver(): Promise<void> {
    if (this.#driver?.leads !== true || this.#isAlone()) return;
    try {
      await this.#transfer();
    } catch (error) {
      this.#options.log.info("leadership was not handed over", { reason: messageOf(error) });
    }
  }

  /** Resolves when the condition holds after a change of role, or after `timeoutMs`. */
  async #roleUntil(condition: () => boolean, timeoutMs: number): Promise<void> {
    if (condition()) return;
    await new Promise<void>((resolve) => {
      const end = () => {
        this.#roleWaiters.delete(look);
        timer.cancel();
        this.#closing.signal.removeEventListener("abort", end);
        resolve();
      };
      const look = () => {
        if (condition()) end();
      };
      const timer = this.#options.clock.setTimer(timeoutMs, end);
      this.#roleWaiters.add(look);
      this.#closing.signal.addEventListener("abort", end, { once: true });
    });
  }

  async #tellAddress(known: KnownMember): Promise<void> {
    const moved = { ...known, addr: this.#options.addr() };
    if (known.addr === moved.addr) return;
    const told = await announceAddress(moved, this.#options, {
      members: this.#recovered.members,
      tellAsLeader: () =>
        this.#leadership.leads ? this.#requireAdmission().updateAddress(moved) : undefined,
      signal: this.#closing.signal,
    });
    if (told) await this.#disk.identify(moved).catch(this.#options.onFatal);
  }

  #requireDriver(): Driver {
    if (this.#driver === undefined) throw notLeading();
    return this.#driver;
  }

  #requireAdmission(): Admission {
    if (this.#admission === undefined) {
      const message = "raft: node is not yet part of a raft cluster";
      throw new EngineError("failed-precondition", message);
    }
    return this.#admission;
  }

  #callerOf(context: RpcContext): string | undefined {
    const { callerOf } = this.#options;
    return callerOf === undefined ? context.peer?.nodeId : callerOf(context);
  }
}

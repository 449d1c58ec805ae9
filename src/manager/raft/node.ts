/**
 * One member of the raft group: its disk, its driver, the ways to the others and the two services
 * that they call. Where it comes from (a new group, an old disk, an invitation) is decided here;
 * nothing in here knows of certificates: channels and callers' names are handed in.
 *
 * Order of use: `openRaftNode`, `register` the services, listen, `run`. The leader asks a joiner
 * whether it is well before it takes it in, so it must be listening by then.
 */

import { EngineError, messageOf } from "#base/error.ts";
import { sleep } from "#platform/async.ts";
import type { RpcContext } from "#platform/grpc/server.ts";
import { isMemberOf, type Message, NONE, type NodeId } from "#raft/index.ts";
import { RaftSnapshots } from "#wire/gen/skep/raft_pb.js";
import { Raft, RaftMembership } from "#wire/gen/swarmkit/raft_pb.js";
import type { Membership, Registrar } from "../manager-ports.ts";
import type { ClusterState } from "../state.ts";
import { Admission } from "./admission.ts";
import { lookAfter } from "./bereavement.ts";
import { ChangeFeed } from "./change-feed.ts";
import { type Disk, openDisk } from "./disk.ts";
import { Driver } from "./driver.ts";
import { formerMember } from "./former-members.ts";
import { type AloneReport, forceNewCluster } from "./going-alone.ts";
import { Greeter } from "./greeter.ts";
import { Handover } from "./handover.ts";
import { createRaftServices } from "./inbox.ts";
import { announceAddress, joinGroup } from "./joining.ts";
import { Leadership } from "./leadership.ts";
import { encodeMember, freshRaftId, type KnownMember } from "./members.ts";
import { createMembership, required } from "./membership-view.ts";
import { Peers } from "./peers.ts";
import { notLeading } from "./proposals.ts";
import type { RaftNode, RaftNodeOptions, RaftNodeStatus } from "./raft-node.ts";
import { createRaftState } from "./raft-state.ts";
import { type Recovered, recover } from "./recovery.ts";
import type { Loaded } from "./replayed-log.ts";
import { Snapshotter } from "./snapshotter.ts";

export type { RaftNode, RaftNodeOptions, RaftNodeStatus, RaftTimings } from "./raft-node.ts";

/** With the ticks below, an election comes 0.8 to 1.6 s after the leader was last heard. */
const TICK_MS = 80;
const ELECTION_TICKS = 10;
/** Pause before a reign that failed is begun again where nobody else can lead. */
const REIGN_RETRY_MS = 1_000;

/** Reads the disk; takes no part in the group yet. */
export async function openRaftNode(options: RaftNodeOptions): Promise<RaftNode> {
  const { dir, keys, random, segmentBytes, chunkBytes, fs, onFatal } = options;
  const settings = { dir, keys, random, segmentBytes, chunkBytes, fs, onFailure: onFatal };
  const { disk, loaded } = await openDisk(settings);
  try {
    const { self } = loaded;
    const isForced = options.forceNewCluster === true && self !== undefined;
    const forced = isForced ? await forceNewCluster(disk, loaded, self) : undefined;
    const start = forced?.loaded ?? loaded;
    if (forced !== undefined) options.log.warn("this manager goes on alone", { ...forced.report });
    return new RunningNode(options, disk, start, await recover(start), forced?.report);
  } catch (error) {
    await loaded.snapshot?.close();
    await disk.close();
    throw error;
  }
}

/** A disk from which nothing can be learnt about the group. */
function isBlank({ entries, snapshot }: Loaded): boolean {
  return entries.length === 0 && snapshot === undefined;
}

function lostLog(dir: string): EngineError {
  return new EngineError(
    "data-loss",
    `the raft log in ${dir} is empty, though this node is a manager of a swarm, and no other manager is known to ask: put the log back, or leave the swarm with --force and restore a backup`,
  );
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
  readonly #handover: Handover;
  readonly #closing = new AbortController();
  readonly #tickMs: number;
  readonly #electionTicks: number;
  readonly state: ClusterState;
  readonly membership: Membership;
  readonly removed: Promise<void>;
  readonly alone: AloneReport | undefined;
  #tellRemoved: () => void = () => undefined;
  #driver: Driver | undefined;
  #admission: Admission | undefined;
  #self: KnownMember | undefined;
  /** A reign failed and is being handed over. */
  #abdicating = false;
  #handedOver: Promise<void> | undefined;

  constructor(
    options: RaftNodeOptions,
    disk: Disk,
    loaded: Loaded,
    recovered: Recovered,
    alone: AloneReport | undefined,
  ) {
    const { clock, random, log, channelTo, onFatal } = options;
    const { store, members, storage } = recovered;
    this.#options = options;
    this.alone = alone;
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
    this.#handover = new Handover({
      driver: () => this.#driver,
      timeoutMs: 2 * this.#electionTicks * this.#tickMs,
      closing: this.#closing.signal,
      clock,
    });
    this.membership = createMembership({
      members,
      self: () => this.#self?.raftId,
      driver: () => this.#driver,
      admission: () => this.#admission,
      transfer: () => this.#handover.transfer(),
    });
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
      leads: this.#driver?.caughtUp ?? false,
      hasLeader: (this.#driver?.leadId ?? NONE) !== NONE,
      leaderChanges: this.#driver?.leaderChanges ?? 0,
      pending: this.#driver?.pending ?? 0,
    };
  }

  register(services: Registrar): void {
    const { members, store } = this.#recovered;
    const { raft, snapshots } = createRaftServices({
      members,
      disk: this.#disk,
      self: () => (this.#driver === undefined ? undefined : this.#self?.raftId),
      callerOf: (context) => this.#callerOf(context),
      refusalOf: ({ peer }) => formerMember(peer, store),
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
      if (this.#options.mayFound === false) throw lostLog(this.#options.dir);
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
    await this.handOver();
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
        send: (m) => this.#send(m),
        applied: () => this.#onApplied(),
        roleChanged: () => this.#onRoleChanged(),
        removedSelf: () => this.#takeLeave(greeter, driver.term),
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
      checkJoin: (request) => this.#options.checkJoin?.(store.view(), request),
      silenceMs: 2 * this.#tickMs * this.#electionTicks,
      clock,
      random,
      log,
    });
    driver.start(bootstrap);
  }

  /** A snapshot from before the receiver's time is of no use to it: it gets one that knows it. */
  #send(m: Message): void {
    const { snapshot } = m;
    if (
      m.type !== "MsgSnap" ||
      snapshot === undefined ||
      isMemberOf(snapshot.metadata.confState, m.to)
    ) {
      this.#peers.send(m);
      return;
    }
    const again = () => this.#driver?.reportSnapshot(m.to, "failure");
    void this.#snapshotter.renew().then(again, again);
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
    this.#handover.roleChanged();
  }

  /** Whether this member is the only voter, so that there is nobody to wait for. */
  #isAlone(): boolean {
    const { voters, votersOutgoing } = this.#recovered.members.confState;
    return voters.length === 1 && votersOutgoing.length === 0 && voters[0] === this.#self?.raftId;
  }

  /**
   * This member knows that it was removed. The others may not yet, and then it takes its vote to make
   * one of them lead: it goes when somebody says that it is gone.
   */
  #takeLeave(greeter: Greeter, term: number): void {
    this.#options.log.info("removed from the raft group; waiting until the others know");
    this.#leadership.end();
    greeter.takeLeave(term);
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
      await this.#handover.transfer();
    } catch (reason) {
      log.info("nobody else can lead, beginning anew", { reason: messageOf(reason) });
      await sleep(clock, REIGN_RETRY_MS, this.#closing.signal).catch(() => undefined);
    } finally {
      this.#abdicating = false;
      if (!this.#closing.signal.aborted) this.#onRoleChanged();
    }
  }

  handOver(): Promise<void> {
    this.#handedOver ??= this.#letAnotherLead();
    return this.#handedOver;
  }

  async #letAnotherLead(): Promise<void> {
    const driver = this.#driver;
    if (driver?.leads !== true || this.#isAlone()) return;
    try {
      await this.#handover.transfer();
    } catch (error) {
      this.#options.log.info("leadership was not handed over", { reason: messageOf(error) });
    }
    // Without another leader it may never be known.
    if (!driver.leads) await driver.drained().catch(() => undefined);
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
    return required(this.#admission);
  }

  #callerOf(context: RpcContext): string | undefined {
    const { callerOf } = this.#options;
    return callerOf === undefined ? context.peer?.nodeId : callerOf(context);
  }
}

/**
 * One run of a node in a swarm: its identity, an agent always, and a manager while its certificate
 * says so. Started from nothing (a new swarm, or a token) or from what is on disk. It ends when it is
 * stopped or when something of it fails; whoever started it decides whether to start another.
 *
 * The role follows the cluster: a session tells the role that the cluster settled on, the renewer
 * gets a certificate that shows it, and the certificate starts or stops the manager.
 */

import { rm } from "node:fs/promises";
import { type Agent, type Connector, startAgent } from "#agent/agent.ts";
import type { Executor } from "#agent/executor.ts";
import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import type { Clock, Log, Random } from "#base/ports.ts";
import type { Manager } from "#manager/manager.ts";
import { skewWarning } from "#pki/clock-skew.ts";
import { deferred, sleep } from "#platform/async.ts";
import type { RpcChannel } from "#platform/grpc/client.ts";
import { NodeCA } from "#wire/gen/swarmkit/ca_pb.js";
import type { SessionMessage } from "#wire/gen/swarmkit/dispatcher_pb.js";
import type { NodeSpec_Availability } from "#wire/gen/swarmkit/specs_pb.js";
import { IssuanceStatus_State, NodeRole } from "#wire/gen/swarmkit/types_pb.js";
import { Changes } from "./changes.ts";
import { anonymousChannel, managerChannel, SharedChannels } from "./channels.ts";
import { joinCluster, renewFromStore, renewIdentity, type Waiting } from "./enrol.ts";
import { loadIdentity, NodeIdentity } from "./identity.ts";
import {
  type AskedSwarm,
  forgetJoinAttempt,
  type JoinAttempt,
  loadJoinAttempt,
  saveJoinAttempt,
} from "./join-request.ts";
import { LockedKeyError } from "./key-file.ts";
import { followLock, type Locking } from "./locking.ts";
import { KnownManagers } from "./managers.ts";
import type { NewSwarm } from "./new-swarm.ts";
import { createNewSwarm } from "./new-swarm.ts";
import type { SwarmPaths } from "./paths.ts";
import { Renewer } from "./renewer.ts";

/** How the first credentials come about, when there are none on disk. */
export type Origin =
  | { readonly kind: "new"; readonly swarm: NewSwarm }
  | {
      readonly kind: "join";
      readonly address: string;
      readonly token: string;
      readonly availability: NodeSpec_Availability;
    }
  | {
      readonly kind: "disk";
      /** The manager that let the node in, in case no other became known before it stopped. */
      readonly address: string;
      readonly forceNewCluster?: boolean;
    };

export interface ManagerStart {
  readonly identity: NodeIdentity;
  readonly newSwarm: NewSwarm | undefined;
  /** Managers to ask for a place in the raft group; undefined for the founder of a swarm. */
  readonly join: (() => readonly string[]) | undefined;
  readonly forceNewCluster: boolean;
  /** There is no room for its log: it is closed, and started again from what is on disk. */
  readonly onDiskFull: (error: EngineError) => void;
  /** Aborted when the node stops while the manager is still starting. */
  readonly signal: AbortSignal;
  readonly channelTo: (address: string) => RpcChannel;
}

export interface SwarmNodeOptions {
  readonly paths: SwarmPaths;
  readonly origin: Origin;
  readonly unlockKey?: Uint8Array | undefined;
  readonly createExecutor: (nodeId: string) => Executor;
  readonly startManager: (start: ManagerStart) => Promise<Manager>;
  readonly onChange: () => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** A demoted manager may be out of the raft group before its certificate says so. */
const ROLE_CHANGE_WAIT_MS = 16_000;
/** How long a new manager waits for its vote before it is called ready. */
const VOTE_WAIT_MS = 10_000;
const REMOVED_TIMEOUT_MS = 5_000;
/** How long the agent of a manager waits for its own manager before it asks another. */
const OWN_MANAGER_WAIT_MS = 5_000;
/** Enough to answer what is under way when a manager fails. */
const LAST_WORDS_MS = 200;

export class SwarmNode {
  readonly #options: SwarmNodeOptions;
  readonly #stopping = new AbortController();
  readonly #ready = deferred();
  readonly #done: Promise<void>;
  /** Rung whenever manager, role or the list of managers changed. */
  readonly #changes = new Changes();
  #identity: NodeIdentity | undefined;
  #known: KnownManagers | undefined;
  #channels: SharedChannels | undefined;
  #renewer: Renewer | undefined;
  #manager: Manager | undefined;
  #agent: Agent | undefined;
  #waiting: Waiting | undefined;
  #told: string | undefined;
  #clockWarning: string | undefined;
  /** Removed from the raft group, or demoted: until when a manager of this node is not to be waited for. */
  #betweenManagers = false;
  /** The cluster said, after this node's manager was removed, that it shall be a manager. */
  #promotedAgain = false;

  constructor(options: SwarmNodeOptions) {
    this.#options = options;
    this.#ready.promise.catch(() => undefined);
    this.#done = this.#run();
    // One that is stopped before it was ready never will be: whoever waits is told.
    this.#done.then(
      () => this.#ready.reject(this.#stopping.signal.reason),
      (error: unknown) => this.#ready.reject(error),
    );
  }

  /** Resolves with the first session, and the manager where this is one; rejects with why not. */
  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  /** Resolves after `stop`; rejects when the node failed. Nothing of it runs any more then. */
  get done(): Promise<void> {
    return this.#done;
  }

  get identity(): NodeIdentity | undefined {
    return this.#identity;
  }

  /** Set while a manager runs and can be asked. */
  get manager(): Manager | undefined {
    return this.#manager;
  }

  /** Set while the node waits for an operator to accept it. */
  get waiting(): Waiting | undefined {
    return this.#waiting;
  }

  /** What is wrong with this node's clock, as far as its last certificate could tell. */
  get clockWarning(): string | undefined {
    return this.#clockWarning;
  }

  get knownManagers(): KnownManagers | undefined {
    return this.#known;
  }

  /** Removes this node's tasks from the host before it leaves the swarm. */
  async removeTasks(signal: AbortSignal): Promise<void> {
    await this.#agent?.leave(signal);
  }

  /** A connection to some manager for a call of this node. */
  anyManager(): RpcChannel {
    if (this.#manager !== undefined) return this.#manager.channel;
    const remote = this.#known?.pick(this.#options.random);
    if (remote === undefined || this.#channels === undefined) {
      throw new EngineError("unavailable", "no manager of the swarm is known");
    }
    return this.#channels.to(remote.addr);
  }

  /** What this node tells of itself has changed: the managers hear of it at once. */
  describeAgain(): void {
    this.#agent?.refresh();
  }

  /** A manager is at that address, somebody says. */
  reconnect(address: string): void {
    this.#told = address;
    this.#known?.add(address);
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new EngineError("cancelled", "the node is stopping"));
    await this.#done.catch(() => undefined);
  }

  async #run(): Promise<void> {
    const { paths, origin, clock, random, log } = this.#options;
    const signal = this.#stopping.signal;
    try {
      const told = origin.kind === "new" ? "" : origin.address;
      const fresh = origin.kind === "join";
      this.#known = await KnownManagers.open(paths.managers, log, { told, fresh });
      if (this.#told !== undefined) this.#known.add(this.#told);
      const identity = await this.#credentials(signal);
      this.#identity = identity;
      this.#channels = new SharedChannels(() => identity.tls(), clock);
      const renew = (attempt: AbortSignal) => this.#renew(identity, attempt);
      this.#renewer = new Renewer({ identity, renew, clock, random, log });
      let wasLocked = identity.isLocked;
      identity.onChange(() => {
        this.#channels?.renew();
        this.#agent?.refresh();
        // No manager any more: what its node keeps lies open again, as on any worker.
        if (wasLocked && !identity.isLocked) this.#openTaskFiles();
        wasLocked = identity.isLocked;
        this.#notify();
      });
      this.#notify();
      await this.#together([
        (scope) => this.#superviseManager(identity, scope),
        (scope) => this.#runAgent(identity, scope),
        (scope) => this.#renewer?.run(scope) ?? Promise.resolve(),
      ]);
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      this.#channels?.close();
      await this.#known?.saved();
      this.#notify();
    }
  }

  /** From disk if they are there; they are also there when an earlier attempt to join got so far. */
  async #credentials(signal: AbortSignal): Promise<NodeIdentity> {
    const { paths, origin, unlockKey, clock, random } = this.#options;
    const loaded = await loadIdentity(paths, unlockKey);
    if (loaded.kind === "locked") throw new LockedKeyError();
    if (loaded.kind === "found") return loaded.identity;
    if (origin.kind === "new") {
      const credentials = await createNewSwarm(origin.swarm, clock, random);
      const identity = new NodeIdentity(paths, credentials, origin.swarm.unlockKey);
      await identity.save();
      return identity;
    }
    const attempt = origin.kind === "join" ? origin : await loadJoinAttempt(paths);
    if (attempt === undefined) {
      throw new EngineError("data-loss", `no certificate of this node in ${paths.certificates}`);
    }
    return this.#enrol(origin.address, attempt, signal);
  }

  /** Asks to be let in, or goes on to wait where that was done before the engine was restarted. */
  async #enrol(address: string, attempt: JoinAttempt, signal: AbortSignal): Promise<NodeIdentity> {
    const { paths, clock, log } = this.#options;
    const onPending = (waiting: Waiting) => {
      this.#waiting = waiting;
      const { nodeId: node, fingerprint } = waiting;
      log.info("waiting to be accepted into the swarm", { manager: address, node, fingerprint });
      this.#options.onChange();
    };
    const onAsked = (asked: AskedSwarm) => saveJoinAttempt(paths, { ...attempt, asked });
    const onSkew = (skewMs: number) => this.#onSkew(skewMs);
    const options = { address, attempt, clock, onAsked, onPending, onSkew };
    if (attempt.asked === undefined) await saveJoinAttempt(paths, attempt);
    const credentials = await joinCluster(options, signal);
    this.#waiting = undefined;
    const identity = new NodeIdentity(paths, credentials);
    await identity.save();
    await forgetJoinAttempt(paths);
    return identity;
  }

  #onSkew(skewMs: number): void {
    this.#clockWarning = skewWarning(skewMs);
    if (this.#clockWarning !== undefined) this.#options.log.warn(this.#clockWarning);
  }

  async #renew(identity: NodeIdentity, signal: AbortSignal): Promise<void> {
    const { clock, random } = this.#options;
    const onSkew = (skewMs: number) => this.#onSkew(skewMs);
    const leader = this.#manager?.state.leader();
    if (this.#manager !== undefined) {
      const expired = identity.expired(clock);
      if (expired && leader === undefined) {
        return renewFromStore(identity, this.#manager.state.view(), clock, random);
      }
      if (!expired || leader?.nodeId === identity.nodeId) {
        return renewIdentity(identity, this.#manager.channel, clock, onSkew, signal);
      }
      // The leader takes nothing from this manager any more, also not what it sends on for itself.
    }
    const remote =
      leader ?? this.#known?.pick(random, [identity.nodeId]) ?? this.#known?.pick(random);
    if (remote === undefined) throw new EngineError("unavailable", "no manager is known");
    const channel = identity.expired(clock)
      ? anonymousChannel(remote.addr, identity.tls().ca)
      : managerChannel(remote.addr, identity.tls());
    try {
      await renewIdentity(identity, channel, clock, onSkew, signal);
    } finally {
      channel.close();
    }
  }

  async #runAgent(identity: NodeIdentity, signal: AbortSignal): Promise<void> {
    const { paths, createExecutor, clock, random, log } = this.#options;
    const agent = await startAgent({
      executor: createExecutor(identity.nodeId),
      connector: this.#connector(identity),
      clock,
      random,
      log: log.child({ part: "agent" }),
      dataDir: paths.root,
      taskKeys: identity.taskKeys,
      tlsInfo: () => identity.tlsInfo(),
      onSessionMessage: (message) => this.#onSessionMessage(identity, message),
    });
    this.#agent = agent;
    this.#changes.notify();
    try {
      let session = false;
      void agent.ready.then(() => {
        session = true;
        return this.#changes.notify();
      });
      const ready = () =>
        session && (identity.role !== NodeRole.MANAGER || this.#manager !== undefined);
      let dismissal: EngineError | undefined;
      void agent.dismissed.then((refusal) => {
        dismissal = refusal;
        return this.#changes.notify();
      });
      const settled = () => ready() || dismissal !== undefined;
      if ((await this.#changes.until(settled, signal)) && ready()) this.#ready.resolve();
      await this.#changes.until(() => dismissal !== undefined, signal);
      if (dismissal !== undefined) throw dismissal;
    } finally {
      this.#agent = undefined;
      await agent.close();
    }
  }

  #connector(identity: NodeIdentity): Connector {
    const { random, clock } = this.#options;
    return {
      pick: async (signal) => {
        const settled = () =>
          identity.role !== NodeRole.MANAGER ||
          this.#manager !== undefined ||
          this.#betweenManagers;
        await this.#changes.within(OWN_MANAGER_WAIT_MS, settled, clock, signal);
        if (this.#manager !== undefined) {
          const channel = this.#manager.channel;
          return { nodeId: identity.nodeId, addr: "this manager", channel };
        }
        const remote = this.#known?.pick(random, [identity.nodeId]);
        if (remote === undefined) throw new EngineError("unavailable", "no manager is known");
        return { ...remote, channel: managerChannel(remote.addr, identity.tls()) };
      },
      observe: ({ nodeId, addr }, success) => {
        if (nodeId !== identity.nodeId) this.#known?.observe({ nodeId, addr }, success);
      },
      isRemoved: (signal) => this.#isRemoved(identity, signal),
    };
  }

  /** Asks a manager that proves who it is for the node's record; who has none was removed. */
  async #isRemoved(identity: NodeIdentity, signal: AbortSignal): Promise<boolean> {
    const { nodeId } = identity;
    const remote = this.#known?.pick(this.#options.random, [nodeId]);
    if (remote === undefined) return false;
    const channel = anonymousChannel(remote.addr, identity.tls().ca);
    try {
      const options = { timeoutMs: REMOVED_TIMEOUT_MS, signal };
      await channel.client(NodeCA).nodeCertificateStatus({ nodeId }, options);
      return false;
    } catch (error) {
      return isErrorCode(error, "not-found");
    } finally {
      channel.close();
    }
  }

  async #onSessionMessage(identity: NodeIdentity, message: SessionMessage): Promise<void> {
    const managers = message.managers.flatMap(({ peer, weight }) =>
      peer === undefined ? [] : [{ nodeId: peer.nodeId, addr: peer.addr, weight: Number(weight) }],
    );
    this.#known?.replace(managers);
    this.#options.onChange();
    const { node } = message;
    if (node !== undefined) {
      this.#renewer?.expectRole(node.role);
      if (node.certificate?.status?.state === IssuanceStatus_State.ROTATE) this.#renewer?.request();
      // A demotion changes the wish before it removes the member, and the role after it.
      const { MANAGER } = NodeRole;
      if (this.#betweenManagers && node.role === MANAGER && node.spec?.desiredRole === MANAGER) {
        this.#promotedAgain = true;
        this.#changes.notify();
      }
    }
    if (message.RootCA.length > 0) {
      await identity.trust(Buffer.from(message.RootCA).toString("utf8")).catch((error: unknown) => {
        this.#options.log.warn("root of the cluster not taken over", { reason: messageOf(error) });
      });
    }
  }

  /** Starts a manager when the node becomes one, stops it when it is none any more. */
  async #superviseManager(identity: NodeIdentity, signal: AbortSignal): Promise<void> {
    const isManager = () => identity.role === NodeRole.MANAGER;
    for (let first = true; await this.#changes.until(isManager, signal); first = false) {
      await this.#runManager(identity, first, signal);
      this.#betweenManagers = true;
      this.#promotedAgain = false;
      // Its agent asks another manager at once: that one knows the node's new role.
      this.#changes.notify();
      if (!signal.aborted) await this.#awaitWorkerRole(identity, signal);
      this.#betweenManagers = false;
    }
  }

  async #runManager(identity: NodeIdentity, first: boolean, signal: AbortSignal): Promise<void> {
    const { origin, paths, clock, log } = this.#options;
    const others = () =>
      (this.#known?.list() ?? [])
        .filter(({ nodeId }) => nodeId !== identity.nodeId)
        .map(({ addr }) => addr);
    let failure: EngineError | undefined;
    const manager = await this.#options.startManager({
      identity,
      onDiskFull: (error) => {
        failure = error;
        this.#changes.notify();
      },
      newSwarm: first && origin.kind === "new" ? origin.swarm : undefined,
      join: others().length > 0 ? others : undefined,
      forceNewCluster: first && origin.kind === "disk" && origin.forceNewCluster === true,
      signal,
      channelTo: (address) => this.#channelTo(address),
    });
    const stopFollowing = new AbortController();
    let removed = false;
    const over = () => removed || identity.role !== NodeRole.MANAGER;
    try {
      if (origin.kind === "new" && first) await manager.clusterReady(signal);
      await this.#awaitVote(manager, signal);
      this.#manager = manager;
      this.#notify();
      void followLock(this.#locking(identity, manager, stopFollowing.signal), stopFollowing.signal);
      manager.outgrown.then(
        (refusal) => {
          failure = refusal;
          return this.#changes.notify();
        },
        () => undefined,
      );
      void manager.removed.then(() => {
        removed = true;
        return this.#notify();
      });
      await this.#changes.until(() => over() || failure !== undefined, signal);
      // Whose call it was is to hear of it before the connection ends.
      if (failure !== undefined) await sleep(clock, LAST_WORDS_MS, signal);
    } finally {
      stopFollowing.abort();
      this.#manager = undefined;
      this.#notify();
      await manager.close();
    }
    if (failure !== undefined) throw failure;
    if (over()) {
      log.info("no longer a manager; the raft log is deleted");
      await rm(paths.raft, { recursive: true, force: true });
    }
  }

  #openTaskFiles(): void {
    this.#agent?.reseal().catch((error: unknown) => {
      this.#options.log.warn("the files of the tasks stay sealed", { reason: messageOf(error) });
    });
  }

  #locking(identity: NodeIdentity, manager: Manager, signal: AbortSignal): Locking {
    const { clock, log } = this.#options;
    return {
      identity,
      manager,
      resealTasks: async () => {
        await this.#changes.until(() => this.#agent !== undefined, signal);
        signal.throwIfAborted();
        await this.#agent?.reseal();
      },
      onChange: (change) => {
        if (change === "locked") this.#renewer?.request();
        this.#notify();
      },
      clock,
      log,
    };
  }

  /** A manager that has no vote yet does not make the swarm safer; after a while it serves anyway. */
  async #awaitVote({ membership }: Manager, signal: AbortSignal): Promise<void> {
    const votes = () => membership.hasVote();
    const stop = membership.onChange(() => this.#changes.notify());
    await this.#changes.within(VOTE_WAIT_MS, votes, this.#options.clock, signal);
    stop();
  }

  /**
   * Out of the raft group, but still with a manager's certificate: waits for the new one, and asks
   * for it once. If it says manager still, or a session says so, the node was promoted again.
   */
  async #awaitWorkerRole(identity: NodeIdentity, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const demoted = () => identity.role !== NodeRole.MANAGER || this.#promotedAgain;
    if (await this.#changes.within(ROLE_CHANGE_WAIT_MS, demoted, clock, signal)) return;
    if (signal.aborted) return;
    this.#renewer?.request();
    if (await this.#changes.within(ROLE_CHANGE_WAIT_MS, demoted, clock, signal)) return;
    this.#options.log.warn("failed to get worker role after manager stop, restarting manager");
  }

  #channelTo(address: string): RpcChannel {
    if (this.#channels === undefined) throw new EngineError("cancelled", "the node is stopping");
    return this.#channels.to(address);
  }

  #notify(): void {
    this.#changes.notify();
    this.#options.onChange();
  }

  /** Runs all until one fails or the node is stopped, then waits for all of them to end. */
  async #together(parts: readonly ((scope: AbortSignal) => Promise<void>)[]): Promise<void> {
    const scope = new AbortController();
    const stop = () => scope.abort(this.#stopping.signal.reason);
    if (this.#stopping.signal.aborted) stop();
    this.#stopping.signal.addEventListener("abort", stop, { once: true });
    const results = await Promise.allSettled(
      parts.map(async (part) => {
        try {
          await part(scope.signal);
        } catch (error) {
          scope.abort(error);
          throw error;
        }
      }),
    );
    const failed = results.find((result) => result.status === "rejected");
    if (failed !== undefined) throw failed.reason;
  }
}

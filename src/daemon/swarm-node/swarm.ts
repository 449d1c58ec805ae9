/**
 * This engine's part in a swarm, behind the API's `ClusterPort`: founding, joining, leaving,
 * unlocking, and the clients for the cluster's services. One change at a time.
 */

import type { DescService } from "@bufbuild/protobuf";
import type { Executor } from "#agent/executor.ts";
import type {
  ClusterPort,
  InitRequest,
  JoinRequest,
  LocalSwarmInfo,
  RestoreRequest,
} from "#api/cluster-port.ts";
import { EngineError, messageOf } from "#base/error.ts";
import type { Clock, Log, Random } from "#base/ports.ts";
import type { Manager } from "#manager/manager.ts";
import { parseBackupKey } from "#pki/backup-key.ts";
import { formatUnlockKey, parseUnlockKey, UNLOCK_KEY_BYTES } from "#pki/unlock-key.ts";
import { KeyedLock } from "#platform/async.ts";
import type { RpcChannel, RpcClient } from "#platform/grpc/client.ts";
import { Deploy } from "#wire/gen/skep/deploy_pb.js";
import { JoinTokens, WorkloadIdentities } from "#wire/gen/skep/identity_pb.js";
import { CA } from "#wire/gen/swarmkit/ca_pb.js";
import { Control } from "#wire/gen/swarmkit/control_pb.js";
import { Logs } from "#wire/gen/swarmkit/logbroker_pb.js";
import { ResourceAllocator } from "#wire/gen/swarmkit/resource_pb.js";
import { NodeRole, RaftMemberStatus_Reachability } from "#wire/gen/swarmkit/types_pb.js";
import { Watch } from "#wire/gen/swarmkit/watch_pb.js";
import { checkAddressPool, dataPathPort, type HostAddresses } from "./addresses.ts";
import { aloneWarnings } from "./alone-warnings.ts";
import { openBackup, sealBackup } from "./backup.ts";
import {
  badRequest,
  invalidUnlockKey,
  leaveRefusal,
  type ManagerCounts,
  notLocked,
  refusal,
  waitingRefusal,
} from "./errors.ts";
import { LockedKeyError } from "./key-file.ts";
import { KnownManagers } from "./managers.ts";
import { movedState } from "./moved-state.ts";
import { checkSpec, newSwarm, swarmOfBackup } from "./new-swarm.ts";
import { type ManagerStart, type Origin, SwarmNode } from "./node.ts";
import { clearSwarm, type SwarmPaths, swarmPaths } from "./paths.ts";
import { NodeRunner } from "./runner.ts";
import {
  initState,
  joinState,
  type ManagerAddresses,
  managerAddresses,
  nodeAddress,
  remoteManager,
} from "./start-addresses.ts";
import { loadStartState, type StartState, saveStartState } from "./start-state.ts";

/** What `join` waits for before it says that it goes on in the background. */
const JOIN_TIMEOUT_MS = 20_000;
/** How long the tasks of a leaving node may take to be removed. */
const LEAVE_TASKS_TIMEOUT_MS = 20_000;
const STATS_TIMEOUT_MS = 5_000;

export interface SwarmOptions {
  readonly dataRoot: string;
  readonly hostAddresses: () => HostAddresses;
  readonly createExecutor: (nodeId: string) => Executor;
  readonly startManager: (start: ManagerStart, addresses: ManagerAddresses) => Promise<Manager>;
  /** The node has left: what the engine keeps of the swarm may go. */
  readonly onLeave?: () => Promise<void>;
  readonly joinTimeoutMs?: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** The port, with what the composition root needs besides. */
export interface Swarm extends ClusterPort {
  /** Takes up the swarm that this node was in; does not wait until it is active. */
  start(): Promise<void>;
  /** The address that the data path uses; empty when not in a swarm. */
  dataPathAddr(): string;
  /** The swarm's id; empty when not in one, or when it is not known yet. */
  swarmId(): string;
  /** Certificates for the tasks of this node; for any node that is in a swarm. */
  workloadIdentities(): RpcClient<typeof WorkloadIdentities>;
  /** PEM of what this node trusts at this moment; empty when it is in no swarm. */
  roots(): string;
  /** Whether what this node keeps on disk has to be sealed; undefined while nobody can tell. */
  isLocked(): boolean | undefined;
  /** The manager of this node, while there is one. */
  manager(): Manager | undefined;
  /** The managers hear at once of what has changed in the description of this node. */
  describeAgain(): void;
  close(): Promise<void>;
}

export function createSwarm(options: SwarmOptions): Swarm {
  return new NodeSwarm(options);
}

class NodeSwarm implements Swarm {
  readonly #options: SwarmOptions;
  readonly #paths: SwarmPaths;
  readonly #lock = new KeyedLock();
  readonly #listeners = new Set<() => void>();
  #runner: NodeRunner | undefined;
  /** The node is in a swarm, and how is not to be read: nothing of it is touched until it leaves by force. */
  #damage: EngineError | undefined;

  constructor(options: SwarmOptions) {
    this.#options = options;
    this.#paths = swarmPaths(options.dataRoot);
  }

  async start(): Promise<void> {
    await this.#exclusively(async () => {
      const stored = await this.#stored();
      if (stored === undefined) return;
      const start = await this.#whereItIsNow(stored);
      this.#run(start, { kind: "disk", address: start.remoteAddr });
    });
  }

  /** A node whose part in a swarm cannot be taken up is an engine all the same. */
  async #stored(): Promise<StartState | undefined> {
    try {
      return await loadStartState(this.#paths);
    } catch (error) {
      this.#damage = EngineError.from(error, "data-loss");
      this.#options.log.error("the node's part in the swarm cannot be taken up", {
        reason: this.#damage.message,
      });
      return undefined;
    }
  }

  #requireOutside(): void {
    if (this.#runner !== undefined) throw refusal("exists");
    if (this.#damage !== undefined) throw this.#damage;
  }

  info(): LocalSwarmInfo {
    const runner = this.#runner;
    const node = runner?.node;
    const damage = this.#damage?.message ?? "";
    return {
      state: runner?.state ?? (damage === "" ? "inactive" : "error"),
      nodeId: node?.identity?.nodeId ?? "",
      nodeAddr: runner === undefined ? "" : nodeAddress(runner.start),
      controlAvailable: runner?.state === "active" && node?.manager !== undefined,
      error:
        node?.waiting === undefined
          ? (runner?.error ?? damage)
          : waitingRefusal(node.waiting).message,
      remoteManagers: (node?.knownManagers?.list() ?? []).map(({ nodeId, addr }) => ({
        nodeId,
        addr,
      })),
      warnings: [
        ...aloneWarnings(node?.manager?.alone),
        ...(node?.clockWarning === undefined ? [] : [node.clockWarning]),
      ],
    };
  }

  localNodeId(): string {
    return this.#runner?.node?.identity?.nodeId ?? "";
  }

  dataPathAddr(): string {
    const start = this.#runner?.start;
    if (start === undefined) return "";
    return start.dataPathAddr === "" ? nodeAddress(start) : start.dataPathAddr;
  }

  swarmId(): string {
    return this.#runner?.node?.identity?.clusterId ?? "";
  }

  isLocked(): boolean | undefined {
    if (this.#runner !== undefined) return this.#runner.node?.identity?.isLocked;
    return this.#damage === undefined ? false : undefined;
  }

  manager(): Manager | undefined {
    return this.#runner?.node?.manager;
  }

  async init(request: InitRequest): Promise<string> {
    return this.#exclusively(async () => {
      const running = this.#runner;
      if (running !== undefined && !request.forceNewCluster) throw refusal("exists");
      if (running !== undefined && running.node?.manager === undefined) throw refusal("worker");
      if (running === undefined) this.#requireOutside();
      checkSpec(request.spec);
      const start = initState(request, this.#options.hostAddresses());
      checkAddressPool(request.defaultAddrPool, request.subnetSize);
      if (running !== undefined) await running.stop();
      const origin: Origin =
        running === undefined
          ? await this.#founding(request)
          : { kind: "disk", address: "", forceNewCluster: true };
      if (running === undefined) await clearSwarm(this.#paths);
      await saveStartState(this.#paths, start);
      const runner = this.#run(start, origin);
      await this.#settled(runner, () => running === undefined);
      return this.localNodeId();
    });
  }

  async backup(keyText: string): Promise<Uint8Array> {
    const key = parseBackupKey(keyText);
    if (!key.ok) throw badRequest(key.error);
    const runner = this.#runner;
    const manager = runner?.node?.manager;
    if (runner?.state !== "active" || manager === undefined) throw this.#noManager();
    return sealBackup(await manager.state.linearizable(), key.value, this.#options.clock.nowMs());
  }

  async restore({ backup, key: keyText, ...request }: RestoreRequest): Promise<string> {
    return this.#exclusively(async () => {
      this.#requireOutside();
      const key = parseBackupKey(keyText);
      if (!key.ok) throw badRequest(key.error);
      const { random, log } = this.#options;
      const opened = await openBackup(backup, key.value);
      const swarm = swarmOfBackup(opened, request.availability, random);
      const asked = { ...request, dataPathPort: swarm.vxlanPort };
      const start = initState(asked, this.#options.hostAddresses());
      log.info("restoring a swarm", { cluster: swarm.clusterId, backupOf: opened.createdAt });
      await clearSwarm(this.#paths);
      const runner = this.#run(start, { kind: "new", swarm });
      await this.#settled(runner, () => true);
      // Not before: what a crash leaves of half a swarm is no swarm.
      await saveStartState(this.#paths, start);
      return this.localNodeId();
    });
  }

  reconnect(address: string): void {
    const runner = this.#runner;
    if (runner === undefined) throw refusal("noSwarm");
    runner.reconnect(remoteManager(address));
  }

  async join(request: JoinRequest): Promise<void> {
    return this.#exclusively(async () => {
      this.#requireOutside();
      const start = await joinState(request, this.#options.hostAddresses());
      await clearSwarm(this.#paths);
      await saveStartState(this.#paths, start);
      const runner = this.#run(start, {
        kind: "join",
        address: start.remoteAddr,
        token: request.joinToken,
        availability: request.availability,
      });
      let answered = false;
      const settled = this.#settled(runner, () => !answered);
      const { clock, joinTimeoutMs = JOIN_TIMEOUT_MS } = this.#options;
      await new Promise<void>((resolve, reject) => {
        const timer = clock.setTimer(joinTimeoutMs, () => {
          answered = true;
          reject(refusal("joinTimeout"));
        });
        const stopFollowing = this.onChange(() => {
          const waiting = runner.node?.waiting;
          if (waiting === undefined) return;
          answered = true;
          reject(waitingRefusal(waiting));
        });
        settled.then(resolve, reject).finally(() => {
          timer.cancel();
          stopFollowing();
        });
      });
    });
  }

  async leave(force: boolean): Promise<void> {
    return this.#exclusively(async () => {
      const runner = this.#runner;
      if (runner === undefined && this.#damage === undefined) throw refusal("noSwarm");
      if (this.#damage !== undefined && !force) throw this.#damage;
      if (runner?.state === "locked" && !force) throw refusal("leaveLocked");
      const node = runner?.node;
      if (node?.identity?.role === NodeRole.MANAGER && !force) {
        const active = runner?.state === "active" && node.manager !== undefined;
        throw leaveRefusal(active ? await this.#managerCounts() : undefined, active);
      }
      await node
        ?.removeTasks(AbortSignal.timeout(LEAVE_TASKS_TIMEOUT_MS))
        .catch((error: unknown) => {
          this.#options.log.error("tasks of the leaving node not removed", {
            reason: messageOf(error),
          });
        });
      await runner?.stop();
      this.#runner = undefined;
      await clearSwarm(this.#paths);
      this.#damage = undefined;
      await this.#options.onLeave?.();
      this.#notify();
    });
  }

  async unlock(key: string): Promise<void> {
    return this.#exclusively(async () => {
      const runner = this.#runner;
      if (runner?.state !== "locked") {
        if (this.info().controlAvailable) throw notLocked();
        throw this.#noManager();
      }
      const parsed = parseUnlockKey(key);
      if (!parsed.ok) throw badRequest(parsed.error);
      await runner.stop();
      const unlocked = this.#run(
        runner.start,
        { kind: "disk", address: runner.start.remoteAddr },
        parsed.value,
      );
      try {
        await unlocked.ready;
      } catch (error) {
        if (error instanceof LockedKeyError) throw invalidUnlockKey();
        throw new EngineError(
          "internal",
          `swarm component could not be started: ${messageOf(error)}`,
        );
      }
    });
  }

  async unlockKey(): Promise<string> {
    const { unlockKey } = await this.#client(CA).getUnlockKey({});
    return unlockKey.length === 0 ? "" : formatUnlockKey(unlockKey);
  }

  control(): RpcClient<typeof Control> {
    return this.#client(Control);
  }

  deploy(): RpcClient<typeof Deploy> {
    return this.#client(Deploy);
  }

  logs(): RpcClient<typeof Logs> {
    return this.#client(Logs);
  }

  watch(): RpcClient<typeof Watch> {
    return this.#client(Watch);
  }

  joinTokens(): RpcClient<typeof JoinTokens> {
    return this.#client(JoinTokens);
  }

  resources(): RpcClient<typeof ResourceAllocator> {
    return this.#anyManager().client(ResourceAllocator);
  }

  roots(): string {
    return this.#runner?.node?.identity?.tls().ca ?? "";
  }

  workloadIdentities(): RpcClient<typeof WorkloadIdentities> {
    return this.#anyManager().client(WorkloadIdentities);
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  describeAgain(): void {
    this.#runner?.node?.describeAgain();
  }

  async close(): Promise<void> {
    // Not behind the lock: a join that hangs is ended by this.
    await this.#runner?.stop();
    await this.#exclusively(() => this.#runner?.stop() ?? Promise.resolve());
  }

  /**
   * The machine may have another address than when it came into the swarm. What it was told then is
   * kept: where its network only is late, the next start finds the old address again.
   */
  async #whereItIsNow(stored: StartState): Promise<StartState> {
    const { hostAddresses, log } = this.#options;
    const options = { told: stored.remoteAddr, fresh: false };
    const known = await KnownManagers.open(this.#paths.managers, log, options);
    const start = await movedState(stored, known.list(), hostAddresses());
    if (start === stored) return stored;
    log.warn("this machine has another address now", {
      was: stored.localAddr,
      is: start.localAddr,
    });
    return start;
  }

  #exclusively<T>(work: () => Promise<T>): Promise<T> {
    return this.#lock.run("swarm", work);
  }

  #client<S extends DescService>(service: S): RpcClient<S> {
    const runner = this.#runner;
    const manager = runner?.node?.manager;
    if (runner?.state !== "active" || manager === undefined) throw this.#noManager();
    return manager.channel.client(service);
  }

  #anyManager(): RpcChannel {
    const runner = this.#runner;
    if (runner?.node === undefined || runner.state !== "active") throw refusal("noSwarm");
    return runner.node.anyManager();
  }

  #noManager(): EngineError {
    const runner = this.#runner;
    if (runner?.state === "locked") return refusal("locked");
    if (runner?.node === undefined) return refusal("notInit");
    return refusal(runner.node.identity?.role === NodeRole.MANAGER ? "preparing" : "worker");
  }

  #run(start: StartState, origin: Origin, unlockKey?: Uint8Array): NodeRunner {
    const { createExecutor, startManager, clock, random, log } = this.#options;
    const runner: NodeRunner = new NodeRunner({
      start,
      origin,
      createNode: (from, onChange) =>
        new SwarmNode({
          paths: this.#paths,
          origin: from,
          unlockKey,
          createExecutor,
          startManager: (manager) => startManager(manager, managerAddresses(start)),
          onChange,
          clock,
          random,
          log,
        }),
      onChange: () => this.#notify(),
      clock,
      log,
    });
    this.#runner = runner;
    this.#notify();
    return runner;
  }

  /** A first attempt that fails leaves nothing behind, as long as somebody is there to be told. */
  async #settled(runner: NodeRunner, forget: () => boolean): Promise<void> {
    try {
      await runner.ready;
    } catch (error) {
      if (this.#runner === runner && forget()) {
        await runner.stop();
        this.#runner = undefined;
        await clearSwarm(this.#paths);
        this.#notify();
      }
      throw error;
    }
  }

  async #founding(request: InitRequest): Promise<Origin> {
    const { clock, random } = this.#options;
    const swarm = await newSwarm(
      this.#paths,
      {
        spec: request.spec,
        defaultAddressPool: request.defaultAddrPool,
        subnetSize: request.subnetSize || 24,
        vxlanPort: dataPathPort(request.dataPathPort),
        availability: request.availability,
        unlockKey: request.autoLockManagers
          ? new Uint8Array(random.bytes(UNLOCK_KEY_BYTES))
          : undefined,
      },
      clock,
      random,
    );
    return { kind: "new", swarm };
  }

  async #managerCounts(): Promise<ManagerCounts | undefined> {
    try {
      const { nodes } = await this.control().listNodes({}, { timeoutMs: STATS_TIMEOUT_MS });
      const managers = nodes.filter((node) => node.managerStatus !== undefined);
      const { REACHABLE, UNREACHABLE } = RaftMemberStatus_Reachability;
      const reachable = managers.filter((node) => node.managerStatus?.reachability === REACHABLE);
      const unreachable = managers.filter(
        (node) => node.managerStatus?.reachability === UNREACHABLE,
      );
      return {
        self: reachable.some((node) => node.id === this.localNodeId()),
        reachable: reachable.length,
        unreachable: unreachable.length,
      };
    } catch {
      return undefined;
    }
  }

  #notify(): void {
    for (const listener of this.#listeners) listener();
  }
}

/**
 * One manager: the RPC servers (mutual TLS for other nodes, a unix socket for this machine, calls
 * without a socket for this process), the services behind one check and one proxy, and the scope of
 * what runs only while this manager leads. The scope is one: if a loop of it fails, all of them end
 * and another manager takes over.
 *
 * The raft node, and the parts that the composition root adds, are handed in; this file owns the
 * certificate authority, authorization, forwarding and roles.
 */

import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import type { DescService } from "@bufbuild/protobuf";
import { EngineError, messageOf } from "#base/error.ts";
import type { Clock, Log, Random } from "#base/ports.ts";
import { MANAGER_OU } from "#pki/profile.ts";
import type { RpcChannel } from "#platform/grpc/client.ts";
import { createRpcServer, type RpcHandlers, type RpcServer } from "#platform/grpc/server.ts";
import { InFlight } from "#platform/in-flight.ts";
import { CA, NodeCA } from "#wire/gen/swarmkit/ca_pb.js";
import { Health, HealthCheckResponse_ServingStatus } from "#wire/gen/swarmkit/health_pb.js";
import type { Cluster, Node } from "#wire/gen/swarmkit/objects_pb.js";
import { NodeRole } from "#wire/gen/swarmkit/types_pb.js";
import { createAuthorize } from "./authz/authorize.ts";
import type { ClusterIdentity } from "./authz/caller.ts";
import { assertRuled } from "./authz/rules.ts";
import { clusterOf, findCluster } from "./ca/cluster.ts";
import { createExternalCa } from "./ca/external-ca.ts";
import { createCaServices } from "./ca/service.ts";
import { runCaSigner } from "./ca/signer.ts";
import { assertKnown, outgrown } from "./feature-level.ts";
import { leadTogether } from "./leader/scope.ts";
import { managerNode, type NewCluster, writeNewCluster } from "./manager-bootstrap.ts";
import { createManagerChannel } from "./manager-channel.ts";
import type {
  ManagerIdentity,
  ManagerPart,
  Membership,
  PartContext,
  Registrar,
} from "./manager-ports.ts";
import { writeRestored } from "./manager-restore.ts";
import { createLeaderProxy } from "./proxy.ts";
import type { AloneReport } from "./raft/going-alone.ts";
import { runRoleManager } from "./role-manager.ts";
import type { ClusterState } from "./state.ts";

/** How long the calls of an ending manager may take to get their answers. */
const DRAIN_MS = 1_000;
const UNANSWERED =
  "this node stopped managing the swarm before there was an answer: ask another manager what became of the request";

/** The raft node, once it has its place in the group. */
export interface StartedRaft {
  readonly state: ClusterState;
  readonly membership: Membership;
  register(services: Registrar): void;
  /**
   * Starts to take part: joins the group where it must. By now the server listens, because the
   * leader asks a new member whether it is well before it takes it in.
   */
  run(): Promise<void>;
  /** Resolves when the group has removed this member. */
  readonly removed: Promise<void>;
  /** Resolves when nothing is on disk any more that the log's current key does not open. */
  reseal(): Promise<void>;
  /** Set if it went on alone, without the rest of its group. */
  readonly alone: AloneReport | undefined;
  /** Lets another lead if this one does; resolves when it is known what became of what was under way. */
  handOver(): Promise<void>;
  close(): Promise<void>;
}

export interface ManagerOptions {
  readonly identity: ManagerIdentity;
  readonly openRaft: (context: {
    readonly channelTo: PartContext["channelTo"];
  }) => Promise<StartedRaft>;
  /** Connections to other managers, shared; the caller owns them. */
  readonly channelTo: (address: string) => RpcChannel;
  readonly parts: (context: PartContext) => readonly ManagerPart[];
  readonly listenHost: string;
  readonly listenPort: number;
  /** "host:port" under which other nodes reach this manager. */
  readonly advertiseAddr: () => string;
  /** Unix socket for tools on this machine; its directory's mode is its guard. */
  readonly controlSocket: string;
  /** What the first leader of a new swarm writes; absent when the swarm exists. */
  readonly newCluster?: NewCluster | undefined;
  /** Ends a start that waits for the others. */
  readonly signal: AbortSignal;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

export interface Manager {
  readonly state: ClusterState;
  readonly membership: Membership;
  /** All services of the cluster, as this node's own caller. */
  readonly channel: RpcChannel;
  /** The port that is listened on. */
  readonly port: number;
  /** Resolves when the raft group has removed this member: stop, and forget the raft log. */
  readonly removed: Promise<void>;
  /** Resolves with why, when the swarm uses more than this program knows: it must not go on. */
  readonly outgrown: Promise<EngineError>;
  /** Resolves when the cluster object is there to be read. */
  clusterReady(signal: AbortSignal): Promise<void>;
  /** How managers are to lock: now, and after each change. Ends with the signal. */
  lock(signal: AbortSignal): AsyncIterable<Lock>;
  /** Set if it went on alone, without the rest of its group, when it was started. */
  readonly alone: AloneReport | undefined;
  /** The raft log's key was exchanged: resolves when the old one opens nothing any more. */
  reseal(): Promise<void>;
  close(): Promise<void>;
}

export interface Lock {
  /** Undefined when managers do not lock. */
  readonly unlockKey: Uint8Array | undefined;
  /** Version of the cluster object that says so. */
  readonly version: bigint;
}

export async function startManager(options: ManagerOptions): Promise<Manager> {
  const raft = await options.openRaft({ channelTo: options.channelTo });
  const manager = new RunningManager(options, raft);
  try {
    assertKnown(raft.state.view());
    await manager.start();
  } catch (error) {
    await manager.close();
    throw error;
  }
  return manager;
}

class RunningManager implements Manager {
  readonly #options: ManagerOptions;
  readonly #raft: StartedRaft;
  readonly #cluster: ClusterIdentity;
  readonly #server: RpcServer;
  readonly #handlers = new Map<string, unknown>();
  readonly #draining = new AbortController();
  readonly #closing = new AbortController();
  readonly #unanswered = new InFlight();
  readonly #parts: readonly ManagerPart[];
  readonly #stops: (() => void)[] = [];
  readonly channel: RpcChannel;
  readonly outgrown: Promise<EngineError>;
  port = 0;

  constructor(options: ManagerOptions, raft: StartedRaft) {
    this.#options = options;
    this.#raft = raft;
    const { identity } = options;
    this.#cluster = {
      clusterId: identity.clusterId,
      removed: (nodeId) => isRemoved(raft.state, nodeId),
      role: (nodeId) => roleOf(raft.state, nodeId),
    };
    this.#server = createRpcServer(
      createAuthorize(this.#cluster),
      ({ nodeId, clusterId }) => clusterId === identity.clusterId && !this.#cluster.removed(nodeId),
    );
    this.channel = createManagerChannel(
      { handlersOf: <S extends DescService>(service: S) => this.#handlersOf(service) },
      () => identity.peer,
      {
        draining: this.#draining.signal,
        closed: this.#closing.signal,
        unanswered: this.#unanswered,
      },
    );
    this.outgrown = outgrown(raft.state, this.#closing.signal);
    this.outgrown.catch(() => undefined);
    const context: PartContext = {
      state: raft.state,
      membership: raft.membership,
      identity,
      channelTo: options.channelTo,
    };
    this.#parts = [...this.#ownParts(), ...options.parts(context)];
  }

  get state(): ClusterState {
    return this.#raft.state;
  }

  get membership(): Membership {
    return this.#raft.membership;
  }

  get removed(): Promise<void> {
    return this.#raft.removed;
  }

  get alone(): AloneReport | undefined {
    return this.#raft.alone;
  }

  reseal(): Promise<void> {
    return this.#raft.reseal();
  }

  async start(): Promise<void> {
    const { identity, controlSocket, listenHost, listenPort } = this.#options;
    this.#registerAll();
    this.#raft.state.onLeadership((signal) => this.#lead(signal));
    await mkdir(dirname(controlSocket), { recursive: true, mode: 0o700 });
    await this.#server.listenUnix(controlSocket);
    this.port = await this.#server.listenTls(listenHost, listenPort, identity.tls());
    this.#stops.push(identity.onChange(() => this.#server.setTls(identity.tls())));
    void this.#dropRemovedPeers();
    await this.#takePart();
  }

  async clusterReady(signal: AbortSignal): Promise<void> {
    const { view, batches } = this.#raft.state.viewAndWatch({ signal });
    if (findCluster(view) !== undefined) return;
    for await (const batch of batches) {
      if (batch.changes.some((change) => change.kind === "cluster")) return;
    }
    throw signal.reason;
  }

  async *lock(signal: AbortSignal): AsyncIterable<Lock> {
    const { view, batches } = this.#raft.state.viewAndWatch({ signal });
    let last = lockOf(findCluster(view));
    if (last !== undefined) yield last;
    for await (const batch of batches) {
      for (const change of batch.changes) {
        if (change.kind !== "cluster" || change.action === "delete") continue;
        const next = lockOf(change.object);
        if (next === undefined || (last !== undefined && sameLock(last, next))) continue;
        last = next;
        yield next;
      }
    }
  }

  /**
   * What this manager has begun it ends: first another leads, whose answers those that wait here get;
   * then nothing new is begun; then what is still under way is cut off.
   */
  async close(): Promise<void> {
    await this.#raft.handOver();
    this.#draining.abort(
      new EngineError("unavailable", "this node stops managing the swarm: ask another manager"),
    );
    await Promise.all([this.#unanswered.none(DRAIN_MS), this.#server.drain(DRAIN_MS)]);
    this.#closing.abort(new EngineError("unavailable", UNANSWERED));
    for (const stop of this.#stops) stop();
    await this.#raft.close();
    await this.#server.close();
    for (const part of this.#parts) await part.close?.();
  }

  /** May wait long for the others; the signal ends the wait. */
  async #takePart(): Promise<void> {
    const { signal } = this.#options;
    const stop = () => void this.#raft.close();
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
    try {
      await this.#raft.run();
    } finally {
      signal.removeEventListener("abort", stop);
    }
  }

  #ownParts(): readonly ManagerPart[] {
    const { identity, clock, random, log } = this.#options;
    const { state, membership } = this.#raft;
    const ca = createCaServices({
      state,
      cluster: this.#cluster,
      trustedRoot: () => identity.rootCert,
      clock,
      random,
      log,
    });
    const externalCa = createExternalCa(() => identity.tls());
    return [
      {
        name: "ca",
        register: (services) => {
          services.add(CA, ca.ca);
          services.add(NodeCA, ca.nodeCa);
        },
        lead: (signal) => runCaSigner({ state, externalCa, clock, random, log }, signal),
      },
      {
        name: "roles",
        lead: (signal) =>
          runRoleManager({ state, membership, nodeId: identity.nodeId, clock, log }, signal),
      },
      {
        name: "health",
        register: (services) =>
          services.add(Health, {
            check: () => ({ status: HealthCheckResponse_ServingStatus.SERVING }),
          }),
      },
    ];
  }

  #registerAll(): void {
    const { identity, clock, channelTo, advertiseAddr } = this.#options;
    const proxy = createLeaderProxy({
      state: this.#raft.state,
      cluster: this.#cluster,
      self: () => identity.peer,
      selfAddress: advertiseAddr,
      channelTo,
      clock,
    });
    const registrar: Registrar = {
      add: (service, handlers) => {
        assertRuled(service);
        const wrapped = proxy.wrap(service, handlers);
        this.#handlers.set(service.typeName, wrapped);
        this.#server.add(service, wrapped);
      },
    };
    this.#raft.register(registrar);
    for (const part of this.#parts) part.register?.(registrar);
  }

  #handlersOf<S extends DescService>(service: S): RpcHandlers<S> | undefined {
    return this.#handlers.get(service.typeName) as RpcHandlers<S> | undefined;
  }

  /** One reign: everything that only the leader does, until one of it fails or the reign ends. */
  async #lead(signal: AbortSignal): Promise<void> {
    await this.#writeNewCluster();
    await leadTogether(this.#parts, signal, this.#options.log);
  }

  async #writeNewCluster(): Promise<void> {
    const { newCluster, identity, random, log } = this.#options;
    const { state } = this.#raft;
    if (newCluster === undefined) return;
    const { nodeId, clusterId } = identity;
    const first = { nodeId, clusterId, certificate: identity.tls().cert };
    if (newCluster.restored !== undefined) {
      if (findCluster(state.view()) !== undefined) return;
      const node = managerNode(first, newCluster);
      await writeRestored(state, newCluster.restored, node, state.nowMs());
      log.info("swarm restored from a backup", { cluster: clusterId });
      return;
    }
    await state.update("leader", (tx) => {
      if (findCluster(tx) !== undefined) return;
      writeNewCluster(tx, newCluster, first, random);
      log.info("new swarm", { cluster: clusterId });
    });
  }

  /**
   * A removed node loses its connections at once, not only its right to the next call; and a demoted
   * one those that it opened as a manager, on which it may follow all that the store holds.
   */
  async #dropRemovedPeers(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      const { view, batches } = this.#raft.state.viewAndWatch({ signal });
      // Also those whose removal this manager was not told of one by one.
      for (const nodeId of Object.keys(findCluster(view)?.blacklistedCertificates ?? {})) {
        this.#server.dropPeer(nodeId);
      }
      for (const node of view.all("node")) this.#dropFormerManager(node);
      try {
        for await (const batch of batches) {
          for (const change of batch.changes) {
            if (change.kind !== "node") continue;
            if (change.action === "delete") this.#server.dropPeer(change.object.id);
            else if (change.action === "create" || change.old.role !== change.object.role) {
              this.#dropFormerManager(change.object);
            }
          }
        }
      } catch (error) {
        if (signal.aborted) return;
        this.#options.log.warn("the watch for removed nodes starts over", {
          reason: messageOf(error),
        });
      }
    }
  }

  #dropFormerManager({ id, role }: Node): void {
    if (role === NodeRole.WORKER) this.#server.dropPeer(id, MANAGER_OU);
  }
}

/** Throws `aborted` before the store is the swarm's: of a restored one, nodes are written first. */
function roleOf(state: ClusterState, nodeId: string): NodeRole | undefined {
  const view = state.view();
  clusterOf(view);
  return view.get("node", nodeId)?.role;
}

function isRemoved(state: ClusterState, nodeId: string): boolean {
  return findCluster(state.view())?.blacklistedCertificates[nodeId] !== undefined;
}

function lockOf(cluster: Cluster | undefined): Lock | undefined {
  if (cluster === undefined) return undefined;
  const locks = cluster.spec?.encryptionConfig?.autoLockManagers === true;
  const key = cluster.unlockKeys.find(({ subsystem }) => subsystem === MANAGER_OU);
  return {
    unlockKey: locks ? key?.key : undefined,
    version: cluster.meta?.version?.index ?? 0n,
  };
}

function sameLock(a: Lock, b: Lock): boolean {
  if (a.unlockKey === undefined || b.unlockKey === undefined) return a.unlockKey === b.unlockKey;
  return Buffer.from(a.unlockKey).equals(b.unlockKey);
}

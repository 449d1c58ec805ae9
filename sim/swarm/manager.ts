/** The manager of one process, put together as the daemon does it, from the real parts. */

import { create } from "@bufbuild/protobuf";
import { EngineError } from "#base/error.ts";
import { newId } from "#base/ids.ts";
import type { Log } from "#base/ports.ts";
import type { DriverPlugins } from "#manager/control/context.ts";
import { controlPart } from "#manager/control/service.ts";
import { createDataPlane } from "#manager/dataplane/service.ts";
import { createDispatcher } from "#manager/dispatcher/dispatcher.ts";
import { ensureNetworks } from "#manager/leader/bootstrap.ts";
import { reconcilerPart } from "#manager/leader/reconciler.ts";
import { leadTogether } from "#manager/leader/scope.ts";
import { checkTaskChange } from "#manager/leader/task-check.ts";
import type { ManagerPart } from "#manager/manager-ports.ts";
import { createLeaderProxy } from "#manager/proxy.ts";
import { openRaftNode, type RaftNode } from "#manager/raft/node.ts";
import { runRoleManager } from "#manager/role-manager.ts";
import { Allocator } from "#plan/allocator/allocator.ts";
import { isTaskDirty } from "#plan/orchestrator/dirtiness.ts";
import { createPlanners } from "#plan/planners.ts";
import { dataKey, keyRing } from "#platform/wal/key-ring.ts";
import { DataPlane } from "#wire/gen/skep/dataplane_pb.js";
import { Dispatcher } from "#wire/gen/swarmkit/dispatcher_pb.js";
import { Health, HealthCheckResponse_ServingStatus } from "#wire/gen/swarmkit/health_pb.js";
import { ClusterSchema, NodeSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { NodeSpec_Membership } from "#wire/gen/swarmkit/specs_pb.js";
import {
  NodeRole,
  RaftMemberStatus_Reachability as Reachability,
} from "#wire/gen/swarmkit/types_pb.js";
import type { SeededRandom } from "../random.ts";
import type { MachineDisk } from "./disk.ts";
import type { Process } from "./process.ts";
import type { RpcNetwork } from "./rpc.ts";

export interface RaftSettings {
  readonly tickMs: number;
  readonly electionTicks: number;
  readonly snapshotEvery: number;
  readonly keepEntries: number;
}

export interface ManagerInit {
  readonly process: Process;
  readonly addr: string;
  /** Goes on alone, after the majority was lost. */
  readonly forceNewCluster: boolean;
  /** Managers that may take this one in; undefined for the first of the swarm. */
  readonly join: (() => readonly string[]) | undefined;
  /** All machines there will be, each with whether it begins as a manager. */
  readonly nodes: readonly { readonly nodeId: string; readonly isManager: boolean }[];
  readonly network: RpcNetwork;
  readonly disk: MachineDisk;
  readonly random: SeededRandom;
  readonly raft: RaftSettings;
  readonly log: Log;
  readonly onFatal: (error: unknown) => void;
}

const CLUSTER_ID = "cluster";
const NO_AUTHORITIES = {
  reachable: async () => false,
  crossSign: () => Promise.reject(new EngineError("unimplemented", "no authority is here")),
};
const NO_PLUGINS: DriverPlugins = {
  require: (name) =>
    Promise.reject(new EngineError("invalid-argument", `error during lookup of plugin ${name}`)),
  requireAddresses: (name) =>
    Promise.reject(
      new EngineError("invalid-argument", `error during lookup of IPAM plugin ${name}`),
    ),
  alone: (_id, work) => work(),
  free: async () => undefined,
};
const KEYS = keyRing([dataKey(new Uint8Array(32).fill(7))]);
/** Small, so that segments are changed often, and snapshots break off in the middle. */
const SEGMENT_BYTES = 16 * 1024;
const CHUNK_BYTES = 1024;

export interface SimManager {
  readonly raft: RaftNode;
  /** What the allocator of the present reign counts as in use; undefined where this does not lead. */
  usage(): ReturnType<Allocator["usage"]> | undefined;
}

/** Opens the disk and takes part; resolves when the manager is in the group. */
export async function startManager(
  init: ManagerInit,
  onOpen: (manager: SimManager) => void,
): Promise<void> {
  const { process, addr, network, random, log } = init;
  const { nodeId } = process;
  const channelTo = (to: string) => network.channel(process, to);
  const raft = await openRaftNode({
    ...init.raft,
    dir: "/raft",
    keys: KEYS,
    fs: init.disk.raftFiles(process),
    segmentBytes: SEGMENT_BYTES,
    chunkBytes: CHUNK_BYTES,
    nodeId,
    addr: () => addr,
    channelTo,
    join: init.join,
    forceNewCluster: init.forceNewCluster,
    callerOf: (context) => context.peer?.nodeId,
    checkChange: checkTaskChange,
    onFatal: init.onFatal,
    clock: process,
    random,
    log,
  });
  const { state, membership } = raft;
  const clock = process;
  const dispatcher = createDispatcher({
    state,
    clock,
    random,
    log,
    nodeId,
    managers: () =>
      membership.list().map((member) => ({ nodeId: member.nodeId, addr: member.addr })),
    isSilent: (id) =>
      membership
        .list()
        .some((one) => one.nodeId === id && one.reachability === Reachability.UNREACHABLE),
  });
  const dataPlane = createDataPlane({
    state,
    nodeId,
    session: (caller, sessionId) => dispatcher.session(caller, sessionId),
    clock,
    log,
  });
  membership.onChange(() => dispatcher.managersChanged());
  let allocator: Allocator | undefined;
  const planners = () => {
    const fresh = createPlanners();
    allocator = fresh.find((planner) => planner instanceof Allocator);
    return fresh;
  };
  const parts: readonly ManagerPart[] = [
    {
      name: "roles",
      lead: (signal) => runRoleManager({ state, membership, nodeId, clock, log }, signal),
    },
    reconcilerPart({ state, clock, random, log, planners }),
    {
      name: "dispatcher",
      register: (services) => services.add(Dispatcher, dispatcher.handlers),
      lead: (signal) => dispatcher.lead(signal),
    },
    {
      name: "dataplane",
      register: (services) => services.add(DataPlane, dataPlane.handlers),
      lead: (signal) => dataPlane.lead(signal),
    },
    controlPart({
      state,
      clock,
      random,
      members: membership,
      authority: { clock, random, external: NO_AUTHORITIES },
      plugins: NO_PLUGINS,
      imageTroubles: new Map(),
      isTaskDirty,
    }),
  ];
  const proxy = createLeaderProxy({
    state,
    cluster: {
      clusterId: CLUSTER_ID,
      removed: () => false,
      role: (id) => state.view().get("node", id)?.role,
    },
    self: () => ({ nodeId, role: "swarm-manager", clusterId: CLUSTER_ID }),
    selfAddress: () => addr,
    channelTo,
    clock,
  });
  const server = network.serve(addr, process);
  const services: Parameters<RaftNode["register"]>[0] = {
    add: (service, handlers) => server.add(service, proxy.wrap(service, handlers)),
  };
  raft.register(services);
  for (const part of parts) part.register?.(services);
  services.add(Health, { check: () => ({ status: HealthCheckResponse_ServingStatus.SERVING }) });
  state.onLeadership(async (signal) => {
    await beginSwarm(raft, init.nodes, () => newId(random));
    await leadTogether(parts, signal, log);
  });
  onOpen({ raft, usage: () => (state.isLeader() ? allocator?.usage() : undefined) });
  await raft.run();
}

/** What initialization and joining write: the cluster and a record of every node. */
async function beginSwarm(
  { state }: RaftNode,
  nodes: ManagerInit["nodes"],
  fresh: () => string,
): Promise<void> {
  await state.update("leader", (tx) => {
    if (tx.get("cluster", CLUSTER_ID) !== undefined) return;
    const spec = {
      annotations: { name: "default" },
      orchestration: { taskHistoryRetentionLimit: 2n },
    };
    tx.create("cluster", create(ClusterSchema, { id: CLUSTER_ID, spec }));
    ensureNetworks(tx, fresh);
    for (const { nodeId, isManager } of nodes) {
      const role = isManager ? NodeRole.MANAGER : NodeRole.WORKER;
      const membership = NodeSpec_Membership.ACCEPTED;
      tx.create(
        "node",
        create(NodeSchema, { id: nodeId, role, spec: { desiredRole: role, membership } }),
      );
    }
  });
}

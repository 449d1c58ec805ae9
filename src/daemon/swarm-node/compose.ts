/**
 * Puts a manager together: the raft node under it, and on top of it the dispatcher, the log broker,
 * the data plane, the Control service and the loops that plan. The one place that knows all of them.
 */

import { EngineError } from "#base/error.ts";
import type { Clock, Log, Random } from "#base/ports.ts";
import { addressPluginsPart } from "#manager/address-plugins/part.ts";
import type { AddressDrivers } from "#manager/address-plugins/ports.ts";
import { createExternalAuthorities } from "#manager/control/external-authorities.ts";
import { controlPart } from "#manager/control/service.ts";
import { createDataPlane } from "#manager/dataplane/service.ts";
import { createDispatcher } from "#manager/dispatcher/dispatcher.ts";
import { assertKnown, featureLevelPart } from "#manager/feature-level.ts";
import { imageWatchPart, type RemoteImages } from "#manager/image-watch.ts";
import { reconcilerPart } from "#manager/leader/reconciler.ts";
import { checkTaskChange } from "#manager/leader/task-check.ts";
import { createLogBroker } from "#manager/logbroker/broker.ts";
import { type Manager, startManager } from "#manager/manager.ts";
import type { ManagerPart, PartContext } from "#manager/manager-ports.ts";
import { type GlobalDrivers, NetworkPlugins } from "#manager/network-plugins.ts";
import { openRaftNode, type RaftNode } from "#manager/raft/node.ts";
import { resourceAllocatorPart } from "#manager/resource-allocator.ts";
import { watchPart } from "#manager/watch-service.ts";
import { workloadIdentityPart } from "#manager/workload-identity.ts";
import { isTaskDirty } from "#plan/orchestrator/dirtiness.ts";
import { realFileSystem } from "#platform/wal/file-system.ts";
import { isDiskFull } from "#platform/wal/files.ts";
import { DataPlane } from "#wire/gen/skep/dataplane_pb.js";
import { Dispatcher } from "#wire/gen/swarmkit/dispatcher_pb.js";
import { LogBroker, Logs } from "#wire/gen/swarmkit/logbroker_pb.js";
import { RaftMemberStatus_Reachability as Reachability } from "#wire/gen/swarmkit/types_pb.js";
import type { ManagerMetrics } from "../metrics/manager-metrics.ts";
import type { ManagerStart } from "./node.ts";
import { swarmPaths } from "./paths.ts";
import type { ManagerAddresses } from "./start-addresses.ts";

export interface ComposeOptions {
  readonly dataRoot: string;
  readonly networkDrivers: GlobalDrivers;
  readonly addressDrivers: AddressDrivers;
  readonly controlSocket: string;
  readonly images: RemoteImages;
  readonly metrics: ManagerMetrics;
  /** The disk failed or an invariant broke: log it and end the process. */
  readonly onFatal: (error: unknown) => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** What `SwarmOptions.startManager` wants. */
export function composeManager(
  options: ComposeOptions,
): (start: ManagerStart, addresses: ManagerAddresses) => Promise<Manager> {
  const { clock, random, log } = options;
  return async (start, addresses) => {
    const raft = await openRaft(options, start, addresses);
    const state = options.metrics.timedState(raft.state);
    return startManager({
      identity: start.identity,
      openRaft: async () => ({
        state,
        membership: raft.membership,
        removed: raft.removed,
        alone: raft.alone,
        register: (services) => raft.register(services),
        run: () => raft.run(),
        reseal: () => raft.reseal(),
        handOver: () => raft.handOver(),
        close: () => raft.close(),
      }),
      channelTo: start.channelTo,
      parts: (context) => partsOf(options, raft, context),
      listenHost: addresses.listenHost,
      listenPort: addresses.listenPort,
      advertiseAddr: () => addresses.advertise,
      controlSocket: options.controlSocket,
      newCluster: start.newSwarm,
      signal: start.signal,
      clock,
      random,
      log: log.child({ part: "manager" }),
    });
  };
}

function openRaft(
  options: ComposeOptions,
  start: ManagerStart,
  addresses: ManagerAddresses,
): Promise<RaftNode> {
  const { metrics, onFatal, clock, random, log } = options;
  return openRaftNode({
    dir: swarmPaths(options.dataRoot).raft,
    keys: start.identity.raftKeys,
    nodeId: start.identity.nodeId,
    addr: () => addresses.advertise,
    channelTo: start.channelTo,
    join: start.join,
    mayFound: start.newSwarm !== undefined,
    forceNewCluster: start.forceNewCluster,
    checkJoin: (view, { featureLevel }) => assertKnown(view, featureLevel),
    checkChange: checkTaskChange,
    fs: metrics.timedFiles(realFileSystem),
    timings: metrics.timings,
    onFatal: (error) => {
      // The log ends with what was acknowledged, and nothing is in doubt.
      if (error instanceof EngineError && isDiskFull(error.cause)) start.onDiskFull(error);
      else onFatal(error);
    },
    clock,
    random,
    log: log.child({ part: "raft" }),
  });
}

function partsOf(
  options: ComposeOptions,
  raft: RaftNode,
  context: PartContext,
): readonly ManagerPart[] {
  const { clock, random, log, networkDrivers, addressDrivers } = options;
  const { state, membership, identity } = context;
  const { nodeId } = identity;
  const dispatcher = createDispatcher({
    state,
    nodeId,
    managers: () => membership.list().map(({ nodeId: id, addr }) => ({ nodeId: id, addr })),
    isSilent: (id) =>
      membership
        .list()
        .some(
          ({ nodeId: member, reachability }) =>
            member === id && reachability === Reachability.UNREACHABLE,
        ),
    clock,
    random,
    log: log.child({ part: "dispatcher" }),
  });
  const stopFollowing = membership.onChange(() => dispatcher.managersChanged());
  const dataPlane = createDataPlane({
    state,
    nodeId,
    session: (caller, sessionId) => dispatcher.session(caller, sessionId),
    clock,
    log: log.child({ part: "dataplane" }),
  });
  const broker = createLogBroker({
    state,
    clock,
    random,
    nodeId,
    log: log.child({ part: "logbroker" }),
  });
  const plugins = new NetworkPlugins({
    state,
    drivers: networkDrivers,
    addresses: addressDrivers,
    clock,
    log: log.child({ part: "network-plugins" }),
  });
  const imageTroubles = new Map<string, string>();
  const external = createExternalAuthorities(() => identity.tls());
  return [
    {
      name: "dispatcher",
      register: (services) => services.add(Dispatcher, dispatcher.handlers),
      lead: (signal) => dispatcher.lead(signal),
      close: async () => stopFollowing(),
    },
    {
      name: "dataplane",
      register: (services) => services.add(DataPlane, dataPlane.handlers),
      lead: (signal) => dataPlane.lead(signal),
    },
    options.metrics.part({ raft, dataPlane }),
    {
      name: "logbroker",
      register: (services) => {
        services.add(Logs, broker.logs);
        services.add(LogBroker, broker.logBroker);
      },
      lead: (signal) => broker.lead(signal),
    },
    reconcilerPart({ state, clock, random, log: log.child({ part: "planner" }) }),
    imageWatchPart({
      troubles: imageTroubles,
      state,
      images: options.images,
      clock,
      random,
      log: log.child({ part: "image-watch" }),
    }),
    plugins.part(),
    featureLevelPart({ state, membership, clock, log: log.child({ part: "manager" }) }),
    addressPluginsPart({
      state,
      drivers: addressDrivers,
      clock,
      random,
      log: log.child({ part: "address-plugins" }),
    }),
    watchPart(state),
    resourceAllocatorPart({ state, clock, random }),
    workloadIdentityPart({ state, nodeId, clock, random }),
    controlPart({
      state,
      clock,
      random,
      members: membership,
      authority: { clock, random, external },
      plugins,
      imageTroubles,
      isTaskDirty,
    }),
  ];
}

/**
 * One manager in a process of its own, told what to do by its parent over the process channel. It
 * ends as the engine does: at once, with exit code 1, when its disk failed (and is not only full) or an
 * invariant broke.
 *
 * Arguments: name, data root, "host:port" under which the others reach it.
 */

import { writeSync } from "node:fs";
import { create } from "@bufbuild/protobuf";
import { messageOf } from "#base/error.ts";
import type { Swarm } from "#daemon/swarm-node/swarm.ts";
import { createLog, type LogLevel } from "#platform/log.ts";
import { ConfigSchema } from "#wire/gen/swarmkit/objects_pb.js";
import {
  ClusterSpecSchema,
  ConfigSpecSchema,
  NodeSpec_Availability,
} from "#wire/gen/swarmkit/specs_pb.js";
import {
  AnnotationsSchema,
  EncryptionConfigSchema,
  NodeRole,
  RaftMemberStatus_Reachability,
} from "#wire/gen/swarmkit/types_pb.js";
import { pretendSwarm } from "../../identity/pretend-swarm.ts";
import type { Answer, Order, ProcessInfo } from "./protocol.ts";

const [name = "", dataRoot = "", address = "", level = "info"] = process.argv.slice(2);
const VALUE_BYTES = 256;
const WRITERS = 256;
const host = address.slice(0, address.lastIndexOf(":"));

const swarm = pretendSwarm({
  name,
  dataRoot,
  host,
  onFatal: (error) => {
    writeSync(2, `fatal: ${messageOf(error)}\n`);
    process.exit(1);
  },
  log: createLog(level as LogLevel),
});

process.on("message", (order: Order) => {
  void carryOut(order).then(
    (value) => answer({ id: order.id, value }),
    (error: unknown) => answer({ id: order.id, error: messageOf(error) }),
  );
});
// An orphan has nobody left to clean up after it.
process.on("disconnect", () => process.exit(0));

async function carryOut(order: Order): Promise<unknown> {
  switch (order.op) {
    case "start":
      await swarm.start();
      return undefined;
    case "init":
      return await swarm.init({
        ...common(),
        defaultAddrPool: [],
        subnetSize: 0,
        forceNewCluster: order.forceNewCluster,
        spec: create(ClusterSpecSchema),
        autoLockManagers: order.autoLock ?? false,
        dataPathPort: 0,
      });
    case "join":
      return await swarm.join({ ...common(), remoteAddrs: [order.remote], joinToken: order.token });
    case "info":
      return info(swarm);
    case "token": {
      const { clusters } = await swarm.control().listClusters({});
      return clusters[0]?.rootCa?.joinTokens?.manager;
    }
    case "fill":
      await fill(order.from, order.to, order.objects);
      return undefined;
    case "lock":
      await lock(order.autoLock, order.rotate);
      return undefined;
    case "unlockKey":
      return await swarm.unlockKey();
    case "unlock":
      await swarm.unlock(order.key);
      return undefined;
    case "role":
      await setRole(order.nodeId, order.isManager);
      return undefined;
    case "remove":
      await swarm.control().removeNode({ nodeId: order.nodeId, force: order.force });
      return undefined;
    case "nodes":
      return (await swarm.control().listNodes({})).nodes.map(({ id }) => id);
    case "close":
      await swarm.close();
      return undefined;
  }
}

async function setRole(nodeId: string, isManager: boolean): Promise<void> {
  const control = swarm.control();
  const { node } = await control.getNode({ nodeId });
  if (node?.spec === undefined || node.meta?.version === undefined) throw new Error("no node");
  const desiredRole = isManager ? NodeRole.MANAGER : NodeRole.WORKER;
  const spec = { ...node.spec, desiredRole };
  await control.updateNode({ nodeId, nodeVersion: node.meta.version, spec });
}

async function lock(autoLockManagers: boolean, rotate: boolean): Promise<void> {
  const control = swarm.control();
  const { clusters } = await control.listClusters({});
  const [cluster] = clusters;
  if (cluster?.spec === undefined || cluster.meta?.version === undefined)
    throw new Error("no cluster");
  await control.updateCluster({
    clusterId: cluster.id,
    clusterVersion: cluster.meta.version,
    spec: {
      ...cluster.spec,
      encryptionConfig: create(EncryptionConfigSchema, { autoLockManagers }),
    },
    rotation: { managerUnlockKey: rotate },
  });
}

async function fill(from: number, to: number, objects: number): Promise<void> {
  const state = swarm.manager()?.state;
  if (state === undefined) throw new Error("no manager");
  const data = Buffer.alloc(VALUE_BYTES, "v");
  let next = from;
  const writer = async () => {
    while (next < to) {
      const number = next++;
      const id = `fill-${number % objects}`;
      await state.update("api", (tx) => {
        const before = tx.get("config", id);
        const annotations = create(AnnotationsSchema, { name: id, labels: { n: `${number}` } });
        const spec = create(ConfigSpecSchema, { annotations, data });
        if (before === undefined) tx.create("config", create(ConfigSchema, { id, spec }));
        else tx.update("config", { ...before, spec });
      });
    }
  };
  await Promise.all(Array.from({ length: WRITERS }, writer));
}

function common() {
  return {
    listenAddr: address,
    advertiseAddr: address,
    dataPathAddr: "",
    availability: NodeSpec_Availability.ACTIVE,
  };
}

function info(node: Swarm): ProcessInfo {
  const manager = node.manager();
  const { heapUsed, external, rss } = process.memoryUsage();
  return {
    nodeId: node.localNodeId(),
    state: node.info().state,
    active: node.info().controlAvailable,
    leads: manager?.state.isLeader() === true,
    leader: manager?.state.leader()?.nodeId,
    members: (manager?.membership.list() ?? []).map(({ nodeId, addr, voter, reachability }) => {
      const isSilent = reachability === RaftMemberStatus_Reachability.UNREACHABLE;
      return { nodeId, addr, voter, isSilent };
    }),
    warnings: node.info().warnings ?? [],
    index: manager?.state.view().index ?? 0,
    memory: { heapUsed, external, rss },
  };
}

function answer(message: Answer): void {
  process.send?.(message);
}

/**
 * The ResourceAllocator service: a container that is no task of a service attaches to a network of
 * the swarm. The attachment is a task of its own kind, bound to the node that asks; the allocator
 * gives it its address, and its end gives that back.
 */

import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { EngineError } from "#base/error.ts";
import { newId } from "#base/ids.ts";
import type { Clock, Random } from "#base/ports.ts";
import type { RpcContext } from "#platform/grpc/server.ts";
import type { ReadView } from "#store/types.ts";
import { type Network, TaskSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { type AttachNetworkRequest, ResourceAllocator } from "#wire/gen/swarmkit/resource_pb.js";
import { TaskState } from "#wire/gen/swarmkit/types_pb.js";
import type { ManagerPart } from "./manager-ports.ts";
import type { ClusterState } from "./state.ts";

export interface ResourceAllocatorOptions {
  readonly state: ClusterState;
  readonly clock: Clock;
  readonly random: Random;
}

export function resourceAllocatorPart(options: ResourceAllocatorOptions): ManagerPart {
  return {
    name: "resources",
    register: (services) =>
      services.add(ResourceAllocator, {
        attachNetwork: async (request, context) => ({
          attachmentId: await attach(options, request, callerOf(context)),
        }),
        detachNetwork: async ({ attachmentId }, context) => {
          await detach(options, attachmentId, callerOf(context));
          return {};
        },
      }),
  };
}

async function attach(
  { state, clock, random }: ResourceAllocatorOptions,
  request: AttachNetworkRequest,
  nodeId: string,
): Promise<string> {
  const { config, containerId } = request;
  if (config === undefined) throw new EngineError("invalid-argument", "invalid argument");
  const id = newId(random);
  const timestamp = timestampFromMs(clock.nowMs());
  await state.update("api", (tx) => {
    const network = networkOf(tx, config.target);
    if (network === undefined) {
      throw new EngineError("not-found", `network ${config.target} not found`);
    }
    if (network.spec?.attachable !== true) {
      throw new EngineError(
        "permission-denied",
        `network ${config.target} not manually attachable`,
      );
    }
    const task = create(TaskSchema, {
      id,
      nodeId,
      spec: {
        runtime: { case: "attachment", value: { containerId } },
        networks: [{ target: network.id, addresses: config.addresses, aliases: config.aliases }],
      },
      status: { timestamp, state: TaskState.NEW, message: "created" },
      desiredState: TaskState.RUNNING,
    });
    tx.create("task", task);
  });
  return id;
}

async function detach(
  { state }: ResourceAllocatorOptions,
  attachmentId: string,
  nodeId: string,
): Promise<void> {
  if (attachmentId === "") throw new EngineError("invalid-argument", "invalid argument");
  await state.update("api", (tx) => {
    const task = tx.get("task", attachmentId);
    if (task === undefined) {
      throw new EngineError("not-found", `attachment ${attachmentId} not found`);
    }
    // An attachment is no handle on the tasks of services.
    if (task.nodeId !== nodeId || task.spec?.runtime.case !== "attachment") {
      throw new EngineError(
        "permission-denied",
        `attachment ${attachmentId} doesn't belong to this node`,
      );
    }
    tx.delete("task", attachmentId);
  });
}

function networkOf(view: ReadView, target: string): Network | undefined {
  return view.get("network", target) ?? view.byName("network", target);
}

function callerOf(context: RpcContext): string {
  const nodeId = context.peer?.nodeId;
  if (nodeId === undefined) {
    throw new EngineError(
      "permission-denied",
      "Permission denied: no client certificates in request",
    );
  }
  return nodeId;
}

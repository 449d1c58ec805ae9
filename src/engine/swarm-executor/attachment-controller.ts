/**
 * A task that is no container of its own: it lends a swarm network to a container that somebody
 * started by hand. It runs as long as that container stays on the network.
 */

import { create } from "@bufbuild/protobuf";
import type { Controller } from "#agent/executor.ts";
import type { Task } from "#wire/gen/swarmkit/objects_pb.js";
import { type ContainerStatus, ContainerStatusSchema } from "#wire/gen/swarmkit/types_pb.js";
import type { TaskAttachments, TaskNetworks } from "./ports.ts";

export function createAttachmentController(
  networks: TaskNetworks,
  attachments: TaskAttachments,
  task: Task,
  onClosed: () => void,
): Controller {
  let current = task;
  const containerId =
    task.spec?.runtime.case === "attachment" ? task.spec.runtime.value.containerId : "";
  const detach = async (): Promise<void> => attachments.detach(current);
  return {
    update: async (next) => {
      current = next;
    },
    prepare: (signal) => networks.ensure(current, signal),
    start: (signal) => attachments.attach(current, signal),
    wait: (signal) => attachments.detached(current, signal),
    shutdown: detach,
    terminate: detach,
    remove: async () => {
      await detach();
      await networks.release(current);
    },
    close: async () => onClosed(),
    containerStatus: async (): Promise<ContainerStatus> =>
      create(ContainerStatusSchema, { containerId }),
    portStatus: async () => undefined,
    async *logs() {
      // The container's log belongs to whoever started it.
    },
  };
}

/** A task's part in the swarm's networks: its container is made when they are there, not before. */

import { EngineError } from "#base/error.ts";
import type { Clock } from "#base/ports.ts";
import { isPluginDriver } from "#plan/allocator/network-table.ts";
import { sleep } from "#platform/async.ts";
import type { NetworkAttachment, Node, Task } from "#wire/gen/swarmkit/objects_pb.js";
import type { TaskNetworks } from "../swarm-executor/ports.ts";
import type { Overlay } from "./overlay.ts";

/** How long managers may take to tell of a network that a task is attached to. */
const ENSURE_MS = 30_000;

export class OverlayTasks implements TaskNetworks {
  readonly #overlay: Overlay;
  readonly #clock: Clock;

  constructor(overlay: Overlay, clock: Clock) {
    this.#overlay = overlay;
    this.#clock = clock;
  }

  async ensure(task: Task, signal: AbortSignal): Promise<void> {
    this.#overlay.setNode(task.nodeId);
    for (const attachment of task.networks) {
      const driver = driverIn(attachment);
      if (driver !== "overlay" && !isPluginDriver(driver)) continue;
      if (driver === "overlay" && !this.#overlay.canEncrypt) refuseInClear(attachment);
      await this.#untilPlaced(task.id, attachment, signal);
    }
  }

  // Traffic comes and goes with the tables, which follow the task's state.
  async activate(): Promise<void> {}

  async deactivate(): Promise<void> {}

  async release(): Promise<void> {}

  async configure(node: Node): Promise<void> {
    this.#overlay.setNode(node.id);
  }

  async #untilPlaced(
    taskId: string,
    { network }: NetworkAttachment,
    signal: AbortSignal,
  ): Promise<void> {
    const id = network?.id ?? "";
    const over = new AbortController();
    const either = AbortSignal.any([signal, over.signal]);
    const timeout = sleep(this.#clock, ENSURE_MS, either).then(
      () => over.abort(),
      () => undefined,
    );
    try {
      await this.#overlay.untilPlaced(id, taskId, either);
    } catch (error) {
      if (signal.aborted || !over.signal.aborted) throw error;
      // A node that starts without managers may have tables of a moment before the task.
      if (this.#overlay.hosts(id)) return;
      const name = network?.spec?.annotations?.name ?? "";
      const failure = this.#overlay.failure(id);
      if (failure !== undefined) {
        throw new EngineError("failed-precondition", `network ${name}: ${failure}`, {
          cause: error,
        });
      }
      throw new EngineError(
        "failed-precondition",
        `network ${name} is not on this node: no manager has told of it within ${ENSURE_MS / 1000} s`,
        { cause: error },
      );
    } finally {
      over.abort();
      await timeout;
    }
  }
}

/** As managers have settled it. */
function driverIn({ network }: NetworkAttachment): string {
  return (network?.driverState ?? network?.spec?.driverConfig)?.name ?? "";
}

/** What was promised to be encrypted goes encrypted or not at all. */
function refuseInClear({ network }: NetworkAttachment): void {
  const options = {
    ...network?.spec?.driverConfig?.options,
    ...network?.driverState?.options,
  };
  if (!("encrypted" in options)) return;
  throw new EngineError(
    "failed-precondition",
    `network ${network?.spec?.annotations?.name ?? ""} is encrypted, which this node cannot do: install wireguard-tools, and wireguard-go where the kernel has no WireGuard`,
    { retryable: false },
  );
}

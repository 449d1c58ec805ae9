/**
 * Containers that are no tasks on networks of the swarm: `docker run --network overlay`. A start asks
 * the managers for an attachment; it comes back to this node as a task of its own kind, with an
 * address, when the network is here. The task ends when the container has left, whoever knew of it.
 */

import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import type { Clock, Log } from "#base/ports.ts";
import { type Deferred, deferred, sleep } from "#platform/async.ts";
import type { RpcClient } from "#platform/grpc/client.ts";
import { asGoShows } from "#platform/grpc/status.ts";
import type { EndpointSettings } from "#wire/docker/networks.ts";
import type { Task } from "#wire/gen/swarmkit/objects_pb.js";
import type { ResourceAllocator } from "#wire/gen/swarmkit/resource_pb.js";
import type { Loan, NetworkLender } from "../networks/lend.ts";
import type { NetworkStore } from "../networks/service.ts";
import type { TaskAttachments } from "../swarm-executor/ports.ts";

const CALL_MS = 20_000;
const RETRY_MS = 200;
/** From the manager's word to the network on this host, with everything in between. */
const ATTACH_MS = 30_000;
/** Attachments whose start has not asked for them yet, or never will: more are a fault. */
const WAITING_MAX = 1024;

export interface AttachmentOptions {
  /** Throws when this host is in no swarm. */
  readonly resources: () => RpcClient<typeof ResourceAllocator>;
  readonly isActive: () => boolean;
  readonly networks: Pick<NetworkStore, "attachments">;
  /** Takes a running container off a network, for a manager that ends its attachment. */
  readonly disconnect: (containerId: string, networkId: string) => Promise<void>;
  readonly clock: Clock;
  readonly log: Log;
}

export class SwarmAttachments implements NetworkLender, TaskAttachments {
  readonly #options: AttachmentOptions;
  /** By task id: starts that wait for their attachment. */
  readonly #starts = new Map<string, Deferred<Task>>();
  /** Tasks that came before their start knew its id; none while no start asks. */
  readonly #early = new Map<string, Task>();
  #asking = 0;
  /** Loans that a container has or is about to have, and who waits for their end. */
  readonly #loans = new Map<string, Deferred<void>>();

  constructor(options: AttachmentOptions) {
    this.#options = options;
  }

  isActive(): boolean {
    return this.#options.isActive();
  }

  async lend(containerId: string, reference: string, settings: EndpointSettings): Promise<Loan> {
    this.#asking += 1;
    try {
      const id = await this.#askManager(containerId, reference, settings);
      this.#loans.set(id, this.#loans.get(id) ?? deferred());
      try {
        const task = this.#early.get(id) ?? (await this.#untilAttached(id));
        this.#early.delete(id);
        const attachment = task.networks[0];
        const networkId = attachment?.network?.id ?? "";
        return { id, networkId, addresses: attachment?.addresses ?? [] };
      } catch (error) {
        this.giveBack(id);
        throw error;
      }
    } finally {
      this.#asking -= 1;
      if (this.#asking === 0) this.#endEarly();
    }
  }

  /** The id of the attachment; errors in docker's words, with the manager's reason. */
  async #askManager(
    containerId: string,
    reference: string,
    settings: EndpointSettings,
  ): Promise<string> {
    const { IPv4Address = "", IPv6Address = "" } = settings.IPAMConfig ?? {};
    const config = {
      target: reference,
      aliases: [...(settings.Aliases ?? [])],
      addresses: [IPv4Address, IPv6Address].filter((address) => address !== ""),
    };
    const { clock, resources } = this.#options;
    const deadlineMs = clock.monotonicMs() + CALL_MS;
    for (;;) {
      try {
        const timeoutMs = Math.max(deadlineMs - clock.monotonicMs(), 1);
        const answer = await resources().attachNetwork({ config, containerId }, { timeoutMs });
        return answer.attachmentId;
      } catch (error) {
        // After a reboot containers are started while the node still looks for its managers.
        const again = isErrorCode(error, "unavailable") && clock.monotonicMs() < deadlineMs;
        if (!again) {
          const { code, message } = asGoShows(error);
          const shown = `Could not attach to network ${reference}: ${message}`;
          throw new EngineError(code, shown, { cause: error });
        }
      }
      await sleep(clock, RETRY_MS);
    }
  }

  /** Nobody asks any more: what no start has claimed is nobody's. */
  #endEarly(): void {
    for (const id of this.#early.keys()) this.giveBack(id);
  }

  giveBack(id: string): void {
    this.#early.delete(id);
    this.#loans.get(id)?.resolve();
    this.#loans.delete(id);
    void this.#release(id);
  }

  attach(task: Task): Promise<void> {
    const start = this.#starts.get(task.id);
    if (start !== undefined) start.resolve(task);
    else if (this.#asking > 0 && this.#early.size < WAITING_MAX) this.#early.set(task.id, task);
    return Promise.resolve();
  }

  async detached(task: Task, signal: AbortSignal): Promise<void> {
    const held = this.#early.has(task.id) || this.#holderOf(task.id) !== undefined;
    if (!held && !this.#loans.has(task.id)) return;
    const over = this.#loans.get(task.id) ?? deferred();
    this.#loans.set(task.id, over);
    await new Promise<void>((resolve, reject) => {
      // Only this wait ends with the signal: an agent that comes again waits anew.
      const stop = () => reject(signal.reason as Error);
      if (signal.aborted) return stop();
      signal.addEventListener("abort", stop, { once: true });
      void over.promise.then(() => {
        signal.removeEventListener("abort", stop);
        resolve();
        return undefined;
      });
    });
  }

  async detach(task: Task): Promise<void> {
    const holder = this.#holderOf(task.id);
    if (holder === undefined) return;
    try {
      await this.#options.disconnect(holder.containerId, holder.networkId);
    } catch (error) {
      if (!isErrorCode(error, "not-found", "forbidden")) throw error;
    }
  }

  /** The container that has a loan, also one that an earlier engine took. */
  #holderOf(loan: string): { containerId: string; networkId: string } | undefined {
    for (const { containerId, endpoints } of this.#options.networks.attachments()) {
      const endpoint = endpoints.find((candidate) => candidate.loan === loan);
      if (endpoint !== undefined) return { containerId, networkId: endpoint.networkId };
    }
    return undefined;
  }

  async #untilAttached(id: string): Promise<Task> {
    const start = deferred<Task>();
    this.#starts.set(id, start);
    const timer = this.#options.clock.setTimer(ATTACH_MS, () =>
      start.reject(
        new EngineError(
          "internal",
          "attaching to network failed, make sure your network options are correct and check manager logs: context deadline exceeded",
        ),
      ),
    );
    try {
      return await start.promise;
    } finally {
      timer.cancel();
      this.#starts.delete(id);
    }
  }

  /** The task's end tells the managers as well: this is only quicker. */
  async #release(attachmentId: string): Promise<void> {
    try {
      await this.#options.resources().detachNetwork({ attachmentId }, { timeoutMs: CALL_MS });
    } catch (error) {
      if (isErrorCode(error, "not-found")) return;
      this.#options.log.debug("an attachment was not given back, it ends by its task", {
        attachment: attachmentId,
        reason: messageOf(error),
      });
    }
  }
}

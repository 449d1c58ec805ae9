/**
 * One task as one container of this host, made through the same services as `docker run` uses. The
 * container's name holds the task's id, so that a container which is already there is this task's
 * own, from before a crash, and is taken over as it is: it is never made, started or stopped twice.
 */

import type { Controller } from "#agent/executor.ts";
import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import type { Clock, Log } from "#base/ports.ts";
import { ALLOW_LABEL, notAllowed, readHostAccess } from "#model/host-access.ts";
import { stateOf } from "#model/task.ts";
import { TaskExitError } from "#model/task-exit.ts";
import { type Semaphore, sleep } from "#platform/async.ts";
import type { ContainerInspect } from "#wire/docker/containers.ts";
import type { LogMessage, LogSubscriptionOptions } from "#wire/gen/swarmkit/logbroker_pb.js";
import type { Task } from "#wire/gen/swarmkit/objects_pb.js";
import type { ContainerSpec } from "#wire/gen/swarmkit/specs_pb.js";
import {
  type ContainerStatus,
  Mount_Type as MountType,
  type NodeDescription,
  type PortStatus,
  TaskState,
} from "#wire/gen/swarmkit/types_pb.js";
import type { ContainerService, EventBus, ImageService, VolumeService } from "../ports.ts";
import { containerBody, imageReference, TASK_ID_LABEL } from "./container-body.ts";
import { containerStatusOf, portStatusOf } from "./container-status.ts";
import { canBeReached, connectionsOf, type Draining, drain } from "./drain.ts";
import { hasHealthcheck, untilHealth } from "./health.ts";
import type { ImagePulls } from "./image-pulls.ts";
import type { ReleasedTasks, TaskNetworks } from "./ports.ts";
import type { TaskFiles } from "./task-files.ts";
import { taskLogs } from "./task-logs.ts";
import { expandSpec, taskName } from "./task-scope.ts";

/** Shared by all tasks of the host. */
export interface ControllerPorts {
  readonly containers: ContainerService;
  readonly images: ImageService;
  readonly volumes: VolumeService;
  readonly events: EventBus;
  readonly networks: TaskNetworks;
  /** Undefined where there is no data path to lead traffic away from a task. */
  readonly releases: ReleasedTasks | undefined;
  readonly pulls: ImagePulls;
  readonly files: TaskFiles;
  readonly clock: Clock;
  readonly log: Log;
  /** How many containers may be starting at once. */
  readonly starts: Semaphore;
  /** The node as it described itself last. */
  readonly node: () => NodeDescription | undefined;
}

/** Docker's, for a container that says nothing of its own. */
const DEFAULT_GRACE_MS = 10_000;
/** How long nodes may take to lead traffic away where no manager has asked for the stop. */
const WITHDRAW_MS = 5_000;
/** What an unhealthy container may still be answering. It may hang, so the task's own grace is too long. */
const UNHEALTHY_GRACE_MS = 2_000;
const HEALTH_RETRY_MS = 5_000;
const UNHEALTHY = "dockerexec: unhealthy container";

/** A task's container, which its host may want to end without a manager's asking. */
export interface ContainerTaskController extends Controller {
  /**
   * Leads traffic away, and gives connections `graceMs` to finish (undefined = as the task says; 0 =
   * they are not waited for). Does nothing for one that has no traffic.
   */
  withdraw(graceMs: number | undefined, signal: AbortSignal): Promise<void>;
}

/** Throws what makes the task impossible here, before anything is done for it. */
export function createContainerController(
  ports: ControllerPorts,
  task: Task,
  onClosed: () => void,
): ContainerTaskController {
  if (task.spec?.runtime.case !== "container") {
    throw new EngineError("invalid-argument", "unsupported runtime");
  }
  const spec = task.spec.runtime.value;
  if (spec.image === "") throw new EngineError("invalid-argument", "dockerexec: image required");
  for (const mount of spec.mounts) {
    if (mount.type === MountType.CLUSTER) {
      throw new EngineError("invalid-argument", "this node does not provide cluster volumes");
    }
  }
  const expanded = expandSpec(spec, task, ports.node());
  refuseHostAccess(expanded, ports.node());
  return new ContainerController(ports, task, expanded, onClosed);
}

/** The node decides, whatever a manager believes of it. */
function refuseHostAccess({ labels }: ContainerSpec, node: NodeDescription | undefined): void {
  const access = readHostAccess(labels);
  if (!access.ok) throw new EngineError("invalid-argument", access.error);
  const refused = notAllowed(access.value.needs, node?.engine?.labels);
  if (refused.length === 0) return;
  throw new EngineError(
    "invalid-argument",
    `this node does not allow services ${refused.join(", ")}: its engine's label ${ALLOW_LABEL} says what it does`,
  );
}

class ContainerController implements ContainerTaskController {
  readonly #ports: ControllerPorts;
  readonly #spec: ContainerSpec;
  readonly #name: string;
  readonly #onClosed: () => void;
  readonly #log: Log;
  #task: Task;
  #activated = false;
  #onWithdrawn: () => void = () => undefined;

  constructor(ports: ControllerPorts, task: Task, spec: ContainerSpec, onClosed: () => void) {
    this.#ports = ports;
    this.#task = task;
    this.#spec = spec;
    this.#name = taskName(task);
    this.#onClosed = onClosed;
    this.#log = ports.log.child({ task: task.id });
  }

  onWithdrawn(listener: () => void): void {
    this.#onWithdrawn = listener;
  }

  async withdraw(graceMs: number | undefined, signal: AbortSignal): Promise<void> {
    const draining = await this.#draining();
    if (draining === undefined) return;
    this.#onWithdrawn();
    await this.#drainOf(
      { ...draining, graceMs: graceMs ?? draining.graceMs, releaseMs: WITHDRAW_MS },
      signal,
    );
  }

  async update(task: Task): Promise<void> {
    this.#task = task;
  }

  async prepare(signal: AbortSignal): Promise<void> {
    const { networks, files, containers } = this.#ports;
    await fatal(networks.ensure(this.#task, signal));
    await files.write(this.#task, this.#spec, this.#ports.node());
    // One that is there was made by this task before a crash.
    if ((await this.#find()) !== undefined) return;
    await this.#createVolumes();
    const reference = imageReference(this.#spec.image);
    const auth = this.#spec.pullOptions?.registryAuth ?? "";
    const pullFailure = await this.#ports.pulls.pull(reference, auth, signal);
    if (pullFailure !== undefined) {
      this.#log.warn("pulling the image failed; using the one that is here, if any", {
        image: reference,
        reason: pullFailure,
      });
    }
    signal.throwIfAborted();
    const planned = files.plan(this.#task, this.#spec);
    try {
      await containers.create(this.#name, containerBody(this.#task, this.#spec, planned));
    } catch (error) {
      const failure = EngineError.from(error);
      if (failure.code === "conflict" && (await this.#find()) !== undefined) return;
      // The image's absence has a cause, which is worth more than the fact.
      const cause = failure.code === "not-found" && pullFailure !== undefined ? pullFailure : "";
      throw final(failure, cause === "" ? failure.message : `${failure.message} (${cause})`);
    }
  }

  async start(signal: AbortSignal): Promise<void> {
    const { containers, starts } = this.#ports;
    const found = await this.#inspect();
    if (found.State.Status === "created") {
      // A reboot takes the files away and leaves the container; the swarm's networks are there only
      // when this engine has heard of them, whatever the one that made the container knew.
      await fatal(this.#ports.networks.ensure(this.#task, signal));
      await this.#ports.files.write(this.#task, this.#spec, this.#ports.node());
      await starts.run(async () => {
        signal.throwIfAborted();
        await fatal(containers.start(this.#name), "starting container failed: ");
      });
    }
    if (hasHealthcheck(found) && (await this.#untilHealthy(signal)) !== "healthy") return;
    await this.#activate(found.Id);
  }

  async wait(signal: AbortSignal): Promise<void> {
    const { containers } = this.#ports;
    const found = await this.#inspect();
    const checked = hasHealthcheck(found) && found.State.Running;
    if (!checked && found.State.Running) await this.#activate(found.Id);
    const over = new AbortController();
    const watched = AbortSignal.any([signal, over.signal]);
    const unhealthy = checked ? this.#followHealth(found.Id, watched) : undefined;
    try {
      const { statusCode, error } = await containers.wait(found.Id, "not-running", signal);
      over.abort();
      const wasUnhealthy = await unhealthy;
      if (statusCode !== 0) {
        throw new TaskExitError(statusCode, wasUnhealthy === true ? UNHEALTHY : error);
      }
      if (wasUnhealthy === true) throw new EngineError("unknown", UNHEALTHY);
    } finally {
      over.abort();
    }
  }

  async shutdown(signal: AbortSignal): Promise<void> {
    await this.#drain(signal);
    await this.#deactivate(signal);
    await this.#stop();
  }

  async terminate(): Promise<void> {
    await this.#gone(this.#ports.containers.kill(this.#name, "SIGKILL"));
  }

  async remove(signal: AbortSignal): Promise<void> {
    const { containers, files, networks } = this.#ports;
    await this.#deactivate(signal);
    if (await this.#isRunning()) await this.#stop();
    await this.#gone(containers.remove(this.#name, { force: true, volumes: true }));
    await files.remove(this.#task.id);
    await networks.release(this.#task);
  }

  async close(): Promise<void> {
    this.#onClosed();
  }

  async containerStatus(): Promise<ContainerStatus | undefined> {
    const found = await this.#find();
    return found === undefined ? undefined : containerStatusOf(found);
  }

  async portStatus(): Promise<PortStatus | undefined> {
    const found = await this.#find();
    return found === undefined ? undefined : portStatusOf(found);
  }

  logs(options: LogSubscriptionOptions, signal: AbortSignal): AsyncIterable<LogMessage> {
    const { containers, clock } = this.#ports;
    return taskLogs({ containers, clock }, this.#task, this.#name, options, signal);
  }

  /** This task's container, if it has one; a stranger's by that name is an error. */
  async #find(): Promise<ContainerInspect | undefined> {
    try {
      const found = await this.#inspect();
      if (found.Config.Labels?.[TASK_ID_LABEL] === this.#task.id) return found;
    } catch (error) {
      if (isErrorCode(error, "not-found")) return undefined;
      throw error;
    }
    throw new EngineError(
      "conflict",
      `container name "${this.#name}" is in use by a container that is not this task's`,
      { retryable: false },
    );
  }

  #inspect(): Promise<ContainerInspect> {
    return fatal(this.#ports.containers.inspect(this.#name));
  }

  async #isRunning(): Promise<boolean> {
    return (await this.#find())?.State.Running === true;
  }

  /** Named volumes with a driver or labels of their own; plain ones come with the container. */
  async #createVolumes(): Promise<void> {
    for (const { type, source, volumeOptions } of this.#spec.mounts) {
      if (type !== MountType.VOLUME || source === "" || volumeOptions === undefined) continue;
      const { labels, driverConfig } = volumeOptions;
      await fatal(
        this.#ports.volumes.create({
          name: source,
          labels,
          ...(driverConfig === undefined
            ? {}
            : { driver: driverConfig.name, driverOpts: driverConfig.options }),
        }),
      );
    }
  }

  /** "gone" only for a container that ended by itself with 0: then it has simply finished. */
  async #untilHealthy(signal: AbortSignal): Promise<"healthy" | "gone"> {
    const health = await untilHealth(this.#ports, this.#name, ["healthy", "unhealthy"], signal);
    if (health === "healthy") return "healthy";
    if (health === "unhealthy") await this.#stop();
    const { ExitCode, Error: reason } = (await this.#inspect()).State;
    const detail = health === "unhealthy" ? UNHEALTHY : reason;
    if (ExitCode !== 0) throw new TaskExitError(ExitCode, detail);
    if (health === "unhealthy") throw new EngineError("unknown", UNHEALTHY);
    return "gone";
  }

  /** True if the container had to be stopped for its health. What fails on the way is tried again. */
  async #followHealth(containerId: string, signal: AbortSignal): Promise<boolean> {
    while (!signal.aborted) {
      try {
        return await this.#serveWhileHealthy(containerId, signal);
      } catch (error) {
        if (signal.aborted) break;
        this.#log.warn("watching the container's health failed; it is tried again", {
          reason: messageOf(error),
        });
        await sleep(this.#ports.clock, HEALTH_RETRY_MS, signal).catch(() => undefined);
      }
    }
    return false;
  }

  /** Lets traffic come while the container is healthy; true if it had to be stopped for health. */
  async #serveWhileHealthy(containerId: string, signal: AbortSignal): Promise<boolean> {
    const first = await untilHealth(this.#ports, containerId, ["healthy", "unhealthy"], signal);
    if (first === "healthy") await this.#activate(containerId);
    const last =
      first === "healthy"
        ? await untilHealth(this.#ports, containerId, ["unhealthy"], signal)
        : first;
    if (last !== "unhealthy") return false;
    this.#log.warn("container is unhealthy and will be stopped");
    await this.withdraw(UNHEALTHY_GRACE_MS, signal);
    await this.#deactivate(signal);
    await this.#stop();
    return true;
  }

  async #activate(containerId: string): Promise<void> {
    if (this.#activated) return;
    await fatal(this.#ports.networks.activate(this.#task, containerId));
    this.#activated = true;
  }

  /** What managers have withdrawn already; a task that is to leave no trace is not waited for. */
  async #drain(signal: AbortSignal): Promise<void> {
    const draining = await this.#draining();
    if (draining !== undefined) await this.#drainOf(draining, signal);
  }

  /** Undefined when there is no traffic to lead away, or nobody to do it. */
  async #draining(): Promise<Draining | undefined> {
    const ready = this.#activated || stateOf(this.#task) === TaskState.RUNNING;
    if (this.#ports.releases === undefined || !ready || !canBeReached(this.#task)) return undefined;
    const found = await this.#find();
    if (found?.State.Running !== true) return undefined;
    const { Pid } = found.State;
    const connections = () => connectionsOf(Pid);
    return { task: this.#task, connections, graceMs: this.#graceMs(found) };
  }

  async #drainOf(draining: Draining, signal: AbortSignal): Promise<void> {
    const { releases, clock, containers } = this.#ports;
    if (releases === undefined) return;
    // A container that ends by itself meanwhile has nothing left to wait for.
    const over = new AbortController();
    const either = AbortSignal.any([signal, over.signal]);
    const ended = containers
      .wait(this.#name, "not-running", either)
      .then(() => over.abort())
      .catch(() => undefined);
    try {
      await drain({ releases, clock, log: this.#log }, draining, either);
    } catch (error) {
      if (signal.aborted || !over.signal.aborted) throw error;
    } finally {
      over.abort();
      await ended;
    }
  }

  #graceMs({ Config }: ContainerInspect): number {
    const seconds = this.#spec.stopGracePeriod?.seconds ?? Config.StopTimeout;
    return seconds === undefined || seconds === null ? DEFAULT_GRACE_MS : Number(seconds) * 1_000;
  }

  async #deactivate(signal: AbortSignal): Promise<void> {
    this.#activated = false;
    try {
      await this.#ports.networks.deactivate(this.#task, signal);
    } catch (error) {
      if (signal.aborted) throw error;
      // The container is stopped all the same: it is what was asked for.
      this.#log.warn("traffic could not be led away from the task", { reason: messageOf(error) });
    }
  }

  async #stop(): Promise<void> {
    const grace = this.#spec.stopGracePeriod;
    const options = grace === undefined ? {} : { timeoutSeconds: Number(grace.seconds) };
    await this.#gone(this.#ports.containers.stop(this.#name, options));
  }

  /** Success also when there is nothing (left) to do it to. */
  async #gone(work: Promise<void>): Promise<void> {
    try {
      await work;
    } catch (error) {
      if (!isErrorCode(error, "not-found", "not-modified")) throw final(EngineError.from(error));
    }
  }
}

/** Whatever the host answers is about the task: the agent is not to try it again for ever. */
async function fatal<T>(work: Promise<T>, prefix = ""): Promise<T> {
  try {
    return await work;
  } catch (error) {
    const failure = EngineError.from(error);
    throw final(failure, prefix + failure.message);
  }
}

function final(failure: EngineError, message = failure.message): EngineError {
  if (!failure.retryable && message === failure.message) return failure;
  return new EngineError(failure.code, message, { cause: failure, retryable: false });
}

/**
 * containerd as containers need it: snapshots to run on, tasks and execs, their ends. Thin: one
 * method per thing, errors as containerd words them, "already gone" counted as success where the
 * caller wants it gone. Owns no state, so that it may be asked anything after a restart.
 */

import { readdir } from "node:fs/promises";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type Any, AnySchema, type Timestamp } from "@bufbuild/protobuf/wkt";
import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import type { Clock } from "#base/ports.ts";
import type { Containerd } from "#platform/containerd/client.ts";
import { endShim, findShims, type Shim } from "#platform/containerd/shims.ts";
import type { CallOptions } from "#platform/grpc/client.ts";
import { OptionsSchema, ProcessDetailsSchema } from "#wire/gen/containerd/runc_options_pb.js";
import { type Process, Status } from "#wire/gen/containerd/task_types_pb.js";
import type { Mount } from "#wire/gen/containerd/types_pb.js";
import { type OciProcess, type OciResources, type OciSpec, serializeSpec } from "./oci-spec.ts";

/** On everything that we make in containerd: whose it is. */
export const OWNER_LABEL = "skep.engine";
const GC_ROOT_LABEL = "containerd.io/gc.root";
const TYPE_PREFIX = "types.containerd.io/opencontainers/runtime-spec/1";
const RUNTIME = "io.containerd.runc.v2";

export interface TaskRuntimeOptions {
  readonly containerd: Containerd;
  /** Identifies this engine among those that share a containerd: its data root. */
  readonly owner: string;
  /** Where runc keeps its state. */
  readonly runcRoot: string;
  /** Where the streams of this engine's processes are. */
  readonly ioRoot: string;
  readonly snapshotter: string;
  readonly clock: Clock;
}

export interface ProcessPaths {
  /** FIFO paths; "" for a stream that is not there. */
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly terminal: boolean;
}

export interface TaskExit {
  readonly exitCode: number;
  /** RFC 3339 with nanoseconds; undefined when containerd does not know. */
  readonly at: string | undefined;
}

export type TaskStatus = "created" | "running" | "paused" | "stopped";

export interface TaskInfo {
  readonly pid: number;
  readonly status: TaskStatus;
}

export class TaskRuntime {
  readonly snapshotter: string;
  /** Where runc keeps the state of this engine's containers, a folder each. */
  readonly runcFolder: string;
  readonly #containerd: Containerd;
  readonly #owner: string;
  readonly #ioRoot: string;
  readonly #clock: Clock;
  readonly #options: Any;

  constructor(options: TaskRuntimeOptions) {
    this.#containerd = options.containerd;
    this.#owner = options.owner;
    this.#ioRoot = options.ioRoot;
    this.snapshotter = options.snapshotter;
    this.#clock = options.clock;
    // The shim adds the namespace.
    this.runcFolder = `${options.runcRoot}/${options.containerd.namespace}`;
    const runc = create(OptionsSchema, { root: options.runcRoot });
    this.#options = any(OptionsSchema.typeName, toBinary(OptionsSchema, runc));
  }

  /** A writable file system on top of an image's layers, kept until `removeSnapshot`. */
  async prepareSnapshot(key: string, parent: string, at: string): Promise<readonly Mount[]> {
    const labels = { [OWNER_LABEL]: this.#owner, [GC_ROOT_LABEL]: at };
    const { snapshots } = this.#containerd;
    const { mounts } = await snapshots.prepare({
      snapshotter: this.snapshotter,
      key,
      parent,
      labels,
    });
    return mounts;
  }

  async snapshotMounts(snapshotter: string, key: string): Promise<readonly Mount[]> {
    return (await this.#containerd.snapshots.mounts({ snapshotter, key })).mounts;
  }

  async removeSnapshot(snapshotter: string, key: string): Promise<void> {
    await gone(this.#containerd.snapshots.remove({ snapshotter, key }));
  }

  /** Bytes of the container's own layer. */
  async snapshotSize(snapshotter: string, key: string): Promise<number> {
    return Number((await this.#containerd.snapshots.usage({ snapshotter, key })).size);
  }

  /** Keys of the snapshots that this engine's containers run on. */
  async ownedSnapshots(): Promise<readonly string[]> {
    const keys: string[] = [];
    const request = { snapshotter: this.snapshotter, filters: [this.#ownerFilter()] };
    for await (const { info } of this.#containerd.snapshots.list(request)) {
      for (const { name } of info) keys.push(name);
    }
    return keys;
  }

  async ownedContainers(): Promise<readonly string[]> {
    const { containers } = await this.#containerd.containers.list({
      filters: [this.#ownerFilter()],
    });
    return containers.map(({ id }) => id);
  }

  /** Tasks of this engine, also those without a container: by where their output goes. */
  async ownedTasks(): Promise<readonly string[]> {
    const { tasks } = await this.#containerd.tasks.list({});
    return tasks.filter(({ stdout }) => stdout.startsWith(`${this.#ioRoot}/`)).map(taskId);
  }

  /** Ids of all tasks in the namespace, whoever's they are. */
  async taskIds(): Promise<readonly string[]> {
    return (await this.#containerd.tasks.list({})).tasks.map(taskId);
  }

  /** Ids of what runc has made for this engine, with a task or without. */
  async runcContainers(): Promise<readonly string[]> {
    return await readdir(this.runcFolder).catch(() => []);
  }

  shims(): Promise<readonly Shim[]> {
    return findShims(this.#containerd.address, this.#containerd.namespace);
  }

  endShim(shim: Shim): Promise<void> {
    return endShim(shim, this.#clock);
  }

  /** False while containerd has a record of that id which another engine made. */
  async mayTouch(id: string): Promise<boolean> {
    try {
      const { container } = await this.#containerd.containers.get({ id });
      return container?.labels[OWNER_LABEL] === this.#owner;
    } catch (error) {
      if (isErrorCode(error, "not-found")) return true;
      throw error;
    }
  }

  #ownerFilter(): string {
    return `labels."${OWNER_LABEL}"==${JSON.stringify(this.#owner)}`;
  }

  async createContainer(
    id: string,
    spec: OciSpec,
    snapshot: { readonly snapshotter: string; readonly image: string },
  ): Promise<void> {
    const container = {
      id,
      labels: { [OWNER_LABEL]: this.#owner },
      image: snapshot.image,
      runtime: { name: RUNTIME, options: this.#options },
      spec: any(`${TYPE_PREFIX}/Spec`, new TextEncoder().encode(serializeSpec(spec))),
      snapshotter: snapshot.snapshotter,
      snapshotKey: id,
    };
    try {
      await this.#containerd.containers.create({ container });
    } catch (error) {
      if (!isErrorCode(error, "already-exists")) throw error;
      // Left by an engine that died between two steps of a start.
      await this.deleteContainer(id);
      await this.#containerd.containers.create({ container });
    }
  }

  async deleteContainer(id: string): Promise<void> {
    await gone(this.#containerd.containers.delete({ id }));
  }

  /** Makes namespaces, cgroup and process 1, which waits; resolves to its pid. */
  async createTask(id: string, rootfs: readonly Mount[], io: ProcessPaths): Promise<number> {
    const { pid } = await this.#containerd.tasks.create({
      containerId: id,
      rootfs: [...rootfs],
      ...io,
      options: this.#options,
    });
    return pid;
  }

  async start(id: string, execId = ""): Promise<number> {
    return (await this.#containerd.tasks.start({ containerId: id, execId })).pid;
  }

  async exec(id: string, execId: string, process: OciProcess, io: ProcessPaths): Promise<void> {
    const spec = any(`${TYPE_PREFIX}/Process`, new TextEncoder().encode(serializeSpec(process)));
    await this.#containerd.tasks.exec({ containerId: id, execId, spec, ...io });
  }

  /** Resolves when the process has ended, at once when it already has. */
  async wait(id: string, execId: string, signal: AbortSignal): Promise<TaskExit> {
    const request = { containerId: id, execId };
    const { exitStatus, exitedAt } = await this.#containerd.tasks.wait(request, { signal });
    return { exitCode: exitStatus, at: formatTimestamp(exitedAt) };
  }

  async signal(id: string, signal: number, target: { execId?: string; all?: boolean } = {}) {
    const { execId = "", all = false } = target;
    try {
      await this.#containerd.tasks.kill({ containerId: id, execId, signal, all });
    } catch (error) {
      if (!isShimGone(error)) throw error;
      throw new EngineError("not-found", `task ${id} has ended`, { cause: error });
    }
  }

  /** Lets go of an ended task; resolves to how it ended, or undefined when there was none. */
  async deleteTask(id: string): Promise<TaskExit | undefined> {
    try {
      const { exitStatus, exitedAt } = await this.#containerd.tasks.delete({ containerId: id });
      return { exitCode: exitStatus, at: formatTimestamp(exitedAt) };
    } catch (error) {
      if (isErrorCode(error, "not-found")) return undefined;
      throw error;
    }
  }

  async deleteExec(id: string, execId: string): Promise<void> {
    await gone(this.#containerd.tasks.deleteProcess({ containerId: id, execId }));
  }

  /** Undefined when containerd has no such task. */
  async task(id: string): Promise<TaskInfo | undefined> {
    try {
      const { process } = await this.#containerd.tasks.get({ containerId: id });
      return process === undefined ? undefined : toInfo(process);
    } catch (error) {
      if (isErrorCode(error, "not-found")) return undefined;
      throw error;
    }
  }

  async pause(id: string): Promise<void> {
    await this.#containerd.tasks.pause({ containerId: id });
  }

  async resume(id: string): Promise<void> {
    await this.#containerd.tasks.resume({ containerId: id });
  }

  async resize(id: string, execId: string, width: number, height: number): Promise<void> {
    await this.#containerd.tasks.resizePty({ containerId: id, execId, width, height });
  }

  async closeStdin(id: string, execId: string): Promise<void> {
    await gone(this.#containerd.tasks.closeIO({ containerId: id, execId, stdin: true }));
  }

  async updateResources(id: string, resources: OciResources): Promise<void> {
    const json = new TextEncoder().encode(JSON.stringify(resources));
    await this.#containerd.tasks.update({
      containerId: id,
      resources: any(`${TYPE_PREFIX}/LinuxResources`, json),
    });
  }

  /** Every process in the container; `execId` for the first of an exec. */
  async pids(id: string): Promise<readonly { readonly pid: number; readonly execId: string }[]> {
    const { processes } = await this.#containerd.tasks.listPids({ containerId: id });
    return processes.map(({ pid, info }) => ({
      pid,
      execId: info === undefined ? "" : fromBinary(ProcessDetailsSchema, info.value).execId,
    }));
  }

  /** Raw metrics of the container's cgroup; undefined when it does not run. */
  async metrics(id: string, options: CallOptions = {}): Promise<Any | undefined> {
    const { metrics } = await this.#containerd.tasks.metrics({ filters: [`id==${id}`] }, options);
    return metrics[0]?.data;
  }
}

/** containerd has no code for it: the process' shim ended while it was asked. */
function isShimGone(error: unknown): boolean {
  return isErrorCode(error, "unknown") && messageOf(error).startsWith("ttrpc: closed");
}

function taskId({ id, containerId }: Process): string {
  return containerId === "" ? id : containerId;
}

function any(typeUrl: string, value: Uint8Array): Any {
  return create(AnySchema, { typeUrl, value });
}

async function gone(call: Promise<unknown>): Promise<void> {
  try {
    await call;
  } catch (error) {
    if (!isErrorCode(error, "not-found")) throw error;
  }
}

function toInfo(process: Process): TaskInfo {
  switch (process.status) {
    case Status.CREATED:
      return { pid: process.pid, status: "created" };
    case Status.RUNNING:
      return { pid: process.pid, status: "running" };
    case Status.PAUSED:
    case Status.PAUSING:
      return { pid: process.pid, status: "paused" };
    case Status.STOPPED:
    case Status.UNKNOWN:
      return { pid: process.pid, status: "stopped" };
  }
  throw new EngineError("internal", `containerd answered an unknown task status`);
}

/** RFC 3339 in UTC with all nine digits; undefined for an absent or zero time. */
export function formatTimestamp(timestamp: Timestamp | undefined): string | undefined {
  if (timestamp === undefined || timestamp.seconds <= 0n) return undefined;
  const seconds = new Date(Number(timestamp.seconds) * 1000).toISOString().slice(0, 19);
  return `${seconds}.${String(timestamp.nanos).padStart(9, "0")}Z`;
}

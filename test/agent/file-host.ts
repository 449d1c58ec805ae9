/**
 * An executor whose host is a directory: a container is a file that says created, running or exited.
 * It outlives a killed agent as containers do, and counts what must happen only once.
 */

import { appendFile, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import type { Controller, Executor } from "#agent/executor.ts";
import { EngineError } from "#base/error.ts";
import { TaskExitError } from "#model/task-exit.ts";
import { sleep } from "#platform/async.ts";
import { realClock } from "#platform/real-ports.ts";
import { LogMessageSchema } from "#wire/gen/swarmkit/logbroker_pb.js";
import type { Task } from "#wire/gen/swarmkit/objects_pb.js";
import { ContainerStatusSchema, NodeDescriptionSchema } from "#wire/gen/swarmkit/types_pb.js";

export type ContainerFile = "created" | "running" | `exited ${number}` | undefined;

export interface FileHost {
  readonly executor: Executor;
  container(taskId: string): Promise<ContainerFile>;
  containers(): Promise<readonly string[]>;
  /** Ends a running container with that code. */
  exit(taskId: string, code: number): Promise<void>;
  /** How often each task's container was really started. */
  starts(): Promise<ReadonlyMap<string, number>>;
  hostname: string;
}

const POLL_MS = 5;

export async function createFileHost(directory: string): Promise<FileHost> {
  await mkdir(directory, { recursive: true });
  const path = (taskId: string) => join(directory, `${taskId}.container`);
  const startsPath = join(directory, "starts");
  const read = async (taskId: string): Promise<ContainerFile> => {
    try {
      return (await readFile(path(taskId), "utf8")) as ContainerFile;
    } catch {
      return undefined;
    }
  };
  const write = async (taskId: string, state: NonNullable<ContainerFile>) => {
    const temporary = `${path(taskId)}.${process.pid}`;
    await writeFile(temporary, state);
    await rename(temporary, path(taskId));
  };
  const host: FileHost = {
    hostname: "host",
    container: read,
    containers: async () =>
      (await readdir(directory))
        .filter((name) => name.endsWith(".container"))
        .map((name) => name.slice(0, -".container".length)),
    exit: (taskId, code) => write(taskId, `exited ${code}`),
    starts: async () => {
      const counts = new Map<string, number>();
      const text = await readFile(startsPath, "utf8").catch(() => "");
      for (const id of text.split("\n").filter((line) => line !== "")) {
        counts.set(id, (counts.get(id) ?? 0) + 1);
      }
      return counts;
    },
    executor: {
      describe: async () => create(NodeDescriptionSchema, { hostname: host.hostname }),
      configure: async () => undefined,
      controller: (task, dependencies) => {
        if (task.spec?.runtime.case !== "container") {
          throw new EngineError("invalid-argument", "task: unsupported runtime");
        }
        const secrets = task.spec.runtime.value.secrets.map(({ secretId }) => secretId);
        const ready = () => secrets.every((id) => dependencies.secret(id, task.id) !== undefined);
        return controller(task, {
          read,
          write,
          startsPath,
          ready,
          remove: () => rm(path(task.id), { force: true }),
        });
      },
      retain: async (taskIds) => {
        for (const id of await host.containers()) if (!taskIds.has(id)) await rm(path(id));
      },
    },
  };
  return host;
}

interface Access {
  read(taskId: string): Promise<ContainerFile>;
  write(taskId: string, state: NonNullable<ContainerFile>): Promise<void>;
  ready(): boolean;
  remove(): Promise<void>;
  readonly startsPath: string;
}

function controller(task: Task, host: Access): Controller {
  const image = task.spec?.runtime.case === "container" ? task.spec.runtime.value.image : "";
  return {
    update: async () => undefined,
    prepare: async (signal) => {
      if (!host.ready()) throw new EngineError("unavailable", "secrets are not here yet");
      await sleep(realClock, POLL_MS, signal);
      if (image === "missing") throw new EngineError("not-found", "No such image: missing");
      if ((await host.read(task.id)) === undefined) await host.write(task.id, "created");
    },
    start: async (signal) => {
      await sleep(realClock, POLL_MS, signal);
      if ((await host.read(task.id)) !== "created") return;
      // In this order a kill in between loses a count and never makes one too many.
      await host.write(task.id, "running");
      await appendFile(host.startsPath, `${task.id}\n`);
    },
    wait: async (signal) => {
      for (;;) {
        const state = await host.read(task.id);
        if (state !== "running") {
          const code = Number(state?.split(" ")[1] ?? 255);
          if (code !== 0) throw new TaskExitError(code);
          return;
        }
        await sleep(realClock, POLL_MS, signal);
      }
    },
    shutdown: async () => {
      const state = await host.read(task.id);
      if (state === "running" || state === "created") await host.write(task.id, "exited 143");
    },
    terminate: async () => undefined,
    remove: () => host.remove(),
    close: async () => undefined,
    containerStatus: async () => {
      const exitCode = Number((await host.read(task.id))?.split(" ")[1] ?? 0);
      return create(ContainerStatusSchema, { containerId: `c-${task.id}`, exitCode });
    },
    portStatus: async () => undefined,
    async *logs({ follow }, signal) {
      const line = (text: string) =>
        create(LogMessageSchema, {
          context: { nodeId: task.nodeId, serviceId: task.serviceId, taskId: task.id },
          data: new TextEncoder().encode(text),
        });
      yield line(`${task.id} first\n`);
      if (!follow) return;
      await sleep(realClock, 30, signal);
      yield line(`${task.id} later\n`);
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
    },
  };
}

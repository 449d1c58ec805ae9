/**
 * Secrets and configs as files of a task: one directory per task on a tmpfs, each file mounted
 * read-only into the container. They are never on a disk; a reboot takes them away, and they are
 * written again when a manager has handed them out again.
 */

import { execFile } from "node:child_process";
import { chmod, chown, mkdir, readdir, rm, statfs, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Dependencies } from "#agent/executor.ts";
import { EngineError } from "#base/error.ts";
import { err, ok, type Result } from "#base/result.ts";
import { identifiedService } from "#pki/workload.ts";
import type { Task } from "#wire/gen/swarmkit/objects_pb.js";
import type { ContainerSpec } from "#wire/gen/swarmkit/specs_pb.js";
import type { Driver, FileTarget, NodeDescription } from "#wire/gen/swarmkit/types_pb.js";
import type { TaskFile } from "./container-body.ts";
import { IDENTITY_PATH, type TaskIdentities } from "./task-identity.ts";
import { taskScope } from "./task-scope.ts";
import { expandTemplate, type TemplateFunction } from "./template.ts";

export interface TaskFiles {
  /** Where the task's files are, or will be, in the container; changes nothing. */
  plan(task: Task, spec: ContainerSpec): readonly TaskFile[];
  /** Writes them; `unavailable` while a manager may still send what is missing. */
  write(task: Task, spec: ContainerSpec, node: NodeDescription | undefined): Promise<void>;
  remove(taskId: string): Promise<void>;
  /** Removes the files of all other tasks. */
  retain(taskIds: (taskId: string) => boolean): Promise<void>;
}

/** From `statfs(2)`: what tmpfs calls itself. */
const TMPFS_MAGIC = 0x01021994;

const run = promisify(execFile);

interface Wanted {
  readonly kind: "secret" | "config";
  readonly id: string;
  readonly name: string;
  readonly target: FileTarget;
}

/** Makes `directory` (below the exec root) ready; mounts a tmpfs there if it is not on one. */
export async function openTaskFiles(
  directory: string,
  dependencies: () => Dependencies,
  identities?: TaskIdentities,
): Promise<TaskFiles> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  if ((await statfs(directory)).type !== TMPFS_MAGIC) {
    const options = "nodev,nosuid,noexec,mode=0700";
    await run("mount", ["-t", "tmpfs", "-o", options, "skep-task-files", directory]);
  }
  const hostPath = (taskId: string, at: number) => join(directory, taskId, String(at));
  const identityPath = (taskId: string) => join(directory, taskId, "identity");

  return {
    plan: (task, spec) => [
      ...wantedFiles(spec).map((file, at) => ({
        hostPath: hostPath(task.id, at),
        containerPath: containerPath(file),
      })),
      ...(identifiedService(task) === undefined || identities === undefined
        ? []
        : [{ hostPath: identityPath(task.id), containerPath: IDENTITY_PATH }]),
    ],
    write: async (task, spec, node) => {
      const files = wantedFiles(spec);
      if (identifiedService(task) !== undefined) {
        await identities?.write(identityPath(task.id), task.id);
      }
      if (files.length === 0) return;
      await mkdir(join(directory, task.id), { recursive: true, mode: 0o700 });
      for (const [at, file] of files.entries()) {
        const data = payload(file, { task, spec, node, dependencies: dependencies() });
        await writeOwned(hostPath(task.id, at), data, file);
      }
    },
    remove: async (taskId) => {
      identities?.forget(taskId);
      await rm(join(directory, taskId), { recursive: true, force: true });
    },
    retain: async (keeps) => {
      for (const taskId of await readdir(directory)) {
        if (keeps(taskId)) await identities?.resume(identityPath(taskId), taskId);
        else await rm(join(directory, taskId), { recursive: true, force: true });
      }
    },
  };
}

function wantedFiles(spec: ContainerSpec): readonly Wanted[] {
  const files: Wanted[] = [];
  for (const { secretId, secretName, target } of spec.secrets) {
    if (target.case !== "file") {
      throw new EngineError("invalid-argument", `secret ${secretName} has no target file`);
    }
    files.push({ kind: "secret", id: secretId, name: secretName, target: target.value });
  }
  for (const { configId, configName, target } of spec.configs) {
    // Configs without a file are read by the engine itself (credential specs).
    if (target.case !== "file") continue;
    files.push({ kind: "config", id: configId, name: configName, target: target.value });
  }
  return files;
}

/** A relative name lies in /run/secrets, or at the root for configs, as everywhere in swarm mode. */
function containerPath({ kind, target: { name } }: Wanted): string {
  if (name.startsWith("/")) return name;
  return kind === "secret" ? `/run/secrets/${name}` : `/${name}`;
}

interface PayloadContext {
  readonly task: Task;
  readonly spec: ContainerSpec;
  readonly node: NodeDescription | undefined;
  readonly dependencies: Dependencies;
}

function payload(file: Wanted, context: PayloadContext): Uint8Array {
  const spec = find(file, context)?.spec;
  if (spec === undefined) throw missing(file, context.dependencies);
  return spec.templating === undefined ? spec.data : expandPayload(file, spec, context);
}

function find({ kind, id }: Wanted, { task, dependencies }: PayloadContext) {
  return kind === "secret" ? dependencies.secret(id, task.id) : dependencies.config(id);
}

function missing({ kind, name }: Wanted, dependencies: Dependencies): EngineError {
  if (dependencies.complete()) {
    return new EngineError("not-found", `${kind} ${name} was not handed to this node`);
  }
  return new EngineError("unavailable", `waiting for a manager to hand out ${kind} ${name}`);
}

function expandPayload(
  file: Wanted,
  { data, templating }: { readonly data: Uint8Array; readonly templating?: Driver | undefined },
  context: PayloadContext,
): Uint8Array {
  if (templating?.name !== "golang") {
    throw new EngineError("invalid-argument", "unrecognized template type");
  }
  const { task, spec, node } = context;
  const scope = taskScope(task, node, {
    secret: fileFunction("secret", context),
    config: fileFunction("config", context),
    env: (name = "") => {
      const entry = spec.env.find((pair) => pair.startsWith(`${name}=`));
      return ok(entry?.slice(name.length + 1) ?? "");
    },
  });
  const expanded = expandTemplate(new TextDecoder().decode(data), scope);
  if (!expanded.ok) {
    throw new EngineError(
      "invalid-argument",
      `expanding ${file.kind} ${file.name}: ${expanded.error}`,
    );
  }
  return new TextEncoder().encode(expanded.value);
}

/** `{{secret "target"}}`: what another file of the same task holds. */
function fileFunction(kind: Wanted["kind"], context: PayloadContext): TemplateFunction {
  return (target = ""): Result<string> => {
    const file = wantedFiles(context.spec).find(
      (wanted) => wanted.kind === kind && wanted.target.name === target,
    );
    if (file === undefined) return err(`${kind} target ${target} not found`);
    const spec = find(file, context)?.spec;
    if (spec === undefined) throw missing(file, context.dependencies);
    return ok(new TextDecoder().decode(spec.data));
  };
}

async function writeOwned(path: string, data: Uint8Array, { target, name }: Wanted): Promise<void> {
  const uid = ownerId(target.uid, name);
  const gid = ownerId(target.gid, name);
  // Written anew rather than changed: it may be left from an attempt that was cut short.
  await rm(path, { force: true });
  await writeFile(path, data, { mode: 0o600 });
  await chown(path, uid, gid);
  await chmod(path, target.mode & 0o7777);
}

function ownerId(text: string, name: string): number {
  const id = text === "" ? 0 : Number(text);
  if (!Number.isInteger(id) || id < 0) {
    throw new EngineError(
      "invalid-argument",
      `owner ${JSON.stringify(text)} of ${name} is no number`,
    );
  }
  return id;
}

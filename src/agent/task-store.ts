/**
 * What this node was told to run, on disk: the agent goes on with it after a crash, with no manager
 * in reach. Two files per task in one directory:
 *
 *   <id>.task     the assignment as the manager sent it (changes rarely; synced)
 *   <id>.status   the newest status (changes with every step)
 *
 * A killed process leaves the old or the new content and nothing in between: new files come by a
 * temporary name, and a status that is there is overwritten in place (`page-file.ts`). Only assignments and final statuses are synced as well (a
 * completed job must not run again); another status lost to a power cut makes the agent repeat a
 * step, which every controller answers with "already done". A file with a bad checksum (a power cut
 * again) is dropped; the manager has the task and sends it anew.
 */

import { type FileHandle, mkdir, open, readdir, readFile, rm, unlink } from "node:fs/promises";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { EngineError, messageOf } from "#base/error.ts";
import type { Log } from "#base/ports.ts";
import { type Deferred, deferred } from "#platform/async.ts";
import { isMissing } from "#platform/missing.ts";
import { overwritePage } from "#platform/page-file.ts";
import { replaceFile } from "#platform/replace-file.ts";
import { type Task, TaskSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { type TaskStatus, TaskStatusSchema } from "#wire/gen/swarmkit/types_pb.js";
import { isFinal } from "./do-step.ts";

export interface TaskStore {
  /** All tasks with their newest status; read once, at start. */
  load(): Promise<readonly Task[]>;
  putTask(task: Task): Promise<void>;
  putStatus(taskId: string, status: TaskStatus): Promise<void>;
  /** Forgets the task; a status that comes later is not written. */
  delete(taskId: string): Promise<void>;
  /** Waits for writes under way; later ones are refused. */
  close(): Promise<void>;
}

interface FileSlot {
  /** The newest content that nobody has begun to write, if any. */
  next: { readonly bytes: Uint8Array; readonly sync: boolean } | undefined;
  /** The writer, while there is something to write. */
  writing: Promise<void> | undefined;
}

const HEADER_BYTES = 12;
const MAGIC = 0x324b5453; // "STK2", little endian

export async function openTaskStore(directory: string, log: Log): Promise<TaskStore> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const known = new Set<string>();
  const slots = new Map<string, FileSlot>();
  const syncer = new Syncer(directory);
  let closed = false;

  const put = (name: string, bytes: Uint8Array, sync: boolean): Promise<void> => {
    if (closed) return Promise.reject(new EngineError("unavailable", "the task store is closed"));
    const slot = slots.get(name) ?? { next: undefined, writing: undefined };
    slots.set(name, slot);
    slot.next = { bytes, sync: sync || slot.next?.sync === true };
    slot.writing ??= drain(directory, name, slot, syncer).finally(() => {
      slot.writing = undefined;
      slots.delete(name);
    });
    return slot.writing;
  };

  return {
    load: async () => {
      const tasks = await loadAll(directory, log);
      for (const task of tasks) known.add(task.id);
      return tasks;
    },
    putTask: async (task) => {
      checkId(task.id);
      known.add(task.id);
      await put(`${task.id}.task`, frame(toBinary(TaskSchema, task)), true);
    },
    putStatus: async (taskId, status) => {
      if (!known.has(taskId)) return;
      const bytes = frame(toBinary(TaskStatusSchema, status));
      await put(`${taskId}.status`, bytes, isFinal(status.state));
    },
    delete: async (taskId) => {
      checkId(taskId);
      known.delete(taskId);
      for (const name of [`${taskId}.status`, `${taskId}.task`]) {
        const slot = slots.get(name);
        if (slot !== undefined) {
          slot.next = undefined;
          await slot.writing?.catch(() => undefined);
        }
        if (!known.has(taskId)) await rm(join(directory, name), { force: true });
      }
    },
    close: async () => {
      closed = true;
      await Promise.allSettled([...slots.values()].map(async (slot) => slot.writing));
    },
  };
}

/** Writes the newest content of a file until no newer one has come; what was overtaken is skipped. */
async function drain(
  directory: string,
  name: string,
  slot: FileSlot,
  syncer: Syncer,
): Promise<void> {
  while (slot.next !== undefined) {
    const { bytes, sync } = slot.next;
    slot.next = undefined;
    const path = join(directory, name);
    if (!sync && (await overwritePage(path, bytes))) continue;
    await replaceFile(path, bytes, { mode: 0o600 });
    if (sync) await syncer.sync(name);
  }
}

/**
 * Syncs files one after another, and their directory once for all that wait: a burst of assignments
 * must not occupy the threads that the statuses of running tasks are written with.
 */
class Syncer {
  readonly #directory: string;
  #waiting = new Set<string>();
  #synced: Deferred<void> = deferred();
  #syncing = false;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Resolves when the file, as it is now, will survive a power cut. */
  sync(name: string): Promise<void> {
    this.#waiting.add(name);
    const { promise } = this.#synced;
    void this.#run();
    return promise;
  }

  async #run(): Promise<void> {
    if (this.#syncing) return;
    this.#syncing = true;
    while (this.#waiting.size > 0) {
      const names = this.#waiting;
      const synced = this.#synced;
      this.#waiting = new Set();
      this.#synced = deferred();
      try {
        for (const name of names) await syncPath(join(this.#directory, name));
        await syncPath(this.#directory);
        synced.resolve();
      } catch (error) {
        synced.reject(error);
      }
    }
    this.#syncing = false;
  }
}

/** A file that was deleted meanwhile needs no sync. */
async function syncPath(path: string): Promise<void> {
  let handle: FileHandle;
  try {
    handle = await open(path, "r");
  } catch (error) {
    if (isMissing(error)) return;
    throw error;
  }
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function loadAll(directory: string, log: Log): Promise<Task[]> {
  const names = await readdir(directory);
  const tasks: Task[] = [];
  for (const name of names) {
    if (name.endsWith(".tmp")) {
      await unlink(join(directory, name)).catch(() => undefined);
      continue;
    }
    if (!name.endsWith(".task")) continue;
    const task = await read(directory, name, log, (bytes) => fromBinary(TaskSchema, bytes));
    if (task === undefined) continue;
    const statusName = `${task.id}.status`;
    const status = names.includes(statusName)
      ? await read(directory, statusName, log, (bytes) => fromBinary(TaskStatusSchema, bytes))
      : undefined;
    tasks.push(status === undefined ? task : { ...task, status });
  }
  return tasks;
}

async function read<T>(
  directory: string,
  name: string,
  log: Log,
  decode: (bytes: Uint8Array) => T,
): Promise<T | undefined> {
  const path = join(directory, name);
  try {
    return decode(unframe(await readFile(path)));
  } catch (error) {
    log.warn("dropping an unreadable task file; the manager will send the task again", {
      path,
      reason: messageOf(error),
    });
    await rm(path, { force: true });
    return undefined;
  }
}

function frame(payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + payload.length);
  const header = new DataView(bytes.buffer);
  header.setUint32(0, MAGIC, true);
  header.setUint32(4, crc32(payload), true);
  // What a longer status has left behind it in the file is not part of it.
  header.setUint32(8, payload.length, true);
  bytes.set(payload, HEADER_BYTES);
  return bytes;
}

function unframe(bytes: Uint8Array): Uint8Array {
  if (bytes.length < HEADER_BYTES) throw new EngineError("data-loss", "file is too short");
  const header = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (header.getUint32(0, true) !== MAGIC) throw new EngineError("data-loss", "wrong file type");
  const end = HEADER_BYTES + header.getUint32(8, true);
  if (end > bytes.length) throw new EngineError("data-loss", "file is too short");
  const payload = bytes.subarray(HEADER_BYTES, end);
  if (header.getUint32(4, true) !== crc32(payload)) {
    throw new EngineError("data-loss", "checksum does not match");
  }
  return payload;
}

/** Ids name files here, and they come from another machine. */
function checkId(taskId: string): void {
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(taskId)) {
    throw new EngineError("invalid-argument", `invalid task id ${JSON.stringify(taskId)}`);
  }
}

/**
 * What this node was told to run, on disk: the agent goes on with it after a crash, with no manager
 * in reach. Two files per task in one directory:
 *
 *   <id>.task     the assignment as the manager sent it (changes rarely; synced)
 *   <id>.status   the newest status (changes with every step)
 *
 * A killed process leaves the old or the new content and nothing in between: new files come by a
 * temporary name, and a status that is there is overwritten in place (`page-file.ts`). Only
 * assignments and final statuses are synced as well (a completed job must not run again); another
 * status lost to a power cut makes the agent repeat a step, which every controller answers with "already done". A file with a bad checksum (a power cut
 * again) is dropped; the manager has the task and sends it anew.
 *
 * Where the node's keys are locked, both are sealed (`task-file.ts`). Files of the form that is not
 * wanted any more are read, and replaced by new files of the one that is: at start, and with `reseal`.
 */

import { mkdir, readdir, readFile, rm, unlink } from "node:fs/promises";
import { join } from "node:path";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { EngineError, messageOf } from "#base/error.ts";
import type { Log, Random } from "#base/ports.ts";
import { overwritePage } from "#platform/page-file.ts";
import { replaceFile } from "#platform/replace-file.ts";
import { Sealer } from "#platform/wal/seal.ts";
import { type Task, TaskSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { type TaskStatus, TaskStatusSchema } from "#wire/gen/swarmkit/types_pb.js";
import { isFinal } from "./do-step.ts";
import { Syncer } from "./syncer.ts";
import {
  decodeTaskFile,
  encodeTaskFile,
  formOf,
  type TaskFileForm,
  type TaskKeys,
} from "./task-file.ts";

export interface TaskStore {
  /** All tasks with their newest status; read once, at start. */
  load(): Promise<readonly Task[]>;
  putTask(task: Task): Promise<void>;
  putStatus(taskId: string, status: TaskStatus): Promise<void>;
  /** Forgets the task; a status that comes later is not written. */
  delete(taskId: string): Promise<void>;
  /**
   * Resolves when nothing is left on disk under a key that is not the current one, also after a power
   * cut; where there is no current one, everything lies open then.
   */
  reseal(): Promise<void>;
  /** Waits for writes under way; later ones are refused. */
  close(): Promise<void>;
}

/** Nothing in it is worth more than the disk it lies on. */
const NO_KEYS: TaskKeys = { current: () => undefined, find: () => undefined };

export interface TaskStoreOptions {
  readonly directory: string;
  /** By default all lies open. */
  readonly keys?: TaskKeys | undefined;
  readonly random: Random;
  readonly log: Log;
}

interface FileSlot {
  /** The newest content that nobody has begun to write, if any. */
  next: Content | undefined;
  /** The writer, while there is something to write. */
  writing: Promise<void> | undefined;
}

interface Content {
  /** Undefined: what the file holds, in the form that is wanted now. */
  readonly payload: Uint8Array | undefined;
  readonly sync: boolean;
}

export async function openTaskStore(options: TaskStoreOptions): Promise<TaskStore> {
  await mkdir(options.directory, { recursive: true, mode: 0o700 });
  return new FileTaskStore(options);
}

class FileTaskStore implements TaskStore {
  readonly #directory: string;
  readonly #keys: TaskKeys;
  readonly #sealer: Sealer;
  readonly #log: Log;
  readonly #syncer: Syncer;
  readonly #known = new Set<string>();
  readonly #slots = new Map<string, FileSlot>();
  /** By file name: the form of what is on disk. */
  readonly #forms = new Map<string, TaskFileForm>();
  #closed = false;

  constructor({ directory, keys = NO_KEYS, random, log }: TaskStoreOptions) {
    this.#directory = directory;
    this.#keys = keys;
    this.#sealer = new Sealer(random);
    this.#log = log;
    this.#syncer = new Syncer(directory);
  }

  async load(): Promise<readonly Task[]> {
    const names = await readdir(this.#directory);
    const tasks: Task[] = [];
    for (const name of names) {
      if (name.endsWith(".tmp")) await unlink(this.#path(name)).catch(() => undefined);
      if (!name.endsWith(".task")) continue;
      const task = await this.#read(name, (bytes) => fromBinary(TaskSchema, bytes));
      if (task === undefined) continue;
      const statusName = `${task.id}.status`;
      const status = names.includes(statusName)
        ? await this.#read(statusName, (bytes) => fromBinary(TaskStatusSchema, bytes))
        : undefined;
      tasks.push(status === undefined ? task : { ...task, status });
      this.#known.add(task.id);
    }
    await this.#resealOthers(names);
    return tasks;
  }

  /** An older program, or a crash while the lock changed, may have left files as they are not wanted. */
  async #resealOthers(names: readonly string[]): Promise<void> {
    const wanted = formOf(this.#keys.current());
    const isWanted = (name: string) => this.#forms.get(name) === wanted;
    if (names.filter((name) => !name.endsWith(".tmp")).every(isWanted)) return;
    await this.reseal().catch((error: unknown) => {
      this.#log.error("task files could not be written as the lock wants them", {
        reason: messageOf(error),
      });
    });
  }

  async putTask(task: Task): Promise<void> {
    checkId(task.id);
    this.#known.add(task.id);
    await this.#put(`${task.id}.task`, { payload: toBinary(TaskSchema, task), sync: true });
  }

  async putStatus(taskId: string, status: TaskStatus): Promise<void> {
    if (!this.#known.has(taskId)) return;
    const payload = toBinary(TaskStatusSchema, status);
    await this.#put(`${taskId}.status`, { payload, sync: isFinal(status.state) });
  }

  async delete(taskId: string): Promise<void> {
    checkId(taskId);
    this.#known.delete(taskId);
    for (const name of [`${taskId}.status`, `${taskId}.task`]) {
      const slot = this.#slots.get(name);
      if (slot !== undefined) {
        slot.next = undefined;
        await slot.writing?.catch(() => undefined);
      }
      if (!this.#known.has(taskId)) await this.#remove(name);
    }
  }

  async reseal(): Promise<void> {
    // What is being written may be of the form before.
    await this.#written();
    const names = (await readdir(this.#directory)).filter((name) => !name.endsWith(".tmp"));
    for (const name of names) await this.#rewrite(name);
    await Promise.all(names.map((name) => this.#syncer.sync(name)));
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#written();
  }

  /** Resolves when what is being written now is, or has failed. */
  async #written(): Promise<void> {
    await Promise.allSettled([...this.#slots.values()].map(async ({ writing }) => writing));
  }

  async #rewrite(name: string): Promise<void> {
    if (this.#forms.get(name) === formOf(this.#keys.current())) return;
    const taskId = name.replace(/\.(task|status)$/, "");
    // Of a task that could not be read, or is about to go.
    if (!this.#known.has(taskId)) await this.#remove(name);
    else await this.#put(name, { payload: undefined, sync: false });
  }

  #put(name: string, content: Content): Promise<void> {
    if (this.#closed) {
      return Promise.reject(new EngineError("unavailable", "the task store is closed"));
    }
    const slot = this.#slots.get(name) ?? { next: undefined, writing: undefined };
    this.#slots.set(name, slot);
    slot.next = {
      payload: content.payload ?? slot.next?.payload,
      sync: content.sync || slot.next?.sync === true,
    };
    slot.writing ??= this.#drain(name, slot).finally(() => {
      slot.writing = undefined;
      this.#slots.delete(name);
    });
    return slot.writing;
  }

  /** Writes the newest content of a file until no newer one has come; what was overtaken is skipped. */
  async #drain(name: string, slot: FileSlot): Promise<void> {
    while (slot.next !== undefined) {
      const { payload, sync } = slot.next;
      slot.next = undefined;
      if (payload === undefined) await this.#writeAgain(name);
      else await this.#write(name, payload, sync);
      if (sync) await this.#syncer.sync(name);
    }
  }

  async #write(name: string, payload: Uint8Array, sync: boolean): Promise<void> {
    const key = this.#keys.current();
    const bytes = encodeTaskFile(name, payload, key, this.#sealer);
    const isSameForm = this.#forms.get(name) === formOf(key);
    // In place, a longer content of the other form would stay behind the end.
    if (!sync && isSameForm && (await overwritePage(this.#path(name), bytes))) return;
    await replaceFile(this.#path(name), bytes, { mode: 0o600 });
    this.#forms.set(name, formOf(key));
  }

  async #writeAgain(name: string): Promise<void> {
    const payload = await this.#read(name, (bytes) => bytes);
    if (payload === undefined) return;
    const key = this.#keys.current();
    const bytes = encodeTaskFile(name, payload, key, this.#sealer);
    await replaceFile(this.#path(name), bytes, { mode: 0o600, sync: "content" });
    this.#forms.set(name, formOf(key));
  }

  /** Undefined when there is none (any more). */
  async #read<T>(name: string, decode: (bytes: Uint8Array) => T): Promise<T | undefined> {
    const path = this.#path(name);
    try {
      const { payload, form } = decodeTaskFile(name, await readFile(path), this.#keys);
      const content = decode(payload);
      this.#forms.set(name, form);
      return content;
    } catch (error) {
      this.#log.warn("dropping an unreadable task file; the manager will send the task again", {
        path,
        reason: messageOf(error),
      });
      await this.#remove(name);
      return undefined;
    }
  }

  async #remove(name: string): Promise<void> {
    await rm(this.#path(name), { force: true });
    this.#forms.delete(name);
  }

  #path(name: string): string {
    return join(this.#directory, name);
  }
}

/** Ids name files here, and they come from another machine. */
function checkId(taskId: string): void {
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(taskId)) {
    throw new EngineError("invalid-argument", `invalid task id ${JSON.stringify(taskId)}`);
  }
}

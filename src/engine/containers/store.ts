/**
 * The folder of each container under the data root: `config.json` (what was asked for; synced to
 * disk, a container must not vanish), `state.json` (what happened; whole after any end of the engine
 * but not synced, because after a power failure nothing runs any more and containerd knows the rest;
 * absent until something happens), and the files that are bound into it. Loading passes over what is
 * half made, and names it.
 */

import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "#base/error.ts";
import type { Log } from "#base/ports.ts";
import { KeyedLock } from "#platform/async.ts";
import { overwritePage, PAGE_BYTES } from "#platform/page-file.ts";
import { ofFile, replaceFile } from "#platform/replace-file.ts";
import {
  type ContainerRecord,
  INITIAL_STATE,
  PHASES,
  RECORD_VERSION,
  type RunState,
} from "./record.ts";

export interface StoredContainer {
  readonly record: ContainerRecord;
  readonly state: RunState;
}

export interface LoadedContainers {
  readonly containers: readonly StoredContainer[];
  /** Anonymous volumes of creates that were cut off. */
  readonly abandonedVolumes: readonly string[];
  /** Containers whose configuration is there and cannot be read: nothing of theirs may be removed. */
  readonly damaged: readonly string[];
}

const VOLUMES = "volumes.json";
const MODE = 0o600;

export class ContainerStore {
  readonly #root: string;
  /** Writes of one container follow each other; the last one called is the last on disk. */
  readonly #writes = new KeyedLock();
  /** Containers whose state has been larger than a page, and is replaced as a whole. */
  readonly #large = new Set<string>();
  /** States that could not be written, newest of each container. */
  readonly #unwritten = new Map<string, RunState>();

  constructor(dataRoot: string) {
    this.#root = join(dataRoot, "containers");
  }

  folder(id: string): string {
    return join(this.#root, id);
  }

  filePath(id: string, name: string): string {
    return join(this.#root, id, name);
  }

  async create(record: ContainerRecord): Promise<void> {
    await mkdir(this.folder(record.id), { recursive: true, mode: 0o710 });
    await this.saveRecord(record);
  }

  async saveRecord(record: ContainerRecord): Promise<void> {
    const text = JSON.stringify(record);
    await this.#writes.run(record.id, () =>
      replaceFile(this.filePath(record.id, "config.json"), text, { mode: MODE, sync: "content" }),
    );
  }

  /**
   * Writes a state that stands whether it can be written or not: what has ended has ended, also when
   * the disk is full. One that cannot be written is told, and written when it can be.
   */
  async keepState(id: string, state: RunState, log: Log): Promise<void> {
    try {
      await this.saveState(id, state);
    } catch (error) {
      const reason = messageOf(error);
      if (this.#unwritten.has(id)) log.debug("a container's state waits", { id, reason });
      else log.error("a container's state cannot be written yet", { container: id, reason });
      this.#unwritten.set(id, state);
    }
  }

  /** Tries again what could not be written; throws with the first that still cannot. */
  async writeRest(): Promise<void> {
    for (const [id, state] of this.#unwritten) await this.saveState(id, state);
  }

  /** Throws when it cannot be written: then nothing may follow from it. */
  async saveState(id: string, state: RunState): Promise<void> {
    const text = JSON.stringify(state);
    const path = this.filePath(id, "state.json");
    await this.#writes.run(id, async () => {
      await this.#writeState(id, path, text);
      this.#unwritten.delete(id);
    });
  }

  async #writeState(id: string, path: string, text: string): Promise<void> {
    // Spaces to the end of the page cover what a longer state has left there.
    const page = Buffer.alloc(PAGE_BYTES, " ");
    const fits = Buffer.byteLength(text) <= PAGE_BYTES && !this.#large.has(id);
    if (fits && page.write(text) > 0 && (await overwritePage(path, page))) return;
    if (!fits) this.#large.add(id);
    await replaceFile(path, text, { mode: MODE });
  }

  /** A file that is bound into the container: written in place, because the bind holds the inode. */
  async writeBound(id: string, name: string, text: string): Promise<string> {
    const path = this.filePath(id, name);
    try {
      await writeFile(path, text, { mode: 0o644 });
    } catch (error) {
      throw ofFile(path, error);
    }
    return path;
  }

  async remove(id: string): Promise<void> {
    await this.#writes.run(id, () => rm(this.folder(id), { recursive: true, force: true }));
    this.#unwritten.delete(id);
    this.#large.delete(id);
  }

  /** Volumes that are about to be made for a container that does not exist yet. */
  async announceVolumes(id: string, names: readonly string[]): Promise<void> {
    await mkdir(this.folder(id), { recursive: true, mode: 0o710 });
    await replaceFile(this.filePath(id, VOLUMES), JSON.stringify(names), { mode: MODE });
  }

  /**
   * All containers; folders without a configuration are reported and removed, and the volumes that
   * were made for them are named. A configuration is written whole or not at all: one that cannot be
   * read was damaged by somebody else, who may have it still.
   */
  async load(log: Log): Promise<LoadedContainers> {
    await mkdir(this.#root, { recursive: true, mode: 0o710 });
    const containers: StoredContainer[] = [];
    const abandonedVolumes: string[] = [];
    const damaged: string[] = [];
    for (const id of await readdir(this.#root)) {
      const record = await readJson<ContainerRecord>(this.filePath(id, "config.json"));
      const isThere = existsSync(this.filePath(id, "config.json"));
      if (isThere && (record?.version !== RECORD_VERSION || record.id !== id)) {
        log.error(
          "a container's configuration cannot be read, all that is its is left alone: put the file back, or remove its folder, and start the engine again",
          { container: id, path: this.filePath(id, "config.json") },
        );
        damaged.push(id);
        continue;
      }
      if (record === undefined) {
        log.warn("removing what a create left half made", { container: id });
        const volumes = await readJson<readonly string[]>(this.filePath(id, VOLUMES));
        if (Array.isArray(volumes)) abandonedVolumes.push(...volumes);
        await this.remove(id).catch((error: unknown) =>
          log.warn("a half made container cannot be removed", { id, reason: messageOf(error) }),
        );
        continue;
      }
      const state = await this.#loadState(id);
      const known = state !== undefined && PHASES.includes(state.phase);
      containers.push({ record, state: known ? { ...INITIAL_STATE, ...state } : INITIAL_STATE });
    }
    return { containers, abandonedVolumes, damaged };
  }

  async #loadState(id: string): Promise<RunState | undefined> {
    const path = this.filePath(id, "state.json");
    const state = await readJson<RunState>(path);
    if (state !== undefined && (await stat(path)).size > PAGE_BYTES) this.#large.add(id);
    return state;
  }
}

async function readJson<T>(path: string): Promise<T | undefined> {
  try {
    const value: unknown = JSON.parse(await readFile(path, "utf8"));
    return typeof value === "object" && value !== null ? (value as T) : undefined;
  } catch {
    return undefined;
  }
}

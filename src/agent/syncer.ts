/** The fsyncs of one directory's files, for whom a whole burst of them waits. */

import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { type Deferred, deferred } from "#platform/async.ts";
import { isMissing } from "#platform/missing.ts";

/**
 * Syncs files one after another, and their directory once for all that wait: a burst of assignments
 * must not occupy the threads that the statuses of running tasks are written with.
 */
export class Syncer {
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

/**
 * Many small files into folders: each is half a dozen calls, and waits for none of the others. What a
 * folder's descriptor is needed for ends before the descriptor is closed.
 */

import { close, closeSync, constants, fchmod, fchown, futimes, open, writeFile } from "node:fs";
import { writeXattr } from "#platform/libc.ts";
import { CAPABILITY_XATTR } from "./pax.ts";

/** Files under way; each holds its content. */
const UNDER_WAY_MAX = 32;

/** The folder that the last entry was in: the next one's is mostly the same. */
export class OpenFolder {
  readonly #open: (path: string) => number;
  #path: string | undefined;
  #descriptor = -1;
  readonly #underWay = new Map<string, Promise<void>>();
  readonly #failures: unknown[] = [];

  /** `open` as openat2(2): resolves to a descriptor that this one closes. */
  constructor(open: (path: string) => number) {
    this.#open = open;
  }

  async at(path: string): Promise<number> {
    if (path === this.#path) return this.#descriptor;
    await this.settled();
    await this.close();
    this.#descriptor = this.#open(path);
    this.#path = path;
    return this.#descriptor;
  }

  /** Starts the work on a name of the folder; what fails is thrown by a later call. */
  async begin(name: string, work: () => Promise<void>): Promise<void> {
    if (this.#underWay.size >= UNDER_WAY_MAX || this.#underWay.has(name)) await this.settled();
    const done = work().then(
      () => void this.#underWay.delete(name),
      (error: unknown) => void this.#failures.push(error),
    );
    this.#underWay.set(name, done);
  }

  /** Everything that was begun has ended; throws what failed first. */
  async settled(): Promise<void> {
    await this.#ended();
    if (this.#failures.length > 0) throw this.#failures[0];
  }

  async close(): Promise<void> {
    await this.#ended();
    if (this.#path !== undefined) closeSync(this.#descriptor);
    this.#path = undefined;
  }

  async #ended(): Promise<void> {
    await Promise.all(this.#underWay.values());
    this.#underWay.clear();
  }
}

export interface NewFile {
  readonly content: Uint8Array;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtime: Date | undefined;
  readonly capability: Uint8Array | undefined;
}

const FLAGS = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** False when something of that name is there already. */
export function writeNewFile(path: string, file: NewFile): Promise<boolean> {
  return new Promise((resolve, reject) => {
    open(path, FLAGS, file.mode & 0o777, (error, descriptor) => {
      if (error !== null) return error.code === "EEXIST" ? resolve(false) : reject(error);
      const end = (failure: unknown) =>
        close(descriptor, () => (failure === null ? resolve(true) : reject(failure)));
      writeFile(descriptor, file.content, (unwritten) =>
        unwritten === null ? adorn(descriptor, path, file, end) : end(unwritten),
      );
    });
  });
}

function adorn(
  descriptor: number,
  path: string,
  { mode, uid, gid, mtime, capability }: NewFile,
  end: (failure: unknown) => void,
): void {
  fchown(descriptor, uid, gid, (disowned) => {
    if (disowned !== null) return end(disowned);
    // After the owner: a change of that takes set-user-id bits and capabilities away.
    fchmod(descriptor, mode, (unchanged) => {
      if (unchanged !== null) return end(unchanged);
      try {
        if (capability !== undefined) writeXattr(path, CAPABILITY_XATTR, capability);
      } catch (failure) {
        return end(failure);
      }
      if (mtime === undefined) return end(null);
      futimes(descriptor, mtime, mtime, end);
    });
  });
}

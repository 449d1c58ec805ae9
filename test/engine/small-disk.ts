/** A file system of a few MiB that a test fills up, as disks do, and empties again. */

import { execFileSync } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, rmSync, statfsSync, writeSync } from "node:fs";
import { join } from "node:path";

const MIB = 1024 * 1024;

export class SmallDisk {
  readonly path: string;

  /** Over the folder, which is made when it is not there; goes with the host that it is on. */
  constructor(path: string, sizeMib: number) {
    this.path = path;
    mkdirSync(path, { recursive: true });
    const options = `mode=0711,size=${sizeMib}m`;
    execFileSync("mount", ["-t", "tmpfs", "-o", options, "skep-small", path]);
  }

  get freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.path);
    return bavail * bsize;
  }

  /** To the last page. */
  fill(): void {
    const file = openSync(this.#filler, "a");
    try {
      for (let size = MIB; size >= 4096; ) {
        try {
          if (writeSync(file, Buffer.alloc(size)) < size) size /= 2;
        } catch {
          size /= 2;
        }
      }
    } finally {
      closeSync(file);
    }
  }

  free(): void {
    if (existsSync(this.#filler)) rmSync(this.#filler);
  }

  get #filler(): string {
    return join(this.path, "filler");
  }
}

/**
 * How durable files come and go. A file appears complete or not at all (temporary name, fsync,
 * rename), and a name counts only once its directory is synced.
 */

import { dirname, join } from "node:path";
import type { FileSystem, LogFile } from "./file-system.ts";

/** Suffix of files that are not finished; whoever owns the directory deletes them at start. */
export const TEMPORARY_SUFFIX = ".tmp";

/** Makes a private directory, and its name durable, if it is not there. */
export async function ensureDirectory(fs: FileSystem, dir: string): Promise<void> {
  const made = await fs.makeDirectory(dir);
  if (made === undefined) return;
  // Each new directory is named in the one above it, up to the one that was there before.
  for (let at = dir; ; at = dirname(at)) {
    await fs.syncDirectory(dirname(at));
    if (at === made) return;
  }
}

/** Replaces `path` by the pieces, all or nothing; durable when it returns. */
export async function writeDurably(
  fs: FileSystem,
  path: string,
  pieces: readonly Uint8Array[],
): Promise<void> {
  const temporary = path + TEMPORARY_SUFFIX;
  try {
    await writeAll(await fs.create(temporary), pieces);
  } catch (error) {
    // What a full disk needs least is half a file more.
    await fs.remove(temporary).catch(() => undefined);
    throw error;
  }
  await fs.rename(temporary, path);
  await fs.syncDirectory(dirname(path));
}

async function writeAll(file: LogFile, pieces: readonly Uint8Array[]): Promise<void> {
  try {
    let offset = 0;
    for (const piece of pieces) {
      await file.write(piece, offset);
      offset += piece.length;
    }
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Whether there is no room; unlike any other failure, this says what the disk holds: all before. */
export function isDiskFull(error: unknown): boolean {
  const { code } = error as Partial<NodeJS.ErrnoException>;
  return code === "ENOSPC" || code === "EDQUOT";
}

/** Deletes what a crash left unfinished. */
export async function removeTemporaries(fs: FileSystem, dir: string): Promise<void> {
  for (const name of await fs.list(dir)) {
    if (name.endsWith(TEMPORARY_SUFFIX)) await fs.remove(join(dir, name));
  }
}

/**
 * The few ways in which durable files come and go. A file appears complete or not at all (temporary
 * name, fsync, rename), and a name counts only once its directory is synced.
 */

import { type FileHandle, mkdir, open, readdir, rename, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";

/** Suffix of files that are not finished; whoever owns the directory deletes them at start. */
export const TEMPORARY_SUFFIX = ".tmp";

/** Makes creations, renames and removals in a directory durable. */
export async function syncDirectory(dir: string): Promise<void> {
  const handle = await open(dir, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Makes a private directory, and its name durable, if it is not there. */
export async function ensureDirectory(dir: string): Promise<void> {
  const made = await mkdir(dir, { recursive: true, mode: 0o700 });
  if (made !== undefined) await syncDirectory(dirname(made));
}

/** Replaces `path` by the pieces, all or nothing; durable when it returns. */
export async function writeDurably(path: string, pieces: readonly Uint8Array[]): Promise<void> {
  const temporary = path + TEMPORARY_SUFFIX;
  const handle = await open(temporary, "w", 0o600);
  try {
    let offset = 0;
    for (const piece of pieces) {
      await writeFully(handle, piece, offset);
      offset += piece.length;
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, path);
  await syncDirectory(dirname(path));
}

/** Writes all of it: a single write may be cut short. */
export async function writeFully(
  handle: FileHandle,
  bytes: Uint8Array,
  offset: number,
): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, offset + done);
    done += bytesWritten;
  }
}

/** Deletes what a crash left unfinished. */
export async function removeTemporaries(dir: string): Promise<void> {
  for (const name of await readdir(dir)) {
    if (name.endsWith(TEMPORARY_SUFFIX)) await unlink(join(dir, name));
  }
}

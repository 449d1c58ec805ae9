/**
 * Small files that are replaced as a whole: whoever reads one, also after a crash, finds the old content
 * or the new. When there is no room for the new one, the old one stays, nothing else does, and the error
 * says which file it was: Node's own, of a write, does not.
 */

import { type FileHandle, open, rename, rm, statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { EngineError, messageOf } from "#base/error.ts";
import { isDiskFull } from "./wal/files.ts";

export interface ReplaceOptions {
  readonly mode: number;
  /**
   * What survives a power cut: "content": if the new file is there, it is whole; "name": it is there
   * when this returns; undefined: nothing is promised.
   */
  readonly sync?: "content" | "name" | undefined;
  /** Of the unfinished file; whoever owns the folder removes what a crash has left of those. */
  readonly suffix?: string;
}

/** Throws `resource-exhausted`, naming the file, when the disk is full. */
export async function replaceFile(
  path: string,
  content: string | Uint8Array,
  { mode, sync, suffix = ".tmp" }: ReplaceOptions,
): Promise<void> {
  const unfinished = path + suffix;
  try {
    const file = await open(unfinished, "w", mode);
    await withClosing(file, async () => {
      await file.writeFile(content);
      if (sync === "content") await file.datasync();
      else if (sync === "name") await file.sync();
    });
    await rename(unfinished, path);
    if (sync === "name") await syncFolder(dirname(path));
  } catch (error) {
    await rm(unfinished, { force: true }).catch(() => undefined);
    throw ofFile(path, error);
  }
}

/** Makes what was made, renamed or removed in a folder survive a power cut. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  await withClosing(folder, () => folder.sync());
}

/** A full disk in the words that operators look for, with the file; any other error as it is. */
export function ofFile(path: string, error: unknown): unknown {
  if (!isDiskFull(error)) return error;
  const quota = (error as NodeJS.ErrnoException).code === "EDQUOT";
  const reason = quota ? "disk quota exceeded" : "no space left on device";
  return new EngineError("resource-exhausted", `cannot write ${path}: ${reason}`, { cause: error });
}

/**
 * What another program said of its failure, with the reason that it could not say: runc loses its words
 * when there is no room for them.
 */
export async function withFullDisk(failure: unknown, path: string): Promise<unknown> {
  const left = await statfs(path).catch(() => undefined);
  if (left === undefined || (left.bavail > 0 && left.ffree > 0)) return failure;
  if (/no space left/i.test(messageOf(failure))) return failure;
  const { code, message } = EngineError.from(failure);
  const told = `${message}: no space left on device (${path})`;
  return new EngineError(code, told, { cause: failure });
}

async function withClosing(file: FileHandle, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } finally {
    await file.close();
  }
}

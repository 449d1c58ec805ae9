/**
 * Small files that change often and need not survive a power cut. A file of at most one page is
 * overwritten in place: the kernel copies a page whole or not at all, also when the process is
 * killed, so that readers find the old content or the new. Compared with a new file that is renamed
 * over the old, it costs no inode, no directory change, and no early write to the disk.
 */

import { open } from "node:fs/promises";
import { isMissing } from "./missing.ts";

/** The smallest page of any machine that we run on. */
export const PAGE_BYTES = 4096;

/**
 * Overwrites the beginning of an existing file; what lies behind stays. False when there is no such
 * file, or the content does not fit: then the caller replaces the file as a whole.
 */
export async function overwritePage(path: string, content: Uint8Array): Promise<boolean> {
  if (content.length > PAGE_BYTES) return false;
  let file: Awaited<ReturnType<typeof open>>;
  try {
    file = await open(path, "r+");
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
  try {
    await file.write(content, 0, content.length, 0);
  } finally {
    await file.close();
  }
  return true;
}

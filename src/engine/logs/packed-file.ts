/** Rotated log files, packed with gzip, and their content as a file that can be read anywhere. */

import { createReadStream, createWriteStream, existsSync } from "node:fs";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { createGunzip, createGzip } from "node:zlib";

export function packedPath(path: string): string {
  return `${path}.gz`;
}

/** Packs a file in its place; after a crash in between, the file or its packed form is whole. */
export async function packFile(path: string): Promise<void> {
  const temporary = `${packedPath(path)}.tmp`;
  try {
    await pipeline(
      createReadStream(path),
      createGzip({ level: 6 }),
      createWriteStream(temporary, { mode: 0o640 }),
    );
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await rename(temporary, packedPath(path));
  await rm(path, { force: true });
}

/** The file, packed or not; undefined when it is not there in either form. */
export async function openMaybePacked(path: string): Promise<FileHandle | undefined> {
  const plain = await open(path, "r").catch(() => undefined);
  if (plain !== undefined) return plain;
  if (!existsSync(packedPath(path))) return undefined;
  const temporary = `${path}.read-${process.pid}-${Math.random().toString(36).slice(2)}`;
  try {
    await pipeline(
      createReadStream(packedPath(path)),
      createGunzip(),
      createWriteStream(temporary, { flags: "wx", mode: 0o600 }),
    );
    return await open(temporary, "r");
  } catch {
    return undefined;
  } finally {
    // Once it is open, its name is not needed.
    await rm(temporary, { force: true });
  }
}

/** One file of this machine into a tar archive, as `cp` and `build` send them. */

import { createReadStream, type Stats } from "node:fs";
import { readlink } from "node:fs/promises";
import type { Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Header, Pack } from "tar-stream";

export interface Packing {
  readonly archive: Pack;
  /** Of files with several names: device and inode → the name under which it was packed. */
  readonly firstNames: Map<string, string>;
}

export interface PackedFile {
  readonly path: string;
  /** In the archive. */
  readonly name: string;
  readonly found: Stats;
  readonly uid: number;
  readonly gid: number;
}

/** A folder without what is in it. Sockets, pipes and devices are passed over, as docker does. */
export async function packFile(
  { archive, firstNames }: Packing,
  { path, name, found, uid, gid }: PackedFile,
): Promise<void> {
  const header = { name, mode: found.mode & 0o7777, uid, gid, mtime: found.mtime };
  if (found.isDirectory()) {
    return packEntry(archive, { ...header, name: `${name}/`, type: "directory" });
  }
  if (found.isSymbolicLink()) {
    return packEntry(archive, { ...header, type: "symlink", linkname: await readlink(path) });
  }
  if (!found.isFile()) return;
  const inode = `${found.dev}:${found.ino}`;
  const first = found.nlink > 1 ? firstNames.get(inode) : undefined;
  if (first !== undefined) return packEntry(archive, { ...header, type: "link", linkname: first });
  if (found.nlink > 1) firstNames.set(inode, name);
  if (found.size === 0) return packEntry(archive, header);
  const into = archive.entry({ ...header, size: found.size }) as unknown as Writable;
  // A file that grows meanwhile is packed as long as it was.
  await pipeline(createReadStream(path, { end: found.size - 1 }), into);
}

export function packEntry(
  archive: Pack,
  header: Partial<Header> & Pick<Header, "name">,
  content: Uint8Array = new Uint8Array(),
): Promise<void> {
  return new Promise((done, reject) => {
    archive.entry({ ...header, size: content.length }, Buffer.from(content), (error) =>
      error ? reject(error) : done(),
    );
  });
}

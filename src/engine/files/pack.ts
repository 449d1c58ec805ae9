/**
 * A file tree as a tar stream, read one name at a time below descriptors: no symlink is followed, so
 * that a container that changes its tree meanwhile cannot lead us elsewhere. Owners, modes, times
 * (to the second), hard links, devices and file capabilities are kept; sockets are left out.
 */

import { constants, type Stats } from "node:fs";
import { type FileHandle, lstat, open, readdir, readlink } from "node:fs/promises";
import { type Header, type Pack, pack } from "tar-stream";
import { type Deferred, deferred } from "#platform/async.ts";
import { readXattr } from "#platform/libc.ts";
import { fdPath } from "#platform/rooted.ts";
import { CAPABILITY_XATTR, withCapability, writeCapabilities } from "./pax.ts";

const CHUNK_BYTES = 256 * 1024;
/** Beyond this many, further names of a file are stored as files of their own. */
const HARD_LINKS_MAX = 200_000;
/** The largest id that a plain tar header holds. */
const ID_MAX = 0o7777777;

export interface PackRequest {
  /** Descriptor of the folder that holds what is packed. */
  readonly folder: number;
  /** A name in that folder; "." for the folder itself. */
  readonly name: string;
  /** What it is called in the archive; "" leaves the entry of the folder itself out. */
  readonly as: string;
}

type EntryHeader = Partial<Header> & Pick<Header, "name">;

/** The archive, made as it is read; an error in the middle ends the iteration with it. */
export async function* packTree(request: PackRequest): AsyncGenerator<Uint8Array> {
  const out = pack();
  writeCapabilities(out);
  const packer = new TreePacker(out);
  packer.run(request).catch((error: unknown) => out.destroy(error as Error));
  try {
    for await (const chunk of out as AsyncIterable<Uint8Array>) {
      packer.taken(chunk.length);
      yield chunk;
    }
  } finally {
    out.destroy();
    packer.taken(Number.POSITIVE_INFINITY);
  }
}

/** How far the archive is made ahead of its reader. */
const AHEAD_MAX_BYTES = 1024 * 1024;
const HEADER_BYTES = 512;

class TreePacker {
  readonly #out: Pack;
  readonly #links = new Map<string, string>();
  #ahead = 0;
  #room: Deferred<void> | undefined;

  constructor(out: Pack) {
    this.#out = out;
  }

  async run({ folder, name, as }: PackRequest): Promise<void> {
    await this.add(folder, name, as);
    this.#out.finalize();
  }

  /** The reader has taken this much. */
  taken(bytes: number): void {
    this.#ahead -= bytes;
    if (this.#ahead < AHEAD_MAX_BYTES) this.#room?.resolve();
  }

  /** The library takes headers without end; so we count ourselves. */
  async #given(bytes: number): Promise<void> {
    this.#ahead += bytes;
    if (this.#ahead < AHEAD_MAX_BYTES) return;
    this.#room = deferred();
    await this.#room.promise;
  }

  async add(folder: number, name: string, as: string): Promise<void> {
    if (this.#out.destroyed) return;
    const path = fdPath(folder, name);
    const status = await lstat(path).catch(ifGone);
    if (status === undefined) return;
    if (status.isDirectory()) return this.#addFolder(path, status, as);
    const header = headerOf(status, as);
    if (header === undefined) return;
    const first = this.#firstName(status, as);
    if (first !== undefined) {
      await this.#entry({ ...header, type: "link", linkname: first, size: 0 });
    } else if (status.isFile()) await this.#addFile(path, header);
    else if (status.isSymbolicLink()) {
      await this.#entry({ ...header, linkname: await readlink(path) });
    } else await this.#entry(header);
  }

  async #addFolder(path: string, status: Stats, as: string): Promise<void> {
    const flags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
    const opened = await open(path, flags).catch(ifGone);
    if (opened === undefined) return;
    try {
      const header = headerOf(status, as === "" ? "" : `${as.replace(/\/$/, "")}/`);
      if (header !== undefined && as !== "") await this.#entry(header);
      const below = as === "" || as === "/" ? as : `${as}/`;
      for (const name of (await readdir(fdPath(opened.fd))).toSorted()) {
        await this.add(opened.fd, name, `${below}${name}`);
      }
    } finally {
      await opened.close();
    }
  }

  async #addFile(path: string, header: EntryHeader): Promise<void> {
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    const opened = await open(path, flags).catch(ifGone);
    if (opened === undefined) return;
    try {
      const { size } = await opened.stat();
      const capability = readXattr(path, CAPABILITY_XATTR);
      const own = capability === undefined ? header : withCapability(header, capability);
      await this.#copy(opened, { ...own, size });
    } finally {
      await opened.close();
    }
  }

  /** Exactly `size` bytes, as the header says, also of a file that changes meanwhile. */
  async #copy(file: FileHandle, header: EntryHeader & { size: number }): Promise<void> {
    const entry = this.#out.entry(header);
    let left = header.size;
    while (left > 0 && !this.#out.destroyed) {
      const buffer = Buffer.alloc(Math.min(CHUNK_BYTES, left));
      const { bytesRead } = await file.read(buffer, 0, buffer.length, null);
      const chunk = bytesRead === 0 ? buffer : buffer.subarray(0, bytesRead);
      left -= chunk.length;
      entry.write(chunk);
      await this.#given(chunk.length);
    }
    entry.end(null);
  }

  async #entry(header: EntryHeader): Promise<void> {
    if (this.#out.destroyed) return;
    this.#out.entry(header, "");
    await this.#given(HEADER_BYTES);
  }

  /** The name under which the same file is in the archive already. */
  #firstName(status: Stats, as: string): string | undefined {
    if (!status.isFile() || status.nlink < 2) return undefined;
    const key = `${status.dev}:${status.ino}`;
    const first = this.#links.get(key);
    if (first === undefined && this.#links.size < HARD_LINKS_MAX) this.#links.set(key, as);
    return first;
  }
}

/** A name that vanished between listing and looking is not in the archive. */
function ifGone(error: NodeJS.ErrnoException): undefined {
  if (error.code === "ENOENT" || error.code === "ELOOP" || error.code === "ENOTDIR") return;
  throw error;
}

/** Undefined for what tar cannot hold. */
function headerOf(status: Stats, name: string): EntryHeader | undefined {
  const type = typeOf(status);
  if (type === undefined) return undefined;
  const pax: Record<string, string> = {};
  if (status.uid > ID_MAX) pax["uid"] = String(status.uid);
  if (status.gid > ID_MAX) pax["gid"] = String(status.gid);
  const special = status.isCharacterDevice() || status.isBlockDevice();
  return {
    name,
    type,
    mode: status.mode & 0o7777,
    uid: Math.min(status.uid, ID_MAX),
    gid: Math.min(status.gid, ID_MAX),
    mtime: new Date(Math.floor(status.mtimeMs / 1000) * 1000),
    size: 0,
    ...(special ? deviceOf(status) : {}),
    ...(Object.keys(pax).length > 0 ? { pax } : {}),
  };
}

function typeOf(status: Stats): Header["type"] | undefined {
  if (status.isFile()) return "file";
  if (status.isDirectory()) return "directory";
  if (status.isSymbolicLink()) return "symlink";
  if (status.isCharacterDevice()) return "character-device";
  if (status.isBlockDevice()) return "block-device";
  return status.isFIFO() ? "fifo" : undefined;
}

/** Linux' encoding of a device number, as in makedev(3). */
export function deviceOf({ rdev }: Stats): { devmajor: number; devminor: number } {
  const big = BigInt(rdev);
  return {
    devmajor: Number(((big >> 8n) & 0xfffn) | ((big >> 32n) & ~0xfffn)),
    devminor: Number(((big & 0xffn) | ((big >> 12n) & ~0xffn)) & 0xffffffffn),
  };
}

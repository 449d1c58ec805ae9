/**
 * A file tree as a tar stream, read one name at a time below descriptors: no symlink is followed, so
 * that a container that changes its tree meanwhile cannot lead us elsewhere. Owners, modes, times
 * (to the second), hard links, devices and file capabilities are kept; sockets are left out.
 *
 * Many small files are what costs: a few names are looked at together, ahead of their turn, each with
 * one promise, and what they give is gathered into large chunks. Nothing waits for a disk in the event
 * loop: a folder may lie on a file system that does not answer.
 */

import { close, constants, lstat as lstatCall, open as openCall, read, type Stats } from "node:fs";
import { type FileHandle, open, readdir, readlink } from "node:fs/promises";
import { readXattr } from "#platform/libc.ts";
import { fdPath } from "#platform/rooted.ts";
import { CAPABILITY_KEY, CAPABILITY_XATTR } from "./pax.ts";
import { BLOCK_BYTES, paddingOf, type TarHeader, tarHeader } from "./tar-header.ts";

const CHUNK_BYTES = 256 * 1024;
/** Names of a folder that are looked at together; small files are read with them. */
const AHEAD = 64;
const SMALL_BYTES = 32 * 1024;
/** Beyond this many, further names of a file are stored as files of their own. */
const HARD_LINKS_MAX = 200_000;
const END_BYTES = 2 * BLOCK_BYTES;

const FILE_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const FOLDER_FLAGS = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

export interface PackRequest {
  /** Descriptor of the folder that holds what is packed. */
  readonly folder: number;
  /** A name in that folder; "." for the folder itself. */
  readonly name: string;
  /** What it is called in the archive; "" leaves the entry of the folder itself out. */
  readonly as: string;
}

/** The archive, made as it is read; an error in the middle ends the iteration with it. */
export async function* packTree({ folder, name, as }: PackRequest): AsyncGenerator<Uint8Array> {
  const packer = new TreePacker();
  yield* packer.add(folder, [bytesOf(name)], () => bytesOf(as));
  packer.gathered.zeros(END_BYTES);
  yield packer.gathered.take();
}

/** A name as it was found: a character per byte. */
function bytesOf(text: string): string {
  return Buffer.from(text).toString("latin1");
}

/** What a name was when it was looked at. */
interface Looked {
  readonly path: Buffer;
  readonly status: Stats;
  /** Of a small file with this one name: as many bytes as `status` says. */
  readonly content?: Buffer;
}

class TreePacker {
  readonly gathered = new Gathered();
  readonly #links = new Map<string, string>();

  /** Names in a folder; `as` says what each is called in the archive. */
  async *add(
    folder: number,
    names: readonly string[],
    as: (name: string) => string,
  ): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < names.length; at += AHEAD) {
      const some = names.slice(at, at + AHEAD);
      // All of them, because the folder's descriptor is closed when one fails.
      const looked = await Promise.allSettled(some.map((name) => look(folder, name)));
      for (const [index, result] of looked.entries()) {
        if (result.status === "rejected") throw result.reason;
        const found = result.value;
        if (found === undefined) continue;
        const called = as(some[index] ?? "");
        if (found.status.isDirectory()) yield* this.#addFolder(found, called);
        else yield* this.#addOther(found, called);
        if (this.gathered.isFull) yield this.gathered.take();
      }
    }
  }

  async *#addFolder({ path, status }: Looked, as: string): AsyncGenerator<Uint8Array> {
    const opened = await open(path, FOLDER_FLAGS).catch(ifGone);
    if (opened === undefined) return;
    try {
      const header = as === "" ? undefined : headerOf(status, `${as.replace(/\/$/, "")}/`);
      if (header !== undefined) this.gathered.put(tarHeader(header));
      const below = as === "" || as === "/" ? as : `${as}/`;
      // A name of bytes that are no text is a name, too.
      const names = await readdir(fdPath(opened.fd), { encoding: "latin1" });
      yield* this.add(opened.fd, names.toSorted(), (name) => `${below}${name}`);
    } finally {
      await opened.close();
    }
  }

  async *#addOther(found: Looked, as: string): AsyncGenerator<Uint8Array> {
    const { path, status, content } = found;
    const header = headerOf(status, as);
    if (header === undefined) return;
    const first = this.#firstName(status, as);
    if (first !== undefined) {
      this.gathered.put(tarHeader({ ...header, type: "link", linkname: first, size: 0 }));
    } else if (content !== undefined) {
      this.gathered.put(tarHeader(withCapability(header, path)));
      this.gathered.put(content);
      this.gathered.zeros(paddingOf(content.length));
    } else if (status.isFile()) {
      yield* this.#addLarge(path, header);
    } else if (status.isSymbolicLink()) {
      const linkname = await readlink(path, { encoding: "latin1" }).catch(ifGone);
      if (linkname !== undefined) this.gathered.put(tarHeader({ ...header, linkname }));
    } else this.gathered.put(tarHeader(header));
  }

  async *#addLarge(path: Buffer, header: TarHeader): AsyncGenerator<Uint8Array> {
    const file = await open(path, FILE_FLAGS).catch(ifGone);
    if (file === undefined) return;
    try {
      const { size } = await file.stat();
      this.gathered.put(tarHeader(withCapability({ ...header, size }, path)));
      yield this.gathered.take();
      for (let left = size; left > 0; ) {
        const chunk = await readChunk(file, Math.min(CHUNK_BYTES, left));
        left -= chunk.length;
        yield chunk;
      }
      this.gathered.zeros(paddingOf(size));
    } finally {
      await file.close();
    }
  }

  /** The name under which the same file is in the archive already. */
  #firstName(status: Stats, as: string): string | undefined {
    if (!hasMoreNames(status)) return undefined;
    const key = `${status.dev}:${status.ino}`;
    const first = this.#links.get(key);
    if (first === undefined && this.#links.size < HARD_LINKS_MAX) this.#links.set(key, as);
    return first;
  }
}

/** Blocks on their way into chunks. */
class Gathered {
  #chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES);
  #used = 0;

  /** There may be no room for one more small file with its headers. */
  get isFull(): boolean {
    return this.#used > CHUNK_BYTES - 2 * SMALL_BYTES;
  }

  put(bytes: Uint8Array): void {
    this.#room(bytes.length);
    this.#chunk.set(bytes, this.#used);
    this.#used += bytes.length;
  }

  zeros(count: number): void {
    this.#room(count);
    this.#chunk.fill(0, this.#used, this.#used + count);
    this.#used += count;
  }

  take(): Uint8Array {
    const chunk = this.#chunk.subarray(0, this.#used);
    this.#chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES);
    this.#used = 0;
    return chunk;
  }

  /** Folders in folders are headers without end: so it grows where a chunk does not hold them. */
  #room(count: number): void {
    if (this.#used + count <= this.#chunk.length) return;
    const larger = Buffer.allocUnsafeSlow(2 * this.#chunk.length + count);
    larger.set(this.#chunk.subarray(0, this.#used));
    this.#chunk = larger;
  }
}

/** Some bytes of a file; zeros for what is not there any more, so that there are as many as was said. */
async function readChunk(file: FileHandle, most: number): Promise<Uint8Array> {
  const buffer = Buffer.allocUnsafeSlow(most);
  const { bytesRead } = await file.read(buffer, 0, most, null);
  return bytesRead === 0 ? buffer.fill(0) : buffer.subarray(0, bytesRead);
}

/** Undefined for a name that vanished between listing and looking. */
function look(folder: number, name: string): Promise<Looked | undefined> {
  const path = Buffer.from(fdPath(folder, name), "latin1");
  return new Promise((resolve, reject) => {
    const refuse = (error: NodeJS.ErrnoException) =>
      isGone(error) ? resolve(undefined) : reject(error);
    lstatCall(path, (error, status) => {
      if (error !== null) return refuse(error);
      const isSmall = status.isFile() && status.size <= SMALL_BYTES && !hasMoreNames(status);
      if (!isSmall) return resolve({ path, status });
      const content = Buffer.alloc(status.size);
      if (status.size === 0) return resolve({ path, status, content });
      openCall(path, FILE_FLAGS, (failure, descriptor) => {
        if (failure !== null) return refuse(failure);
        read(descriptor, content, 0, content.length, 0, (unread) =>
          close(descriptor, () =>
            unread === null ? resolve({ path, status, content }) : reject(unread),
          ),
        );
      });
    });
  });
}

function hasMoreNames(status: Stats): boolean {
  return status.isFile() && status.nlink > 1;
}

function isGone({ code }: NodeJS.ErrnoException): boolean {
  return code === "ENOENT" || code === "ELOOP" || code === "ENOTDIR";
}

function ifGone(error: NodeJS.ErrnoException): undefined {
  if (!isGone(error)) throw error;
}

function withCapability(header: TarHeader, path: Buffer): TarHeader {
  const capability = readXattr(path.toString(), CAPABILITY_XATTR);
  return capability === undefined ? header : { ...header, pax: { [CAPABILITY_KEY]: capability } };
}

/** Undefined for what tar cannot hold. */
function headerOf(status: Stats, name: string): TarHeader | undefined {
  const type = typeOf(status);
  if (type === undefined) return undefined;
  const { uid, gid } = status;
  const special = type === "character-device" || type === "block-device";
  return {
    name,
    type,
    mode: status.mode & 0o7777,
    uid,
    gid,
    mtime: Math.floor(status.mtimeMs / 1000),
    size: type === "file" ? status.size : 0,
    ...(special ? deviceOf(status) : {}),
  };
}

function typeOf(status: Stats): TarHeader["type"] | undefined {
  if (status.isFile()) return "file";
  if (status.isDirectory()) return "directory";
  if (status.isSymbolicLink()) return "symlink";
  if (status.isCharacterDevice()) return "character-device";
  if (status.isBlockDevice()) return "block-device";
  return status.isFIFO() ? "fifo" : undefined;
}

/** Linux' encoding of a device number, as in makedev(3). */
function deviceOf({ rdev }: Stats): { devmajor: number; devminor: number } {
  const big = BigInt(rdev);
  return {
    devmajor: Number(((big >> 8n) & 0xfffn) | ((big >> 32n) & ~0xfffn)),
    devminor: Number(((big & 0xffn) | ((big >> 12n) & ~0xffn)) & 0xffffffffn),
  };
}

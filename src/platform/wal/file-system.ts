/**
 * The few operations on files that the log and its snapshots are made of. A port, so that tests can
 * end the world between any two of them.
 */

import { close, constants, fstat, fsync, open, read, write } from "node:fs";
import { mkdir, readdir, readFile, rename, unlink } from "node:fs/promises";

/** An open file, written at positions that its owner knows. */
export interface LogFile {
  /** Writes all of it; on disk only after `sync`, or where the file was opened as durable. */
  write(bytes: Uint8Array, offset: number): Promise<void>;
  /** Makes everything written durable. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** A file that is read in pieces. */
export interface ReadableFile {
  /** Bytes, when it was opened. */
  readonly size: number;
  /** `length` bytes from `offset` on, fewer where the file ends. */
  read(offset: number, length: number): Promise<Buffer>;
  close(): Promise<void>;
}

export interface FileSystem {
  /** Makes a private directory and those above it; resolves to the first one that was made. */
  makeDirectory(path: string): Promise<string | undefined>;
  list(dir: string): Promise<readonly string[]>;
  read(path: string): Promise<Buffer>;
  /** Stays readable when its name is removed meanwhile. */
  openRead(path: string): Promise<ReadableFile>;
  /** An empty file, whatever was there before. */
  create(path: string): Promise<LogFile>;
  /** A file that is there; a write to it has the effect of write and fdatasync in one. */
  openDurable(path: string): Promise<LogFile>;
  rename(from: string, to: string): Promise<void>;
  remove(path: string): Promise<void>;
  /** Makes creations, renames and removals in a directory durable. */
  syncDirectory(dir: string): Promise<void>;
}

export const realFileSystem: FileSystem = {
  makeDirectory: (path) => mkdir(path, { recursive: true, mode: 0o700 }),
  list: (dir) => readdir(dir),
  read: (path) => readFile(path),
  openRead: async (path) => {
    const fd = await openDescriptor(path, constants.O_RDONLY);
    return new OpenReadableFile(fd, await sizeOf(fd));
  },
  create: (path) => openFile(path, constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC),
  openDurable: (path) => openFile(path, constants.O_RDWR | constants.O_DSYNC),
  rename,
  remove: unlink,
  syncDirectory: async (dir) => {
    const directory = await openFile(dir, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  },
};

async function openFile(path: string, flags: number): Promise<LogFile> {
  return new OpenFile(await openDescriptor(path, flags));
}

function openDescriptor(path: string, flags: number): Promise<number> {
  return new Promise((resolve, reject) => {
    open(path, flags, 0o600, (error, fd) => (error === null ? resolve(fd) : reject(error)));
  });
}

function sizeOf(fd: number): Promise<number> {
  return new Promise((resolve, reject) => {
    fstat(fd, (error, { size }) => (error === null ? resolve(size) : reject(error)));
  });
}

class OpenReadableFile implements ReadableFile {
  readonly size: number;
  readonly #fd: number;

  constructor(fd: number, size: number) {
    this.#fd = fd;
    this.size = size;
  }

  read(offset: number, length: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(Math.max(0, Math.min(length, this.size - offset)));
    return new Promise((resolve, reject) => {
      const next = (done: number) => {
        if (done === bytes.length) return resolve(bytes);
        read(this.#fd, bytes, done, bytes.length - done, offset + done, (error, count) => {
          if (error !== null) reject(error);
          else if (count === 0) resolve(bytes.subarray(0, done));
          else next(done + count);
        });
      };
      next(0);
    });
  }

  close(): Promise<void> {
    return new Promise((resolve, reject) => {
      close(this.#fd, (error) => (error ? reject(error) : resolve()));
    });
  }
}

/** A bare descriptor: Node's FileHandle costs more than the write itself. */
class OpenFile implements LogFile {
  readonly #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
  }

  write(bytes: Uint8Array, offset: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const next = (done: number) => {
        const rest = bytes.length - done;
        write(this.#fd, bytes, done, rest, offset + done, (error, written) => {
          // A single write may be cut short; the next one then says why.
          if (error !== null) reject(error);
          else if (written === rest) resolve();
          else next(done + written);
        });
      };
      next(0);
    });
  }

  sync(): Promise<void> {
    return this.#call((done) => fsync(this.#fd, done));
  }

  close(): Promise<void> {
    return this.#call((done) => close(this.#fd, done));
  }

  #call(start: (done: (error: Error | null | undefined) => void) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      start((error) => (error ? reject(error) : resolve()));
    });
  }
}

/**
 * A file system in memory that can end the world. It keeps what programs see and what the disk
 * surely has: a write is durable after its sync (or at once in a file opened as durable), a name
 * after its directory's. At a crash, of everything that was not durable yet each piece is kept or
 * lost as it comes: whole writes, halves of writes, creations, renames and removals.
 */

import { dirname } from "node:path";
import type { FileSystem, LogFile } from "../file-system.ts";

/** Thrown by everything that is tried at and after the crash. */
export class Crashed extends Error {}

interface Write {
  readonly bytes: Uint8Array;
  readonly offset: number;
}

class Content {
  #buffer = Buffer.alloc(0);
  #length = 0;
  /** Writes that are not durable, oldest first, each with what was there before. */
  #pending: (Write & { readonly before: Uint8Array; readonly lengthBefore: number })[] = [];

  /** What programs read. */
  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  write(write: Write): void {
    const { bytes, offset } = write;
    const end = offset + bytes.length;
    const before = Uint8Array.from(this.bytes.subarray(offset, end));
    this.#pending.push({ ...write, before, lengthBefore: this.#length });
    this.#place(write);
  }

  flush(): void {
    this.#pending = [];
  }

  /** Goes back to what the disk has, and does again what is left of each write since. */
  crash(remains: (write: Write) => readonly Write[]): void {
    const lost = this.#pending;
    this.#pending = [];
    for (const { before, offset, lengthBefore } of lost.toReversed()) {
      this.#buffer.set(before, offset);
      this.#buffer.fill(0, lengthBefore, this.#length);
      this.#length = lengthBefore;
    }
    for (const write of lost) for (const part of remains(write)) this.#place(part);
  }

  flipBit(at: number): void {
    this.#buffer[at] = (this.#buffer[at] ?? 0) ^ 1;
  }

  #place({ bytes, offset }: Write): void {
    const end = offset + bytes.length;
    if (end > this.#buffer.length) {
      const larger = Buffer.alloc(Math.max(end, 2 * this.#buffer.length));
      larger.set(this.#buffer);
      this.#buffer = larger;
    }
    this.#buffer.set(bytes, offset);
    this.#length = Math.max(this.#length, end);
  }
}

/** What an operation is waited for; the crash may come meanwhile. */
export type Pace = (what: "read" | "write" | "sync") => Promise<void>;

const AT_ONCE: Pace = async () => {};

type Names = Map<string, Content>;

/** Where one write may be torn. */
const SECTOR = 512;

export class CrashFs {
  /** Operations so far; each of them is one that a crash can come in. */
  operations = 0;
  #crashAt = Number.POSITIVE_INFINITY;
  #names: Names = new Map();
  #durableNames: Names = new Map();
  /** Changes of names that their directory's sync has not made durable, oldest first. */
  #renames: { readonly dir: string; readonly apply: (names: Names) => void }[] = [];
  readonly #directories = new Set<string>();
  readonly #chance: () => number;

  /** `chance` draws from [0, 1). */
  constructor(chance: () => number) {
    this.#chance = chance;
  }

  /** The operation of that number does not return, and nothing after it is done. */
  crashAt(operation: number): void {
    this.#crashAt = operation;
  }

  /** What is there when power comes back. */
  restart(): void {
    for (const { apply } of this.#renames) {
      // A journal keeps their order: once one is lost, so are those behind it.
      if (this.#chance() < 0.5) break;
      apply(this.#durableNames);
    }
    this.#renames = [];
    for (const content of new Set(this.#durableNames.values())) {
      content.crash((write) => this.#remains(write));
    }
    this.#names = new Map(this.#durableNames);
    this.#crashAt = Number.POSITIVE_INFINITY;
  }

  readonly port: FileSystem = this.portFor(AT_ONCE);

  /** The file system as a process sees it whose operations take their time. */
  portFor(pace: Pace): FileSystem {
    return {
      makeDirectory: async (path) => {
        await pace("write");
        this.#step();
        if (this.#directories.has(path)) return undefined;
        this.#directories.add(path);
        return path;
      },
      list: async (dir) => {
        await pace("read");
        this.#check();
        const paths = [...this.#names.keys()].filter((path) => dirname(path) === dir);
        return paths.map((path) => path.slice(dir.length + 1));
      },
      read: async (path) => {
        await pace("read");
        this.#check();
        return Buffer.from(this.#existing(path).bytes);
      },
      openRead: async (path) => {
        await pace("read");
        this.#check();
        const content = this.#existing(path);
        return {
          size: content.bytes.length,
          read: async (offset, length) => {
            await pace("read");
            this.#check();
            return Buffer.from(content.bytes.subarray(offset, offset + length));
          },
          close: async () => undefined,
        };
      },
      create: async (path) => {
        const content = new Content();
        this.#rename(dirname(path), (names) => names.set(path, content));
        await pace("write");
        this.#step();
        return this.#file(content, false, pace);
      },
      openDurable: async (path) => {
        await pace("read");
        this.#check();
        return this.#file(this.#existing(path), true, pace);
      },
      rename: async (from, to) => {
        const content = this.#existing(from);
        this.#rename(dirname(to), (names) => {
          names.delete(from);
          names.set(to, content);
        });
        await pace("write");
        this.#step();
      },
      remove: async (path) => {
        this.#existing(path);
        this.#rename(dirname(path), (names) => names.delete(path));
        await pace("write");
        this.#step();
      },
      syncDirectory: async (dir) => {
        await pace("sync");
        this.#step();
        const own = this.#renames.filter((one) => one.dir === dir);
        for (const { apply } of own) apply(this.#durableNames);
        this.#renames = this.#renames.filter((one) => one.dir !== dir);
      },
    };
  }

  /** One bit of what is stored in the file turns round. */
  flipBit(path: string, at: number): void {
    this.#existing(path).flipBit(at);
  }

  /** Bytes up to the last one that is not zero. */
  usedOf(path: string): number {
    return this.#existing(path).bytes.findLastIndex((byte) => byte !== 0) + 1;
  }

  /** All files are gone. */
  clear(): void {
    this.#names.clear();
    this.#durableNames.clear();
    this.#renames = [];
  }

  /** Paths of files as they stand, for assertions. */
  paths(): readonly string[] {
    return [...this.#names.keys()].toSorted();
  }

  #file(content: Content, isDurable: boolean, pace: Pace): LogFile {
    return {
      write: async (bytes, offset) => {
        this.#check();
        content.write({ bytes: Buffer.from(bytes), offset });
        await pace(isDurable ? "sync" : "write");
        this.#step();
        if (isDurable) content.flush();
      },
      sync: async () => {
        await pace("sync");
        this.#step();
        content.flush();
      },
      close: async () => undefined,
    };
  }

  #rename(dir: string, apply: (names: Names) => void): void {
    this.#check();
    apply(this.#names);
    this.#renames.push({ dir, apply });
  }

  /** Of a write that was under way: nothing, all of it, or the sectors that chance picks. */
  #remains(write: Write): readonly Write[] {
    const luck = this.#chance();
    if (luck < 0.3) return [];
    if (luck < 0.6) return [write];
    const sectors: Write[] = [];
    for (let at = 0; at < write.bytes.length; at += SECTOR) {
      if (this.#chance() < 0.5) continue;
      const bytes = write.bytes.subarray(at, at + SECTOR);
      sectors.push({ bytes, offset: write.offset + at });
    }
    return sectors;
  }

  #existing(path: string): Content {
    const content = this.#names.get(path);
    if (content === undefined) {
      throw Object.assign(new Error(`ENOENT: ${path}`), { code: "ENOENT" });
    }
    return content;
  }

  #step(): void {
    this.#check();
    this.operations += 1;
    this.#check();
  }

  #check(): void {
    if (this.operations >= this.#crashAt) throw new Crashed("the power is gone");
  }
}

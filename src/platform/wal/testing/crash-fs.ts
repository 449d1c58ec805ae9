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

interface Content {
  /** What programs read. */
  bytes: Buffer;
  /** What the disk has. */
  durable: Buffer;
  /** Writes since, oldest first. */
  pending: { readonly bytes: Uint8Array; readonly offset: number }[];
}

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
      let bytes = content.durable;
      for (const write of content.pending) bytes = this.#settle(bytes, write);
      content.bytes = Buffer.from(bytes);
      content.durable = Buffer.from(bytes);
      content.pending = [];
    }
    this.#names = new Map(this.#durableNames);
    this.#crashAt = Number.POSITIVE_INFINITY;
  }

  readonly port: FileSystem = {
    makeDirectory: async (path) => {
      this.#step();
      if (this.#directories.has(path)) return undefined;
      this.#directories.add(path);
      return path;
    },
    list: async (dir) => {
      this.#check();
      const paths = [...this.#names.keys()].filter((path) => dirname(path) === dir);
      return paths.map((path) => path.slice(dir.length + 1));
    },
    read: async (path) => {
      this.#check();
      return Buffer.from(this.#existing(path).bytes);
    },
    create: async (path) => {
      const content = { bytes: Buffer.alloc(0), durable: Buffer.alloc(0), pending: [] };
      this.#rename(dirname(path), (names) => names.set(path, content));
      this.#step();
      return this.#file(content, false);
    },
    openDurable: async (path) => {
      this.#check();
      return this.#file(this.#existing(path), true);
    },
    rename: async (from, to) => {
      const content = this.#existing(from);
      this.#rename(dirname(to), (names) => {
        names.delete(from);
        names.set(to, content);
      });
      this.#step();
    },
    remove: async (path) => {
      this.#existing(path);
      this.#rename(dirname(path), (names) => names.delete(path));
      this.#step();
    },
    syncDirectory: async (dir) => {
      this.#step();
      const own = this.#renames.filter((one) => one.dir === dir);
      for (const { apply } of own) apply(this.#durableNames);
      this.#renames = this.#renames.filter((one) => one.dir !== dir);
    },
  };

  /** Paths of files as they stand, for assertions. */
  paths(): readonly string[] {
    return [...this.#names.keys()].toSorted();
  }

  #file(content: Content, isDurable: boolean): LogFile {
    return {
      write: async (bytes, offset) => {
        this.#check();
        const copy = Buffer.from(bytes);
        content.bytes = placed(content.bytes, copy, offset);
        content.pending.push({ bytes: copy, offset });
        this.#step();
        if (isDurable) flush(content);
      },
      sync: async () => {
        this.#step();
        flush(content);
      },
      close: async () => undefined,
    };
  }

  #rename(dir: string, apply: (names: Names) => void): void {
    this.#check();
    apply(this.#names);
    this.#renames.push({ dir, apply });
  }

  /** One write that was under way: lost, whole, or in the sectors that chance picks. */
  #settle(bytes: Buffer, write: { readonly bytes: Uint8Array; readonly offset: number }): Buffer {
    const luck = this.#chance();
    if (luck < 0.3) return bytes;
    if (luck < 0.6) return placed(bytes, write.bytes, write.offset);
    let torn = bytes;
    for (let at = 0; at < write.bytes.length; at += SECTOR) {
      if (this.#chance() < 0.5) continue;
      torn = placed(torn, write.bytes.subarray(at, at + SECTOR), write.offset + at);
    }
    return torn;
  }

  #existing(path: string): Content {
    const content = this.#names.get(path);
    if (content === undefined) throw new Error(`ENOENT: ${path}`);
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

function flush(content: Content): void {
  content.durable = Buffer.from(content.bytes);
  content.pending = [];
}

function placed(bytes: Buffer, piece: Uint8Array, offset: number): Buffer {
  const end = offset + piece.length;
  const result =
    end > bytes.length
      ? Buffer.concat([bytes, Buffer.alloc(end - bytes.length)])
      : Buffer.from(bytes);
  result.set(piece, offset);
  return result;
}

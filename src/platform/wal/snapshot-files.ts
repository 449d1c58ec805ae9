/**
 * Snapshots on disk: one file each (`snapshot-format.ts`), named by raft index and term. `.snap` is
 * complete; `.part` is on its way from another member, or has arrived and is not taken over yet.
 *
 * Older snapshots are deleted once a newer one is durable; a damaged newest one is an error, not a
 * reason to fall back: the log behind an older one may be gone. Of transfers that broke off only the
 * newest is kept, until it is gone on with or a snapshot that is as new makes it worthless.
 */

import { join } from "node:path";
import { EngineError } from "#base/error.ts";
import type { Random } from "#base/ports.ts";
import { isMissing } from "../missing.ts";
import type { FileSystem, LogFile } from "./file-system.ts";
import { ensureDirectory, removeTemporaries, TEMPORARY_SUFFIX } from "./files.ts";
import type { KeyRing } from "./key-ring.ts";
import { Sealer } from "./seal.ts";
import { CONTENT_ID_BYTES, type SnapshotContent, type SnapshotName } from "./snapshot-format.ts";
import {
  inspectPartial,
  openSnapshot,
  type PartialSnapshot,
  type SnapshotReader,
} from "./snapshot-reader.ts";
import { type ReceiverEnd, SnapshotReceiver } from "./snapshot-receiver.ts";
import { SnapshotWriter, type Written } from "./snapshot-writer.ts";

export type { SnapshotContent, SnapshotName } from "./snapshot-format.ts";

/** Bytes that are there, or come piece by piece. */
export type Pieces = Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

const COMPLETE = "snap";
const PARTIAL = "part";

export interface SnapshotFilesOptions {
  readonly fs: FileSystem;
  readonly dir: string;
  readonly keys: KeyRing;
  readonly random: Random;
  /** Content of one chunk, bytes; smaller ones only in tests. */
  readonly chunkBytes?: number | undefined;
}

export async function openSnapshotFiles(options: SnapshotFilesOptions): Promise<SnapshotFiles> {
  const { fs, dir } = options;
  await ensureDirectory(fs, dir);
  await removeTemporaries(fs, dir);
  const files = new SnapshotFiles(options);
  await files.dropUselessPartials();
  return files;
}

/** What a transfer is said to consist of. */
export interface Announced extends Omit<SnapshotContent, "id"> {
  /** Undefined where the sender would not know it again. */
  readonly id: string | undefined;
}

interface Partial {
  readonly name: SnapshotName;
  readonly found: PartialSnapshot;
}

export class SnapshotFiles {
  readonly #fs: FileSystem;
  readonly #dir: string;
  readonly #keys: KeyRing;
  readonly #random: Random;
  readonly #sealer: Sealer;
  readonly #chunkBytes: number | undefined;
  /** The transfer that broke off, once it was looked at. */
  #partial: Partial | undefined;
  #receiving: SnapshotReceiver | undefined;
  /** Arrived as a whole, and to be adopted or released. */
  #arrived: SnapshotName | undefined;

  constructor({ fs, dir, keys, random, chunkBytes }: SnapshotFilesOptions) {
    this.#fs = fs;
    this.#dir = dir;
    this.#keys = keys;
    this.#random = random;
    this.#sealer = new Sealer(random);
    this.#chunkBytes = chunkBytes;
  }

  /** Part of `openSnapshotFiles`: a transfer whose beginning is not readable cannot be gone on with. */
  async dropUselessPartials(): Promise<void> {
    for (const name of await this.#named(PARTIAL)) {
      try {
        await (await this.openArrived(name)).close();
      } catch (error) {
        if (!(error instanceof EngineError)) throw error;
        await this.#remove([name], PARTIAL);
      }
    }
  }

  /** The complete ones, newest first. */
  list(): Promise<readonly SnapshotName[]> {
    return this.#named(COMPLETE);
  }

  /** Writes one; it is complete and durable when this resolves, or not there. Its size, bytes. */
  async save(name: SnapshotName, about: Uint8Array, pieces: Pieces): Promise<number> {
    const path = this.#path(name, COMPLETE);
    const temporary = path + TEMPORARY_SUFFIX;
    try {
      const length = await this.#write(temporary, name, about, pieces);
      await this.#fs.rename(temporary, path);
      await this.#fs.syncDirectory(this.#dir);
      return length;
    } catch (error) {
      // What a full disk needs least is half a file more.
      await this.#fs.remove(temporary).catch(() => undefined);
      throw error;
    }
  }

  /** Throws `data-loss` where it is damaged; rejects when it is gone. */
  open(name: SnapshotName): Promise<SnapshotReader> {
    return openSnapshot(this.#fs, this.#path(name, COMPLETE), name, this.#keys);
  }

  /** Deletes all but the `keep` newest, and transfers that are no newer. */
  async prune(keep: number): Promise<void> {
    const names = await this.list();
    await this.#remove(names.slice(keep), COMPLETE);
    const newest = names[0]?.index ?? 0;
    const partials = await this.#named(PARTIAL);
    const useless = partials.filter(({ index }) => index <= newest);
    if (useless.length > 0) this.#partial = undefined;
    await this.#remove(useless, PARTIAL);
  }

  async discard(names: readonly SnapshotName[]): Promise<void> {
    await this.#remove(names, COMPLETE);
  }

  /** How many bytes of a content are there from an earlier transfer. */
  async held(name: SnapshotName, content: SnapshotContent): Promise<number> {
    return (await this.#usable(name, content))?.written.length ?? 0;
  }

  /**
   * Begins or goes on with a transfer, and puts an end to any other; refused while one that has
   * arrived waits to be adopted or released. `announced`: what will come, where that is known; only
   * what has an id can be gone on with. `from`: where it goes on; refused unless that is exactly how
   * far it had come.
   */
  async receive(
    name: SnapshotName,
    about: Uint8Array,
    announced: Announced | undefined,
    from: number,
  ): Promise<SnapshotReceiver> {
    await this.#receiving?.suspend();
    if (this.#arrived !== undefined) {
      throw new EngineError("unavailable", "another snapshot has come and is being taken over");
    }
    const usable = isNamed(announced) ? await this.#usable(name, announced) : undefined;
    const hasSameFacts = usable !== undefined && Buffer.from(usable.about).equals(about);
    if (from > 0 && (!hasSameFacts || usable.written.length !== from)) throw notThere(from);
    return from > 0 && usable !== undefined
      ? await this.#goOn(name, usable)
      : await this.#begin(name, about, announced);
  }

  /** One that has arrived, to be looked at before it is adopted. */
  openArrived(name: SnapshotName): Promise<SnapshotReader> {
    return openSnapshot(this.#fs, this.#path(name, PARTIAL), name, this.#keys);
  }

  /** One that has arrived is a snapshot from now on; durable when this resolves. */
  async adopt(name: SnapshotName): Promise<void> {
    await this.#fs.rename(this.#path(name, PARTIAL), this.#path(name, COMPLETE));
    await this.#fs.syncDirectory(this.#dir);
    this.release(name);
    this.#partial = undefined;
  }

  /** One that has arrived is not wanted: it stays only as long as one that broke off. */
  release(name: SnapshotName): void {
    if (this.#arrived !== undefined && same(this.#arrived, name)) this.#arrived = undefined;
  }

  /** One that has arrived is no good. */
  async reject(name: SnapshotName): Promise<void> {
    this.release(name);
    await this.#forgetPartials();
  }

  /**
   * Whether every snapshot is sealed with that key. A transfer that broke off is no reason against
   * it: it is deleted, as it could not be gone on with.
   */
  async isSealedWith(keyId: string): Promise<boolean> {
    for (const name of await this.list()) {
      const snapshot = await this.open(name);
      await snapshot.close();
      if (snapshot.keyId !== keyId) return false;
    }
    if (this.#receiving !== undefined || this.#arrived !== undefined) return false;
    for (const name of await this.#named(PARTIAL)) {
      const partial = await this.openArrived(name);
      await partial.close();
      if (partial.keyId !== keyId) await this.#forgetPartials();
    }
    return true;
  }

  async #write(path: string, name: SnapshotName, about: Uint8Array, pieces: Pieces) {
    const file = await this.#fs.create(path);
    try {
      const writer = this.#writer(file, name);
      await writer.writeAbout(about);
      for await (const piece of pieces) await writer.append(piece);
      return (await writer.finish(undefined)).length;
    } finally {
      await file.close();
    }
  }

  async #begin(
    name: SnapshotName,
    about: Uint8Array,
    announced: Announced | undefined,
  ): Promise<SnapshotReceiver> {
    await this.#forgetPartials();
    const file = await this.#fs.create(this.#path(name, PARTIAL));
    const writer = this.#writer(file, name, announced?.id);
    const { contentId: id } = writer;
    const expected = announced === undefined ? undefined : { ...announced, id };
    const facts = { about, keyId: this.#keys.current().id };
    const receiver = new SnapshotReceiver({
      file,
      writer,
      expected,
      isResumable: isNamed(announced),
      isComplete: false,
      ...this.#syncing(),
      ended: (end) => this.#ended(name, facts, end),
    });
    this.#receiving = receiver;
    await receiver.begin(about);
    return receiver;
  }

  async #goOn(name: SnapshotName, partial: PartialSnapshot): Promise<SnapshotReceiver> {
    const { content, written, isComplete } = partial;
    const file = await this.#fs.openDurable(this.#path(name, PARTIAL)).catch((error: unknown) => {
      // A snapshot that is as new has come to be meanwhile, and made it worthless.
      throw isMissing(error) ? notThere(written.length) : error;
    });
    const receiver = new SnapshotReceiver({
      file,
      writer: this.#writer(file, name, content.id, written),
      expected: content,
      isResumable: true,
      isComplete,
      ...this.#syncing(),
      ended: (end) => this.#ended(name, partial, end),
    });
    this.#receiving = receiver;
    return receiver;
  }

  #syncing() {
    const chunkBytes = this.#chunkBytes;
    return {
      syncName: () => this.#fs.syncDirectory(this.#dir),
      syncEveryBytes: chunkBytes === undefined ? undefined : 4 * chunkBytes,
    };
  }

  #writer(file: LogFile, name: SnapshotName, id?: string, from?: Written): SnapshotWriter {
    const key = this.#keys.current();
    const contentId = id ?? Buffer.from(this.#random.bytes(CONTENT_ID_BYTES)).toString("hex");
    const chunkBytes = this.#chunkBytes;
    const sealer = this.#sealer;
    return new SnapshotWriter({ file, name, contentId, key, sealer, from, chunkBytes });
  }

  async #ended(
    name: SnapshotName,
    { about, keyId }: Pick<PartialSnapshot, "about" | "keyId">,
    { content, written, isUsable }: ReceiverEnd,
  ): Promise<void> {
    this.#receiving = undefined;
    // How far one has come that broke off is read from the disk, which is what counts.
    this.#partial = undefined;
    if (content !== undefined) {
      this.#arrived = name;
      this.#partial = { name, found: { content, keyId, about, written, isComplete: true } };
    } else if (!isUsable) {
      await this.#forgetPartials();
    }
  }

  /** The transfer of exactly this content that broke off, if it can be gone on with. */
  async #usable(
    name: SnapshotName,
    content: SnapshotContent,
  ): Promise<PartialSnapshot | undefined> {
    const stored = await this.#named(PARTIAL);
    if (!stored.some((one) => same(one, name))) return undefined;
    if (this.#partial === undefined || !same(this.#partial.name, name)) {
      const found = await inspectPartial(this.#fs, this.#path(name, PARTIAL), name, this.#keys);
      if (found === undefined) return undefined;
      this.#partial = { name, found };
    }
    const { found } = this.#partial;
    const isSame =
      found.content.id === content.id &&
      found.content.length === content.length &&
      found.content.crc === content.crc;
    // What is added is sealed with the same key.
    return isSame && found.keyId === this.#keys.current().id ? found : undefined;
  }

  /** Deletes transfers that broke off. */
  async #forgetPartials(): Promise<void> {
    this.#partial = undefined;
    await this.#remove(await this.#named(PARTIAL), PARTIAL);
  }

  async #named(suffix: string): Promise<readonly SnapshotName[]> {
    const names = (await this.#fs.list(this.#dir)).map((name) => parseName(name, suffix));
    const known = names.filter((name) => name !== undefined);
    return known.toSorted((a, b) => b.index - a.index || b.term - a.term);
  }

  async #remove(names: readonly SnapshotName[], suffix: string): Promise<void> {
    for (const name of names) await this.#fs.remove(this.#path(name, suffix));
    if (names.length > 0) await this.#fs.syncDirectory(this.#dir);
  }

  #path({ index, term }: SnapshotName, suffix: string): string {
    return join(this.#dir, `${hex(index)}-${hex(term)}.${suffix}`);
  }
}

function notThere(from: number): EngineError {
  const message = `a snapshot cannot be gone on with at byte ${from}: it is not there so far`;
  return new EngineError("failed-precondition", message);
}

function isNamed(announced: Announced | undefined): announced is SnapshotContent {
  return announced?.id !== undefined;
}

function parseName(name: string, suffix: string): SnapshotName | undefined {
  const match = /^([0-9a-f]{16})-([0-9a-f]{16})\.([a-z]+)$/.exec(name);
  if (match?.[1] === undefined || match[2] === undefined || match[3] !== suffix) return undefined;
  return { index: Number.parseInt(match[1], 16), term: Number.parseInt(match[2], 16) };
}

function hex(value: number): string {
  return value.toString(16).padStart(16, "0");
}

function same(a: SnapshotName, b: SnapshotName): boolean {
  return a.index === b.index && a.term === b.term;
}

/**
 * Takes a snapshot that comes from elsewhere, piece by piece, into a file of its own. One that breaks
 * off can be gone on with, also after a crash, where it was told beforehand what it consists of.
 */

import { EngineError } from "#base/error.ts";
import type { LogFile } from "./file-system.ts";
import type { SnapshotContent } from "./snapshot-format.ts";
import type { SnapshotWriter, Written } from "./snapshot-writer.ts";

/** Made durable at a time: what a power cut costs of a transfer, bytes. */
const SYNC_EVERY_BYTES = 4 * 1024 * 1024;

export interface ReceiverOptions {
  readonly file: LogFile;
  readonly writer: SnapshotWriter;
  /** What was announced; undefined if nothing was. */
  readonly expected: SnapshotContent | undefined;
  /** Who sends it would know it again. */
  readonly isResumable: boolean;
  readonly syncEveryBytes?: number | undefined;
  /** An earlier one has received all of it. */
  readonly isComplete: boolean;
  /** Makes the name of the file durable. */
  readonly syncName: () => Promise<void>;
  /** Called once, when the file is closed. */
  readonly ended: (end: ReceiverEnd) => Promise<void>;
}

export interface ReceiverEnd {
  /** What has been received; undefined if it is not all there. */
  readonly content: SnapshotContent | undefined;
  readonly written: Written;
  /** What is there can be used by another attempt. */
  readonly isUsable: boolean;
}

export class SnapshotReceiver {
  readonly #options: ReceiverOptions;
  /** One step after another, so that an end waits for what is being written. */
  #work: Promise<unknown> = Promise.resolve();
  #isOver = false;
  #isUsable: boolean;
  /** Bytes that a power cut may take. */
  #unsynced = 0;

  constructor(options: ReceiverOptions) {
    this.#options = options;
    this.#isUsable = options.isResumable;
  }

  /** Before the first piece of a new file; its name is durable with it, so that it can be found. */
  begin(about: Uint8Array): Promise<void> {
    return this.#next(async () => {
      const { file, writer, expected, isResumable, syncName } = this.#options;
      if (expected !== undefined) await writer.writeHeader(expected);
      await writer.writeAbout(about);
      if (!isResumable) return;
      await file.sync();
      await syncName();
    });
  }

  append(piece: Uint8Array): Promise<void> {
    return this.#next(async () => {
      if (this.#options.isComplete) throw refused("more of a snapshot that is complete");
      const { writer, expected } = this.#options;
      // One that goes on beyond its announced end must not fill the disk.
      if (expected !== undefined && writer.written.length > expected.length) {
        throw refused(`a snapshot of more than the ${expected.length} bytes that were announced`);
      }
      const before = writer.written.end;
      await writer.append(piece);
      this.#unsynced += writer.written.end - before;
      if (this.#unsynced < (this.#options.syncEveryBytes ?? SYNC_EVERY_BYTES)) return;
      this.#unsynced = 0;
      await this.#options.file.sync();
    });
  }

  /** All of it has come; checks it and makes it durable. */
  finish(): Promise<void> {
    return this.#next(async () => {
      const { writer, expected, isComplete } = this.#options;
      if (!isComplete) await writer.finish(expected);
      await this.#end(true);
    });
  }

  /** No more comes for now. Does nothing after `finish`. */
  async suspend(): Promise<void> {
    await this.#next(() => this.#end(false)).catch((error: unknown) => {
      if (error !== OVER) throw error;
    });
  }

  #next(step: () => Promise<void>): Promise<void> {
    const done = this.#after(this.#work, step);
    this.#work = done.catch(() => undefined);
    return done;
  }

  async #after(before: Promise<unknown>, step: () => Promise<void>): Promise<void> {
    await before;
    if (this.#isOver) throw OVER;
    try {
      await step();
    } catch (error) {
      // What does not fit its announcement, or could not be written, is of no use.
      this.#isUsable = false;
      await this.#end(false);
      throw error;
    }
  }

  async #end(isAll: boolean): Promise<void> {
    if (this.#isOver) return;
    this.#isOver = true;
    const { file, writer, ended, expected } = this.#options;
    await file.close();
    const { written } = writer;
    const content = isAll ? (expected ?? { id: writer.contentId, ...written }) : undefined;
    await ended({ content, written, isUsable: this.#isUsable });
  }
}

const OVER = new EngineError("aborted", "another transfer of a snapshot has begun");

function refused(what: string): EngineError {
  return new EngineError("invalid-argument", `${what} is not accepted`);
}

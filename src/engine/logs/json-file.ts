/**
 * The log of one container: JSON lines `{"log":…,"stream":…,"time":…}` in files that are rotated by
 * size. One writer per container, in this process; readers follow it by its `version`, which changes
 * with every write, rotation and end of a run. Output that cannot be written is lost, and counted,
 * but never stops the container; a file always ends with a whole line.
 */

import type { FileHandle } from "node:fs/promises";
import { mkdir, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { messageOf } from "#base/error.ts";
import type { Log } from "#base/ports.ts";
import { type Deferred, deferred } from "#platform/async.ts";
import { isMissing } from "#platform/missing.ts";
import type { Forwarder } from "./forwarder.ts";
import { LineSplitter } from "./line-splitter.ts";
import { packedPath, packFile } from "./packed-file.ts";
import { formatNs } from "./timestamps.ts";

export type LogStream = "stdout" | "stderr";

export interface JsonFileOptions {
  /** The newest file; rotated ones are PATH.1, PATH.2… */
  readonly path: string;
  readonly maxBytes: number;
  readonly maxFiles: number;
  readonly attributes: Readonly<Record<string, string>>;
  /** Rotated files are packed. */
  readonly compress: boolean;
  /** Bytes that may wait before lines are dropped; undefined = the container waits instead. */
  readonly dropBeyondBytes: number | undefined;
  /** Makes the way to another receiver of the lines; undefined = the file is all. */
  readonly openForwarder: (() => Promise<Forwarder>) | undefined;
  /** Nanoseconds since the epoch, increasing. */
  readonly nowNs: () => bigint;
  readonly log: Log;
}

/** Output waiting to be written beyond which the container's pipe is left to fill. */
const QUEUE_MAX_BYTES = 1024 * 1024;
const BATCH_BYTES = 256 * 1024;
const LINE_FEED = 0x0a;

export class JsonFileLog {
  readonly path: string;
  readonly maxFiles: number;
  readonly #options: JsonFileOptions;
  readonly #attributes: string;
  readonly #splitters: Record<LogStream, LineSplitter>;
  #queue: string[] = [];
  #queuedBytes = 0;
  #writing: Promise<void> | undefined;
  #room: Deferred<void> | undefined;
  #file: FileHandle | undefined;
  #sizeBytes = 0;
  #lost = 0;
  #generation = 0;
  #version = 0;
  #changed: Deferred<void> | undefined;
  #runs = false;
  #forwarder: Forwarder | undefined;
  #dropped = 0;

  constructor(options: JsonFileOptions) {
    this.#options = options;
    this.path = options.path;
    this.maxFiles = options.maxFiles;
    this.#splitters = { stdout: new LineSplitter(), stderr: new LineSplitter() };
    const attributes = Object.keys(options.attributes).length > 0;
    this.#attributes = attributes ? `"attrs":${JSON.stringify(options.attributes)},` : "";
  }

  /** How often files were rotated: file PATH.n is the one of generation `generation - n`. */
  get generation(): number {
    return this.#generation;
  }

  /** Changes whenever there is something new to read, or nothing more to come. */
  get version(): number {
    return this.#version;
  }

  /** True from `beginRun` to `endRun`: more may come. */
  get runs(): boolean {
    return this.#runs;
  }

  get attributes(): Readonly<Record<string, string>> {
    return this.#options.attributes;
  }

  /** Before a run; refuses when another receiver of the lines cannot be reached. */
  async connect(): Promise<void> {
    this.#forwarder?.close();
    this.#forwarder = await this.#options.openForwarder?.();
  }

  beginRun(): void {
    this.#runs = true;
  }

  /** Takes output in; a promise when the writer is behind, to be awaited before more is read. */
  write(stream: LogStream, chunk: Uint8Array): Promise<void> | undefined {
    const { dropBeyondBytes } = this.#options;
    for (const line of this.#splitters[stream].push(chunk)) {
      if (dropBeyondBytes !== undefined && this.#queuedBytes > dropBeyondBytes) this.#dropped += 1;
      else this.#append(stream, line);
    }
    if (dropBeyondBytes !== undefined) return undefined;
    if (this.#queuedBytes < QUEUE_MAX_BYTES) return undefined;
    this.#room ??= deferred();
    return this.#room.promise;
  }

  /**
   * The process has ended, or somebody else goes on reading it: unfinished lines are written as they
   * are, followers end.
   */
  async endRun(): Promise<void> {
    for (const stream of ["stdout", "stderr"] as const) {
      const rest = this.#splitters[stream].end();
      if (rest !== undefined) this.#append(stream, rest);
    }
    await this.flush();
    if (this.#lost > 0) {
      this.#options.log.warn("container output was lost", {
        path: this.path,
        lostLines: this.#lost,
      });
      this.#lost = 0;
    }
    this.#forwarder?.close();
    this.#forwarder = undefined;
    if (this.#dropped > 0) {
      this.#options.log.warn("container output was dropped, as its log mode says", {
        path: this.path,
        lines: this.#dropped,
      });
      this.#dropped = 0;
    }
    this.#runs = false;
    this.#bump();
    // Some file systems tell only now that they had no room; the run is over all the same.
    await this.#closeFile().catch((error: unknown) =>
      this.#options.log.error("container output may be lost", {
        path: this.path,
        reason: messageOf(error),
      }),
    );
  }

  /** Everything taken in so far is in the file. */
  async flush(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing;
  }

  /** Resolves when the version is not (any more) `seen`, or the signal is aborted. */
  async waitForChange(seen: number, signal: AbortSignal | undefined): Promise<void> {
    while (this.#version === seen) {
      if (signal?.aborted) return;
      this.#changed ??= deferred();
      const wake = this.#changed;
      const stop = () => wake.resolve();
      signal?.addEventListener("abort", stop, { once: true });
      await wake.promise;
      signal?.removeEventListener("abort", stop);
      if (this.#changed === wake) this.#changed = undefined;
    }
  }

  /** Removes the files; the log must not be running. */
  async remove(): Promise<void> {
    await this.flush();
    await this.#closeFile();
    for (let n = 0; n < this.maxFiles; n++) {
      await rm(this.filePath(n), { force: true });
      await rm(packedPath(this.filePath(n)), { force: true });
    }
  }

  /** The file that is `back` rotations old. */
  filePath(back: number): string {
    return back === 0 ? this.path : `${this.path}.${back}`;
  }

  #append(stream: LogStream, line: Uint8Array): void {
    const text = JSON.stringify(
      Buffer.from(line.buffer, line.byteOffset, line.length).toString("utf8"),
    );
    const timeNs = this.#options.nowNs();
    const time = formatNs(timeNs);
    this.#forward(stream, line, timeNs);
    const entry = `{"log":${text},"stream":"${stream}",${this.#attributes}"time":"${time}"}\n`;
    this.#queue.push(entry);
    this.#queuedBytes += entry.length;
    this.#writing ??= this.#drain();
  }

  #forward(stream: LogStream, line: Uint8Array, timeNs: bigint): void {
    if (this.#forwarder === undefined) return;
    const partial = line.at(-1) !== LINE_FEED;
    const bytes = partial ? line : line.subarray(0, -1);
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("utf8");
    this.#forwarder.send({ stream, timeNs, text, partial });
  }

  async #drain(): Promise<void> {
    // One turn later, so that the lines of one chunk are one write.
    await Promise.resolve();
    try {
      while (this.#queue.length > 0) await this.#writeBatch();
    } catch (error) {
      // Told once for each time that the writing stops, however much is lost until it goes on.
      if (this.#lost === 0) {
        this.#options.log.error("container output cannot be logged and is lost", {
          path: this.path,
          reason: messageOf(error),
        });
      }
      this.#lost += this.#queue.length;
      this.#queue = [];
      this.#queuedBytes = 0;
      await this.#closeFile().catch(() => undefined);
    } finally {
      this.#writing = undefined;
      this.#room?.resolve();
      this.#room = undefined;
    }
  }

  async #writeBatch(): Promise<void> {
    const file = await this.#openFile();
    const room = Math.min(BATCH_BYTES, this.#options.maxBytes - this.#sizeBytes);
    let count = 0;
    let characters = 0;
    // At least one line, however small the room: a file holds whole lines.
    while (count < this.#queue.length && (count === 0 || characters < room)) {
      characters += this.#queue[count]?.length ?? 0;
      count += 1;
    }
    const bytes = Buffer.from(this.#queue.slice(0, count).join(""));
    await this.#writeWhole(file, bytes);
    if (this.#lost > 0) this.#tellLoss();
    this.#queue.splice(0, count);
    this.#queuedBytes -= characters;
    this.#sizeBytes += bytes.length;
    if (this.#sizeBytes >= this.#options.maxBytes) await this.#rotate();
    this.#bump();
    if (this.#queuedBytes < QUEUE_MAX_BYTES) {
      this.#room?.resolve();
      this.#room = undefined;
    }
  }

  /** All of it or nothing: what follows half a line could not be read. */
  async #writeWhole(file: FileHandle, bytes: Buffer): Promise<void> {
    let offset = 0;
    try {
      while (offset < bytes.length) {
        const { bytesWritten } = await file.write(bytes, offset);
        offset += bytesWritten;
      }
    } catch (error) {
      if (offset > 0) await file.truncate(this.#sizeBytes);
      throw error;
    }
  }

  #tellLoss(): void {
    const { log } = this.#options;
    log.warn("container output is logged again", { path: this.path, lostLines: this.#lost });
    this.#lost = 0;
  }

  async #openFile(): Promise<FileHandle> {
    if (this.#file !== undefined) return this.#file;
    await mkdir(dirname(this.path), { recursive: true });
    const file = await open(this.path, "a+", 0o640);
    try {
      this.#sizeBytes = await wholeLines(file);
    } catch (error) {
      await file.close();
      throw error;
    }
    this.#file = file;
    return file;
  }

  async #closeFile(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
  }

  async #rotate(): Promise<void> {
    await this.#closeFile();
    const oldest = this.maxFiles - 1;
    await rm(this.filePath(oldest), { force: true });
    await rm(packedPath(this.filePath(oldest)), { force: true });
    for (let n = oldest - 1; n >= 0; n--) {
      await moveIfThere(this.filePath(n), this.filePath(n + 1));
      await moveIfThere(packedPath(this.filePath(n)), packedPath(this.filePath(n + 1)));
    }
    // Before anything more is written: one rotation at a time, whatever its size.
    if (this.#options.compress && oldest > 0) await this.#pack(this.filePath(1));
    this.#generation += 1;
    this.#sizeBytes = 0;
  }

  /** A file that cannot be packed is read as it is. */
  async #pack(path: string): Promise<void> {
    await packFile(path).catch((error: unknown) =>
      this.#options.log.warn("a rotated log stays unpacked", { path, reason: messageOf(error) }),
    );
  }

  #bump(): void {
    this.#version += 1;
    this.#changed?.resolve();
    this.#changed = undefined;
  }
}

/**
 * The file's size, once the line that a power cut or a full disk has cut off at its end is closed: the
 * next one would be lost with it.
 */
async function wholeLines(file: FileHandle): Promise<number> {
  const { size } = await file.stat();
  if (size === 0) return 0;
  const { buffer, bytesRead } = await file.read(Buffer.alloc(1), 0, 1, size - 1);
  if (bytesRead === 0 || buffer[0] === LINE_FEED) return size;
  await file.write("\n");
  return size + 1;
}

async function moveIfThere(from: string, to: string): Promise<void> {
  await rename(from, to).catch((error: unknown) => {
    if (!isMissing(error)) throw error;
  });
}

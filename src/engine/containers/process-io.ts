/**
 * The standard streams of one process (a container's first, or an exec's) through FIFOs that lie in
 * the run root: the shim holds their other ends, so that an engine that starts again opens them and
 * goes on reading. Output goes to sinks in order; while a sink is behind, the FIFO is not read, it
 * fills, and the process waits: nothing is dropped and nothing grows.
 */

import { mkdir, rm } from "node:fs/promises";
import type { Socket } from "node:net";
import { join } from "node:path";
import { deferred } from "#platform/async.ts";
import { ensureFifo, type FifoReader, openFifoReader, openFifoWriter } from "#platform/fifo.ts";
import type { ProcessPaths } from "./task-runtime.ts";

export type OutputStream = "stdout" | "stderr";

export interface OutputSink {
  /** Undefined when more may come at once, else resolves when it may. Must not throw. */
  write(stream: OutputStream, chunk: Uint8Array): Promise<void> | undefined;
}

export interface ProcessIoOptions {
  /** Folder of the FIFOs; made when missing. */
  readonly folder: string;
  /** Distinguishes processes in one folder; "" for the container's own. */
  readonly prefix: string;
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly terminal: boolean;
  readonly sink: OutputSink;
  /** Tells the shim to drop its own write end of stdin, so that the process sees the end. */
  readonly closeStdin: () => Promise<void>;
}

export class ProcessIo {
  readonly paths: ProcessPaths;
  readonly #options: ProcessIoOptions;
  readonly #readers: (FifoReader & { readonly stream: OutputStream })[] = [];
  readonly #ended = deferred();
  #open = 0;
  #stdin: Socket | undefined;
  #connected = false;
  #stdinClosed = false;

  private constructor(options: ProcessIoOptions) {
    this.#options = options;
    const path = (name: string, wanted: boolean) =>
      wanted ? join(options.folder, `${options.prefix}${name}`) : "";
    this.paths = {
      stdin: path("stdin", options.stdin),
      stdout: path("stdout", options.stdout),
      // A terminal has one output only.
      stderr: path("stderr", options.stderr && !options.terminal),
      terminal: options.terminal,
    };
  }

  /** Makes the FIFOs and listens, before the process is made. */
  static async create(options: ProcessIoOptions): Promise<ProcessIo> {
    await mkdir(options.folder, { recursive: true, mode: 0o700 });
    const io = new ProcessIo(options);
    for (const path of Object.values(io.paths)) {
      if (typeof path === "string" && path !== "") ensureFifo(path);
    }
    io.#listen(true);
    return io;
  }

  /** Takes up a process that has run on without us. Streams that are over end at once. */
  static async adopt(options: ProcessIoOptions): Promise<ProcessIo> {
    const io = new ProcessIo(options);
    await mkdir(options.folder, { recursive: true, mode: 0o700 });
    for (const path of [io.paths.stdin, io.paths.stdout, io.paths.stderr]) {
      // After a reboot the run root is empty; the process is gone too, then.
      if (path !== "") ensureFifo(path);
    }
    io.#listen(false);
    io.connected();
    return io;
  }

  /** Resolves when all output was read and handed to the sink. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** The shim has opened its ends. */
  connected(): void {
    this.#connected = true;
    for (const reader of this.#readers) reader.release();
    if (this.paths.stdin === "" || this.#stdinClosed) return;
    try {
      this.#stdin = openFifoWriter(this.paths.stdin);
      this.#stdin.on("error", () => this.#stdin?.destroy());
    } catch {
      // Nobody reads it any more: the process has closed its input, or has ended.
      this.#stdinClosed = true;
    }
  }

  /** Input for the process; resolves when more may come. Dropped when it takes none. */
  async writeStdin(chunk: Uint8Array): Promise<void> {
    const stdin = this.#stdin;
    if (stdin === undefined || stdin.destroyed) return;
    if (stdin.write(chunk)) return;
    const done = deferred();
    const wake = () => done.resolve();
    stdin.once("drain", wake);
    stdin.once("close", wake);
    await done.promise;
    stdin.off("drain", wake);
    stdin.off("close", wake);
  }

  /** The process sees the end of its input, after what was written before. */
  async endStdin(): Promise<void> {
    if (this.paths.stdin === "" || this.#stdinClosed) return;
    this.#stdinClosed = true;
    const stdin = this.#stdin;
    if (stdin !== undefined && !stdin.destroyed) {
      const closed = deferred();
      stdin.once("close", () => closed.resolve());
      stdin.end(() => stdin.destroy());
      await closed.promise;
    }
    if (this.#connected) await this.#options.closeStdin();
  }

  /** Ends reading at once, and gives the descriptors back; what was read is handed on. */
  close(): void {
    this.#stdinClosed = true;
    this.#stdin?.destroy();
    for (const { socket, stream } of this.#readers) {
      socket.removeAllListeners("data");
      socket.pause();
      const rest = socket.read() as Buffer | null;
      if (rest !== null) void this.#options.sink.write(stream, rest);
      socket.destroy();
    }
    if (this.#open === 0) this.#ended.resolve();
  }

  /** Closes, and removes the FIFOs: the process is gone. */
  async remove(): Promise<void> {
    this.close();
    const { stdin, stdout, stderr } = this.paths;
    for (const path of [stdin, stdout, stderr]) {
      if (path !== "") await rm(path, { force: true });
    }
  }

  #listen(awaitWriter: boolean): void {
    const streams = [
      ["stdout", this.paths.stdout],
      ["stderr", this.paths.stderr],
    ] as const;
    for (const [stream, path] of streams) {
      if (path === "") continue;
      const reader = openFifoReader(path, awaitWriter);
      this.#readers.push({ ...reader, stream });
      this.#open += 1;
      this.#pump(stream, reader.socket);
    }
    if (this.#open === 0) this.#ended.resolve();
  }

  #pump(stream: OutputStream, socket: Socket): void {
    let waiting: Promise<void> = Promise.resolve();
    socket.on("data", (chunk: Buffer) => {
      const behind = this.#options.sink.write(stream, chunk);
      if (behind === undefined) return;
      socket.pause();
      waiting = behind.finally(() => socket.resume());
    });
    socket.on("error", () => socket.destroy());
    socket.once("close", () => {
      void waiting.finally(() => {
        this.#open -= 1;
        if (this.#open === 0) this.#ended.resolve();
      });
    });
  }
}

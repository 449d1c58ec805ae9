/**
 * nftables: a script is one transaction, applied whole or not at all. In the process through
 * libnftables (about 1 ms), else by `nft -f -` (about 7 ms). A handle belongs to the namespace it
 * was opened in, whoever calls it. Interface names in scripts must be matched by `iifname` and
 * `oifname`: indexes would be looked up in the namespace of the caller.
 */

import { closeSync, openSync } from "node:fs";
import koffi from "koffi";
import { EngineError } from "#base/error.ts";
import { Semaphore } from "../async.ts";
import { runInNetnsOrHere } from "../netns/netns.ts";
import { runCommand } from "./command.ts";

export interface Nft {
  /** Applies a script; `internal` with nft's own words when it is refused. */
  run(script: string): Promise<void>;
  /** The objects that a listing command ("list table ip skep") shows, as nft's JSON. */
  list(command: string): Promise<readonly NftObject[]>;
  /** True when scripts run inside the process. */
  readonly inProcess: boolean;
  close(): void;
}

/** One entry of nft's JSON: { table: … }, { chain: … }, { rule: … }, { set: … }, { map: … }. */
export type NftObject = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

const JSON_OUTPUT = 1 << 4;

interface AsyncFunction {
  async(
    context: unknown,
    script: string,
    done: (error: Error | null, status: number) => void,
  ): void;
}

interface Library {
  create(flags: number): unknown;
  free(context: unknown): void;
  bufferOutput(context: unknown): number;
  bufferError(context: unknown): number;
  setFlags(context: unknown, flags: number): void;
  run: AsyncFunction;
  output(context: unknown): string | null;
  error(context: unknown): string | null;
}

let library: Library | "absent" | undefined;

function loadLibrary(): Library | undefined {
  if (library === undefined) {
    try {
      library = bindLibrary();
    } catch {
      library = "absent";
    }
  }
  return library === "absent" ? undefined : library;
}

function bindLibrary(): Library {
  const lib = koffi.load("libnftables.so.1");
  return {
    create: lib.func("void *nft_ctx_new(uint32_t flags)") as Library["create"],
    free: lib.func("void nft_ctx_free(void *ctx)") as Library["free"],
    bufferOutput: lib.func("int nft_ctx_buffer_output(void *ctx)") as Library["bufferOutput"],
    bufferError: lib.func("int nft_ctx_buffer_error(void *ctx)") as Library["bufferError"],
    setFlags: lib.func(
      "void nft_ctx_output_set_flags(void *ctx, unsigned int flags)",
    ) as Library["setFlags"],
    run: lib.func("int nft_run_cmd_from_buffer(void *ctx, const char *buf)") as AsyncFunction,
    output: lib.func("const char *nft_ctx_get_output_buffer(void *ctx)") as Library["output"],
    error: lib.func("const char *nft_ctx_get_error_buffer(void *ctx)") as Library["error"],
  };
}

/** A handle on the namespace at `netns`, or on the engine's own. */
export function openNft(options: { netns?: string; forceProgram?: boolean } = {}): Nft {
  const loaded = options.forceProgram === true || !hasLowNumbers() ? undefined : loadLibrary();
  return loaded === undefined ? new NftProgram(options.netns) : new NftLibrary(loaded, options);
}

/**
 * libnftables waits for its socket with `select`, and ends the process when the number of the socket
 * is 1024 or more. With room for what other threads open in this moment.
 */
const LOW_NUMBERS = 960;

function hasLowNumbers(): boolean {
  const next = openSync("/dev/null", "r");
  closeSync(next);
  return next < LOW_NUMBERS;
}

/** libnftables keeps caches in globals: one call at a time in the whole process. */
const turn = new Semaphore(1);

class NftLibrary implements Nft {
  readonly inProcess = true;
  readonly #lib: Library;
  #context: unknown;

  constructor(lib: Library, options: { netns?: string }) {
    this.#lib = lib;
    // The context opens its netlink socket here, and the socket keeps the namespace.
    const context = runInNetnsOrHere(options.netns, () => lib.create(0));
    if (context === null) throw new EngineError("internal", "libnftables gave no context");
    lib.bufferOutput(context);
    lib.bufferError(context);
    this.#context = context;
  }

  async run(script: string): Promise<void> {
    await this.#call(script, 0);
  }

  async list(command: string): Promise<readonly NftObject[]> {
    return parseListing(await this.#call(command, JSON_OUTPUT));
  }

  close(): void {
    const context = this.#context;
    this.#context = undefined;
    if (context === undefined) return;
    // After the call under way: freeing beneath it would take the process down.
    void turn.run(() => Promise.resolve(this.#lib.free(context)));
  }

  #call(script: string, flags: number): Promise<string> {
    return turn.run(async () => {
      const context = this.#context;
      if (context === undefined) throw new EngineError("cancelled", "the nft handle is closed");
      this.#lib.setFlags(context, flags);
      const status = await callAsync(this.#lib.run, context, script);
      // Reading a buffer also empties it for the next call.
      const output = this.#lib.output(context) ?? "";
      const error = this.#lib.error(context) ?? "";
      if (status !== 0) throw refused(error);
      return output;
    });
  }
}

/** On a pool thread: a transaction that makes a base chain waits some 20 ms for the kernel. */
function callAsync(fn: AsyncFunction, context: unknown, script: string): Promise<number> {
  return new Promise((resolve, reject) => {
    fn.async(context, script, (error: Error | null, status: number) => {
      if (error) reject(error);
      else resolve(status);
    });
  });
}

class NftProgram implements Nft {
  readonly inProcess = false;
  readonly #netns: string | undefined;

  constructor(netns: string | undefined) {
    this.#netns = netns;
  }

  async run(script: string): Promise<void> {
    try {
      await runCommand("nft", ["-f", "-"], { input: script, netns: this.#netns });
    } catch (error) {
      throw EngineError.from(error, "internal");
    }
  }

  async list(command: string): Promise<readonly NftObject[]> {
    return parseListing(
      await runCommand("nft", ["-j", ...command.split(" ")], { netns: this.#netns }),
    );
  }

  close(): void {}
}

function parseListing(text: string): readonly NftObject[] {
  if (text.trim() === "") return [];
  const { nftables } = JSON.parse(text) as { nftables: NftObject[] };
  return nftables.filter((entry) => !("metainfo" in entry));
}

function refused(error: string): EngineError {
  const absent = error.includes("No such file or directory");
  return new EngineError(absent ? "not-found" : "internal", `nftables: ${error.trim()}`);
}

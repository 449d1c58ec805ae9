/**
 * Short-lived helper programs (`ip`, `nft`): input on stdin, bounded output, an `EngineError` with
 * what the program wrote when it fails. A process can be born in another network namespace.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { EngineError, messageOf } from "#base/error.ts";
import { isMissing } from "../missing.ts";
import { runInNetnsOrHere } from "../netns/netns.ts";

export interface CommandOptions {
  readonly input?: string | undefined;
  /** Path of the namespace that the process starts in. */
  readonly netns?: string | undefined;
  readonly timeoutMs?: number | undefined;
}

const OUTPUT_MAX_BYTES = 64 * 1024 * 1024;
const TIMEOUT_MS = 30_000;
const PATH_TAIL = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Runs a program to its end; resolves to its standard output. */
export function runCommand(
  program: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    let child: ChildProcess;
    try {
      child = runInNetnsOrHere(options.netns, () => start(program, args, options));
    } catch (error) {
      reject(error);
      return;
    }
    let size = 0;
    const output: Buffer[] = [];
    const errors: Buffer[] = [];
    const collect = (into: Buffer[]) => (chunk: Buffer) => {
      size += chunk.length;
      if (size <= OUTPUT_MAX_BYTES) into.push(chunk);
      else child.kill("SIGKILL");
    };
    child.stdout?.on("data", collect(output));
    child.stderr?.on("data", collect(errors));
    child.on("error", (error) => reject(startError(program, error)));
    child.on("close", (code, signal) => {
      if (code === 0) return resolve(Buffer.concat(output).toString("utf8"));
      const text = Buffer.concat(errors).toString("utf8").trim();
      const end = code === null ? `was ended by ${String(signal)}` : `exited with ${code}`;
      reject(new EngineError("internal", `${program} ${end}: ${text}`));
    });
    // The program may end without reading: its exit status tells why, not our broken pipe.
    child.stdin?.on("error", () => undefined);
    child.stdin?.end(options.input ?? "");
  });
}

function start(program: string, args: readonly string[], options: CommandOptions): ChildProcess {
  return spawn(program, args, {
    stdio: ["pipe", "pipe", "pipe"],
    timeout: options.timeoutMs ?? TIMEOUT_MS,
    killSignal: "SIGKILL",
    env: { PATH: `${process.env["PATH"] ?? ""}:${PATH_TAIL}`, LC_ALL: "C" },
  });
}

function startError(program: string, error: Error): EngineError {
  const missing = isMissing(error);
  return new EngineError(
    "failed-precondition",
    missing ? `the program "${program}" is not installed` : messageOf(error),
    { cause: error },
  );
}

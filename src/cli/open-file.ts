/** Files that a command reads or writes: a mistake is told before anything is sent, in Go's words. */

import { createReadStream, createWriteStream } from "node:fs";
import { realpath, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { EngineError } from "#base/error.ts";

/** A problem of the operating system's, as Go tells it: "open /x: no such file or directory". */
export function fileError(verb: string, path: string, error: unknown): EngineError {
  const { code, message } = error as NodeJS.ErrnoException;
  const why = WORDS[code ?? ""] ?? message;
  return new EngineError("invalid-argument", `${verb} ${path}: ${why}`, { cause: error });
}

const WORDS: Readonly<Record<string, string>> = {
  EACCES: "permission denied",
  EISDIR: "is a directory",
  ENOENT: "no such file or directory",
  ENOTDIR: "not a directory",
  EPERM: "operation not permitted",
};

export async function openForRead(path: string): Promise<Readable> {
  // A folder can be opened; only reading it fails.
  const found = await stat(path).catch(() => undefined);
  if (found?.isDirectory() === true) {
    throw fileError("read", path, Object.assign(new Error(), { code: "EISDIR" }));
  }
  const stream = createReadStream(path);
  await opened(stream, path);
  return stream;
}

/** Throws when a file cannot come to be there. `what` is for the message: "save image". */
export async function checkOutput(path: string, what: string): Promise<void> {
  const folder = dirname(path);
  const found = await stat(folder).catch(() => undefined);
  if (found?.isDirectory() === true) return;
  throw new EngineError(
    "invalid-argument",
    `failed to ${what}: invalid output path: stat ${folder}: no such file or directory`,
  );
}

/**
 * Writes a file that is there whole or not at all: what was there before stays until the last byte has
 * come. What is no file (a pipe, a device) is written to as it is.
 */
export async function writeWhole(path: string, content: Readable): Promise<void> {
  const found = await stat(path).catch(() => undefined);
  if (found !== undefined && !found.isFile()) {
    const stream = createWriteStream(path);
    await opened(stream, path);
    await pipeline(content, stream);
    return;
  }
  const target = found === undefined ? path : await realpath(path);
  const unfinished = join(dirname(target), `.tmp-${basename(target)}-${process.pid}`);
  try {
    const stream = createWriteStream(unfinished, { mode: 0o600, flush: true });
    await opened(stream, path);
    await pipeline(content, stream);
    await rename(unfinished, target);
  } catch (error) {
    await rm(unfinished, { force: true });
    throw error;
  }
}

function opened(stream: Readable | Writable, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.once("open", () => resolve());
    stream.once("error", (error) => reject(fileError("open", path, error)));
  });
}

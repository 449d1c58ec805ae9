/** The body of an archive upload, unpacked where the client packed it. */

import { spawn } from "node:child_process";
import { PassThrough, Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { EngineError } from "#base/error.ts";

const MAGIC: readonly (readonly [program: string, magic: readonly number[]])[] = [
  ["gzip", [0x1f, 0x8b]],
  ["zstd", [0x28, 0xb5, 0x2f, 0xfd]],
  ["xz", [0xfd, 0x37, 0x7a, 0x58, 0x5a]],
  ["bzip2", [0x42, 0x5a, 0x68]],
];
const MAGIC_BYTES = 5;

/** gzip is undone here, the rest by the host's own programs where it has them. */
export async function plainBody(body: Readable): Promise<Readable> {
  // Leaving it must not cut the connection: the client has not been answered yet.
  const iterator = body.iterator({ destroyOnReturn: false }) as AsyncIterator<Uint8Array>;
  const held: Uint8Array[] = [];
  let size = 0;
  while (size < MAGIC_BYTES) {
    const next = await iterator.next();
    if (next.done) break;
    held.push(next.value);
    size += next.value.length;
  }
  async function* replay(): AsyncGenerator<Uint8Array> {
    yield* held;
    yield* { [Symbol.asyncIterator]: () => iterator };
  }
  const head = Buffer.concat(held);
  const found = MAGIC.find(([, magic]) => magic.every((byte, at) => head[at] === byte));
  const source = Readable.from(replay(), { objectMode: false });
  if (found === undefined) return source;
  const [program] = found;
  return program === "gzip" ? through(source, createGunzip()) : unpackBy(program, source);
}

function through(source: Readable, stage: NodeJS.ReadWriteStream): Readable {
  const out = new PassThrough();
  pipeline(source, stage, out).catch((error: Error) => out.destroy(error));
  return out;
}

function unpackBy(program: string, source: Readable): Readable {
  const out = new PassThrough();
  const child = spawn(program, ["-dc"], { stdio: ["pipe", "pipe", "ignore"] });
  child.on("error", () =>
    out.destroy(
      new EngineError(
        "failed-precondition",
        `the archive is packed with ${program}, which is not installed`,
      ),
    ),
  );
  pipeline(source, child.stdin).catch(() => child.kill());
  pipeline(child.stdout, out).catch((error: Error) => out.destroy(error));
  return out;
}

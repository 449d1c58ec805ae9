/** `context export` and `context import`. */

import { createReadStream } from "node:fs";
import { writeFile } from "node:fs/promises";
import type { Readable } from "node:stream";
import { EngineError } from "#base/error.ts";
import type { CommandContext } from "../command.ts";
import { DEFAULT_CONTEXT } from "../connect/endpoint.ts";
import { ARCHIVE_MAX_BYTES, packContext, unpackContext } from "./archive.ts";
import { describe } from "./show.ts";
import { reasonOf } from "./spec.ts";
import { ContextStore, checkContextName } from "./store.ts";

export async function exportContext(context: CommandContext): Promise<number> {
  const { args, stdout, stderr } = context;
  const [name = "", target = `${name}.dockercontext`] = args;
  if (name !== DEFAULT_CONTEXT) checkContextName(name);
  const archive = await packContext(describe(context, name));
  if (target === "-") {
    if (stdout.isTTY === true) {
      throw new EngineError(
        "invalid-argument",
        "cowardly refusing to export to a terminal, specify a file path",
      );
    }
    stdout.write(archive);
    return 0;
  }
  try {
    await writeFile(target, archive, { flag: "wx", mode: 0o600 });
  } catch (error) {
    const why =
      (error as NodeJS.ErrnoException).code === "EEXIST" ? "file exists" : reasonOf(error);
    throw new EngineError("invalid-argument", `open ${target}: ${why}`);
  }
  stderr.write(`Written file ${JSON.stringify(target)}\n`);
  return 0;
}

export async function importContext(context: CommandContext): Promise<number> {
  const { args, env, stdin } = context;
  const [name = "", source = "-"] = args;
  const store = new ContextStore(env);
  store.checkNew(name);
  const { meta, tls } = await unpackContext(
    await archiveFrom(source, source === "-" ? stdin : createReadStream(source)),
  );
  await store.put({ ...meta, Name: name }, tls);
  return told(context, name, "imported");
}

async function archiveFrom(source: string, stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let total = 0;
  try {
    for await (const chunk of stream) {
      total += (chunk as Buffer).length;
      if (total > ARCHIVE_MAX_BYTES) break;
      chunks.push(chunk as Buffer);
    }
  } catch (error) {
    throw new EngineError("invalid-argument", `open ${source}: ${reasonOf(error)}`);
  }
  if (total > ARCHIVE_MAX_BYTES) {
    throw new EngineError("invalid-argument", "read exceeds the defined limit");
  }
  return Buffer.concat(chunks);
}

export function told({ stdout, stderr }: CommandContext, name: string, done: string): number {
  stdout.write(`${name}\n`);
  stderr.write(`Successfully ${done} context ${JSON.stringify(name)}\n`);
  return 0;
}

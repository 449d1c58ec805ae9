/** Pulling with progress: one redrawn line per layer on a terminal, plain lines elsewhere. */

import type { Readable } from "node:stream";
import { EngineError } from "#base/error.ts";
import { parseReference } from "#wire/reference.ts";
import type { CommandContext } from "../command.ts";
import { jsonLines } from "../http.ts";

export interface Progress {
  readonly id?: string;
  readonly status?: string;
  readonly stream?: string;
  readonly progress?: string;
  readonly error?: string;
  readonly errorDetail?: { readonly message: string };
}

export interface PullOptions {
  readonly allTags?: boolean;
  readonly platform?: string | undefined;
  readonly quiet?: boolean;
  /** Says that a tag was assumed. */
  readonly tells?: boolean;
}

export async function pullImage(
  context: CommandContext,
  image: string,
  { allTags = false, platform, quiet = false, tells = false }: PullOptions = {},
): Promise<void> {
  const tag = allTags || hasTag(image) ? undefined : "latest";
  if (tag !== undefined && tells && !quiet) context.stdout.write(`Using default tag: ${tag}\n`);
  const { authHeader, registryAuth } = await import("../stack/registry.ts");
  const body = await context.client.stream("POST", "/images/create", {
    query: { fromImage: image, tag, platform },
    headers: authHeader(await registryAuth(context, image)),
  });
  await showProgress(context, body, quiet);
}

/** Throws for a name that no image can have; `explains` as `tag` does. */
export function checkReference(image: string, explains = false): void {
  const parsed = parseReference(image);
  // What is only an id is one to the engine.
  if (parsed.ok || /^[0-9a-f]{64}$/.test(image)) return;
  const prefix = explains
    ? `Error parsing reference: ${JSON.stringify(image)} is not a valid repository/tag: `
    : "";
  throw new EngineError("invalid-argument", `${prefix}${parsed.error}`);
}

function hasTag(image: string): boolean {
  return image.includes("@") || /:[^/]+$/.test(image);
}

/** Shows a stream of progress messages; an error in it is thrown. */
export async function showProgress(
  context: CommandContext,
  body: Readable,
  quiet = false,
): Promise<void> {
  const { stdout } = context;
  const lines: string[] = [];
  for await (const message of jsonLines<Progress>(body)) {
    if (message.error !== undefined) {
      throw new EngineError("unknown", message.errorDetail?.message ?? message.error);
    }
    if (quiet) continue;
    if (message.stream !== undefined) stdout.write(message.stream);
    else if (message.id === undefined) {
      // Messages for programs have neither.
      if (message.status !== undefined) stdout.write(`${message.status}\n`);
    } else if (stdout.isTTY === true) redraw(stdout, lines, message);
    else if (message.progress === undefined)
      stdout.write(`${message.id}: ${message.status ?? ""}\n`);
  }
}

function redraw(stdout: CommandContext["stdout"], lines: string[], message: Progress): void {
  const id = message.id ?? "";
  if (!lines.includes(id)) {
    lines.push(id);
    stdout.write("\n");
  }
  const up = lines.length - lines.indexOf(id);
  const text = `${id}: ${message.status ?? ""} ${message.progress ?? ""}`;
  stdout.write(`\x1b[${up}A\x1b[2K\r${text.slice(0, stdout.columns ?? 80)}\x1b[${up}B\r`);
}

/** Pulling with progress: one redrawn line per layer on a terminal, plain lines elsewhere. */

import type { Readable } from "node:stream";
import { EngineError } from "#base/error.ts";
import { parseReference } from "#wire/reference.ts";
import type { CommandContext } from "../command.ts";
import { jsonLines } from "../http.ts";
import { humanSize, SUM_DIGITS } from "../output/units.ts";

export interface Progress {
  readonly id?: string;
  readonly status?: string;
  readonly stream?: string;
  readonly progress?: string;
  /** Of what can be drawn anew; empty while there is nothing to count. */
  readonly progressDetail?: { readonly current?: number; readonly total?: number };
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
  const screen = stdout.isTTY === true ? new ProgressLines(stdout.columns ?? 80) : undefined;
  for await (const message of jsonLines<Progress>(body)) {
    if (message.error !== undefined) {
      throw new EngineError("unknown", message.errorDetail?.message ?? message.error);
    }
    if (quiet) continue;
    const { id, status = "", stream, progress, progressDetail } = message;
    if (screen !== undefined && id !== undefined && progressDetail !== undefined) {
      stdout.write(screen.draw(id, status, progressDetail));
      continue;
    }
    if (progress !== undefined) continue;
    // What was drawn before this line has scrolled away from where it was.
    screen?.forget();
    if (stream !== undefined) stdout.write(stream);
    // Messages for programs have neither.
    else if (message.status !== undefined) {
      stdout.write(`${id === undefined ? "" : `${id}: `}${status}\n`);
    }
  }
}

/** Narrower terminals show numbers alone, as docker does. */
const BAR_MIN_COLUMNS = 110;
const BAR_CELLS = 50;

/** Lines of a terminal that are drawn anew, one of each id. */
export class ProgressLines {
  readonly #columns: number;
  #ids: string[] = [];

  constructor(columns: number) {
    this.#columns = columns;
  }

  /** The ids after this have lines of their own. */
  forget(): void {
    this.#ids = [];
  }

  /** What makes the line of an id show this. */
  draw(id: string, status: string, detail: NonNullable<Progress["progressDetail"]>): string {
    const fresh = !this.#ids.includes(id);
    if (fresh) this.#ids.push(id);
    const up = this.#ids.length - this.#ids.indexOf(id);
    const text = `${id}: ${status} ${shownProgress(detail, this.#columns)}`;
    const line = text.slice(0, this.#columns);
    return `${fresh ? "\n" : ""}\x1b[${up}A\x1b[2K\r${line}\r\x1b[${up}B`;
  }
}

function shownProgress(
  { current = 0, total = 0 }: NonNullable<Progress["progressDetail"]>,
  columns: number,
): string {
  if (current <= 0 && total <= 0) return "";
  const done = humanSize(current, SUM_DIGITS).padStart(8);
  if (total <= 0 || current > total) return done;
  const numbers = `${done}/${humanSize(total, SUM_DIGITS)}`;
  if (columns <= BAR_MIN_COLUMNS) return numbers;
  const filled = Math.floor((current / total) * BAR_CELLS);
  return `[${"=".repeat(filled)}>${" ".repeat(BAR_CELLS - filled)}] ${numbers}`;
}

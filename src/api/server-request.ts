/**
 * An HTTP request as the routes see it: version and parameters parsed, the query read Docker's way,
 * the body bounded.
 */

import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import { EngineError } from "#base/error.ts";
import { API_BODY_MAX_BYTES } from "#base/limits.ts";
import { parseGoJson } from "./go-json.ts";
import type { ApiRequest, ApiVersion } from "./route.ts";

export interface RequestParts {
  readonly version: ApiVersion;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly params: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

export interface IncomingRequest {
  readonly request: ApiRequest;
  /** Takes the body from whoever read it: they hold up what is left no more. */
  dropBody(): void;
}

export function createApiRequest(message: IncomingMessage, parts: RequestParts): IncomingRequest {
  const { version, path, query, params, signal } = parts;
  let body: Readable | undefined;
  const request: ApiRequest = {
    method: message.method ?? "GET",
    path,
    version,
    atLeast: (minor) => version.major > 1 || version.minor >= minor,
    params,
    query,
    flag: (name) => parseFlag(query.get(name)),
    filters: () => parseFilters(query.get("filters")),
    header: (name) => {
      const value = message.headers[name.toLowerCase()];
      return Array.isArray(value) ? value[0] : value;
    },
    json: async <T>() => (await readJson(message)) as T | undefined,
    get body() {
      return (body ??= bodyOf(message));
    },
    signal,
  };
  return { request, dropBody: () => void body?.destroy() };
}

/**
 * The body apart from its connection: a route that fails in the middle destroys what it reads, and the
 * client shall be told why it failed.
 */
function bodyOf(message: IncomingMessage): Readable {
  const body = new Readable({
    read: () => void message.resume(),
    destroy: (error, done) => {
      message.off("data", take).off("end", end).off("error", broken).off("close", gone);
      // Not paused: what is left is dropped, by whoever answers.
      done(error);
    },
  });
  const take = (chunk: Buffer) => {
    if (!body.push(chunk)) message.pause();
  };
  const end = () => body.push(null);
  const broken = (error: Error) => body.destroy(error);
  const gone = () => {
    if (!message.complete) broken(new EngineError("cancelled", "the client went away"));
  };
  // Whoever has read enough does not listen any more.
  body.on("error", () => undefined);
  message.pause();
  message.on("data", take).on("end", end).on("error", broken).on("close", gone);
  return body;
}

const FALSE_TEXTS: ReadonlySet<string> = new Set(["", "0", "no", "false", "none"]);

export function parseFlag(value: string | null): boolean {
  return value !== null && !FALSE_TEXTS.has(value.trim().toLowerCase());
}

/** `{"key":["a","b"]}`, or `{"key":{"a":true}}` as clients up to API 1.22 and Go's own send it. */
export function parseFilters(text: string | null): ReadonlyMap<string, readonly string[]> {
  const filters = new Map<string, readonly string[]>();
  if (text === null || text === "") return filters;
  const refuse = () => new EngineError("invalid-argument", "invalid filter");
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw refuse();
  }
  if (value === null) return filters;
  if (typeof value !== "object" || Array.isArray(value)) throw refuse();
  for (const [key, accepted] of Object.entries(value)) {
    if (Array.isArray(accepted) && accepted.every((item) => typeof item === "string")) {
      filters.set(key, accepted);
    } else if (typeof accepted === "object" && accepted !== null && !Array.isArray(accepted)) {
      const on = Object.entries(accepted as Record<string, unknown>).filter(([, set]) => set);
      filters.set(
        key,
        on.map(([item]) => item),
      );
    } else if (accepted !== null) throw refuse();
  }
  return filters;
}

async function readJson(message: IncomingMessage): Promise<unknown> {
  const declared = Number(message.headers["content-length"] ?? 0);
  if (declared > API_BODY_MAX_BYTES) throw tooLarge();
  const chunks: Buffer[] = [];
  let total = 0;
  for await (const chunk of message as AsyncIterable<Buffer>) {
    total += chunk.length;
    if (total > API_BODY_MAX_BYTES) throw tooLarge();
    chunks.push(chunk);
  }
  if (total === 0) return undefined;
  const contentType = message.headers["content-type"];
  const mediaType = contentType?.split(";", 1)[0]?.trim().toLowerCase();
  if (mediaType !== undefined && mediaType !== "" && mediaType !== "application/json") {
    throw new EngineError(
      "invalid-argument",
      `unsupported Content-Type header (${mediaType}): must be 'application/json'`,
    );
  }
  return parseGoJson(Buffer.concat(chunks).toString("utf8"));
}

function tooLarge(): EngineError {
  return new EngineError(
    "invalid-argument",
    `the request body is larger than ${API_BODY_MAX_BYTES} bytes`,
  );
}

/**
 * The command line's side of the Engine API: JSON calls, streamed bodies, and hijacked connections for
 * attach and exec, in the newest version that both know. Answers that are not 2xx become EngineErrors
 * with the daemon's message.
 */

import { Agent, request as httpRequest, type IncomingMessage } from "node:http";
import type { Duplex, Readable } from "node:stream";
import { EngineError, type ErrorCode, messageOf } from "#base/error.ts";
import { readConfigFile } from "./config-file.ts";
import { type Dialer, dialerOf } from "./connect/dial.ts";
import { DEFAULT_HOST, type Endpoint } from "./connect/endpoint.ts";
import { type Answer, exchange } from "./connect/exchange.ts";

export const CLI_API_VERSION = "1.51";

/** A list is one parameter for each of its items. */
export type Query = Readonly<
  Record<string, string | number | boolean | readonly string[] | undefined>
>;

export interface CallOptions {
  readonly query?: Query;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

export interface Hijacked {
  readonly socket: Duplex;
  /** Bytes of the stream that came with the answer. */
  readonly head: Buffer;
  /** "application/vnd.docker.raw-stream" for a TTY, multiplexed otherwise. */
  readonly contentType: string;
}

export interface ApiClient {
  get<T>(path: string, query?: Query): Promise<T>;
  post<T>(path: string, body?: unknown, options?: CallOptions): Promise<T>;
  delete<T>(path: string, query?: Query): Promise<T>;
  /** The answer's body as it comes; the caller reads or destroys it. */
  stream(
    method: string,
    path: string,
    options?: CallOptions & { raw?: Readable },
  ): Promise<IncomingMessage>;
  hijack(path: string, options?: CallOptions): Promise<Hijacked>;
  /** A bare connection, on which nothing is said yet. */
  dial(): Promise<Duplex>;
  /** Throws when the engine is older than what a flag asks of it: it would do as if nothing was said. */
  requireVersion(flag: string, since: string): Promise<void>;
  /** What is spoken with the engine; our own newest while none has been reached. */
  version(): Promise<string>;
}

/** How requests reach an engine. */
interface Target {
  readonly address: string;
  readonly dialer: Dialer;
  readonly agent: Agent | undefined;
  /** Of the API; lowered once, to what an older engine has. */
  version: string;
  /** False: the user has fixed the version, or it has been lowered. */
  mayLower: boolean;
  /** That the user wants with every request. */
  readonly headers: Readonly<Record<string, string>>;
}

/** Finds the engine with the first call; nothing is asked or sent before. */
export function createClient(
  find: () => Endpoint | Promise<Endpoint>,
  env: NodeJS.ProcessEnv,
): ApiClient {
  let target: Promise<Target> | undefined;
  const reach = () => {
    target ??= Promise.resolve(find()).then((endpoint) => targetOf(endpoint, env));
    return target;
  };
  const open = async (
    method: string,
    path: string,
    options: CallOptions & { readonly raw?: Readable } = {},
  ) => {
    const found = await reach();
    // What is streamed can be sent only once.
    if (options.raw !== undefined) await agreeOnVersion(found);
    return withVersion(found, () => send(found, method, path, options));
  };
  const call = async <T>(method: string, path: string, options: CallOptions = {}): Promise<T> => {
    const found = await reach();
    const text = found.dialer.cheap
      ? await withVersion(found, () => ask(found, method, path, options))
      : await readAll(await open(method, path, options));
    return (text === "" ? undefined : JSON.parse(text)) as T;
  };
  return {
    get: (path, query) => call("GET", path, query === undefined ? {} : { query }),
    post: (path, body, options) =>
      call("POST", path, body === undefined ? options : { ...options, body }),
    delete: (path, query) => call("DELETE", path, query === undefined ? {} : { query }),
    stream: open,
    hijack: async (path, options = {}) => {
      const found = await reach();
      return withVersion(found, () => upgrade(found, path, options));
    },
    dial: async () => (await reach()).dialer.dial(),
    version: async () => (await reach()).version,
    requireVersion: async (flag, since) => {
      const found = await reach();
      await agreeOnVersion(found);
      if (minor(found.version) >= minor(since)) return;
      throw new EngineError(
        "invalid-argument",
        `"--${flag}" requires API version ${since}, but the Docker daemon API version is ${found.version}`,
      );
    },
  };
}

async function targetOf(endpoint: Endpoint, env: NodeJS.ProcessEnv): Promise<Target> {
  const dialer = await dialerOf(endpoint);
  const given = env.DOCKER_API_VERSION ?? "";
  return {
    address: endpoint.host,
    dialer,
    agent: dialer.cheap ? undefined : keepingAgent(dialer),
    version: given === "" ? CLI_API_VERSION : given,
    mayLower: given === "",
    headers: readConfigFile(env).HttpHeaders ?? {},
  };
}

/** Node's pool, for connections that take long to make. */
function keepingAgent(dialer: Dialer): Agent {
  return Object.assign(new Agent({ keepAlive: true }), { createConnection: () => dialer.dial() });
}

/** All that there are begin with 1. */
function minor(version: string): number {
  return Number(version.split(".")[1]);
}

const TOO_NEW = /is too new\. Maximum supported API version is (\d+\.\d+)/;

/** Asks again as an older client when the engine is older than we are. */
async function withVersion<T>(target: Target, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    const supported = TOO_NEW.exec(messageOf(error))?.[1];
    if (supported === undefined || !target.mayLower) throw error;
    target.version = supported;
    target.mayLower = false;
    return ask();
  }
}

async function agreeOnVersion(target: Target): Promise<void> {
  if (!target.mayLower || target.address === DEFAULT_HOST) return;
  (await withVersion(target, () => send(target, "GET", "/_ping", {}))).resume();
  target.mayLower = false;
}

/** A local socket's connections are made for each request: a pool costs more to set up than it saves. */
function connectionOf({ agent, dialer }: Target) {
  return agent === undefined ? { createConnection: () => dialer.dial() } : { agent };
}

function pathWithQuery(
  { version }: Pick<Target, "version">,
  path: string,
  query: Query | undefined,
): string {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(query ?? {})) {
    if (value === undefined || value === false || value === "") continue;
    if (typeof value === "object") for (const item of value) search.append(key, item);
    else search.set(key, value === true ? "1" : String(value));
  }
  const text = search.toString();
  // What users call things goes into paths as it is, unless it would be more than a path.
  const safe = path.replaceAll(/[^\x21-\x7e]|[?#]/gu, encodeURIComponent);
  return `/v${version}${safe}${text === "" ? "" : `?${text}`}`;
}

/** A call whose answer is wanted as a whole, by a local socket. */
async function ask(
  target: Target,
  method: string,
  path: string,
  options: CallOptions,
): Promise<string> {
  const json = options.body === undefined ? "" : JSON.stringify(options.body);
  const headers = {
    ...headersOf(target, options),
    "Content-Length": Buffer.byteLength(json),
    Connection: "close",
  };
  const lines = Object.entries(headers).map(([name, value]) => headerLine(name, String(value)));
  const first = `${method} ${pathWithQuery(target, path, options.query)} HTTP/1.1\r\n`;
  const request = `${first}${lines.join("")}\r\n${json}`;
  let answer: Answer;
  try {
    answer = await exchange(target.dialer.dial(), request, options.signal);
  } catch (error) {
    throw connectionError(target.address, error as Error);
  }
  const text = answer.body.toString("utf8");
  if (answer.status >= 400) throw failure(answer.status, text);
  return text;
}

function headerLine(name: string, value: string): string {
  if (/^[!-9;-~]+$/.test(name) && !/[\r\n]/.test(value)) return `${name}: ${value}\r\n`;
  throw new EngineError("invalid-argument", `${JSON.stringify(name)} is no header of HTTP`);
}

function headersOf(target: Target, { body, headers }: CallOptions) {
  return {
    Host: target.dialer.hostHeader,
    "User-Agent": "skep",
    ...target.headers,
    ...(body === undefined ? {} : { "Content-Type": "application/json" }),
    ...headers,
  };
}

function send(
  target: Target,
  method: string,
  path: string,
  options: CallOptions & { readonly raw?: Readable },
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const json = options.body === undefined ? undefined : JSON.stringify(options.body);
    const request = httpRequest({
      ...connectionOf(target),
      method,
      path: pathWithQuery(target, path, options.query),
      headers: {
        ...headersOf(target, options),
        ...(json === undefined ? {} : { "Content-Length": Buffer.byteLength(json) }),
      },
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    request.on("response", (response) => {
      if ((response.statusCode ?? 0) < 400) resolve(response);
      else void failed(response).then(reject, reject);
    });
    request.on("error", (error) => reject(connectionError(target.address, error)));
    const { raw } = options;
    if (raw === undefined) {
      request.end(json);
      return;
    }
    raw.pipe(request);
    // What cannot be read to its end would leave the engine waiting for the rest, and us for its answer.
    raw.once("error", (error) => {
      reject(EngineError.from(error));
      request.destroy();
    });
  });
}

function upgrade(target: Target, path: string, options: CallOptions): Promise<Hijacked> {
  return new Promise((resolve, reject) => {
    const json = options.body === undefined ? "" : JSON.stringify(options.body);
    const request = httpRequest({
      ...connectionOf(target),
      method: "POST",
      path: pathWithQuery(target, path, options.query),
      headers: {
        ...headersOf(target, options),
        "Content-Type": "application/json",
        "Content-Length": Buffer.byteLength(json),
        Connection: "Upgrade",
        Upgrade: "tcp",
      },
    });
    request.on("upgrade", (response, socket, head) =>
      resolve({
        socket,
        head,
        contentType: response.headers["content-type"] ?? "",
      }),
    );
    request.on("response", (response) => void failed(response).then(reject, reject));
    request.on("error", (error) => reject(connectionError(target.address, error)));
    request.end(json);
  });
}

const CODE_OF_STATUS: Readonly<Record<number, ErrorCode>> = {
  304: "not-modified",
  400: "invalid-argument",
  401: "unauthenticated",
  403: "forbidden",
  404: "not-found",
  409: "conflict",
  501: "unimplemented",
  503: "unavailable",
};

async function failed(response: IncomingMessage): Promise<EngineError> {
  return failure(response.statusCode ?? 0, await readAll(response));
}

function failure(status: number, text: string): EngineError {
  let message = text.trim();
  try {
    message = (JSON.parse(text) as { message?: string }).message ?? message;
  } catch {
    // Not JSON: the text itself is the message.
  }
  const code = CODE_OF_STATUS[status] ?? "internal";
  return new EngineError(code, `Error response from daemon: ${message}`);
}

function connectionError(address: string, error: Error): EngineError {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === "EACCES") {
    return new EngineError(
      "permission-denied",
      `permission denied while trying to connect to the engine at ${address}: run as root, or join the socket's group`,
    );
  }
  if (code === "ENOENT" || code === "ECONNREFUSED") {
    return new EngineError(
      "unavailable",
      `Cannot connect to the engine at ${address}. Is it running? (start it with "skep engine", or say -H where it is)`,
    );
  }
  return new EngineError("unavailable", `error during connect to ${address}: ${messageOf(error)}`);
}

export async function readAll(stream: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8");
}

/** The JSON objects of a streamed body, one after another. */
export async function* jsonLines<T>(stream: Readable): AsyncGenerator<T> {
  for await (const line of textLines(stream)) yield JSON.parse(line) as T;
}

/** The lines of a streamed body that are not empty. */
export async function* textLines(stream: Readable): AsyncGenerator<string> {
  let rest = "";
  for await (const chunk of stream) {
    rest += String(chunk);
    for (let end = rest.indexOf("\n"); end >= 0; end = rest.indexOf("\n")) {
      const line = rest.slice(0, end).trim();
      rest = rest.slice(end + 1);
      if (line !== "") yield line;
    }
  }
  if (rest.trim() !== "") yield rest;
}

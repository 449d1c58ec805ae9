/**
 * The command line's connection to an engine: the Engine API over a unix socket or TCP (with TLS),
 * where to find it (`-H`, `DOCKER_HOST`, our default socket), JSON calls, streamed bodies, and
 * hijacked connections for attach and exec. Answers that are not 2xx become EngineErrors with the
 * daemon's message.
 */

import { existsSync, readFileSync } from "node:fs";
import { request as httpRequest, type IncomingMessage, type RequestOptions } from "node:http";
import { connect } from "node:net";
import { homedir } from "node:os";
import { join } from "node:path";
import type { Duplex, Readable } from "node:stream";
import { EngineError, type ErrorCode, messageOf } from "#base/error.ts";

export const CLI_API_VERSION = "1.47";
export const DEFAULT_HOST = "unix:///run/skep/skep.sock";

export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

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
  readonly host: string;
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
}

interface Target {
  readonly request: typeof httpRequest;
  readonly options: RequestOptions;
}

/** Connects to `host`, else DOCKER_HOST, else skep's own socket. Nothing is sent yet. */
export async function createClient(
  host: string | undefined,
  env: NodeJS.ProcessEnv,
): Promise<ApiClient> {
  const address = host ?? env.SKEP_HOST ?? env.DOCKER_HOST ?? DEFAULT_HOST;
  const target = await parseTarget(address, env);
  const version = env.DOCKER_API_VERSION ?? CLI_API_VERSION;
  const open = (method: string, path: string, options: CallOptions & { raw?: Readable } = {}) =>
    send(target, address, `/v${version}`, method, path, options);
  const call = async <T>(method: string, path: string, options: CallOptions = {}): Promise<T> => {
    const response = await open(method, path, options);
    const text = await readAll(response);
    return (text === "" ? undefined : JSON.parse(text)) as T;
  };
  return {
    host: address,
    get: (path, query) => call("GET", path, query === undefined ? {} : { query }),
    post: (path, body, options) =>
      call("POST", path, body === undefined ? options : { ...options, body }),
    delete: (path, query) => call("DELETE", path, query === undefined ? {} : { query }),
    stream: open,
    hijack: (path, options) => upgrade(target, address, `/v${version}`, path, options ?? {}),
  };
}

async function parseTarget(address: string, env: NodeJS.ProcessEnv): Promise<Target> {
  const [scheme, rest] = address.includes("://") ? address.split("://", 2) : ["tcp", address];
  if (scheme === "unix") {
    const socketPath = rest ?? "";
    // A connection of its own: Node's pool costs more to set up than a local connection that it saves.
    const createConnection = () => connect(socketPath);
    return { request: httpRequest, options: { socketPath, createConnection } };
  }
  if (scheme !== "tcp" && scheme !== "http" && scheme !== "https") {
    throw new EngineError(
      "invalid-argument",
      `unable to parse docker host \`${address}\`: use unix:// or tcp://`,
    );
  }
  const secure =
    scheme === "https" || (env.DOCKER_TLS_VERIFY ?? "") !== "" || env.DOCKER_TLS === "1";
  const [hostname, port] = splitPort(rest ?? "");
  const options = { hostname, port: port ?? (secure ? 2376 : 2375) };
  if (!secure) return { request: httpRequest, options };
  const folder = env.DOCKER_CERT_PATH ?? join(homedir(), ".docker");
  const pem = (name: string) => {
    const path = join(folder, name);
    return existsSync(path) ? { [name.replace(".pem", "")]: readFileSync(path) } : {};
  };
  // Loading TLS takes longer than a whole command by the local socket.
  const { request } = await import("node:https");
  return {
    request,
    options: { ...options, ...pem("ca.pem"), ...pem("cert.pem"), ...pem("key.pem") },
  };
}

function splitPort(authority: string): readonly [string, number?] {
  const match = /^(.*?)(?::(\d+))?\/?$/.exec(authority);
  const name = (match?.[1] ?? "").replace(/^\[(.*)\]$/, "$1");
  return match?.[2] === undefined ? [name] : [name, Number(match[2])];
}

function pathWithQuery(prefix: string, path: string, query: Query | undefined): string {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(query ?? {})) {
    if (value === undefined || value === false || value === "") continue;
    search.set(key, value === true ? "1" : String(value));
  }
  const text = search.toString();
  return `${prefix}${path}${text === "" ? "" : `?${text}`}`;
}

function send(
  target: Target,
  address: string,
  prefix: string,
  method: string,
  path: string,
  options: CallOptions & { readonly raw?: Readable },
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const json = options.body === undefined ? undefined : JSON.stringify(options.body);
    const request = target.request({
      ...target.options,
      method,
      path: pathWithQuery(prefix, path, options.query),
      headers: {
        Host: target.options.socketPath === undefined ? (target.options.hostname ?? "") : "docker",
        "User-Agent": "skep",
        ...(json === undefined
          ? {}
          : { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(json) }),
        ...options.headers,
      },
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    request.on("response", (response) => {
      if ((response.statusCode ?? 0) < 400) resolve(response);
      else void failure(response).then(reject, reject);
    });
    request.on("error", (error) => reject(connectionError(address, error)));
    if (options.raw !== undefined) options.raw.pipe(request);
    else request.end(json);
  });
}

function upgrade(
  target: Target,
  address: string,
  prefix: string,
  path: string,
  options: CallOptions,
): Promise<Hijacked> {
  return new Promise((resolve, reject) => {
    const json = options.body === undefined ? "" : JSON.stringify(options.body);
    const request = target.request({
      ...target.options,
      method: "POST",
      path: pathWithQuery(prefix, path, options.query),
      headers: {
        Host: "docker",
        "User-Agent": "skep",
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
    request.on("response", (response) => void failure(response).then(reject, reject));
    request.on("error", (error) => reject(connectionError(address, error)));
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

async function failure(response: IncomingMessage): Promise<EngineError> {
  const text = await readAll(response);
  let message = text.trim();
  try {
    message = (JSON.parse(text) as { message?: string }).message ?? message;
  } catch {
    // Not JSON: the text itself is the message.
  }
  const code = CODE_OF_STATUS[response.statusCode ?? 0] ?? "internal";
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
  let rest = "";
  for await (const chunk of stream) {
    rest += String(chunk);
    for (let end = rest.indexOf("\n"); end >= 0; end = rest.indexOf("\n")) {
      const line = rest.slice(0, end).trim();
      rest = rest.slice(end + 1);
      if (line !== "") yield JSON.parse(line) as T;
    }
  }
  if (rest.trim() !== "") yield JSON.parse(rest) as T;
}

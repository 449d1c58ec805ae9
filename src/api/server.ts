/**
 * The HTTP server of the Engine API: sockets, versions, routing, errors. It knows nothing of what
 * the routes do. One server may listen on several sockets (unix, tcp, tcp with TLS); `close` answers
 * those that were let in, stops accepting, lets short requests end and cuts what is still streaming.
 */

import { chmod, chown, readFile, unlink } from "node:fs/promises";
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { type AddressInfo, connect, Socket } from "node:net";
import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import { InvariantError } from "#base/invariant.ts";
import type { Log } from "#base/ports.ts";
import { Strangers } from "#platform/strangers.ts";
import { ANY_KEY_SUITES, HANDSHAKE_TIMEOUT_MS } from "#platform/tls-suites.ts";
import { toHttpError } from "./errors-to-http.ts";
import type { Routes } from "./route.ts";
import { createApiRequest, type IncomingRequest } from "./server-request.ts";
import { createApiResponse } from "./server-response.ts";
import { createRouter, type Router } from "./server-router.ts";
import { API_VERSION_MAX, formatVersion, splitVersion } from "./server-version.ts";

export interface ApiServerOptions {
  readonly routes: Routes;
  readonly log: Log;
  /** "Skep/0.1.0 (linux)" without the name: the engine's version, for the Server header. */
  readonly version?: string;
  /** Called with what breaks an invariant: the composition root ends the process. */
  readonly onBug?: (error: InvariantError) => void;
}

export interface UnixOptions {
  /** File mode of the socket; 0o660 unless told. */
  readonly mode?: number;
  /** Name or number of the group that may connect; stays root's when there is no such group. */
  readonly group?: string;
}

export interface ServerTls {
  readonly cert: string;
  readonly key: string;
  /** When given, clients must show a certificate of this CA (`--tlsverify`). */
  readonly ca?: string;
}

/** A client that finds the queue full is refused at once: as long as the kernel lets it be. */
const BACKLOG = 4096;
/** What a client that was let in may take until it asks, when the server ends, milliseconds. */
const FIRST_WORDS_MS = 200;
const LOOK_MS = 10;

export interface ApiServer {
  listenUnix(path: string, options?: UnixOptions): Promise<void>;
  /** Resolves to the port. */
  listenTcp(host: string, port: number, tls?: ServerTls): Promise<number>;
  /** Stops accepting, waits up to `graceMs` (1 s unless told), then ends what is left. */
  close(graceMs?: number): Promise<void>;
}

export function createApiServer(options: ApiServerOptions): ApiServer {
  const context: ServerContext = {
    router: createRouter(options.routes),
    log: options.log,
    headers: {
      "Api-Version": formatVersion(API_VERSION_MAX),
      "Docker-Experimental": "false",
      Ostype: "linux",
      Server: `Skep/${options.version ?? "0.1.0"} (linux)`,
    },
    onBug: options.onBug ?? (() => undefined),
  };
  const listeners: Listener[] = [];
  const open = (server: Server, path?: string): Listener => {
    const listener = { server, path, sockets: new Set<Socket>(), silent: new Set<Socket>() };
    server.requestTimeout = 0;
    server.headersTimeout = 60_000;
    server.keepAliveTimeout = 60_000;
    server.on("connection", (socket) => {
      listener.sockets.add(socket);
      if (path !== undefined) listener.silent.add(socket);
      socket.once("close", () => {
        listener.sockets.delete(socket);
        listener.silent.delete(socket);
      });
    });
    server.on("request", (request, response) => {
      listener.silent.delete(request.socket);
      void handle(context, request, response);
    });
    listeners.push(listener);
    return listener;
  };
  return {
    listenUnix: async (path, unix = {}) => {
      await clearStaleSocket(path);
      const { server } = open(createHttpServer(), path);
      await listening(server, (done) => server.listen({ path, backlog: BACKLOG }, done));
      await chmod(path, unix.mode ?? 0o660);
      const gid = unix.group === undefined ? undefined : await groupId(unix.group);
      if (gid !== undefined) await chown(path, 0, gid);
    },
    listenTcp: async (host, port, tls) => {
      const { server } = open(tls === undefined ? createHttpServer() : secureServer(tls));
      await listening(server, (done) => server.listen({ port, host, backlog: BACKLOG }, done));
      return (server.address() as AddressInfo).port;
    },
    close: async (graceMs = 1_000) => {
      await Promise.all(listeners.splice(0).map((listener) => closeListener(listener, graceMs)));
    },
  };
}

interface Listener {
  readonly server: Server;
  /** Of a unix socket. */
  readonly path: string | undefined;
  /** Connections to it that have not asked anything yet. */
  readonly silent: ReadonlySet<Socket> & Set<Socket>;
  /** All of its connections, the hijacked ones too, which the server itself has let go of. */
  readonly sockets: ReadonlySet<Socket> & Set<Socket>;
}

interface ServerContext {
  readonly router: Router;
  readonly log: Log;
  readonly headers: Readonly<Record<string, string>>;
  readonly onBug: (error: InvariantError) => void;
}

async function handle(
  context: ServerContext,
  request: IncomingMessage,
  raw: ServerResponse,
): Promise<void> {
  const abort = new AbortController();
  const gone = () => abort.abort(new EngineError("cancelled", "the client went away"));
  raw.once("close", () => {
    if (!tracker.hijacked()) gone();
  });
  const tracker = createApiResponse(request, raw, context.headers, () =>
    request.socket.once("close", gone),
  );
  let incoming: IncomingRequest | undefined;
  try {
    // The parser is still in the middle of this request; once it has gone through, it leaves the
    // socket alone, which a route that takes the connection over relies on.
    await Promise.resolve();
    const url = new URL(request.url ?? "/", "http://engine");
    const { version, path } = splitVersion(url.pathname);
    const found = context.router.find(request.method ?? "GET", path);
    if (found === undefined) throw new EngineError("not-found", "page not found");
    const { params, route } = found;
    const parts = { version, path, query: url.searchParams, params, signal: abort.signal };
    incoming = createApiRequest(request, parts);
    await route.handler(incoming.request, tracker.response);
    if (!tracker.answered()) throw new EngineError("internal", "the request was not answered");
  } catch (thrown) {
    incoming?.dropBody();
    if (!tracker.answered()) await readRest(request);
    refuse(context, request, raw, tracker, thrown, abort.signal.aborted);
  }
}

/** An image that there is no room for. */
const REST_MAX_BYTES = 1024 * 1024 * 1024;
const REST_TIMEOUT_MS = 1_000;

/**
 * A client that is still sending when we answer and close may see only that its pipe broke, and
 * never why: what it still has to say is read first, within bounds.
 */
function readRest(request: IncomingMessage): Promise<void> {
  if (request.readableEnded || request.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    let size = 0;
    const done = () => {
      clearTimeout(timer);
      request.off("data", take);
      request.off("end", done);
      request.off("close", done);
      resolve();
    };
    const take = (chunk: Buffer) => {
      size += chunk.length;
      if (size > REST_MAX_BYTES) done();
    };
    const timer = setTimeout(done, REST_TIMEOUT_MS);
    request.on("end", done);
    request.on("close", done);
    request.on("data", take);
    request.resume();
  });
}

const NOT_IMPLEMENTED = 501;

function refuse(
  context: ServerContext,
  request: IncomingMessage,
  raw: ServerResponse,
  tracker: ReturnType<typeof createApiResponse>,
  thrown: unknown,
  aborted: boolean,
): void {
  const where = { method: request.method, url: request.url?.slice(0, 512) };
  if (thrown instanceof InvariantError) context.onBug(thrown);
  if (tracker.answered()) {
    // The status line is gone: all that is left to say is that the stream did not end well.
    if (!aborted && !isErrorCode(thrown, "cancelled")) {
      context.log.warn("a streamed answer failed", { ...where, error: thrown });
    }
    request.socket.destroy();
    return;
  }
  if (aborted) {
    request.socket.destroy();
    return;
  }
  const { status, body } = toHttpError(thrown);
  const fields = { ...where, status, reason: messageOf(thrown) };
  // What this engine does not do is no failure of it.
  const failed = status >= 500 && status !== NOT_IMPLEMENTED;
  if (failed) context.log.error("request failed", { ...fields, error: thrown });
  else context.log.debug("request refused", fields);
  // A body that was not read would be parsed as the next request.
  if (!request.readableEnded) raw.shouldKeepAlive = false;
  if (body === undefined) tracker.response.empty(status);
  else tracker.response.json(status, body);
  if (!request.readableEnded) request.resume();
}

/** So many may be shaking hands. */
const NEWCOMERS_MAX = 512;

function secureServer(tls: ServerTls): Server {
  const verify = tls.ca === undefined ? {} : { ca: tls.ca, requestCert: true };
  const server = createHttpsServer({
    cert: tls.cert,
    key: tls.key,
    minVersion: "TLSv1.2",
    ciphers: ANY_KEY_SUITES,
    handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
    rejectUnauthorized: tls.ca !== undefined,
    ...verify,
  });
  const newcomers = new Strangers(NEWCOMERS_MAX);
  server.on("connection", (socket) => {
    if (socket instanceof Socket) newcomers.add(socket);
  });
  server.on("secureConnection", ({ remoteAddress, remotePort }) =>
    newcomers.introduced(remoteAddress, remotePort),
  );
  return server;
}

function listening(server: Server, listen: (done: () => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    listen(() => {
      server.off("error", reject);
      resolve();
    });
  });
}

/** Removes a socket file that nobody answers on; refuses when somebody does. */
async function clearStaleSocket(path: string): Promise<void> {
  const alive = await new Promise<boolean>((resolve) => {
    const probe = connect(path);
    probe.once("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.once("error", () => resolve(false));
  });
  if (alive) {
    throw new EngineError(
      "failed-precondition",
      `another process serves ${path}: stop it, or choose another socket with --host`,
    );
  }
  await unlink(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
  });
}

async function groupId(group: string): Promise<number | undefined> {
  if (/^\d+$/.test(group)) return Number(group);
  const table = await readFile("/etc/group", "utf8").catch(() => "");
  for (const line of table.split("\n")) {
    const [name, , gid] = line.split(":");
    if (name === group && gid !== undefined) return Number(gid);
  }
  return undefined;
}

async function closeListener(listener: Listener, graceMs: number): Promise<void> {
  const { server, sockets, path } = listener;
  if (path !== undefined) await unlink(path).catch(() => undefined);
  await firstWords(listener.silent);
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  const cut = setTimeout(() => {
    for (const socket of sockets) socket.destroy();
  }, graceMs);
  await closed;
  clearTimeout(cut);
  for (const socket of sockets) socket.destroy();
}

/**
 * Whom the kernel has let in is accepted by now or in a turn of the loop; to close before that, or
 * before it has asked, would cut off somebody who did nothing wrong.
 */
async function firstWords(silent: ReadonlySet<Socket>): Promise<void> {
  const endMs = performance.now() + FIRST_WORDS_MS;
  do {
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  } while (silent.size > 0 && performance.now() < endMs);
}

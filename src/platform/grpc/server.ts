/**
 * A typed gRPC server over our own HTTP/2. Services are registered with an implementation whose
 * methods take (request, context) and return a promise or an async iterable. Who calls is read from
 * the client certificate of the connection; `authorize` sees every call first, and a service that is
 * not named in it does not run. TLS is terminated by a plain `tls.Server`, so that certificates can
 * be exchanged while connections live and clients without a certificate can be told apart from
 * those with a foreign one.
 */

import { unlink } from "node:fs/promises";
import {
  type AddressInfo,
  createServer as createNetServer,
  type Server,
  type Socket,
} from "node:net";
import { createServer as createTlsServer, type TLSSocket } from "node:tls";
import type { DescMessage, DescService, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import type { GenService, GenServiceMethods } from "@bufbuild/protobuf/codegenv2";
import { GRPC_MESSAGE_MAX_BYTES } from "#base/limits.ts";
import { MANAGER_OU } from "#pki/profile.ts";
import { CODE } from "#wire/http2/frames.ts";
import { type HeaderField, writeHeaders } from "#wire/http2/hpack.ts";
import { Connection, KEEPALIVE_MS } from "../http2/connection.ts";
import type { Stream, StreamEvents } from "../http2/stream.ts";
import { InFlight } from "../in-flight.ts";
import { Strangers } from "../strangers.ts";
import { HANDSHAKE_TIMEOUT_MS } from "../tls-suites.ts";
import { encodeText, field, isGrpc } from "./fields.ts";
import { type AnyHandler, type BoundMethod, type Caller, ServerCall } from "./server-call.ts";
import { statusOf } from "./status.ts";
import { atExpiry, peerOf, tlsOptions } from "./tls.ts";

/** Calls that one connection may have open at once. */
const CALLS_MAX = 1_000;
/** A manager passes on the streams of all nodes that have their session with it: a handful each. */
const MANAGERS_CALLS_MAX = 20_000;
/**
 * The same, and the largest request in bytes, for callers without a certificate of ours: whoever
 * reaches the port can make the server hold that much, and all they may do is to ask for one.
 */
const STRANGERS_CALLS_MAX = 4;
const STRANGERS_MESSAGE_MAX_BYTES = 16 * 1024;
/** Connections that are shaking hands: all nodes of a large swarm may come back at once. */
const NEWCOMERS_MAX = 2_048;
/** And of strangers; each can make the server hold some 300 kB. */
const STRANGERS_MAX = 512;
/** A connection that has not begun to speak by then is closed, milliseconds. */
const GREETING_TIMEOUT_MS = 20_000;
/** So long a stranger may be silent; one that waits to be let in asks every few seconds. */
const STRANGERS_SILENCE_MS = 60_000;

/** How long calls may be on their way to a server that has said that it ends, milliseconds. */
const UNREAD_MS = 100;

/** The identity that a verified client certificate carries. */
export interface PeerIdentity {
  /** Node id (subject CN). */
  readonly nodeId: string;
  /** `swarm-manager`, `swarm-worker` or `swarm-ca` (subject OU). */
  readonly role: string;
  /** Cluster id (subject O). */
  readonly clusterId: string;
  /** When the certificate of its connection began to be valid, Unix seconds; absent where it showed none. */
  readonly since?: number;
}

export interface RpcContext {
  /** Absent when the caller showed no certificate, or one that our CA did not issue. */
  readonly peer: PeerIdentity | undefined;
  /** "unix" for the local socket, "ip:port" otherwise. */
  readonly peerAddress: string;
  /** Aborted when the caller goes away or its deadline passes. */
  readonly signal: AbortSignal;
  readonly metadata: Readonly<Record<string, string>>;
  /** "/package.Service/Method". */
  readonly path: string;
  /** True on a local unix socket, whose file mode is the authorization. */
  readonly local: boolean;
}

type Input<M> = M extends { input: infer I extends DescMessage } ? MessageShape<I> : never;
type Output<M> = M extends { output: infer O extends DescMessage } ? MessageInitShape<O> : never;

type Handler<M> = M extends { methodKind: "unary" }
  ? (request: Input<M>, context: RpcContext) => Promise<Output<M>> | Output<M>
  : M extends { methodKind: "server_streaming" }
    ? (request: Input<M>, context: RpcContext) => AsyncIterable<Output<M>>
    : M extends { methodKind: "client_streaming" }
      ? (requests: AsyncIterable<Input<M>>, context: RpcContext) => Promise<Output<M>>
      : (requests: AsyncIterable<Input<M>>, context: RpcContext) => AsyncIterable<Output<M>>;

/** What implements a service: one function per method, all of them. */
export type RpcHandlers<S> =
  S extends GenService<infer Methods extends GenServiceMethods>
    ? { readonly [K in keyof Methods]: Handler<Methods[K]> }
    : never;

/** Throws an EngineError (`permission-denied`) unless the caller may call `context.path`. */
export type Authorize = (context: RpcContext) => void;

export interface TlsMaterial {
  /** PEM chain of the server, leaf first. */
  readonly cert: string;
  readonly key: string;
  /** PEM of the roots that client certificates are verified against. */
  readonly ca: string;
}

export interface RpcServer {
  /** Registers a service; before `listen`. */
  add<S extends DescService>(service: S, handlers: RpcHandlers<S>): void;
  listenUnix(path: string): Promise<void>;
  /** Listens with mutual TLS (client certificate verified when shown); resolves to the port. */
  listenTls(host: string, port: number, tls: TlsMaterial): Promise<number>;
  /** New certificates for new connections of the TLS listener. */
  setTls(tls: TlsMaterial): void;
  /**
   * Ends open TLS connections whose peer is the node, e.g. after its removal; where a role is named,
   * those that were opened with a certificate of that role.
   */
  dropPeer(nodeId: string, role?: string): void;
  /**
   * Begins no more calls, which callers learn and may make elsewhere; resolves when those with one
   * answer have it, or when time is up. Streams go on.
   */
  drain(timeoutMs: number): Promise<void>;
  close(): Promise<void>;
}

/** What the connections of a server share. */
class Calls {
  readonly unanswered = new InFlight();
  isDraining = false;

  begun(method: BoundMethod): void {
    if (isUnary(method)) this.unanswered.begin();
  }

  ended(method: BoundMethod): void {
    if (isUnary(method)) this.unanswered.end();
  }
}

function isUnary({ readsStream, writesStream }: BoundMethod): boolean {
  return !readsStream && !writesStream;
}

/**
 * `knows`: whether somebody whose certificate our CA issued is one of ours still. Who is not is
 * granted no more of this server's memory than a stranger.
 */
export function createRpcServer(
  authorize: Authorize,
  knows: (peer: PeerIdentity) => boolean = () => true,
): RpcServer {
  const methods = new Map<string, BoundMethod>();
  const connections = new Set<Connection>();
  /** Also those that are still shaking hands. */
  const sockets = new Set<Socket>();
  /** Those that are through with it, and whom their certificate names: once closed they don't tell. */
  const secured = new Map<TLSSocket, PeerIdentity | undefined>();
  const newcomers = new Strangers(NEWCOMERS_MAX);
  const strangers = new Strangers(STRANGERS_MAX);
  let local: Server | undefined;
  let remote: Server | undefined;
  const calls = new Calls();
  let exchange: (tls: TlsMaterial) => void = () => undefined;

  const keep = (socket: Socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => socket.destroy());
  };
  const serve = (socket: Socket, door: Door) => {
    const connection = answerCalls(socket, door, methods, authorize, calls, () =>
      connections.delete(connection),
    );
    connections.add(connection);
  };
  let ended: Promise<unknown> | undefined;
  const stopListening = () => {
    ended ??= Promise.all([local, remote].map((server) => closed(server)));
    return ended;
  };
  return {
    add: (service, handlers) => {
      for (const method of methodsOf(service, handlers)) methods.set(method.path, method);
    },
    listenUnix: async (path) => {
      await unlink(path).catch(() => undefined);
      const server = createNetServer((socket) => {
        keep(socket);
        serve(socket, { local: true, address: "unix", isStranger: false, peer: () => undefined });
      });
      await listening(server, () => server.listen(path));
      local = server;
    },
    listenTls: async (host, port, tls) => {
      const server = createTlsServer(
        {
          ...tlsOptions(tls),
          requestCert: true,
          rejectUnauthorized: false,
          ALPNProtocols: ["h2"],
          handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
        },
        (socket) => {
          const peer = peerOf(socket);
          const isStranger = peer === undefined || !knows(peer);
          newcomers.introduced(socket.remoteAddress, socket.remotePort);
          if (isStranger) strangers.add(socket);
          secured.set(socket, peer);
          const stopWaiting = atExpiry(socket, () => socket.destroy());
          socket.on("close", () => {
            secured.delete(socket);
            stopWaiting();
          });
          socket.on("error", () => socket.destroy());
          socket.setNoDelay(true);
          socket.setKeepAlive(true, KEEPALIVE_MS);
          // SwarmKit's nodes offer no protocol any more once their certificate was renewed; nothing
          // but HTTP/2 is spoken here.
          const address = `${socket.remoteAddress}:${socket.remotePort}`;
          serve(socket, { local: false, address, isStranger, peer: () => peer });
        },
      );
      server.on("connection", (socket) => {
        keep(socket);
        newcomers.add(socket);
      });
      server.on("tlsClientError", (_error, socket) => socket.destroy());
      await listening(server, () => server.listen(port, host));
      exchange = (fresh) => server.setSecureContext(tlsOptions(fresh));
      remote = server;
      return (server.address() as AddressInfo).port;
    },
    setTls: (tls) => exchange(tls),
    dropPeer: (nodeId, role) => {
      for (const [socket, peer] of secured) {
        if (peer?.nodeId === nodeId && (role ?? peer.role) === peer.role) socket.destroy();
      }
    },
    drain: async (timeoutMs) => {
      calls.isDraining = true;
      void stopListening();
      for (const connection of connections) connection.announceEnd();
      // What was sent before that was read is refused; a connection that is closed on it says nothing.
      await new Promise((resolve) => setTimeout(resolve, Math.min(UNREAD_MS, timeoutMs)));
      await calls.unanswered.none(timeoutMs);
    },
    close: async () => {
      const ended = stopListening();
      for (const connection of connections) connection.close("the server has ended");
      for (const socket of sockets) socket.destroy();
      await ended;
    },
  };
}

/** How a connection came in. */
interface Door {
  readonly local: boolean;
  readonly address: string;
  readonly isStranger: boolean;
  readonly peer: () => PeerIdentity | undefined;
}

function answerCalls(
  socket: Socket,
  door: Door,
  methods: ReadonlyMap<string, BoundMethod>,
  authorize: Authorize,
  calls: Calls,
  closed: () => void,
): Connection {
  let running = 0;
  const { isStranger } = door;
  const callsMax = callsMaxOf(door);
  socket.setTimeout(GREETING_TIMEOUT_MS, () => socket.destroy());
  const opened = (stream: Stream, fields: readonly HeaderField[], isLast: boolean) => {
    // Calls whose caller went away run on until their handler notices: they count.
    if (running >= callsMax || calls.isDraining) return undefined;
    const refusal = refusalOf(fields, methods);
    const method = methods.get(field(fields, ":path") ?? "");
    if (refusal !== undefined || method === undefined) {
      if (refusal !== undefined) stream.sendTrailers(refusal);
      if (!stream.isOver) stream.reset(CODE.NO_ERROR);
      return DEAF;
    }
    running += 1;
    calls.begun(method);
    const call = new ServerCall(stream, caller, method, fields);
    call.begin(fields, authorize);
    if (isLast) call.requestsEnded();
    return call;
  };
  const connection = new Connection({
    socket,
    side: "server",
    streamsMax: callsMax,
    opened,
    settled: () => socket.setTimeout(isStranger ? STRANGERS_SILENCE_MS : 0),
    closed,
  });
  const caller: Caller = {
    ...door,
    connection,
    messageMax: isStranger ? STRANGERS_MESSAGE_MAX_BYTES : GRPC_MESSAGE_MAX_BYTES,
    ended: (method) => {
      running -= 1;
      calls.ended(method);
    },
  };
  return connection;
}

function callsMaxOf(door: Door): number {
  if (door.isStranger) return STRANGERS_CALLS_MAX;
  return door.peer()?.role === MANAGER_OU ? MANAGERS_CALLS_MAX : CALLS_MAX;
}

/** Hears nothing: the call was answered before it ran. */
const DEAF: StreamEvents = {
  headers: () => undefined,
  data: () => undefined,
  broken: () => undefined,
  drained: () => undefined,
};

/** The answer to what cannot be a call of ours. */
function refusalOf(
  fields: readonly HeaderField[],
  methods: ReadonlyMap<string, BoundMethod>,
): Uint8Array | undefined {
  if (field(fields, ":method") !== "POST") return writeHeaders([[":status", "405"]]);
  if (!isGrpc(field(fields, "content-type"))) return writeHeaders([[":status", "415"]]);
  const path = field(fields, ":path") ?? "";
  if (methods.has(path)) return undefined;
  const message = `The server does not implement the method ${path}`;
  return writeHeaders([
    [":status", "200"],
    ["content-type", "application/grpc"],
    ["grpc-status", String(statusOf("unimplemented"))],
    ["grpc-message", encodeText(message)],
  ]);
}

function methodsOf<S extends DescService>(service: S, handlers: RpcHandlers<S>): BoundMethod[] {
  const bound: BoundMethod[] = [];
  for (const method of service.methods) {
    const handler = (handlers as Record<string, AnyHandler>)[method.localName];
    if (handler === undefined) continue;
    const { methodKind, input, output } = method;
    bound.push({
      path: `/${service.typeName}/${method.name}`,
      input,
      output,
      handler,
      readsStream: methodKind === "client_streaming" || methodKind === "bidi_streaming",
      writesStream: methodKind === "server_streaming" || methodKind === "bidi_streaming",
    });
  }
  return bound;
}

function listening(server: Server, listen: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.once("listening", () => {
      server.off("error", reject);
      resolve();
    });
    listen();
  });
}

function closed(server: Server | undefined): Promise<void> {
  if (server === undefined) return Promise.resolve();
  return new Promise((resolve) => server.close(() => resolve()));
}

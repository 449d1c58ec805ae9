/**
 * A typed gRPC server over grpc-js. Services are registered with an implementation whose methods
 * take (request, context) and return a promise or an async iterable. Who calls is read from the
 * client certificate of the connection; `authorize` sees every call first, and a service that is
 * not named in it does not run. TLS is terminated by our own `tls.Server`, so that certificates can
 * be exchanged while connections live and clients without a certificate can be told apart from
 * those with a foreign one.
 */

import { unlink } from "node:fs/promises";
import type { AddressInfo, Socket } from "node:net";
import {
  createServer as createTlsServer,
  type TLSSocket,
  type Server as TlsServer,
} from "node:tls";
import type {
  DescMessage,
  DescMethod,
  DescService,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import type { GenService, GenServiceMethods } from "@bufbuild/protobuf/codegenv2";
import {
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { EngineError } from "#base/error.ts";
import { GRPC_MESSAGE_MAX_BYTES } from "#base/limits.ts";
import { decodeMessage } from "#wire/decode.ts";
import { encodeMessage } from "#wire/encode.ts";
import { asBuffer } from "./as-buffer.ts";
import { fromServiceError, toServiceError } from "./status.ts";

/** The identity that a verified client certificate carries. */
export interface PeerIdentity {
  /** Node id (subject CN). */
  readonly nodeId: string;
  /** `swarm-manager`, `swarm-worker` or `swarm-ca` (subject OU). */
  readonly role: string;
  /** Cluster id (subject O). */
  readonly clusterId: string;
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
  /** Ends open TLS connections whose peer is the node, e.g. after its removal. */
  dropPeer(nodeId: string): void;
  close(): Promise<void>;
}

export function createRpcServer(authorize: Authorize): RpcServer {
  // Two servers, so that a call knows by which door it came: only the unix socket is `local`.
  const localServer = new Server(SERVER_LIMITS);
  const remoteServer = new Server(SERVER_LIMITS);
  let tlsServer: TlsServer | undefined;
  const sockets = new Set<TLSSocket>();
  /** Also those that are still shaking hands: they would hold up `close` for two minutes. */
  const connections = new Set<Socket>();
  return {
    add: (service, handlers) => {
      const definition = definitionOf(service);
      const bind = (local: boolean) => implementationOf(service, handlers, { authorize, local });
      localServer.addService(definition, bind(true));
      remoteServer.addService(definition, bind(false));
    },
    listenUnix: async (path) => {
      await unlink(path).catch(() => undefined);
      await new Promise<void>((resolve, reject) =>
        localServer.bindAsync(`unix://${path}`, ServerCredentials.createInsecure(), (error) =>
          error ? reject(error) : resolve(),
        ),
      );
    },
    listenTls: async (host, port, tls) => {
      const injector = remoteServer.createConnectionInjector(ServerCredentials.createInsecure());
      const created = createTlsServer(
        { ...tlsOptions(tls), requestCert: true, rejectUnauthorized: false, ALPNProtocols: ["h2"] },
        (socket) => {
          sockets.add(socket);
          const stopWaiting = atExpiry(socket, () => socket.destroy());
          socket.on("close", () => {
            sockets.delete(socket);
            stopWaiting();
          });
          socket.on("error", () => socket.destroy());
          // SwarmKit's nodes offer no protocol any more once their certificate was renewed; nothing
          // but HTTP/2 is spoken here.
          if (socket.alpnProtocol === false) socket.alpnProtocol = "h2";
          injector.injectConnection(socket);
        },
      );
      created.on("connection", (socket: Socket) => {
        connections.add(socket);
        socket.on("close", () => connections.delete(socket));
      });
      created.on("tlsClientError", (_error, socket) => socket.destroy());
      await new Promise<void>((resolve, reject) => {
        created.once("error", reject);
        created.listen(port, host, resolve);
      });
      tlsServer = created;
      return (created.address() as AddressInfo).port;
    },
    setTls: (tls) => tlsServer?.setSecureContext(tlsOptions(tls)),
    dropPeer: (nodeId) => {
      for (const socket of sockets) {
        if (socket.getPeerCertificate().subject?.CN === nodeId) socket.destroy();
      }
    },
    close: async () => {
      const closing = tlsServer;
      tlsServer = undefined;
      if (closing !== undefined)
        await new Promise<void>((resolve) => {
          closing.close(() => resolve());
          for (const socket of sockets) socket.destroy();
          for (const socket of connections) socket.destroy();
        });
      localServer.forceShutdown();
      remoteServer.forceShutdown();
    },
  };
}

const SERVER_LIMITS = {
  "grpc.max_receive_message_length": GRPC_MESSAGE_MAX_BYTES,
  "grpc.max_send_message_length": GRPC_MESSAGE_MAX_BYTES,
};

/** TLS 1.3, and of 1.2 (which Docker Engines speak) what has forward secrecy and no padding. */
const CIPHERS = [
  "TLS_AES_256_GCM_SHA384",
  "TLS_CHACHA20_POLY1305_SHA256",
  "TLS_AES_128_GCM_SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-ECDSA-AES128-GCM-SHA256",
].join(":");

function tlsOptions(tls: TlsMaterial) {
  const { cert, key, ca } = tls;
  return { cert, key, ca, minVersion: "TLSv1.2" as const, ciphers: CIPHERS };
}

/** Timers hold at most 2^31 ms. */
const TIMER_MAX_MS = 2 ** 31 - 1;

/**
 * Calls back when the peer's certificate ends: what it proved, it proves no longer. Its owner has had
 * half of the certificate's life to get another. The result undoes the waiting.
 */
function atExpiry(socket: TLSSocket, expired: () => void): () => void {
  if (!socket.authorized) return () => undefined;
  const endMs = Date.parse(socket.getPeerCertificate().valid_to);
  if (Number.isNaN(endMs)) return () => undefined;
  let timer: NodeJS.Timeout;
  const wait = () => {
    const leftMs = endMs - Date.now();
    if (leftMs <= 0) return expired();
    timer = setTimeout(wait, Math.min(leftMs, TIMER_MAX_MS)).unref();
  };
  wait();
  return () => clearTimeout(timer);
}

type AnyHandler = (request: never, context: RpcContext) => unknown;

function definitionOf(service: DescService): ServiceDefinition {
  const definition: Record<string, ServiceDefinition[string]> = {};
  for (const method of service.methods) {
    definition[method.localName] = {
      path: `/${service.typeName}/${method.name}`,
      requestStream:
        method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming",
      responseStream:
        method.methodKind === "server_streaming" || method.methodKind === "bidi_streaming",
      requestSerialize: (value: object) => encode(method.input, value),
      requestDeserialize: (bytes: Buffer) => decodeMessage(method.input, bytes),
      responseSerialize: (value: object) => encode(method.output, value),
      responseDeserialize: (bytes: Buffer) => decodeMessage(method.output, bytes),
    };
  }
  return definition;
}

function encode(schema: DescMessage, value: object): Buffer {
  return asBuffer(encodeMessage(schema, create(schema, value as never)));
}

function implementationOf(
  service: DescService,
  handlers: Record<string, AnyHandler>,
  door: Door,
): UntypedServiceImplementation {
  const implementation: UntypedServiceImplementation = {};
  for (const method of service.methods) {
    const handler = handlers[method.localName];
    if (handler === undefined) continue;
    implementation[method.localName] = adapt(
      method,
      handler,
      door,
    ) as UntypedServiceImplementation[string];
  }
  return implementation;
}

// grpc-js hands every kind of call an object with the same surface; the four types differ only in
// which of these members they declare.
type AnyCall = ServerUnaryCall<unknown, unknown> &
  AsyncIterable<unknown> & {
    write(value: unknown): boolean;
    end(): void;
    destroy(error?: Error): void;
  };

interface Door {
  readonly authorize: Authorize;
  readonly local: boolean;
}

type Callback = (error: ReturnType<typeof toServiceError> | null, value?: unknown) => void;

function adapt(method: DescMethod, handler: AnyHandler, door: Door) {
  const run = (call: AnyCall, input: unknown): unknown => {
    const context = contextOf(call, `/${method.parent.typeName}/${method.name}`, door.local);
    door.authorize(context);
    return handler(input as never, context);
  };
  const unary = (call: AnyCall, callback: Callback, input: unknown) => {
    void (async () => {
      try {
        callback(null, await run(call, input));
      } catch (thrown) {
        callback(toServiceError(thrown));
      }
    })();
  };
  const streaming = (call: AnyCall, input: unknown) => {
    void (async () => {
      try {
        const output = run(call, input) as AsyncIterable<unknown>;
        for await (const value of output) {
          if (call.cancelled) return;
          if (!call.write(value)) await drained(call);
        }
        call.end();
      } catch (thrown) {
        if (!call.cancelled) call.emit("error", toServiceError(thrown));
      }
    })();
  };
  switch (method.methodKind) {
    case "unary":
      return (call: AnyCall, callback: Callback) => unary(call, callback, call.request);
    case "client_streaming":
      return (call: AnyCall, callback: Callback) => unary(call, callback, requestsOf(call));
    case "server_streaming":
      return (call: AnyCall) => streaming(call, call.request);
    case "bidi_streaming":
      return (call: AnyCall) => streaming(call, requestsOf(call));
  }
}

async function* requestsOf(call: AnyCall): AsyncGenerator {
  try {
    yield* call;
  } catch (error) {
    throw fromServiceError(error);
  }
}

function drained(call: AnyCall): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      call.off("drain", done);
      call.off("cancelled", done);
      call.off("close", done);
      resolve();
    };
    call.on("drain", done);
    call.on("cancelled", done);
    call.on("close", done);
  });
}

/**
 * What a call's context costs to find out is found out when it is asked for. The getters are the
 * object's own, so that a copy by spreading has everything.
 */
function contextOf(call: AnyCall, path: string, local: boolean): RpcContext {
  let abort: AbortController | undefined;
  let known: { readonly peer: PeerIdentity | undefined } | undefined;
  const cancel = () => abort?.abort(new EngineError("cancelled", "the caller went away"));
  return {
    path,
    local,
    get peer() {
      known ??= { peer: peerOf(call) };
      return known.peer;
    },
    get peerAddress() {
      return call.getPeer();
    },
    get signal() {
      if (abort === undefined) {
        abort = new AbortController();
        if (call.cancelled) cancel();
        else call.on("cancelled", cancel);
      }
      return abort.signal;
    },
    get metadata() {
      const fields = Object.entries(call.metadata.getMap());
      return Object.fromEntries(fields.map(([key, value]) => [key, String(value)]));
    },
  };
}

function peerOf(call: AnyCall): PeerIdentity | undefined {
  const subject = call.getAuthContext().sslPeerCertificate?.subject;
  if (subject === undefined) return undefined;
  return { nodeId: one(subject.CN), role: one(subject.OU), clusterId: one(subject.O) };
}

/** A subject attribute; where a certificate repeats one, the first (Node types it as a string). */
function one(value: string | readonly string[] | undefined): string {
  if (value === undefined) return "";
  return typeof value === "string" ? value : (value[0] ?? "");
}

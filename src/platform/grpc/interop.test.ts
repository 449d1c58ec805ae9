/** Our HTTP/2 against Node's, in both directions, and against callers that mean no good. */

import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import {
  createServer as createHttp2Server,
  type Http2Server,
  type ServerHttp2Stream,
} from "node:http2";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { EngineError } from "#base/error.ts";
import { encodeMessage } from "#wire/encode.ts";
import { Health, HealthCheckRequestSchema } from "#wire/gen/swarmkit/health_pb.js";
import { LogBroker } from "#wire/gen/swarmkit/logbroker_pb.js";
import { FLAG, FRAME, frame, numberFrame, PREFACE, settingsFrame } from "#wire/http2/frames.ts";
import { writeHeaders } from "#wire/http2/hpack.ts";
import { deferred } from "../async.ts";
import { openChannel, type RpcChannel } from "./client.ts";
import { framed } from "./messages.ts";
import { createRpcServer, type RpcHandlers, type RpcServer } from "./server.ts";
import { UnaryClient } from "./testing/unary.ts";

const CHECK = "/docker.swarmkit.v1.Health/Check";
let folder: string;
let path: string;
let server: RpcServer | undefined;
let peer: Http2Server | undefined;
let channel: RpcChannel | undefined;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "skep-h2-"));
  path = join(folder, "s.sock");
});

afterEach(async () => {
  channel?.close();
  await server?.close();
  peer?.close();
  server = undefined;
  peer = undefined;
  channel = undefined;
  await rm(folder, { recursive: true });
});

const request = (service: string) =>
  encodeMessage(HealthCheckRequestSchema, create(HealthCheckRequestSchema, { service }));

async function serve(handlers: {
  check?: RpcHandlers<typeof Health>["check"];
  listen?: RpcHandlers<typeof LogBroker>["listenSubscriptions"];
}): Promise<void> {
  server = createRpcServer(() => undefined);
  server.add(Health, { check: handlers.check ?? (() => ({})) });
  server.add(LogBroker, {
    listenSubscriptions: handlers.listen ?? async function* () {},
    publishLogs: async () => ({}),
  });
  await server.listenUnix(path);
}

/** A server of Node's that treats the streams of each connection in turn. */
async function serveByNode(answer: (stream: ServerHttp2Stream, count: number) => void) {
  let count = 0;
  peer = createHttp2Server();
  peer.on("stream", (stream: ServerHttp2Stream) => {
    count += 1;
    stream.on("error", () => undefined);
    answer(stream, count);
  });
  peer.listen(path);
  await once(peer, "listening");
}

function succeed(stream: ServerHttp2Stream, message: Uint8Array = new Uint8Array(0)): void {
  const fields = { ":status": 200, "content-type": "application/grpc" };
  stream.respond(fields, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
  stream.end(framed(message));
}

function open(): RpcChannel {
  channel = openChannel({ target: `unix://${path}` });
  return channel;
}

test("many calls of Node's client at once, small ones and some larger than a window", async () => {
  const sizes: number[] = [];
  await serve({
    check: async ({ service }) => {
      sizes.push(service.length);
      return {};
    },
  });
  const client = new UnaryClient(path);
  const calls = Array.from({ length: 300 }, (_, n) => {
    const size = n % 100 === 0 ? 3 * 1024 * 1024 : n;
    return client.call(CHECK, request("x".repeat(size)));
  });
  const answers = await Promise.all(calls);
  client.close();
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([0]));
  expect(sizes.filter((size) => size === 3 * 1024 * 1024)).toHaveLength(3);
});

test("what a handler says survives the way to Node's client", async () => {
  await serve({
    check: () => {
      throw new EngineError("failed-precondition", "100 % unmöglich\n");
    },
  });
  const client = new UnaryClient(path);
  expect(await client.call(CHECK, request(""))).toMatchObject({
    status: 9,
    message: "100 % unmöglich\n",
  });
  expect(await client.call("/no.Such/Method", request(""))).toMatchObject({ status: 12 });
  client.close();
});

test("a message that is larger than allowed is refused, and the connection lives on", async () => {
  await serve({});
  const client = new UnaryClient(path);
  const prefix = Buffer.from([0, 0x7f, 0xff, 0xff, 0xff]);
  const socket = speak();
  socket.write(call(1));
  socket.write(frame(FRAME.DATA, 0, 1, prefix));
  await heard(socket, "grpc-status");
  socket.write(call(3));
  socket.write(frame(FRAME.DATA, FLAG.END_STREAM, 3, framed(request("x"))));
  await heard(socket, "grpc-status");
  socket.destroy();
  client.close();
});

test("a handler is not asked for more than its reader and the window take", async () => {
  let made = 0;
  await serve({
    async *listen() {
      for (; made < 200; made++) yield { id: "x".repeat(64 * 1024) };
    },
  });
  const answers = open().client(LogBroker).listenSubscriptions({})[Symbol.asyncIterator]();
  await answers.next();
  // Another call passes the one that waits.
  await open().client(Health).check({});
  expect(made).toBeLessThan(60);
  let read = 1;
  while (!(await answers.next()).done) read += 1;
  expect(read).toBe(200);
});

test("our client takes large answers from Node's server", async () => {
  const large = request("y".repeat(3 * 1024 * 1024));
  await serveByNode((stream) => succeed(stream, large));
  // The answer is no such message, but all of it has to arrive to be judged.
  const answers = open().client(LogBroker).listenSubscriptions({});
  const answer = await answers[Symbol.asyncIterator]().next();
  expect(answer.value?.id).toHaveLength(3 * 1024 * 1024);
});

test("a server that goes away is left for a new connection, a call that it refused is made again", async () => {
  await serveByNode((stream, count) => {
    if (count === 1) stream.session?.goaway();
    if (count === 2) stream.close(7);
    else succeed(stream);
  });
  const health = open().client(Health);
  await health.check({});
  await health.check({});
  await health.check({});
});

test("answers that are not gRPC are told by their HTTP status", async () => {
  await serveByNode((stream, count) => {
    stream.respond({ ":status": count === 1 ? 502 : 403 }, { endStream: true });
  });
  const health = open().client(Health);
  await expect(health.check({})).rejects.toMatchObject({ code: "unavailable" });
  await expect(health.check({})).rejects.toMatchObject({ code: "permission-denied" });
});

test("a deadline ends the call at both ends", async () => {
  const ended = deferred<unknown>();
  await serve({
    check: async (_request, { signal }) => {
      signal.addEventListener("abort", () => ended.resolve(signal.reason));
      await ended.promise;
      return {};
    },
  });
  await expect(open().client(Health).check({}, { timeoutMs: 50 })).rejects.toMatchObject({
    code: "deadline-exceeded",
  });
  expect(await ended.promise).toBeInstanceOf(EngineError);
});

test("a call without a server fails at once, and after the pause finds the one that came", async () => {
  const health = open().client(Health);
  await expect(health.check({})).rejects.toMatchObject({ code: "unavailable" });
  await expect(health.check({})).rejects.toMatchObject({ code: "unavailable" });
  await serve({});
  await channel?.ready(5_000);
  await health.check({});
});

/** A connection to our server that says what it is told to. */
function speak(): Socket {
  const socket = connect(path);
  socket.on("error", () => undefined);
  socket.write(PREFACE);
  socket.write(settingsFrame([]));
  return socket;
}

/** The header fields of a call. */
function call(stream: number): Uint8Array {
  const block = writeHeaders([
    [":method", "POST"],
    [":scheme", "http"],
    [":path", CHECK],
    ["content-type", "application/grpc"],
  ]);
  return frame(FRAME.HEADERS, FLAG.END_HEADERS, stream, block);
}

async function heard(socket: Socket, text: string): Promise<void> {
  for (;;) {
    const [chunk] = (await once(socket, "data")) as [Buffer];
    if (chunk.includes(text)) return;
  }
}

test("whatever a caller sends, the server answers the others", async () => {
  await serve({});
  const client = new UnaryClient(path);
  const types = fc.integer({ min: 0, max: 12 });
  const noise = fc.record({
    type: types,
    flags: fc.integer({ min: 0, max: 255 }),
    stream: fc.constantFrom(0, 1, 2, 3, 5, 2 ** 31 - 1),
    payload: fc.oneof(
      fc.uint8Array({ maxLength: 64 }),
      fc.constant(call(1).subarray(9)),
      fc.constant(framed(request("x"))),
    ),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(noise, { maxLength: 12 }), async (frames) => {
      const socket = speak();
      for (const { type, flags, stream, payload } of frames) {
        socket.write(frame(type, flags, stream, payload));
      }
      socket.end();
      socket.resume();
      await once(socket, "close");
    }),
    { numRuns: 300 },
  );
  expect((await client.call(CHECK, request("x"))).status).toBe(0);
  client.close();
});

test("who asks without reading the answers loses the connection", async () => {
  await serve({});
  const socket = speak();
  socket.pause();
  const closed = new Promise((resolve) => socket.once("close", resolve));
  const pings = Buffer.concat(
    Array.from({ length: 5_000 }, () => frame(FRAME.PING, 0, 0, new Uint8Array(8))),
  );
  while (!socket.destroyed && socket.writableLength < 64 * 1024 * 1024) {
    socket.write(pings);
    await new Promise((resolve) => setImmediate(resolve));
  }
  socket.resume();
  await closed;
});

test("calls that are made and cancelled at once do not pile up", async () => {
  let running = 0;
  let most = 0;
  let release = () => {};
  const gate = new Promise<void>((resolve) => {
    release = resolve;
  });
  await serve({
    check: async () => {
      running += 1;
      most = Math.max(most, running);
      await gate;
      running -= 1;
      return {};
    },
  });
  const socket = speak();
  for (let n = 0; n < 3_000; n++) {
    const stream = 2 * n + 1;
    socket.write(call(stream));
    socket.write(frame(FRAME.DATA, FLAG.END_STREAM, stream, framed(request("x"))));
    socket.write(numberFrame(FRAME.RST_STREAM, stream, 8));
  }
  socket.write(frame(FRAME.PING, 0, 0, Buffer.from("the end!")));
  await heard(socket, "the end!");
  expect(most).toBe(1_000);
  release();
  socket.destroy();
});

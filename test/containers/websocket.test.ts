/** `attach/ws`: a container's streams over a WebSocket, by a client written here. */

import { request } from "node:http";
import type { Duplex } from "node:stream";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Host } from "./engine-host.ts";
import { DOCKERS, docker, type Harness, IMAGE, makeHarness } from "./harness.ts";

let harness: Harness;
let host: Host;

beforeAll(async () => {
  harness = await makeHarness();
  host = await harness.open();
});

afterAll(async () => {
  await host?.close();
  await harness?.remove();
});

/** The example of RFC 6455 §1.3. */
const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

interface Opened {
  readonly status: number;
  readonly accept: string | undefined;
  readonly socket: Duplex | undefined;
}

function open(path: string, headers: Readonly<Record<string, string>>): Promise<Opened> {
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath: harness.socket, path, headers });
    sent.on("upgrade", (response, socket) => {
      const accept = response.headers["sec-websocket-accept"];
      resolve({ status: response.statusCode ?? 0, accept, socket });
    });
    sent.on("response", (response) => {
      response.resume();
      resolve({ status: response.statusCode ?? 0, accept: undefined, socket: undefined });
    });
    sent.on("error", reject);
    sent.end();
  });
}

/** A whole message, masked with zeros, which leave it as it is. */
function message(opcode: number, text: string): Buffer {
  return Buffer.concat([
    Buffer.from([0x80 | opcode, 0x80 | text.length, 0, 0, 0, 0]),
    Buffer.from(text),
  ]);
}

test("input, output, a ping, and the end", async () => {
  const cli = (...args: string[]) => docker(DOCKERS[0] ?? "docker", harness.socket, args);
  await cli("create", "-i", "--name=ws", "--network=none", IMAGE, "sh", "-c", "read x; echo $x$x");
  const query = "stream=1&stdin=1&stdout=1&stderr=1";
  const upgrade = { Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Key": KEY };
  const { status, accept, socket } = await open(`/containers/ws/attach/ws?${query}`, upgrade);
  expect([status, accept]).toEqual([101, ACCEPT]);
  const chunks: Buffer[] = [];
  socket?.on("data", (chunk: Buffer) => chunks.push(chunk));
  await cli("start", "ws");
  socket?.write(Buffer.concat([message(9, "?"), message(1, "he"), message(2, "y\n")]));
  await new Promise((resolve) => socket?.once("end", resolve));
  const pong = Buffer.from([0x8a, 1, "?".charCodeAt(0)]);
  const said = Buffer.concat([Buffer.from([0x82, 7]), Buffer.from("heyhey\n")]);
  const close = Buffer.from([0x88, 2, 1000 >> 8, 1000 & 0xff]);
  expect(Buffer.concat(chunks)).toEqual(Buffer.concat([pong, said, close]));
});

test("who does not speak the protocol is refused, and the container lives on", async () => {
  expect((await open("/containers/ws/attach/ws?stream=1", {})).status).toBe(400);
  expect((await open("/containers/nosuch/attach/ws?stream=1", {})).status).toBe(404);
});

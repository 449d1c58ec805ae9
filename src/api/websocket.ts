/**
 * The server's side of a WebSocket on a connection that was taken over: a duplex stream of the bytes
 * within the messages, for `attach/ws`.
 */

import { createHash } from "node:crypto";
import { Duplex } from "node:stream";
import { EngineError } from "#base/error.ts";
import type { ApiRequest } from "./route.ts";
import { closeFrame, dataFrame, FrameDecoder, pongFrame } from "./websocket-frames.ts";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const ORDERED_END = 1000;
const PROTOCOL_ERROR = 1002;

/** The header lines that agree to the upgrade; `invalid-argument` when none was asked for. */
export function websocketAnswer(request: ApiRequest): Readonly<Record<string, string>> {
  const key = request.header("sec-websocket-key") ?? "";
  if (request.header("upgrade")?.toLowerCase() !== "websocket" || key === "") {
    throw new EngineError("invalid-argument", "not websocket protocol");
  }
  const accept = createHash("sha1").update(`${key}${GUID}`).digest("base64");
  const protocol = request.header("sec-websocket-protocol")?.split(",")[0]?.trim();
  return {
    Upgrade: "websocket",
    "Sec-WebSocket-Accept": accept,
    ...(protocol === undefined ? {} : { "Sec-WebSocket-Protocol": protocol }),
  };
}

export function websocketStream(socket: Duplex): Duplex {
  const decoder = new FrameDecoder();
  const stream = new Duplex({
    read: () => void socket.resume(),
    write: (chunk: Buffer, _encoding, done) => {
      if (!socket.writable) done();
      else if (socket.write(dataFrame(chunk))) done();
      else socket.once("drain", () => done());
    },
    final: (done) => {
      if (socket.writable) socket.end(closeFrame(ORDERED_END));
      done();
    },
    destroy: (error, done) => {
      socket.destroy();
      done(error);
    },
  });
  socket.on("data", (chunk: Buffer) => {
    const decoded = decoder.push(chunk);
    if (!decoded.ok) {
      socket.end(closeFrame(PROTOCOL_ERROR));
      stream.push(null);
      return;
    }
    for (const message of decoded.received) {
      if (message.kind === "ping") socket.write(pongFrame(message.bytes));
      else if (message.kind === "close") stream.push(null);
      else if (!stream.push(message.bytes)) socket.pause();
    }
  });
  socket.on("end", () => stream.push(null));
  socket.on("close", () => stream.destroy());
  stream.on("error", () => socket.destroy());
  return stream;
}

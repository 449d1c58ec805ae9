/**
 * A lean client for unary gRPC calls without TLS: HTTP/2 frames and nothing else, so that a bench
 * measures the server, and the same client can drive servers of others.
 */

import type { IncomingHttpHeaders } from "node:http";
import { type ClientHttp2Session, connect, constants } from "node:http2";
import { connect as connectSocket } from "node:net";

const { HTTP2_HEADER_METHOD, HTTP2_HEADER_PATH, HTTP2_METHOD_POST } = constants;

export interface UnaryAnswer {
  /** gRPC status; 0 is success, 14 also where the connection failed. */
  readonly status: number;
  readonly message: string;
  readonly body: Buffer;
}

export class UnaryClient {
  readonly #socket: string;
  #session: ClientHttp2Session | undefined;

  /** `socket` is the path of a unix socket. */
  constructor(socket: string) {
    this.#socket = socket;
  }

  /** Never rejects: what went wrong is the status. */
  call(path: string, message: Uint8Array, timeoutMs = 0): Promise<UnaryAnswer> {
    return new Promise((resolve) => {
      const stream = this.#connected().request({
        [HTTP2_HEADER_METHOD]: HTTP2_METHOD_POST,
        [HTTP2_HEADER_PATH]: path,
        "content-type": "application/grpc",
        te: "trailers",
      });
      const pieces: Buffer[] = [];
      let status = 14;
      let text = "the connection failed";
      const read = (headers: IncomingHttpHeaders) => {
        const found = headers["grpc-status"];
        if (found === undefined) return;
        status = Number(found);
        const told = headers["grpc-message"];
        text = typeof told === "string" ? decodeURIComponent(told) : "";
      };
      stream.on("response", read);
      stream.on("trailers", read);
      stream.on("data", (piece: Buffer) => pieces.push(piece));
      stream.on("error", () => undefined);
      stream.on("close", () => {
        resolve({ status, message: text, body: Buffer.concat(pieces).subarray(5) });
      });
      if (timeoutMs > 0) {
        stream.setTimeout(timeoutMs, () => {
          status = 4;
          text = "no answer in time";
          stream.close(constants.NGHTTP2_CANCEL);
        });
      }
      stream.end(framed(message));
    });
  }

  close(): void {
    this.#session?.destroy();
  }

  #connected(): ClientHttp2Session {
    const open = this.#session;
    if (open !== undefined && !open.closed && !open.destroyed) return open;
    const session = connect("http://localhost", {
      createConnection: () => connectSocket(this.#socket),
    });
    session.on("error", () => undefined);
    this.#session = session;
    return session;
  }
}

function framed(message: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(5 + message.length);
  bytes.writeUInt8(0, 0);
  bytes.writeUInt32BE(message.length, 1);
  bytes.set(message, 5);
  return bytes;
}

/** One request to an engine, and all of its answer: what a comparison needs of both. */

import { request } from "node:http";

export interface Call {
  readonly method: string;
  /** With version and query: "/v1.41/containers/json?all=1". */
  readonly path: string;
  readonly body?: unknown;
  /** An archive or other bytes instead of JSON. */
  readonly raw?: Uint8Array;
  readonly headers?: Readonly<Record<string, string>>;
  /** Asks for the connection, says this, and reads until the engine closes. */
  readonly hijack?: string;
  /** A stream without end: as much as has come when this text is in it, or by the time limit. */
  readonly until?: string;
}

export interface Answer {
  readonly status: number;
  readonly type: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

const TIMEOUT_MS = 10_000;

export function send(socketPath: string, call: Call): Promise<Answer> {
  const json = call.body === undefined ? undefined : JSON.stringify(call.body);
  const payload = call.raw ?? json;
  const kind = call.raw === undefined ? "application/json" : "application/x-tar";
  const upgrade = call.hijack === undefined ? {} : { Connection: "Upgrade", Upgrade: "tcp" };
  return new Promise((resolve, reject) => {
    const sent = request({
      socketPath,
      agent: false,
      method: call.method,
      path: call.path,
      headers: {
        ...(payload === undefined
          ? {}
          : { "Content-Type": kind, "Content-Length": Buffer.byteLength(payload) }),
        ...upgrade,
        ...call.headers,
      },
    });
    const what = `${call.method} ${call.path}`;
    const timer = setTimeout(() => {
      reject(new Error(`${what}: no end within ${TIMEOUT_MS} ms`));
      sent.destroy();
    }, TIMEOUT_MS);
    const chunks: Buffer[] = [];
    const answer = (status: number, headers: Answer["headers"]) => {
      clearTimeout(timer);
      const type = String(headers["content-type"] ?? "");
      resolve({ status, type, headers, body: Buffer.concat(chunks) });
      sent.destroy();
    };
    sent.on("upgrade", (response, socket, head) => {
      chunks.push(head);
      socket.on("data", (chunk: Buffer) => chunks.push(chunk));
      socket.on("end", () => answer(response.statusCode ?? 0, response.headers));
      socket.end(call.hijack ?? "");
    });
    sent.on("response", (response) => {
      response.on("data", (chunk: Buffer) => {
        chunks.push(chunk);
        if (call.until !== undefined && Buffer.concat(chunks).includes(call.until)) {
          answer(response.statusCode ?? 0, response.headers);
        }
      });
      response.on("end", () => answer(response.statusCode ?? 0, response.headers));
    });
    sent.on("error", (error) => {
      clearTimeout(timer);
      reject(new Error(`${what}: ${error.message}`, { cause: error }));
    });
    if (payload !== undefined) sent.write(payload);
    sent.end();
  });
}

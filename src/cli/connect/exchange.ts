/**
 * One request and its whole answer, on a connection of its own by a local socket. Most commands are two
 * or three of these, and `node:http` takes longer to load than they take.
 */

import type { Duplex } from "node:stream";

export interface Answer {
  readonly status: number;
  readonly body: Buffer;
}

/** Ends with the connection's end, or when the answer is as long as it says. `request` asks to close. */
export function exchange(socket: Duplex, request: string, signal?: AbortSignal): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    let wanted: number | undefined;
    const fail = (error: Error) => {
      socket.destroy();
      reject(error);
    };
    const read = (ended: boolean) => {
      if (!ended && wanted !== undefined && size < wanted) return;
      const bytes = Buffer.concat(chunks);
      try {
        const answer = readAnswer(bytes, ended);
        if (typeof answer === "number") wanted = answer;
        else {
          socket.destroy();
          resolve(answer);
        }
      } catch (error) {
        fail(error as Error);
      }
    };
    socket.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      size += chunk.length;
      read(false);
    });
    socket.on("end", () => read(true));
    socket.on("error", fail);
    socket.on("close", () => reject(new Error("the connection was closed")));
    const giveUp = () => fail(new Error("given up"));
    signal?.addEventListener("abort", giveUp, { once: true });
    if (signal?.aborted === true) giveUp();
    else socket.write(request);
  });
}

const HEAD_MAX_BYTES = 64 * 1024;
const HEAD_END = "\r\n\r\n";

/** An answer that is all there, or how many bytes there must be before it can be. Throws on noise. */
export function readAnswer(bytes: Buffer, ended: boolean): Answer | number {
  const headEnd = bytes.indexOf(HEAD_END);
  if (headEnd < 0) {
    if (ended || bytes.length > HEAD_MAX_BYTES) throw new Error("it does not answer in HTTP");
    return bytes.length + 1;
  }
  const [first = "", ...lines] = bytes.toString("latin1", 0, headEnd).split("\r\n");
  const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(first)?.[1]);
  if (Number.isNaN(status)) throw new Error("it does not answer in HTTP");
  const body = bytes.subarray(headEnd + HEAD_END.length);
  if (status < 200) {
    const next = readAnswer(body, ended);
    return typeof next === "number" ? bytes.length - body.length + next : next;
  }
  const headers = new Map(lines.map(headerOf));
  if (status === 204 || status === 304) return { status, body: Buffer.alloc(0) };
  if (/\bchunked\b/i.test(headers.get("transfer-encoding") ?? "")) {
    return ended ? { status, body: joinChunks(body) } : Number.POSITIVE_INFINITY;
  }
  const length = headers.get("content-length");
  if (length === undefined) return ended ? { status, body } : Number.POSITIVE_INFINITY;
  const end = Number(length);
  if (!/^\d+$/.test(length)) throw new Error("it does not say how long its answer is");
  if (body.length >= end) return { status, body: body.subarray(0, end) };
  if (ended) throw new Error("the answer broke off");
  return bytes.length - body.length + end;
}

function headerOf(line: string): readonly [string, string] {
  const colon = line.indexOf(":");
  return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
}

/** What `Transfer-Encoding: chunked` has taken apart. */
function joinChunks(bytes: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; ; ) {
    const lineEnd = bytes.indexOf("\r\n", at);
    const size = /^[0-9a-f]+/i.exec(bytes.toString("latin1", at, Math.max(at, lineEnd)))?.[0];
    if (lineEnd < 0 || size === undefined) throw new Error("the answer broke off");
    const length = Number.parseInt(size, 16);
    if (length === 0) return Buffer.concat(parts);
    const start = lineEnd + 2;
    if (start + length > bytes.length) throw new Error("the answer broke off");
    parts.push(bytes.subarray(start, start + length));
    at = start + length + 2;
  }
}

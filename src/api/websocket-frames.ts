/**
 * The frames of RFC 6455 as the server of `attach/ws` needs them: bytes out as binary messages, bytes
 * in from messages of any kind, whole or in pieces; pings and the close are told apart. Pure.
 */

/** Longer frames of a client's are refused: what a terminal is typed and pasted into is shorter. */
export const FRAME_MAX_BYTES = 1 << 20;

const BINARY = 0x2;
const CLOSE = 0x8;
const PING = 0x9;
const PONG = 0xa;
const FINAL = 0x80;
const MASKED = 0x80;
const CONTROL_MAX_BYTES = 125;

export type Received =
  | { readonly kind: "data"; readonly bytes: Buffer }
  | { readonly kind: "ping"; readonly bytes: Buffer }
  | { readonly kind: "close" };

export type Decoded =
  | { readonly ok: true; readonly received: readonly Received[] }
  | { readonly ok: false; readonly reason: string };

export function dataFrame(bytes: Uint8Array): Buffer {
  return frame(BINARY, bytes);
}

export function pongFrame(bytes: Uint8Array): Buffer {
  return frame(PONG, bytes);
}

/** With a status of RFC 6455: 1000 for an ordered end, 1002 for a breach of the protocol. */
export function closeFrame(status: number): Buffer {
  const body = Buffer.alloc(2);
  body.writeUInt16BE(status);
  return frame(CLOSE, body);
}

function frame(opcode: number, bytes: Uint8Array): Buffer {
  const { length } = bytes;
  let head: Buffer;
  if (length < 126) head = Buffer.from([FINAL | opcode, length]);
  else if (length < 1 << 16) {
    head = Buffer.from([FINAL | opcode, 126, length >> 8, length & 0xff]);
  } else {
    head = Buffer.alloc(10);
    head[0] = FINAL | opcode;
    head[1] = 127;
    head.writeBigUInt64BE(BigInt(length), 2);
  }
  return Buffer.concat([head, bytes]);
}

/** Keeps the beginning of a frame that has not come whole. */
export class FrameDecoder {
  #rest: Buffer = Buffer.alloc(0);

  push(chunk: Uint8Array): Decoded {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    const received: Received[] = [];
    for (;;) {
      const next = takeFrame(this.#rest);
      if (next === undefined) return { ok: true, received };
      if (typeof next === "string") return { ok: false, reason: next };
      this.#rest = this.#rest.subarray(next.size);
      if (next.received !== undefined) received.push(next.received);
    }
  }
}

/** Undefined: more bytes are needed. A text: the client breaks the protocol. */
function takeFrame(
  bytes: Buffer,
): { readonly size: number; readonly received: Received | undefined } | string | undefined {
  const [first, second] = bytes;
  if (first === undefined || second === undefined) return undefined;
  if ((first & 0x70) !== 0) return "an extension that was not agreed on";
  if ((second & MASKED) === 0) return "a frame that is not masked";
  const short = second & 0x7f;
  const lengthBytes = short === 127 ? 8 : short === 126 ? 2 : 0;
  const body = 2 + lengthBytes + 4;
  if (bytes.length < body) return undefined;
  const length =
    lengthBytes === 8
      ? Number(bytes.readBigUInt64BE(2))
      : lengthBytes === 2
        ? bytes.readUInt16BE(2)
        : short;
  const opcode = first & 0xf;
  if (length > FRAME_MAX_BYTES) return "a frame that is too long";
  if (opcode >= CLOSE && length > CONTROL_MAX_BYTES) return "a control frame that is too long";
  if (bytes.length < body + length) return undefined;
  const mask = bytes.subarray(body - 4, body);
  const payload = Buffer.from(bytes.subarray(body, body + length));
  for (const [index, byte] of payload.entries()) payload[index] = byte ^ (mask[index & 3] ?? 0);
  return received(opcode, body + length, payload);
}

function received(opcode: number, size: number, bytes: Buffer) {
  if (opcode <= BINARY) return { size, received: { kind: "data", bytes } as const };
  if (opcode === CLOSE) return { size, received: { kind: "close" } as const };
  if (opcode === PING) return { size, received: { kind: "ping", bytes } as const };
  return opcode === PONG ? { size, received: undefined } : "an unknown kind of frame";
}

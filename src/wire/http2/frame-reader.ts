/**
 * Frames of HTTP/2 out of the bytes of one connection (RFC 9113 §4): cut, checked for their size and
 * their order, without padding and priorities, and header blocks whole.
 *
 * Bounded: what is kept between two pieces is less than a frame, and one header block of
 * `HEADER_BLOCK_MAX` bytes.
 */

import { concat } from "#base/concat.ts";
import {
  CODE,
  FLAG,
  FRAME,
  FRAME_HEAD_BYTES,
  FRAME_MAX_BYTES,
  PREFACE,
  uint24At,
  uint31At,
} from "./frames.ts";

/** A header block in pieces: bytes, and frames after the first. */
const HEADER_BLOCK_MAX = 64 * 1024;
const CONTINUATIONS_MAX = 16;
const EMPTY = new Uint8Array(0);

/** CONTINUATION never comes out: its bytes are in the HEADERS they go on. */
export interface Frame {
  readonly kind: "frame";
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  /** A view of what was given to `push`, valid until the next time. */
  readonly payload: Uint8Array;
  /** The payload's bytes with its padding, as flow control counts them. */
  readonly size: number;
}

/** The other side broke the protocol: the connection must end with this code. */
export interface Breach {
  readonly kind: "breach";
  readonly code: number;
  readonly message: string;
}

interface HeaderBlock {
  readonly flags: number;
  readonly stream: number;
  readonly pieces: Uint8Array[];
  bytes: number;
}

export function breach(code: number, message: string): Breach {
  return { kind: "breach", code, message };
}

export class FrameReader {
  #bytes: Uint8Array = EMPTY;
  #at = 0;
  #awaitsPreface: boolean;
  #block: HeaderBlock | undefined;

  /** `awaitsPreface`: of servers, to whom clients say first that they mean HTTP/2. */
  constructor(awaitsPreface: boolean) {
    this.#awaitsPreface = awaitsPreface;
  }

  /** Takes the next bytes; to be followed by `next` until there is no more. */
  push(chunk: Uint8Array): void {
    this.#bytes = this.#bytes.length === 0 ? chunk : concat([this.#bytes, chunk]);
    this.#at = 0;
  }

  /** Undefined when more bytes are needed. After a breach nothing sensible comes any more. */
  next(): Frame | Breach | undefined {
    if (this.#awaitsPreface) {
      const fault = this.#preface();
      if (fault !== undefined) return fault;
      if (this.#awaitsPreface) return this.#rest();
    }
    for (;;) {
      const frame = this.#cut();
      if (frame === undefined) return this.#rest();
      const whole = frame.kind === "frame" ? this.#whole(frame) : frame;
      if (whole !== undefined) return whole;
    }
  }

  /** A copy is kept: the little that is left must not hold all that it came with. */
  #rest(): undefined {
    this.#bytes = this.#at === this.#bytes.length ? EMPTY : this.#bytes.slice(this.#at);
    this.#at = 0;
    return undefined;
  }

  #preface(): Breach | undefined {
    const size = Math.min(this.#bytes.length, PREFACE.length);
    for (let at = 0; at < size; at += 1) {
      if (this.#bytes[at] !== PREFACE[at]) return breach(CODE.PROTOCOL_ERROR, "this is not HTTP/2");
    }
    if (size < PREFACE.length) return undefined;
    this.#at = size;
    this.#awaitsPreface = false;
    return undefined;
  }

  #cut(): Frame | Breach | undefined {
    const [bytes, at] = [this.#bytes, this.#at];
    if (at + FRAME_HEAD_BYTES > bytes.length) return undefined;
    const size = uint24At(bytes, at);
    if (size > FRAME_MAX_BYTES) return breach(CODE.FRAME_SIZE_ERROR, "a frame is too long");
    const end = at + FRAME_HEAD_BYTES + size;
    if (end > bytes.length) return undefined;
    this.#at = end;
    const [type, flags] = [bytes[at + 3] ?? 0, bytes[at + 4] ?? 0];
    const payload = bytes.subarray(at + FRAME_HEAD_BYTES, end);
    return { kind: "frame", type, flags, stream: uint31At(bytes, at + 5), payload, size };
  }

  /** Undefined while a header block is not whole. */
  #whole(frame: Frame): Frame | Breach | undefined {
    if (frame.type === FRAME.CONTINUATION) return this.#continue(frame);
    if (this.#block !== undefined) {
      return breach(CODE.PROTOCOL_ERROR, "a header block is interrupted");
    }
    if (frame.type === FRAME.DATA) return unpadded(frame);
    return frame.type === FRAME.HEADERS ? this.#headers(frame) : frame;
  }

  #headers(padded: Frame): Frame | Breach | undefined {
    const frame = unpadded(padded);
    if (frame.kind === "breach") return frame;
    const { flags, stream } = frame;
    if (stream === 0) return breach(CODE.PROTOCOL_ERROR, "a header block without a stream");
    let { payload } = frame;
    if ((flags & FLAG.PRIORITY) !== 0) {
      if (payload.length < 5) return breach(CODE.FRAME_SIZE_ERROR, "a priority is cut off");
      payload = payload.subarray(5);
    }
    if ((flags & FLAG.END_HEADERS) !== 0) return { ...frame, payload };
    this.#block = { flags, stream, pieces: [payload.slice()], bytes: payload.length };
    return undefined;
  }

  #continue({ flags, stream, payload }: Frame): Frame | Breach | undefined {
    const block = this.#block;
    if (block === undefined || block.stream !== stream) {
      return breach(CODE.PROTOCOL_ERROR, "the rest of a header block that was not begun");
    }
    block.pieces.push(payload.slice());
    block.bytes += payload.length;
    if (block.bytes > HEADER_BLOCK_MAX || block.pieces.length > CONTINUATIONS_MAX) {
      return breach(CODE.ENHANCE_YOUR_CALM, "a header block is too long");
    }
    if ((flags & FLAG.END_HEADERS) === 0) return undefined;
    this.#block = undefined;
    const whole = concat(block.pieces);
    const head = { kind: "frame", type: FRAME.HEADERS, flags: block.flags, stream } as const;
    return { ...head, payload: whole, size: whole.length };
  }
}

/** DATA or HEADERS without padding. */
function unpadded(frame: Frame): Frame | Breach {
  if ((frame.flags & FLAG.PADDED) === 0) return frame;
  const padding = frame.payload[0] ?? 0;
  if (padding >= frame.size) return breach(CODE.PROTOCOL_ERROR, "more padding than frame");
  return { ...frame, payload: frame.payload.subarray(1, frame.size - padding) };
}

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
  /** A view: of what was given to `push`, or of a copy. */
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
  #chunk: Uint8Array = EMPTY;
  #at = 0;
  /** Of earlier chunks: the beginning of the next frame, or of the preface. */
  #begun: Uint8Array = EMPTY;
  #awaitsPreface: boolean;
  #block: HeaderBlock | undefined;

  /** `awaitsPreface`: of servers, to whom clients say first that they mean HTTP/2. */
  constructor(awaitsPreface: boolean) {
    this.#awaitsPreface = awaitsPreface;
  }

  /** Takes the next bytes; to be followed by `next` until there is no more. */
  push(chunk: Uint8Array): void {
    this.#chunk = chunk;
    this.#at = 0;
  }

  /** Undefined when more bytes are needed. After a breach nothing sensible comes any more. */
  next(): Frame | Breach | undefined {
    if (this.#awaitsPreface) {
      const fault = this.#preface();
      if (fault !== undefined || this.#awaitsPreface) return fault;
    }
    for (;;) {
      const frame = this.#cut();
      if (frame === undefined || frame.kind === "breach") return frame;
      const whole = this.#whole(frame);
      if (whole !== undefined) return whole;
    }
  }

  /** Moves bytes of the chunk to what was begun, until that has so many; false when there are not enough. */
  #begin(length: number): boolean {
    const end = this.#at + length - this.#begun.length;
    const piece = this.#chunk.subarray(this.#at, end);
    this.#at += piece.length;
    if (piece.length > 0) this.#begun = concat([this.#begun, piece]);
    return this.#begun.length === length;
  }

  #preface(): Breach | undefined {
    const isWhole = this.#begin(PREFACE.length);
    if (this.#begun.some((byte, at) => byte !== PREFACE[at])) {
      return breach(CODE.PROTOCOL_ERROR, "this is not HTTP/2");
    }
    if (!isWhole) return undefined;
    this.#begun = EMPTY;
    this.#awaitsPreface = false;
    return undefined;
  }

  #cut(): Frame | Breach | undefined {
    if (this.#begun.length > 0) return this.#finish();
    const bytes = this.#chunk;
    const at = this.#at;
    const size = at + FRAME_HEAD_BYTES <= bytes.length ? uint24At(bytes, at) : undefined;
    if (size !== undefined && size > FRAME_MAX_BYTES) return TOO_LONG;
    if (size === undefined || at + FRAME_HEAD_BYTES + size > bytes.length) {
      // A copy: the little that is left must not hold all that it came with.
      this.#begun = at === bytes.length ? EMPTY : bytes.slice(at);
      this.#at = bytes.length;
      return undefined;
    }
    this.#at = at + FRAME_HEAD_BYTES + size;
    return frameAt(bytes, at, size);
  }

  /** The frame of which an earlier chunk had the beginning. */
  #finish(): Frame | Breach | undefined {
    if (this.#begun.length < FRAME_HEAD_BYTES && !this.#begin(FRAME_HEAD_BYTES)) return undefined;
    const size = uint24At(this.#begun, 0);
    if (size > FRAME_MAX_BYTES) return TOO_LONG;
    if (!this.#begin(FRAME_HEAD_BYTES + size)) return undefined;
    const bytes = this.#begun;
    this.#begun = EMPTY;
    return frameAt(bytes, 0, size);
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
    const hasPriority = (flags & FLAG.PRIORITY) !== 0;
    if (!hasPriority && (flags & FLAG.END_HEADERS) !== 0) return frame;
    if (hasPriority && frame.payload.length < 5) {
      return breach(CODE.FRAME_SIZE_ERROR, "a priority is cut off");
    }
    const payload = hasPriority ? frame.payload.subarray(5) : frame.payload;
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

const TOO_LONG = breach(CODE.FRAME_SIZE_ERROR, "a frame is too long");

function frameAt(bytes: Uint8Array, at: number, size: number): Frame {
  return {
    kind: "frame",
    type: bytes[at + 3] ?? 0,
    flags: bytes[at + 4] ?? 0,
    stream: uint31At(bytes, at + 5),
    payload: bytes.subarray(at + FRAME_HEAD_BYTES, at + FRAME_HEAD_BYTES + size),
    size,
  };
}

/** DATA or HEADERS without padding. */
function unpadded(frame: Frame): Frame | Breach {
  if ((frame.flags & FLAG.PADDED) === 0) return frame;
  const padding = frame.payload[0] ?? 0;
  if (padding >= frame.size) return breach(CODE.PROTOCOL_ERROR, "more padding than frame");
  return { ...frame, payload: frame.payload.subarray(1, frame.size - padding) };
}

/**
 * Docker's framing of several output streams on one connection: an 8-byte header
 * [stream, 0, 0, 0, length as uint32 big-endian] and the payload. Used by logs, attach and exec of
 * processes without a terminal. Pure bytes.
 */

export const STDIN = 0;
export const STDOUT = 1;
export const STDERR = 2;
/** An error of the server, told in the stream because the status line is long gone. */
export const SYSTEM_ERROR = 3;

export type StreamType = typeof STDIN | typeof STDOUT | typeof STDERR | typeof SYSTEM_ERROR;

export interface StreamFrame {
  readonly stream: StreamType;
  readonly payload: Uint8Array;
}

const HEADER_BYTES = 8;
/** Longest frame that the decoder takes; docker's own writers stay far below. */
export const FRAME_MAX_BYTES = 16 * 1024 * 1024;

export function encodeFrame(stream: StreamType, payload: Uint8Array): Uint8Array {
  const frame = Buffer.allocUnsafe(HEADER_BYTES + payload.length);
  frame.writeUInt32BE(stream * 0x1_00_00_00, 0);
  frame.writeUInt32BE(payload.length, 4);
  frame.set(payload, HEADER_BYTES);
  return frame;
}

/** Puts frames together from chunks cut anywhere. */
export class FrameDecoder {
  #pending = new Uint8Array(0);

  /** The frames that are complete; throws RangeError on a stream that is not framed. */
  push(chunk: Uint8Array): StreamFrame[] {
    let bytes = chunk;
    if (this.#pending.length > 0) {
      bytes = new Uint8Array(this.#pending.length + chunk.length);
      bytes.set(this.#pending);
      bytes.set(chunk, this.#pending.length);
    }
    const frames: StreamFrame[] = [];
    let offset = 0;
    while (bytes.length - offset >= HEADER_BYTES) {
      const view = new DataView(bytes.buffer, bytes.byteOffset + offset, HEADER_BYTES);
      const stream = view.getUint8(0);
      const length = view.getUint32(4);
      if (!isStreamType(stream)) throw new RangeError(`unrecognized stream: ${stream}`);
      if (length > FRAME_MAX_BYTES) throw new RangeError(`frame of ${length} bytes is too long`);
      const end = offset + HEADER_BYTES + length;
      if (end > bytes.length) break;
      frames.push({ stream, payload: bytes.slice(offset + HEADER_BYTES, end) });
      offset = end;
    }
    this.#pending = bytes.slice(offset);
    return frames;
  }

  /** Bytes of a frame that has not arrived in full. */
  get pendingBytes(): number {
    return this.#pending.length;
  }
}

function isStreamType(value: number): value is StreamType {
  return value >= STDIN && value <= SYSTEM_ERROR;
}

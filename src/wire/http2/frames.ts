/** Frames of HTTP/2 (RFC 9113) as bytes: their names, their head, and the small ones whole. */

export const FRAME_HEAD_BYTES = 9;
/** Largest payload of a frame unless the other side allows more; nobody must take more. */
export const FRAME_MAX_BYTES = 16_384;
export const WINDOW_DEFAULT = 65_535;
export const WINDOW_MAX = 2 ** 31 - 1;
export const STREAM_ID_MAX = 2 ** 31 - 1;

export const FRAME = {
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PUSH_PROMISE: 5,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const;

export const FLAG = { END_STREAM: 1, ACK: 1, END_HEADERS: 4, PADDED: 8, PRIORITY: 32 } as const;

export const SETTING = {
  HEADER_TABLE_SIZE: 1,
  ENABLE_PUSH: 2,
  MAX_CONCURRENT_STREAMS: 3,
  INITIAL_WINDOW_SIZE: 4,
  MAX_FRAME_SIZE: 5,
  MAX_HEADER_LIST_SIZE: 6,
} as const;

/** Error codes of RST_STREAM and GOAWAY. */
export const CODE = {
  NO_ERROR: 0,
  PROTOCOL_ERROR: 1,
  INTERNAL_ERROR: 2,
  FLOW_CONTROL_ERROR: 3,
  SETTINGS_TIMEOUT: 4,
  STREAM_CLOSED: 5,
  FRAME_SIZE_ERROR: 6,
  REFUSED_STREAM: 7,
  CANCEL: 8,
  COMPRESSION_ERROR: 9,
  CONNECT_ERROR: 10,
  ENHANCE_YOUR_CALM: 11,
  INADEQUATE_SECURITY: 12,
} as const;

const PREFACE_TEXT = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/** What a client says first. */
export const PREFACE = Uint8Array.from(PREFACE_TEXT, (letter) => letter.charCodeAt(0));

/** Writes the head of a frame into `bytes`. */
export function putHead(
  bytes: Uint8Array,
  at: number,
  length: number,
  type: number,
  flags: number,
  stream: number,
): void {
  bytes[at] = length >>> 16;
  bytes[at + 1] = length >>> 8;
  bytes[at + 2] = length;
  bytes[at + 3] = type;
  bytes[at + 4] = flags;
  putUint32(bytes, at + 5, stream);
}

/** A frame whose payload is given. */
export function frame(
  type: number,
  flags: number,
  stream: number,
  payload: Uint8Array,
): Uint8Array {
  const bytes = new Uint8Array(FRAME_HEAD_BYTES + payload.length);
  putHead(bytes, 0, payload.length, type, flags, stream);
  bytes.set(payload, FRAME_HEAD_BYTES);
  return bytes;
}

export function settingsFrame(settings: readonly (readonly [number, number])[]): Uint8Array {
  const payload = new Uint8Array(6 * settings.length);
  settings.forEach(([id, value], i) => {
    payload[6 * i] = id >>> 8;
    payload[6 * i + 1] = id;
    putUint32(payload, 6 * i + 2, value);
  });
  return frame(FRAME.SETTINGS, 0, 0, payload);
}

/** WINDOW_UPDATE or RST_STREAM: one number. */
export function numberFrame(type: number, stream: number, value: number): Uint8Array {
  const payload = new Uint8Array(4);
  putUint32(payload, 0, value);
  return frame(type, 0, stream, payload);
}

export function goawayFrame(lastStream: number, code: number): Uint8Array {
  const payload = new Uint8Array(8);
  putUint32(payload, 0, lastStream);
  putUint32(payload, 4, code);
  return frame(FRAME.GOAWAY, 0, 0, payload);
}

export function uint32At(bytes: Uint8Array, at: number): number {
  return uint24At(bytes, at) * 256 + (bytes[at + 3] ?? 0);
}

/** A 31-bit number; the bit above it is reserved and ignored. */
export function uint31At(bytes: Uint8Array, at: number): number {
  return uint32At(bytes, at) % 2 ** 31;
}

export function uint24At(bytes: Uint8Array, at: number): number {
  return (bytes[at] ?? 0) * 65_536 + (bytes[at + 1] ?? 0) * 256 + (bytes[at + 2] ?? 0);
}

function putUint32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

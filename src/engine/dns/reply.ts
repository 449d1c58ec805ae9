/**
 * Answers of other servers, as bytes that pass through: what the cache has to know of them, and the
 * three things that change on the way to a client (id, spelling of the name, time to live).
 * Everything else, known types or not, is kept as it came.
 */

const HEADER_BYTES = 12;
const TYPE_SOA = 6;
const TYPE_OPT = 41;
const RCODE_NAME_ERROR = 3;
/** More records than fit in the largest message of any use. */
const RECORDS_MAX = 4096;

export interface Reply {
  readonly bytes: Buffer;
  readonly rcode: number;
  readonly truncated: boolean;
  /** Bytes of the question, after the header. */
  readonly question: Buffer;
  /** Where the times to live stand. */
  readonly ttlOffsets: readonly number[];
  /** Seconds that it may be kept; 0 = not at all. */
  readonly ttl: number;
  /** It says that there is no such name, or nothing of the type. */
  readonly negative: boolean;
}

/** Undefined for what is no whole answer to one question. */
export function readReply(bytes: Buffer): Reply | undefined {
  if (bytes.length < HEADER_BYTES || (bytes.readUInt8(2) & 0x80) === 0) return undefined;
  if (bytes.readUInt16BE(4) !== 1) return undefined;
  const nameEnd = skipName(bytes, HEADER_BYTES);
  if (nameEnd === undefined || nameEnd + 4 > bytes.length) return undefined;
  const answers = bytes.readUInt16BE(6);
  const authorities = bytes.readUInt16BE(8);
  const total = answers + authorities + bytes.readUInt16BE(10);
  if (total > RECORDS_MAX) return undefined;
  const ttlOffsets: number[] = [];
  const ttls: number[] = [];
  let negative: number | undefined;
  let offset = nameEnd + 4;
  for (let index = 0; index < total; index += 1) {
    const record = readRecord(bytes, offset);
    if (record === undefined) return undefined;
    offset = record.end;
    if (record.type === TYPE_OPT) continue;
    ttlOffsets.push(record.ttlOffset);
    ttls.push(record.ttl);
    const authority = index >= answers && index < answers + authorities;
    if (authority && record.type === TYPE_SOA) negative = negativeTtl(bytes, record);
  }
  const rcode = bytes.readUInt8(3) & 15;
  const truncated = (bytes.readUInt8(2) & 2) !== 0;
  const positive = rcode === 0 && answers > 0;
  const least = ttls.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  const denied = rcode === RCODE_NAME_ERROR || (rcode === 0 && answers === 0);
  const ttl = positive ? least : denied ? Math.min(negative ?? 0, least) : 0;
  return {
    bytes,
    rcode,
    truncated,
    question: bytes.subarray(HEADER_BYTES, nameEnd + 4),
    ttlOffsets,
    ttl: truncated || !Number.isFinite(ttl) ? 0 : ttl,
    negative: !positive,
  };
}

interface RawRecord {
  readonly type: number;
  readonly ttl: number;
  readonly ttlOffset: number;
  readonly dataStart: number;
  readonly end: number;
}

function readRecord(bytes: Buffer, start: number): RawRecord | undefined {
  const fixed = skipName(bytes, start);
  if (fixed === undefined || fixed + 10 > bytes.length) return undefined;
  const dataStart = fixed + 10;
  const end = dataStart + bytes.readUInt16BE(fixed + 8);
  if (end > bytes.length) return undefined;
  const ttl = bytes.readUInt32BE(fixed + 4);
  // The topmost bit set means zero (RFC 2181, section 8).
  const seconds = ttl > 0x7fffffff ? 0 : ttl;
  return { type: bytes.readUInt16BE(fixed), ttl: seconds, ttlOffset: fixed + 4, dataStart, end };
}

/** How long the absence of a name may be kept: the last field of its zone's SOA (RFC 2308). */
function negativeTtl(bytes: Buffer, { ttl, dataStart, end }: RawRecord): number {
  if (end - dataStart < 22) return 0;
  return Math.min(ttl, bytes.readUInt32BE(end - 4));
}

/** The end of a name, which a pointer is the end of as well; nothing is followed. */
function skipName(bytes: Buffer, start: number): number | undefined {
  let offset = start;
  for (;;) {
    if (offset >= bytes.length) return undefined;
    const length = bytes.readUInt8(offset);
    if (length === 0) return offset + 1;
    if ((length & 0xc0) === 0xc0) return offset + 2 <= bytes.length ? offset + 2 : undefined;
    if ((length & 0xc0) !== 0) return undefined;
    offset += length + 1;
  }
}

/** The question's bytes of a query; undefined when it has not exactly one. */
export function questionOf(query: Buffer): Buffer | undefined {
  if (query.length < HEADER_BYTES || query.readUInt16BE(4) !== 1) return undefined;
  const nameEnd = skipName(query, HEADER_BYTES);
  if (nameEnd === undefined || nameEnd + 4 > query.length) return undefined;
  return query.subarray(HEADER_BYTES, nameEnd + 4);
}

/** Letters without regard to case, as names are compared; nothing else is touched. */
export function foldCase(bytes: Buffer): Buffer {
  const folded = Buffer.from(bytes);
  for (let index = 0; index < folded.length; index += 1) {
    const byte = folded[index] ?? 0;
    if (byte >= 65 && byte <= 90) folded[index] = byte + 32;
  }
  return folded;
}

export function sameQuestion(query: Buffer, reply: Reply): boolean {
  const asked = questionOf(query);
  return asked !== undefined && foldCase(asked).equals(foldCase(reply.question));
}

/** The answer for one client: its id, its spelling of the name, and times less what has passed. */
export function replyTo(query: Buffer, reply: Reply, ageSeconds: number): Buffer {
  const bytes = Buffer.from(reply.bytes);
  bytes.writeUInt16BE(query.readUInt16BE(0), 0);
  questionOf(query)?.copy(bytes, HEADER_BYTES, 0, reply.question.length);
  if (ageSeconds <= 0) return bytes;
  for (const offset of reply.ttlOffsets) {
    bytes.writeUInt32BE(Math.max(0, bytes.readUInt32BE(offset) - ageSeconds), offset);
  }
  return bytes;
}

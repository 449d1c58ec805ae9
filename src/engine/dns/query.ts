/**
 * Questions and answers as DNS messages. What a container sends is anybody's bytes: only a message
 * with one question is a query, and whatever cannot be read is none.
 */

import {
  type Answer,
  AUTHORITATIVE_ANSWER,
  decode,
  encode,
  type Packet,
  RECURSION_AVAILABLE,
  RECURSION_DESIRED,
  TRUNCATED_RESPONSE,
} from "dns-packet";
import { questionOf } from "./reply.ts";

export const RCODE = { ok: 0, malformed: 1, failed: 2, notImplemented: 4, refused: 5 } as const;

const HEADER_BYTES = 12;
/** The bit of the third byte that tells an answer. */
const RESPONSE = 0x80;
/** Without EDNS, no more may be sent in one datagram. */
const PLAIN_MAX_BYTES = 512;
/** More than this in a datagram is asking for fragments. */
const DATAGRAM_MAX_BYTES = 4096;
/** EDNS, and a signature at most. */
const ADDITIONALS_MAX = 2;

export interface Query {
  readonly id: number;
  /** As it was asked, without a final dot. */
  readonly name: string;
  /** "A", "AAAA", "PTR", "UNKNOWN_65". */
  readonly type: string;
  readonly internet: boolean;
  readonly recursionDesired: boolean;
  readonly edns: boolean;
  /** What an answer by datagram may have. */
  readonly maxBytes: number;
}

export type Reading =
  | { readonly kind: "query"; readonly query: Query }
  /** Not a query, but one with an id, to which the code of refusal is sent. */
  | { readonly kind: "refuse"; readonly id: number; readonly rcode: number }
  /** Nothing that could be answered: garbage, or an answer itself. */
  | { readonly kind: "ignore" };

export function readQuery(bytes: Uint8Array): Reading {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (buffer.length < HEADER_BYTES || (buffer.readUInt8(2) & RESPONSE) !== 0)
    return { kind: "ignore" };
  const id = buffer.readUInt16BE(0);
  const opcode = (buffer.readUInt8(2) >> 3) & 15;
  if (opcode !== 0) return { kind: "refuse", id, rcode: RCODE.notImplemented };
  const malformed = { kind: "refuse", id, rcode: RCODE.malformed } as const;
  const [questions, answers, authorities, additionals] = [4, 6, 8, 10].map((offset) =>
    buffer.readUInt16BE(offset),
  );
  const counted = questions === 1 && answers === 0 && authorities === 0;
  // Counts are checked before the decoder makes room for them.
  if (!counted || (additionals ?? 0) > ADDITIONALS_MAX) return malformed;
  let packet: ReturnType<typeof decode>;
  try {
    packet = decode(buffer);
  } catch {
    return malformed;
  }
  const question = packet.questions?.[0];
  if (question === undefined) return malformed;
  const edns = (packet.additionals ?? []).find((record) => record.type === "OPT");
  const offered = edns?.type === "OPT" ? edns.udpPayloadSize : 0;
  return {
    kind: "query",
    query: {
      id,
      name: question.name === "." ? "" : question.name,
      type: question.type,
      internet: question.class === undefined || question.class === "IN" || question.class === "ANY",
      recursionDesired: packet.flag_rd,
      edns: edns !== undefined,
      maxBytes: Math.min(Math.max(offered, PLAIN_MAX_BYTES), DATAGRAM_MAX_BYTES),
    },
  };
}

/** An answer in at most `maxBytes`: records that do not fit are left out, and the client told so. */
export function writeReply(
  query: Query,
  rcode: number,
  answers: readonly Answer[],
  maxBytes: number,
): Buffer {
  const flags =
    rcode |
    RECURSION_AVAILABLE |
    (query.recursionDesired ? RECURSION_DESIRED : 0) |
    (answers.length > 0 ? AUTHORITATIVE_ANSWER : 0);
  const packet = (kept: readonly Answer[]): Packet => ({
    type: "response",
    id: query.id,
    flags: kept.length < answers.length ? flags | TRUNCATED_RESPONSE : flags,
    questions: [{ type: query.type as "A", name: query.name }],
    answers: [...kept],
    additionals: query.edns ? [EDNS] : [],
  });
  const whole = encode(packet(answers));
  if (whole.length <= maxBytes) return whole;
  // All answers to one question are of about one size.
  const bare = encode(packet([])).length;
  const each = Math.ceil((whole.length - bare) / answers.length);
  let count = Math.max(0, Math.floor((maxBytes - bare) / each));
  for (; count > 0; count -= 1) {
    const part = encode(packet(answers.slice(0, count)));
    if (part.length <= maxBytes) return part;
  }
  return encode(packet([]));
}

const EDNS: Answer = {
  type: "OPT",
  name: ".",
  udpPayloadSize: DATAGRAM_MAX_BYTES,
  extendedRcode: 0,
  ednsVersion: 0,
  flags: 0,
  flag_do: false,
  options: [],
};

/** A code and nothing else, for what could not be read. */
export function writeRefusal(id: number, rcode: number): Buffer {
  const reply = Buffer.alloc(HEADER_BYTES);
  reply.writeUInt16BE(id, 0);
  reply.writeUInt8(RESPONSE, 2);
  reply.writeUInt8(rcode, 3);
  return reply;
}

/** A code for a query whose name may be anything, in the bytes that it came in. */
export function writeFailure(query: Buffer, rcode: number): Buffer {
  const question = questionOf(query) ?? Buffer.alloc(0);
  const reply = Buffer.concat([query.subarray(0, HEADER_BYTES), question]);
  reply.writeUInt8(RESPONSE | (query.readUInt8(2) & 1), 2);
  reply.writeUInt8(RECURSION_AVAILABLE | rcode, 3);
  for (const count of [6, 8, 10]) reply.writeUInt16BE(0, count);
  return reply;
}

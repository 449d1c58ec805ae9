/**
 * Reads SwarmKit's Snapshot message from pieces cut anywhere, without ever holding more of it than a
 * piece and one object: fields of the message itself, and within its `store` field the objects, are
 * given out as soon as they are whole. Splitting is all it does; what the fields mean is the caller's.
 */

import { EngineError } from "#base/error.ts";
import { SnapshotSchema } from "#wire/gen/swarmkit/snapshot_pb.js";

const STORE = SnapshotSchema.field.store.number;
const LENGTH_DELIMITED = 2;
/** Tag and length, each a varint of at most ten bytes. */
const HEAD_MAX_BYTES = 20;
/** Largest field that is not the store, and largest object, bytes. */
const FIELD_MAX_BYTES = 64 * 1024 * 1024;
/** Objects are given out in runs of about this size, bytes: some milliseconds of work. */
const RUN_BYTES = 64 * 1024;

/** Whole fields one after another: of the Snapshot message, or of the StoreSnapshot in it. */
export interface Fields {
  readonly of: "snapshot" | "store";
  readonly bytes: Uint8Array;
}

export class SnapshotParser {
  #rest: Buffer = Buffer.alloc(0);
  /** Bytes of the store that are still to come; 0 outside of it. */
  #storeLeft = 0;
  /** Objects that are to be given out together. */
  #objects: Buffer[] = [];
  #objectBytes = 0;

  /** What has become whole with this piece; throws `data-loss` for what is no such message. */
  *push(piece: Uint8Array): Generator<Fields> {
    const bytes = Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength);
    const all = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    let at = 0;
    for (;;) {
      const fields = this.#storeLeft > 0 ? this.#storeRun(all, at) : this.#field(all, at);
      if (fields === undefined) break;
      const { of, begin, end } = fields;
      at = end;
      if (of === "snapshot") yield { of, bytes: all.subarray(begin, end) };
      else if (of === "store") this.#gather(all.subarray(begin, end));
      if (this.#objectBytes >= RUN_BYTES) yield this.#gathered();
    }
    if (this.#objectBytes > 0) yield this.#gathered();
    // A copy, so that the piece is not held for a few bytes of it.
    this.#rest = Buffer.from(all.subarray(at));
    if (this.#rest.length > FIELD_MAX_BYTES + HEAD_MAX_BYTES) {
      throw unreadable("a field is too large");
    }
  }

  /** Throws `data-loss` if the message is not over. */
  end(): void {
    if (this.#rest.length > 0 || this.#storeLeft > 0) throw unreadable("it ends too early");
  }

  #gather(objects: Buffer): void {
    this.#objects.push(objects);
    this.#objectBytes += objects.length;
  }

  /** Fields of the store one after another are the store again. */
  #gathered(): Fields {
    const bytes = this.#objects.length === 1 ? this.#objects[0] : undefined;
    const fields = { of: "store", bytes: bytes ?? Buffer.concat(this.#objects) } as const;
    this.#objects = [];
    this.#objectBytes = 0;
    return fields;
  }

  /** The next field of the message, or the beginning of the store, which is passed over. */
  #field(all: Buffer, begin: number) {
    const field = fieldAt(all, begin);
    if (field === undefined) return undefined;
    if (field.number === STORE && field.wireType === LENGTH_DELIMITED) {
      // A small one, as ours are, is taken as it is.
      if (field.end <= all.length && field.end - field.body <= RUN_BYTES) {
        return { of: "store" as const, begin: field.body, end: field.end };
      }
      this.#storeLeft = field.end - field.body;
      return { of: undefined, begin, end: field.body };
    }
    return field.end > all.length ? undefined : { of: "snapshot" as const, begin, end: field.end };
  }

  /** As many whole fields of the store as make a run. */
  #storeRun(all: Buffer, begin: number) {
    const limit = Math.min(all.length, begin + this.#storeLeft);
    let end = begin;
    while (end < limit && end - begin < RUN_BYTES) {
      const field = fieldAt(all, end);
      if (field === undefined) break;
      if (field.end > begin + this.#storeLeft) throw unreadable("an object goes beyond the store");
      if (field.end > all.length) break;
      end = field.end;
    }
    if (end === begin) return undefined;
    this.#storeLeft -= end - begin;
    return { of: "store" as const, begin, end };
  }
}

interface Field {
  readonly number: number;
  readonly wireType: number;
  /** Where its content begins, and where the field ends. */
  readonly body: number;
  readonly end: number;
}

/** The field that begins there; undefined if not enough of it is there to tell. */
function fieldAt(bytes: Buffer, at: number): Field | undefined {
  const tag = varintAt(bytes, at);
  if (tag === undefined) return undefined;
  const wireType = tag.value % 8;
  const facts = { number: Math.floor(tag.value / 8), wireType };
  switch (wireType) {
    case 0: {
      const value = varintAt(bytes, tag.end);
      return value === undefined ? undefined : { ...facts, body: tag.end, end: value.end };
    }
    case 1:
      return { ...facts, body: tag.end, end: tag.end + 8 };
    case LENGTH_DELIMITED: {
      const length = varintAt(bytes, tag.end);
      if (length === undefined) return undefined;
      return { ...facts, body: length.end, end: length.end + length.value };
    }
    case 5:
      return { ...facts, body: tag.end, end: tag.end + 4 };
    default:
      throw unreadable(`a field of type ${wireType}`);
  }
}

/** The value is not exact above 2^53, where no length and no field number is. */
function varintAt(bytes: Buffer, at: number): { value: number; end: number } | undefined {
  let value = 0;
  for (let i = 0; i < HEAD_MAX_BYTES / 2; i++) {
    const byte = bytes[at + i];
    if (byte === undefined) return undefined;
    value += (byte & 0x7f) * 2 ** (7 * i);
    if (byte < 0x80) return { value, end: at + i + 1 };
  }
  throw unreadable("a number is too long");
}

function unreadable(what: string): EngineError {
  return new EngineError("data-loss", `the raft snapshot cannot be read: ${what}`);
}

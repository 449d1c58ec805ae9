/**
 * The replicated state of the simulation: registers that clients put and compare-and-set. A client's
 * requests are numbered, and one that comes twice takes effect once: a client that got no answer
 * sends the same again.
 *
 * Beside it runs a digest that every entry folds into: two nodes with the same digest applied the
 * same entries in the same order.
 */

import type { Entry } from "#raft/index.ts";
import { type Action, INITIAL_VALUE } from "./linearizability.ts";

/** What a client wants written. */
export interface WriteRequest {
  readonly client: number;
  /** Rises with every new request of the client; a retry has the same. */
  readonly serial: number;
  readonly key: number;
  readonly action: Exclude<Action, { kind: "read" }>;
}

/** What became of an applied request. */
export interface Applied {
  readonly client: number;
  readonly serial: number;
  readonly ok: boolean;
}

const FIELDS = 6;
const NUMBER_BYTES = 4;

/** As an entry's payload, with padding that makes sizes differ. */
export function encodeRequest(request: WriteRequest, padding: number): Uint8Array {
  const { client, serial, key, action } = request;
  const expected = action.kind === "cas" ? action.expected : 0;
  const kind = action.kind === "cas" ? 1 : 0;
  const bytes = new Uint8Array(FIELDS * NUMBER_BYTES + padding);
  const view = new DataView(bytes.buffer);
  for (const [at, field] of [client, serial, key, kind, action.value, expected].entries()) {
    view.setUint32(at * NUMBER_BYTES, field);
  }
  return bytes;
}

export function decodeRequest(payload: Uint8Array): WriteRequest | undefined {
  if (payload.length < FIELDS * NUMBER_BYTES) return undefined;
  const view = new DataView(payload.buffer, payload.byteOffset);
  const field = (at: number) => view.getUint32(at * NUMBER_BYTES);
  const value = field(4);
  const action =
    field(3) === 1
      ? ({ kind: "cas", expected: field(5), value } as const)
      : ({ kind: "put", value } as const);
  return { client: field(0), serial: field(1), key: field(2), action };
}

export function describeRequest(payload: Uint8Array): string {
  const request = decodeRequest(payload);
  return request === undefined ? "" : `c${request.client}#${request.serial}`;
}

interface Session {
  readonly serial: number;
  readonly ok: boolean;
}

export class Registers {
  #digest = 0;
  readonly #values = new Map<number, number>();
  /** The newest request of each client, and how it ended. */
  readonly #sessions = new Map<number, Session>();

  get digest(): number {
    return this.#digest;
  }

  valueOf(key: number): number {
    return this.#values.get(key) ?? INITIAL_VALUE;
  }

  /** Applies an entry; tells about the request in it, if there is one that is not out of date. */
  apply(entry: Entry, dropsRepeats = true): Applied | undefined {
    this.#digest = fold(this.#digest, entry);
    const request = entry.type === "normal" ? decodeRequest(entry.data) : undefined;
    if (request === undefined) return undefined;
    const { client, serial, key, action } = request;
    const session = this.#sessions.get(client);
    if (dropsRepeats && session !== undefined && session.serial >= serial) {
      return session.serial === serial ? { client, serial, ok: session.ok } : undefined;
    }
    const ok = action.kind === "put" || action.expected === this.valueOf(key);
    if (ok) this.#values.set(key, action.value);
    this.#sessions.set(client, { serial, ok });
    return { client, serial, ok };
  }

  encode(): Uint8Array {
    const sessions = [...this.#sessions].map(([id, { serial, ok }]) => [id, serial, ok ? 1 : 0]);
    const parts = [this.#digest, [...this.#values], sessions];
    return new TextEncoder().encode(JSON.stringify(parts));
  }

  static decode(bytes: Uint8Array): Registers {
    const registers = new Registers();
    if (bytes.length === 0) return registers;
    // Written by `encode`.
    const [digest, values, sessions] = JSON.parse(new TextDecoder().decode(bytes)) as [
      number,
      [number, number][],
      [number, number, number][],
    ];
    registers.#digest = digest;
    for (const [key, value] of values) registers.#values.set(key, value);
    for (const [id, serial, ok] of sessions) {
      registers.#sessions.set(id, { serial, ok: ok === 1 });
    }
    return registers;
  }
}

function fold(digest: number, { term, index, data }: Entry): number {
  let next = Math.imul(digest ^ term, 0x01000193) ^ index;
  for (const byte of data) next = Math.imul(next ^ byte, 0x01000193);
  return next >>> 0;
}

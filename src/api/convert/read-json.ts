/**
 * Reads the JSON of a request as Go's decoder would: member names without regard to case, null as
 * absent, and a value of the wrong type refused with the name of the member. `since` makes members
 * that the client's API version does not know read as absent, so that the gate stands where the
 * member is read.
 */

import { EngineError } from "#base/error.ts";

type Members = Readonly<Record<string, unknown>>;

const UINT64_MAX = 2n ** 64n - 1n;
const INT64_MAX = 2n ** 63n - 1n;
const UINT32_MAX = 2 ** 32 - 1;
const INT32_MAX = 2 ** 31 - 1;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

export class JsonObject {
  readonly #members: Members;
  readonly #path: string;
  readonly #minor: number;

  constructor(members: Members, path: string, minor: number) {
    this.#members = members;
    this.#path = path;
    this.#minor = minor;
  }

  /** This object when the client speaks API 1.`minor`, else one without members. */
  since(minor: number): JsonObject {
    return this.#minor >= minor ? this : new JsonObject({}, this.#path, this.#minor);
  }

  has(name: string): boolean {
    return this.#value(name) !== undefined;
  }

  text(name: string): string {
    const value = this.#value(name);
    if (value === undefined) return "";
    if (typeof value !== "string") throw this.#mismatch(name, value, "string");
    return value;
  }

  flag(name: string): boolean {
    return this.optionalFlag(name) ?? false;
  }

  optionalFlag(name: string): boolean | undefined {
    const value = this.#value(name);
    if (value === undefined) return undefined;
    if (typeof value !== "boolean") throw this.#mismatch(name, value, "bool");
    return value;
  }

  float(name: string): number {
    const value = this.#value(name);
    if (value === undefined) return 0;
    if (typeof value !== "number") throw this.#mismatch(name, value, "float32");
    return value;
  }

  int32(name: string): number {
    const value = this.#integer(name, "int32");
    if (value > INT32_MAX || value < -INT32_MAX - 1) throw this.#mismatch(name, value, "int32");
    return value;
  }

  uint32(name: string): number {
    const value = this.#integer(name, "uint32");
    if (value < 0 || value > UINT32_MAX) throw this.#mismatch(name, value, "uint32");
    return value;
  }

  int64(name: string): bigint {
    const value = BigInt(this.#integer(name, "int64"));
    // 2^63 - 1 arrives as 2^63, because JSON numbers are read as doubles.
    if (value > INT64_MAX) return INT64_MAX;
    if (value < -INT64_MAX) return -INT64_MAX;
    return value;
  }

  optionalInt64(name: string): bigint | undefined {
    return this.has(name) ? this.int64(name) : undefined;
  }

  optionalUint64(name: string): bigint | undefined {
    return this.has(name) ? this.uint64(name) : undefined;
  }

  uint64(name: string): bigint {
    const value = BigInt(this.#integer(name, "uint64"));
    if (value < 0n) throw this.#mismatch(name, Number(value), "uint64");
    return value > UINT64_MAX ? UINT64_MAX : value;
  }

  /** Base64 as Go encodes `[]byte`. */
  bytes(name: string): Uint8Array<ArrayBuffer> {
    const value = this.text(name);
    if (!BASE64.test(value)) {
      throw refused(`illegal base64 data in field ${this.#path}${name}`);
    }
    return new Uint8Array(Buffer.from(value, "base64"));
  }

  texts(name: string): string[] {
    return this.#array(name).map((value) => {
      if (typeof value !== "string") throw this.#mismatch(name, value, "[]string");
      return value;
    });
  }

  textLists(name: string): string[][] {
    return this.#array(name).map((row) => {
      const words = Array.isArray(row) ? row : [row];
      return words.map((word: unknown) => {
        if (typeof word !== "string") throw this.#mismatch(name, word, "[][]string");
        return word;
      });
    });
  }

  map(name: string): Record<string, string> {
    const value = this.#value(name);
    if (value === undefined) return {};
    if (!isMembers(value)) throw this.#mismatch(name, value, "map[string]string");
    const entries = Object.entries(value).map(([key, member]): [string, string] => {
      if (member === null) return [key, ""];
      if (typeof member !== "string") throw this.#mismatch(name, member, "map[string]string");
      return [key, member];
    });
    return Object.fromEntries(entries);
  }

  object(name: string): JsonObject | undefined {
    const value = this.#value(name);
    if (value === undefined) return undefined;
    if (!isMembers(value)) throw this.#mismatch(name, value, "object");
    return new JsonObject(value, `${this.#path}${name}.`, this.#minor);
  }

  /** The object, or one without members where it is absent. */
  part(name: string): JsonObject {
    return this.object(name) ?? new JsonObject({}, `${this.#path}${name}.`, this.#minor);
  }

  objects(name: string): JsonObject[] {
    return this.#array(name).map((value) => {
      if (!isMembers(value)) throw this.#mismatch(name, value, "[]object");
      return new JsonObject(value, `${this.#path}${name}.`, this.#minor);
    });
  }

  #value(name: string): unknown {
    const found = this.#members[name] ?? this.#foldedValue(name);
    return found === null ? undefined : found;
  }

  #foldedValue(name: string): unknown {
    const lower = name.toLowerCase();
    const key = Object.keys(this.#members).find((candidate) => candidate.toLowerCase() === lower);
    return key === undefined ? undefined : this.#members[key];
  }

  #array(name: string): readonly unknown[] {
    const value = this.#value(name);
    if (value === undefined) return [];
    if (!Array.isArray(value)) throw this.#mismatch(name, value, "array");
    return value;
  }

  #integer(name: string, type: string): number {
    const value = this.#value(name);
    if (value === undefined) return 0;
    if (typeof value !== "number") throw this.#mismatch(name, value, type);
    if (!Number.isInteger(value)) throw this.#mismatch(name, value, type);
    return value;
  }

  #mismatch(name: string, value: unknown, type: string): EngineError {
    const what = typeof value === "number" ? `number ${value}` : kindOf(value);
    return refused(
      `json: cannot unmarshal ${what} into field ${this.#path}${name} of type ${type}`,
    );
  }
}

/** The body of a request; `minor` is the client's API version 1.`minor`. */
export function readJson(body: unknown, minor: number): JsonObject {
  if (body === undefined || body === null)
    throw refused("invalid JSON: got EOF while reading request body");
  if (!isMembers(body)) {
    throw refused(`json: cannot unmarshal ${kindOf(body)} into an object`);
  }
  return new JsonObject(body, "", minor);
}

function isMembers(value: unknown): value is Members {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  return typeof value === "boolean" ? "bool" : typeof value;
}

function refused(message: string): EngineError {
  return new EngineError("invalid-argument", message);
}

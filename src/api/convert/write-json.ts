/**
 * Writes values as Go's encoder does: empty members left out where docker's types say `omitempty`,
 * times with as many digits as they need, floats of 32 bits in their shortest form.
 */

import type { Duration, Timestamp } from "@bufbuild/protobuf/wkt";
import { fromUnixSeconds } from "./time-text.ts";

const UINT64_DOUBLE_MAX = 2n ** 64n - 2n ** 11n;

/** An object type whose members that may be undefined are optional instead. */
export type Compact<T> = {
  [K in keyof T as undefined extends T[K] ? never : K]: T[K];
} & {
  [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>;
};

/** The object without its undefined members. */
export function compact<T extends object>(value: T): Compact<T> {
  return Object.fromEntries(
    Object.entries(value).filter(([, member]) => member !== undefined),
  ) as Compact<T>;
}

export function textOrNone(value: string): string | undefined {
  return value === "" ? undefined : value;
}

export function numberOrNone(value: number | bigint): number | undefined {
  return Number(value) === 0 ? undefined : Number(value);
}

/** A uint64 as a number that a reader of uint64s can take: the largest double that is one. */
export function uint64Number(value: bigint): number {
  return value > UINT64_DOUBLE_MAX ? Number(UINT64_DOUBLE_MAX) : Number(value);
}

export function trueOrNone(value: boolean): true | undefined {
  return value ? true : undefined;
}

export function listOrNone<T>(values: readonly T[]): readonly T[] | undefined {
  return values.length === 0 ? undefined : values;
}

export function mapOrNone<T>(
  values: Readonly<Record<string, T>>,
): Readonly<Record<string, T>> | undefined {
  return Object.keys(values).length === 0 ? undefined : values;
}

export function base64OrNone(bytes: Uint8Array): string | undefined {
  return bytes.length === 0 ? undefined : Buffer.from(bytes).toString("base64");
}

export function nanosecondsOf(duration: Duration): number {
  return Number(duration.seconds * 1_000_000_000n + BigInt(duration.nanos));
}

/** RFC 3339 with up to nine digits; an absent time is the epoch, as in SwarmKit's conversion. */
export function timeText(time: Timestamp | undefined): string {
  return fromUnixSeconds(time?.seconds ?? 0n, time?.nanos ?? 0);
}

/** The shortest decimal that is the same 32-bit float: 0.15, not 0.15000000596046448. */
export function shortFloat32(value: number): number {
  for (let digits = 1; digits <= 9; digits += 1) {
    const candidate = Number(value.toPrecision(digits));
    if (Math.fround(candidate) === Math.fround(value)) return candidate;
  }
  return value;
}

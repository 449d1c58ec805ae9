/** Amounts of bytes as people write them. */

import { err, ok, type Result } from "./result.ts";

/** docker's `RAMInBytes`: "512m", "1.5GiB", "64 kb", "-1"; units are powers of 1024. */
export function parseBytes(text: string): Result<number> {
  const match = /^(-?\d+(?:\.\d+)?)\s?(?:([kKmMgGtTpP])(?:[iI]?[bB])?|[bB])?$/.exec(text.trim());
  if (match === null) return err(`invalid size: '${text}'`);
  const exponent = match[2] === undefined ? 0 : "kmgtp".indexOf(match[2].toLowerCase()) + 1;
  return ok(Math.trunc(Number(match[1]) * 1024 ** exponent));
}

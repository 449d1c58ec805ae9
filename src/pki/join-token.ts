/**
 * The secret that lets a machine into the swarm: `SWMTKN-1-<digest of the root>-<secret>`. The
 * digest lets the joiner recognise the cluster's root before it trusts anything; the secret says
 * whom the cluster lets in, and as what. Both tokens of a cluster share the digest; rotating one
 * changes its secret only. Version 2 (`SWMTKN-2-1-…`) marks a cluster that demands FIPS.
 */

import { toHex } from "#base/ids.ts";
import { invariant } from "#base/invariant.ts";
import type { Random } from "#base/ports.ts";
import { err, ok, type Result } from "#base/result.ts";
import { fromBase36, toBase36 } from "./base36.ts";

const DIGEST_BYTES = 32;
const DIGEST_WIDTH = 50;
const SECRET_BYTES = 16;
const SECRET_WIDTH = 25;
const INVALID = "invalid join token";

export interface JoinToken {
  /** SHA-256 of the root certificate's PEM text, hexadecimal. */
  readonly rootDigest: string;
  /** The 25 characters that are compared; not decoded, because nobody needs the bytes. */
  readonly secret: string;
  /** The cluster takes only nodes that run in FIPS mode. */
  readonly fips: boolean;
}

/** A new token for the root whose PEM text has this SHA-256. */
export function generateJoinToken(rootDigest: Uint8Array, random: Random): string {
  invariant(rootDigest.length === DIGEST_BYTES, "a root digest has 32 bytes");
  const secret = random.bytes(SECRET_BYTES);
  return `SWMTKN-1-${toBase36(rootDigest, DIGEST_WIDTH)}-${toBase36(secret, SECRET_WIDTH)}`;
}

export function parseJoinToken(text: string): Result<JoinToken> {
  const parts = text.split("-");
  const fips = parts[1] === "2" && parts[2] === "1";
  const wanted = parts[1] === "1" ? 4 : parts[1] === "2" ? 5 : 0;
  if (parts[0] !== "SWMTKN" || parts.length !== wanted) return err(INVALID);
  if (wanted === 5 && parts[2] !== "0" && parts[2] !== "1") return err(INVALID);
  const digest = parts[wanted - 2] ?? "";
  const secret = parts[wanted - 1] ?? "";
  if (digest.length !== DIGEST_WIDTH || secret.length !== SECRET_WIDTH) return err(INVALID);
  const rootDigest = fromBase36(digest, DIGEST_BYTES);
  if (!rootDigest.ok || !fromBase36(secret, SECRET_BYTES).ok) return err(INVALID);
  return ok({ rootDigest: toHex(rootDigest.value), secret, fips });
}

/** Compares without telling, by how long it takes, how much of a guess was right. */
export function equalSecrets(a: string, b: string): boolean {
  let different = a.length ^ b.length;
  const length = Math.max(a.length, b.length);
  for (let at = 0; at < length; at += 1) {
    different |= (at < a.length ? a.charCodeAt(at) : 0) ^ (at < b.length ? b.charCodeAt(at) : 0);
  }
  return different === 0;
}

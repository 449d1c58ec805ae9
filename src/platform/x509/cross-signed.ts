/**
 * The one good chain that OpenSSL refuses. While a Docker Engine's swarm replaces its root, its managers
 * show two certificates: their own, and the new root's name and key signed by the old root. Old and new
 * root have the same name, for which Go leaves out which key signed; OpenSSL, which asks for no more
 * than that, takes the second certificate for a root that signed itself, and one that nobody trusts.
 *
 * Here that chain, and no other, is judged anew, whole: nothing is taken over from OpenSSL's verdict.
 * Two certificates exactly, so that there are no paths to search and no path lengths to count; no
 * extension whose meaning is not enforced here. Whatever else is shown is refused.
 */

import type { X509Certificate } from "node:crypto";
import { EngineError } from "#base/error.ts";
import { assertValidAt, extensionsOf, namesOf, parseBundle, signed } from "./certificate.ts";

/** OpenSSL's verdict of such a chain, by Node's name. */
export const TAKEN_FOR_SELF_SIGNED = "SELF_SIGNED_CERT_IN_CHAIN";

const SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
/** DER of the object identifiers' contents (2.5.29.…). */
const SUBJECT_KEY_ID = "551d0e";
const KEY_USAGE = "551d0f";
const ALTERNATIVE_NAME = "551d11";
const BASIC_CONSTRAINTS = "551d13";
const AUTHORITY_KEY_ID = "551d23";
const EXTENDED_KEY_USAGE = "551d25";
const OF_AUTHORITIES = [SUBJECT_KEY_ID, KEY_USAGE, BASIC_CONSTRAINTS, AUTHORITY_KEY_ID];
const OF_LEAVES = [...OF_AUTHORITIES, ALTERNATIVE_NAME, EXTENDED_KEY_USAGE];

/**
 * Throws `invalid-argument` with the reason unless what a server showed, in its order, is a certificate
 * for a server of that name, issued by a root that one of the trusted roots (PEM) has signed.
 */
export function verifyCrossSigned(
  shown: readonly X509Certificate[],
  roots: string,
  serverName: string,
  nowMs: number,
): void {
  const [leaf, crossed, ...others] = shown;
  if (leaf === undefined || crossed === undefined || others.length > 0) {
    throw refused(`${shown.length} certificates instead of two`);
  }
  const names = namesOf(crossed.raw);
  if (!same(names.subject, names.issuer)) throw refused("the second certificate is no root's");
  const root = parseBundle(roots).find((candidate) => signed(candidate, crossed));
  if (root === undefined) throw refused("certificate signed by unknown authority");
  if (!signed(crossed, leaf)) throw refused("the certificate is not signed by the one behind it");
  for (const authority of [root, crossed]) assertOnly(authority, OF_AUTHORITIES);
  assertOnly(leaf, OF_LEAVES);
  for (const certificate of [root, crossed, leaf]) assertValidAt(certificate, nowMs);
  // Node calls the extended usages so; of a certificate without any it says undefined.
  const usages = leaf.keyUsage as readonly string[] | undefined;
  if (leaf.ca || usages?.includes(SERVER_AUTH) !== true) throw refused("no server's certificate");
  if (leaf.checkHost(serverName, { subject: "never", wildcards: false }) === undefined) {
    throw refused(`the certificate is not for ${serverName}`);
  }
}

/** What an extension that we do not know would have forbidden, nobody would enforce. */
function assertOnly(certificate: X509Certificate, allowed: readonly string[]): void {
  const unknown = extensionsOf(certificate.raw).find((id) => !allowed.includes(id));
  if (unknown !== undefined) throw refused(`unknown extension ${unknown}`);
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.from(a).equals(b);
}

function refused(reason: string): EngineError {
  return new EngineError("invalid-argument", reason);
}

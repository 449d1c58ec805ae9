/**
 * The one good chain that OpenSSL refuses. While a Docker Engine's swarm replaces its root, its managers
 * show two certificates: their own, and the new root's name and key signed by the old root. Old and new
 * root have the same name, for which Go leaves out which key signed; OpenSSL, which asks for no more
 * than that, takes the second certificate for a root that signed itself, and one that nobody trusts.
 *
 * Here that chain, and no other, is judged anew, whole: nothing is taken over from OpenSSL's verdict.
 * Two certificates exactly, so that there are no paths to search; no extension that forbids something
 * and is not enforced here. Roots of an operator's own may say besides where they come from and what
 * about them can be read elsewhere. Whatever else is shown is refused.
 */

import type { X509Certificate } from "node:crypto";
import { EngineError } from "#base/error.ts";
import {
  assertValidAt,
  extensionsOf,
  namesOf,
  parseBundle,
  pathLengthOf,
  signed,
} from "./certificate.ts";

/** OpenSSL's verdict of such a chain, by Node's name. */
export const TAKEN_FOR_SELF_SIGNED = "SELF_SIGNED_CERT_IN_CHAIN";

const SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
const ANY_USAGE = "2.5.29.37.0";
/** DER of the object identifiers' contents (2.5.29.…). */
const SUBJECT_KEY_ID = "551d0e";
const KEY_USAGE = "551d0f";
const ALTERNATIVE_NAME = "551d11";
const BASIC_CONSTRAINTS = "551d13";
const AUTHORITY_KEY_ID = "551d23";
const EXTENDED_KEY_USAGE = "551d25";
const ENFORCED = [
  SUBJECT_KEY_ID,
  KEY_USAGE,
  BASIC_CONSTRAINTS,
  AUTHORITY_KEY_ID,
  EXTENDED_KEY_USAGE,
];
/**
 * What only tells something, as long as it is not critical: names of an authority's holder and issuer,
 * policies (nobody asks for one here; what makes them binding is an extension of its own), where lists
 * of revoked certificates and the issuer's are, OpenSSL's and Netscape's comment.
 */
const TELLING = [
  ALTERNATIVE_NAME,
  "551d12",
  "551d20",
  "551d1f",
  "2b06010505070101",
  "6086480186f842010d",
];

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
  assertAuthority(root, 1);
  assertAuthority(crossed, 0);
  assertOnly(leaf, [...ENFORCED, ALTERNATIVE_NAME], []);
  for (const certificate of [root, crossed, leaf]) assertValidAt(certificate, nowMs);
  // Node calls the extended usages so; of a certificate without any it says undefined.
  const usages = leaf.keyUsage as readonly string[] | undefined;
  if (leaf.ca || usages?.includes(SERVER_AUTH) !== true) throw refused("no server's certificate");
  if (leaf.checkHost(serverName, { subject: "never", wildcards: false }) === undefined) {
    throw refused(`the certificate is not for ${serverName}`);
  }
}

/** `below`: authorities between this one and the leaf. */
function assertAuthority(certificate: X509Certificate, below: number): void {
  assertOnly(certificate, ENFORCED, TELLING);
  const usages = certificate.keyUsage as readonly string[] | undefined;
  if (usages?.some((usage) => usage === SERVER_AUTH || usage === ANY_USAGE) === false) {
    throw refused("an authority that is not for servers");
  }
  const constraints = extensionsOf(certificate.raw).find(({ id }) => id === BASIC_CONSTRAINTS);
  const length = constraints === undefined ? undefined : pathLengthOf(constraints.value);
  if (length !== undefined && length < below) throw refused("too many authorities below a root");
}

/** What an extension that we do not know would have forbidden, nobody would enforce. */
function assertOnly(
  certificate: X509Certificate,
  enforced: readonly string[],
  telling: readonly string[],
): void {
  const extensions = extensionsOf(certificate.raw);
  if (new Set(extensions.map(({ id }) => id)).size < extensions.length) {
    throw refused("an extension twice");
  }
  const unknown = extensions.find(
    ({ id, isCritical }) => !enforced.includes(id) && (isCritical || !telling.includes(id)),
  );
  if (unknown !== undefined) throw refused(`unknown extension ${unknown.id}`);
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.from(a).equals(b);
}

function refused(reason: string): EngineError {
  return new EngineError("invalid-argument", reason);
}

/**
 * Reads and verifies certificates with node's own crypto; makes none (`issue.ts` does). A chain is
 * good when each certificate is signed by the next, the last one by a root that the caller trusts,
 * and all of them, the root included, are valid at the given moment.
 */

import { createHash, type KeyObject, X509Certificate } from "node:crypto";
import { EngineError, messageOf } from "#base/error.ts";
import type { Validity } from "#pki/profile.ts";
import type { Issuer } from "#pki/rotation.ts";
import { parsePem, splitCertificates } from "./pem.ts";

export interface CertificateFacts extends Validity {
  readonly commonName: string;
  readonly organizationalUnit: string;
  readonly organization: string;
  /** DER of the subject and of the public key: what this certificate signs is known by. */
  readonly asIssuer: Issuer;
  /** DER of the issuer's name. */
  readonly issuerSubject: Uint8Array;
  readonly publicKey: KeyObject;
}

/** Reads the first certificate of a bundle; `invalid-argument` when it is none. */
export function readCertificate(bundle: string): CertificateFacts {
  const certificate = parseBundle(bundle)[0];
  if (certificate === undefined) throw malformed("no certificate found");
  const subject = attributesOf(certificate.subject);
  const names = namesOf(certificate.raw);
  const publicKey = keyOf(certificate);
  return {
    commonName: subject.get("CN") ?? "",
    organizationalUnit: subject.get("OU") ?? "",
    organization: subject.get("O") ?? "",
    notBeforeMs: Date.parse(certificate.validFrom),
    notAfterMs: Date.parse(certificate.validTo),
    asIssuer: {
      subject: names.subject,
      publicKey: publicKey.export({ type: "spki", format: "der" }),
    },
    issuerSubject: names.issuer,
    publicKey,
  };
}

/** Throws `invalid-argument` with the reason unless the chain leads to one of the roots. */
export function verifyChain(chain: string, roots: string, nowMs: number): void {
  const trusted = parseBundle(roots);
  let current = parseBundle(chain)[0];
  if (current === undefined) throw malformed("no certificates to validate");
  const rest = parseBundle(chain).slice(1);
  for (;;) {
    assertValidAt(current, nowMs);
    const certificate: X509Certificate = current;
    const root = trusted.find((candidate) => signed(candidate, certificate));
    if (root !== undefined) return assertValidAt(root, nowMs);
    const next = rest.shift();
    if (next === undefined || !signed(next, certificate)) {
      throw malformed("certificate signed by unknown authority");
    }
    current = next;
  }
}

/** True when the private key belongs to the certificate. */
export function keyFits(certificate: string, privateKey: KeyObject): boolean {
  const first = parseBundle(certificate)[0];
  return first?.checkPrivateKey(privateKey) ?? false;
}

/** SHA-256 of the PEM text itself: what a join token names. */
export function digestOfPem(pem: string | Uint8Array): Uint8Array {
  return new Uint8Array(createHash("sha256").update(pem).digest());
}

/** A bundle with each block in one canonical form, so that the same certificates are equal text. */
export function normalizePem(bundle: string): string {
  return splitCertificates(bundle).join("");
}

/**
 * How people compare a public key (SubjectPublicKeyInfo, DER) by eye: as `ssh-keygen -l` shows the
 * keys of hosts.
 */
export function fingerprintOf(publicKey: Uint8Array): string {
  return `SHA256:${createHash("sha256").update(publicKey).digest("base64").replace(/=+$/, "")}`;
}

/**
 * The public key in a certificate request (PEM): DER, as it stands there. Nothing is verified.
 * `invalid-argument` when it is none.
 */
export function requestedKeyOf(csr: string): Uint8Array {
  const der = parsePem(csr)[0]?.der;
  if (der === undefined) throw malformed("no certificate request found");
  // CertificationRequestInfo: version, subject, key, attributes.
  const info = element(der, element(der, 0).start);
  const version = element(der, info.start);
  const subject = element(der, version.end);
  const key = element(der, subject.end);
  if (info.tag !== 0x30 || key.tag !== 0x30 || key.end > info.end) {
    throw malformed("malformed certificate request");
  }
  return der.subarray(subject.end, key.end);
}

/** Who signed the first certificate of the chain: the next in it, or the root that did. */
export function issuerOf(chain: string, roots: string): Issuer | undefined {
  const [leaf, ...others] = parseBundle(chain);
  if (leaf === undefined) return undefined;
  const signer = [...others, ...parseBundle(roots)].find((candidate) => signed(candidate, leaf));
  if (signer === undefined) return undefined;
  return {
    subject: namesOf(signer.raw).subject,
    publicKey: keyOf(signer).export({ type: "spki", format: "der" }),
  };
}

export function parseBundle(bundle: string): X509Certificate[] {
  try {
    return splitCertificates(bundle).map((pem) => new X509Certificate(pem));
  } catch (error) {
    throw malformed(`malformed certificate: ${messageOf(error)}`);
  }
}

/** Whether the certificate (PEM) is that of an authority that answers for itself. */
export function isRoot(pem: string): boolean {
  const [certificate] = parseBundle(pem);
  return certificate !== undefined && signed(certificate, certificate);
}

export function signed(issuer: X509Certificate, certificate: X509Certificate): boolean {
  return issuer.ca && certificate.checkIssued(issuer) && certificate.verify(keyOf(issuer));
}

/** The key is decoded only here, long after the certificate around it. */
function keyOf(certificate: X509Certificate): KeyObject {
  try {
    return certificate.publicKey;
  } catch (error) {
    throw malformed(`malformed certificate: ${messageOf(error)}`);
  }
}

export function assertValidAt(certificate: X509Certificate, nowMs: number): void {
  const name = attributesOf(certificate.subject).get("CN") ?? "?";
  const at = new Date(nowMs).toISOString();
  if (nowMs < Date.parse(certificate.validFrom)) {
    throw malformed(
      `certificate (${name}) not valid before ${new Date(certificate.validFrom).toISOString()}, and it is currently ${at}`,
    );
  }
  if (nowMs > Date.parse(certificate.validTo)) {
    throw malformed(
      `certificate (${name}) not valid after ${new Date(certificate.validTo).toISOString()}, and it is currently ${at}`,
    );
  }
}

/**
 * Node prints a name as lines of `KEY=value`, and an empty one, whatever its types say, as undefined.
 * Our own names need no unescaping.
 */
function attributesOf(name: string | undefined): ReadonlyMap<string, string> {
  const attributes = new Map<string, string>();
  for (const line of (name ?? "").split("\n")) {
    const at = line.indexOf("=");
    const key = line.slice(0, at);
    if (at > 0 && !attributes.has(key)) attributes.set(key, line.slice(at + 1));
  }
  return attributes;
}

/**
 * The DER of issuer and subject, which node does not give: inside TBSCertificate, after the optional
 * version, come serial number, algorithm, issuer, validity, subject.
 */
export function namesOf(der: Uint8Array): { issuer: Uint8Array; subject: Uint8Array } {
  const certificate = element(der, 0);
  const tbs = element(der, certificate.start);
  const parts: Uint8Array[] = [];
  for (let at = tbs.start; at < tbs.end && parts.length < 6; ) {
    const part = element(der, at);
    // [0] is the version; without it the certificate is of version 1.
    if (part.tag !== 0xa0) parts.push(der.subarray(at, part.end));
    at = part.end;
  }
  const [, , issuer, , subject] = parts;
  if (issuer === undefined || subject === undefined) throw malformed("malformed certificate");
  return { issuer, subject };
}

export interface Extension {
  /** Hex of the object identifier's DER contents. */
  readonly id: string;
  readonly isCritical: boolean;
  /** DER of what it says. */
  readonly value: Uint8Array;
}

/** In the certificate's order. */
export function extensionsOf(der: Uint8Array): readonly Extension[] {
  const tbs = element(der, element(der, 0).start);
  const found: Extension[] = [];
  for (let at = tbs.start; at < tbs.end; ) {
    const part = element(der, at);
    at = part.end;
    // [3] is the extensions.
    if (part.tag !== 0xa3) continue;
    const list = element(der, part.start);
    for (let next = list.start; next < list.end; ) {
      const extension = element(der, next);
      const id = element(der, extension.start);
      // A boolean that DER leaves out where it is false.
      const second = element(der, id.end);
      const isFlag = second.tag === 0x01;
      const value = isFlag ? element(der, second.end) : second;
      found.push({
        id: Buffer.from(der.subarray(id.start, id.end)).toString("hex"),
        isCritical: isFlag && der[second.start] !== 0,
        value: der.subarray(value.start, value.end),
      });
      next = extension.end;
    }
  }
  return found;
}

/**
 * How many authorities may stand between this one and a leaf, by the value of its basic constraints;
 * undefined if they do not say.
 */
export function pathLengthOf(constraints: Uint8Array): number | undefined {
  const list = element(constraints, 0);
  for (let at = list.start; at < list.end; ) {
    const part = element(constraints, at);
    if (part.tag === 0x02) {
      return constraints.subarray(part.start, part.end).reduce((all, byte) => all * 256 + byte, 0);
    }
    at = part.end;
  }
  return undefined;
}

function element(der: Uint8Array, at: number): { tag: number; start: number; end: number } {
  const tag = der[at] ?? 0;
  const first = der[at + 1] ?? 0;
  const octets = first < 0x80 ? 0 : first & 0x7f;
  let length = octets === 0 ? first : 0;
  for (let next = 0; next < octets; next += 1) length = length * 256 + (der[at + 2 + next] ?? 0);
  const start = at + 2 + octets;
  if (octets > 4 || start + length > der.length) throw malformed("malformed certificate");
  return { tag, start, end: start + length };
}

function malformed(reason: string): EngineError {
  return new EngineError("invalid-argument", reason);
}

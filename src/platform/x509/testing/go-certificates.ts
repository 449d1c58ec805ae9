/** Certificates as Go makes them, good and bad: those that name themselves as issuer leave out which key signed. */

import { KeyObject, webcrypto, X509Certificate } from "node:crypto";
import "reflect-metadata";
import * as x509 from "@peculiar/x509";

x509.cryptoProvider.set(webcrypto);

const DAY = 86_400_000;
export const ROOT = "CN=swarm-ca";
export const { serverAuth: SERVER, clientAuth: CLIENT } = x509.ExtendedKeyUsage;
const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

export interface Maker {
  readonly name: string;
  readonly keys: webcrypto.CryptoKeyPair;
}

export interface Wish {
  readonly subject?: string;
  readonly from?: number;
  readonly until?: number;
  readonly isAuthority?: boolean;
  /** Authorities that may stand between it and a leaf. */
  readonly pathLength?: number;
  /** Bits. */
  readonly usages?: number;
  readonly purposes?: readonly string[];
  readonly names?: readonly string[];
  readonly more?: readonly x509.Extension[];
}

export async function maker(): Promise<Maker> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  return { name: ROOT, keys };
}

export async function make(
  by: Maker,
  publicKey: webcrypto.CryptoKey,
  wish: Wish,
): Promise<X509Certificate> {
  const { isAuthority = true, purposes = [], names = [], more = [] } = wish;
  const flags = x509.KeyUsageFlags;
  const usages = isAuthority ? flags.keyCertSign | flags.cRLSign : flags.digitalSignature;
  // oxlint-disable-next-line typescript/no-unsafe-enum-assignment -- these flags are bits to combine
  const keyUsages = new x509.KeyUsagesExtension(wish.usages ?? usages, true);
  const extensions: x509.Extension[] = [
    new x509.BasicConstraintsExtension(isAuthority, wish.pathLength, true),
    keyUsages,
    await x509.SubjectKeyIdentifierExtension.create(publicKey, false, webcrypto),
  ];
  if ((wish.subject ?? ROOT) !== by.name) {
    const { publicKey: signer } = by.keys;
    extensions.push(await x509.AuthorityKeyIdentifierExtension.create(signer, false, webcrypto));
  }
  if (purposes.length > 0) extensions.push(new x509.ExtendedKeyUsageExtension([...purposes]));
  if (names.length > 0) {
    const dns = names.map((value) => ({ type: "dns" as const, value }));
    extensions.push(new x509.SubjectAlternativeNameExtension(dns));
  }
  const made = await x509.X509CertificateGenerator.create({
    subject: wish.subject ?? ROOT,
    issuer: by.name,
    notBefore: new Date(wish.from ?? Date.now() - DAY),
    notAfter: new Date(wish.until ?? Date.now() + DAY),
    publicKey,
    signingKey: by.keys.privateKey,
    signingAlgorithm: ALGORITHM,
    extensions: [...extensions, ...more],
  });
  return new X509Certificate(Buffer.from(made.rawData));
}

export const root = (by: Maker, wish: Wish = {}) => make(by, by.keys.publicKey, wish);

/** The name and key of the second, signed by the first. */
export const cross = (by: Maker, of: Maker, wish: Wish = {}) => make(by, of.keys.publicKey, wish);

/** A manager's. */
export const leafOf = (by: Maker, of: Maker, wish: Wish = {}) =>
  make(by, of.keys.publicKey, {
    subject: "O=cluster, OU=swarm-manager, CN=node",
    isAuthority: false,
    purposes: [SERVER, CLIENT],
    names: ["swarm-manager", "node", "swarm-ca"],
    ...wish,
  });

export function privateKeyOf({ keys }: Maker): string {
  return KeyObject.from(keys.privateKey).export({ type: "pkcs8", format: "pem" }) as string;
}

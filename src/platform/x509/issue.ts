/**
 * Makes roots, requests and certificates. The X.509 library takes 200 ms and some megabytes to load,
 * so it is loaded when the first certificate is made: a node that only shows and verifies
 * certificates never pays for it. Keys that are made here are ECDSA P-256; a root that an operator brings
 * may have another.
 */

import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  webcrypto,
} from "node:crypto";
import type * as X509Library from "@peculiar/x509";
import { EngineError, messageOf } from "#base/error.ts";
import { toHex } from "#base/ids.ts";
import type { Random } from "#base/ports.ts";
import { type LeafProfile, ROOT_NAME, type Validity } from "#pki/profile.ts";
import type { WorkloadProfile } from "#pki/workload.ts";

const ECDSA = "ECDSA";
const RSA = "RSASSA-PKCS1-v1_5";
/** By OpenSSL's name of the curve: the web's, and the digest that fits it. */
const CURVES: Readonly<Record<string, readonly [curve: string, hash: string]>> = {
  prime256v1: ["P-256", "SHA-256"],
  secp384r1: ["P-384", "SHA-384"],
  secp521r1: ["P-521", "SHA-512"],
};
const RSA_MIN_BITS = 2_048;
const SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
const CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";
/** Largest request, PEM text; one for a key of ours has some 400 bytes, and the store keeps it. */
const REQUEST_MAX_BYTES = 8 * 1024;

/** A certificate authority: what signs. */
export interface Authority {
  readonly cert: string;
  /** PEM (SEC 1 or PKCS #8). */
  readonly key: string;
}

export interface CertificateRequest {
  /** PEM. */
  readonly csr: string;
  /** The requester's CN; a wish that nobody has to follow. */
  readonly commonName: string;
  /** SubjectPublicKeyInfo, DER; the request proves that its sender has the private key. */
  readonly publicKey: Uint8Array;
}

export function generateKey(): KeyObject {
  return generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
}

/** Any private key PEM; `invalid-argument` when it is none. */
export function readPrivateKey(pem: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch (error) {
    throw new EngineError("invalid-argument", `malformed private key: ${messageOf(error)}`);
  }
}

/** `invalid-argument` for a key that nothing can be signed with here. */
export function assertSigns(key: KeyObject): void {
  schemeOf(key);
}

/** A new root of the cluster's own. */
export async function createRoot(validity: Validity, random: Random): Promise<Authority> {
  const x509 = await library();
  const key = generateKey();
  const { privateKey, publicKey } = await webKeys(key);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(random),
    name: `CN=${ROOT_NAME}`,
    ...period(validity),
    keys: { privateKey, publicKey },
    signingAlgorithm: schemeOf(key).signature,
    extensions: await authorityExtensions(publicKey),
  });
  return { cert: pemOf(certificate), key: privatePem(key) };
}

/** A request for the key; the CN is a wish only. */
export async function createRequest(key: KeyObject, commonName: string): Promise<string> {
  const x509 = await library();
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: commonName === "" ? "" : `CN=${commonName}`,
    keys: await webKeys(key),
    signingAlgorithm: schemeOf(key).signature,
  });
  return `${request.toString("pem").trim()}\n`;
}

/** Parses a request and checks that its sender holds the key; `invalid-argument` otherwise. */
export async function readRequest(csr: string): Promise<CertificateRequest> {
  const x509 = await library();
  try {
    if (csr.length > REQUEST_MAX_BYTES) throw new Error("it is too long");
    const request = new x509.Pkcs10CertificateRequest(csr);
    if (!(await request.verify(webcrypto))) throw new Error("signature does not match");
    return {
      csr,
      commonName: request.subjectName.getField("CN")[0] ?? "",
      publicKey: new Uint8Array(request.publicKey.rawData),
    };
  } catch (error) {
    throw new EngineError("invalid-argument", `malformed certificate request: ${messageOf(error)}`);
  }
}

/** Signs the request's key, and nothing else of the request, under the profile. */
export async function issueCertificate(
  authority: Authority,
  request: CertificateRequest,
  profile: LeafProfile,
  random: Random,
): Promise<string> {
  const x509 = await library();
  const issuer = new x509.X509Certificate(authority.cert);
  const usages = x509.KeyUsageFlags.digitalSignature | x509.KeyUsageFlags.keyEncipherment;
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(random),
    subject: [
      { O: [profile.organization] },
      { OU: [profile.organizationalUnit] },
      { CN: [profile.commonName] },
    ],
    issuer: issuer.subjectName,
    ...period(profile),
    publicKey: request.publicKey,
    ...(await signing(authority)),
    extensions: [
      keyUsages(x509, usages),
      new x509.ExtendedKeyUsageExtension([SERVER_AUTH, CLIENT_AUTH]),
      new x509.BasicConstraintsExtension(false, undefined, true),
      await x509.SubjectKeyIdentifierExtension.create(request.publicKey, false, webcrypto),
      await authorityKeyId(issuer),
      new x509.SubjectAlternativeNameExtension(
        profile.dnsNames.map((value) => ({ type: "dns" as const, value })),
      ),
    ],
  });
  return pemOf(certificate);
}

/** A workload's certificate: it names nobody but by its URI (SPIFFE's X.509-SVID). */
export async function issueWorkload(
  authority: Authority,
  request: CertificateRequest,
  profile: WorkloadProfile,
  random: Random,
): Promise<string> {
  const x509 = await library();
  const issuer = new x509.X509Certificate(authority.cert);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(random),
    // Without a subject the alternative name is critical.
    subject: [],
    issuer: issuer.subjectName,
    ...period(profile),
    publicKey: request.publicKey,
    ...(await signing(authority)),
    extensions: [
      keyUsages(x509, x509.KeyUsageFlags.digitalSignature),
      new x509.ExtendedKeyUsageExtension([SERVER_AUTH, CLIENT_AUTH]),
      new x509.BasicConstraintsExtension(false, undefined, true),
      await x509.SubjectKeyIdentifierExtension.create(request.publicKey, false, webcrypto),
      await authorityKeyId(issuer),
      new x509.SubjectAlternativeNameExtension([{ type: "url", value: profile.uri }], true),
    ],
  });
  return pemOf(certificate);
}

/**
 * The same root, same name and key, signed by another: trusted by those who trust the other. Names are
 * taken over byte by byte: Go compares them so, and so are those compared that nodes report.
 */
export async function crossSign(signer: Authority, root: string, random: Random): Promise<string> {
  const x509 = await library();
  const issuer = new x509.X509Certificate(signer.cert);
  const subject = new x509.X509Certificate(root);
  const publicKey = await subject.publicKey.export(webcrypto);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(random),
    subject: subject.subjectName,
    issuer: issuer.subjectName,
    notBefore: subject.notBefore,
    notAfter: earlier(subject.notAfter, issuer.notAfter),
    publicKey,
    ...(await signing(signer)),
    extensions: [...(await authorityExtensions(publicKey)), await authorityKeyId(issuer)],
  });
  return pemOf(certificate);
}

let loading: Promise<typeof X509Library> | undefined;

function library(): Promise<typeof X509Library> {
  loading ??= (async () => {
    // The library throws at load unless this was loaded before it.
    await import("reflect-metadata");
    const x509 = await import("@peculiar/x509");
    x509.cryptoProvider.set(webcrypto);
    return x509;
  })();
  return loading;
}

async function signing(authority: Authority) {
  const key = readPrivateKey(authority.key);
  const { privateKey } = await webKeys(key);
  return { signingKey: privateKey, signingAlgorithm: schemeOf(key).signature };
}

/** How a key is imported, and what it signs with. */
function schemeOf(key: KeyObject) {
  const { namedCurve = "", modulusLength = 0 } = key.asymmetricKeyDetails ?? {};
  const known = key.asymmetricKeyType === "ec" ? CURVES[namedCurve] : undefined;
  if (known !== undefined) {
    const [curve, hash] = known;
    return { key: { name: ECDSA, namedCurve: curve }, signature: { name: ECDSA, hash } };
  }
  if (key.asymmetricKeyType === "rsa" && modulusLength >= RSA_MIN_BITS) {
    const rsa = { name: RSA, hash: "SHA-256" };
    return { key: rsa, signature: rsa };
  }
  throw new EngineError(
    "invalid-argument",
    `unsupported key: only RSA of ${RSA_MIN_BITS} bits and more, and ECDSA P-256, P-384 and P-521 are supported`,
  );
}

async function webKeys(key: KeyObject): Promise<webcrypto.CryptoKeyPair> {
  const { key: algorithm } = schemeOf(key);
  const { subtle } = webcrypto;
  const pkcs8 = key.export({ type: "pkcs8", format: "der" });
  const spki = createPublicKey(key).export({ type: "spki", format: "der" });
  const [privateKey, publicKey] = await Promise.all([
    subtle.importKey("pkcs8", pkcs8, algorithm, true, ["sign"]),
    subtle.importKey("spki", spki, algorithm, true, ["verify"]),
  ]);
  return { privateKey, publicKey };
}

async function authorityExtensions(publicKey: webcrypto.CryptoKey) {
  const x509 = await library();
  const usages = x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign;
  return [
    new x509.BasicConstraintsExtension(true, undefined, true),
    keyUsages(x509, usages),
    await x509.SubjectKeyIdentifierExtension.create(publicKey, false, webcrypto),
  ];
}

function keyUsages(x509: typeof X509Library, flags: number) {
  // oxlint-disable-next-line typescript/no-unsafe-enum-assignment -- these flags are bits to combine
  return new x509.KeyUsagesExtension(flags, true);
}

/** As the issuer names its own key, so that verifiers which compare the two agree. */
async function authorityKeyId(issuer: X509Library.X509Certificate) {
  const x509 = await library();
  const own = issuer.getExtension(x509.SubjectKeyIdentifierExtension);
  if (own !== null) return new x509.AuthorityKeyIdentifierExtension(own.keyId);
  return x509.AuthorityKeyIdentifierExtension.create(
    await issuer.publicKey.export(webcrypto),
    false,
    webcrypto,
  );
}

/** Positive and 16 octets long: the first byte is neither zero nor has its top bit set. */
function serialNumber(random: Random): string {
  const bytes = random.bytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return toHex(bytes);
}

function period(validity: Validity) {
  return { notBefore: new Date(validity.notBeforeMs), notAfter: new Date(validity.notAfterMs) };
}

function earlier(a: Date, b: Date): Date {
  return a.getTime() < b.getTime() ? a : b;
}

function privatePem(key: KeyObject): string {
  return key.export({ type: "sec1", format: "pem" }) as string;
}

function pemOf(certificate: X509Library.X509Certificate): string {
  return `${certificate.toString("pem").trim()}\n`;
}

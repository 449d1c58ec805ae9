import { execFileSync } from "node:child_process";
import { createPublicKey, X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { beforeAll, expect, test } from "vitest";
import { leafProfile, ROOT_LIFETIME_MS, rootValidity } from "#pki/profile.ts";
import { NodeRole } from "#wire/gen/swarmkit/types_pb.js";
import { realRandom } from "../real-ports.ts";
import {
  fingerprintOf,
  isRoot,
  issuerOf,
  keyFits,
  namesOf,
  normalizePem,
  readCertificate,
  requestedKeyOf,
  verifyChain,
} from "./certificate.ts";
import {
  type Authority,
  assertSigns,
  createRequest,
  createRoot,
  crossSign,
  generateKey,
  issueCertificate,
  readPrivateKey,
  readRequest,
} from "./issue.ts";
import { formatPem, parsePem } from "./pem.ts";
import { operatorsRoot } from "./testing/operators-root.ts";

const NOW = Date.now();
const HOUR = 3_600_000;
const subject = { nodeId: "node-1", role: NodeRole.MANAGER, clusterId: "cluster-1" };
const key = generateKey();
let root: Authority;
let leaf: string;

async function issue(authority: Authority): Promise<string> {
  const request = await readRequest(await createRequest(key, "whatever"));
  return issueCertificate(authority, request, leafProfile(subject, NOW, HOUR), realRandom);
}

beforeAll(async () => {
  root = await createRoot(rootValidity(NOW), realRandom);
  leaf = await issue(root);
});

test("a leaf carries what the profile says and nothing of the request", () => {
  const facts = readCertificate(leaf);
  expect(facts).toMatchObject({
    commonName: "node-1",
    organizationalUnit: "swarm-manager",
    organization: "cluster-1",
  });
  expect(facts.notAfterMs - facts.notBeforeMs).toBe(2 * HOUR);
  expect(keyFits(leaf, key)).toBe(true);
  expect(keyFits(leaf, generateKey())).toBe(false);
  expect(readCertificate(root.cert).notAfterMs - NOW).toBeGreaterThan(ROOT_LIFETIME_MS - HOUR);
});

test("openssl takes a leaf for a server and for a client, by its role's name", () => {
  const dir = mkdtempSync(join(tmpdir(), "skep-x509-"));
  try {
    writeFileSync(join(dir, "root.pem"), root.cert);
    writeFileSync(join(dir, "leaf.pem"), leaf);
    for (const purpose of ["sslserver", "sslclient"]) {
      const output = execFileSync(
        "openssl",
        ["verify", "-x509_strict", "-purpose", purpose, "-verify_hostname", "swarm-manager"].concat(
          ["-CAfile", join(dir, "root.pem"), join(dir, "leaf.pem")],
        ),
        { encoding: "utf8" },
      );
      expect(output).toMatch(/: OK$/m);
    }
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

test("a chain must lead to a trusted root, and be valid now", async () => {
  const stranger = await createRoot(rootValidity(NOW), realRandom);
  expect(() => verifyChain(leaf, root.cert, NOW)).not.toThrow();
  expect(() => verifyChain(leaf, stranger.cert, NOW)).toThrow("unknown authority");
  expect(() => verifyChain(leaf, root.cert, NOW + 2 * HOUR)).toThrow("not valid after");
  expect(() => verifyChain(leaf, root.cert, NOW - 2 * HOUR)).toThrow("not valid before");
  expect(() => verifyChain("", root.cert, NOW)).toThrow("no certificates");
  // A leaf cannot sign: a node must not be able to make up identities.
  const forged = await issue({
    cert: leaf,
    key: key.export({ type: "sec1", format: "pem" }) as string,
  });
  expect(() => verifyChain(forged + leaf, root.cert, NOW)).toThrow("unknown authority");
});

test("a new root that the old one signed is trusted through the old one, and by itself", async () => {
  const next = await createRoot(rootValidity(NOW), realRandom);
  const crossed = await crossSign(root, next.cert, realRandom);
  const issued = await issue({ cert: crossed, key: next.key });
  expect(() => verifyChain(issued + crossed, root.cert, NOW)).not.toThrow();
  expect(() => verifyChain(issued + crossed, next.cert, NOW)).not.toThrow();
  expect(issuerOf(issued + crossed, root.cert)).toEqual(readCertificate(next.cert).asIssuer);
  expect(readCertificate(issued).issuerSubject).toEqual(
    readCertificate(next.cert).asIssuer.subject,
  );
});

test.each([
  ["rsa:2048"],
  ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
  ["ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
  ["ec", "-pkeyopt", "ec_paramgen_curve:P-521"],
])(
  "a root that an operator made with %s signs, and is signed by the one before it",
  async (...how) => {
    const own = operatorsRoot(...how);
    expect(isRoot(own.cert)).toBe(true);
    assertSigns(readPrivateKey(own.key));
    const cert = await issue(own);
    verifyChain(cert, own.cert, Date.now());
    expect(issuerOf(cert, own.cert)).toEqual(readCertificate(own.cert).asIssuer);
    const crossed = await crossSign(root, own.cert, realRandom);
    verifyChain(cert + crossed, root.cert, Date.now());
    // As a node reports it while the root is replaced: bytes, in which names can be written in many ways.
    expect(issuerOf(cert + crossed, root.cert)).toEqual(readCertificate(own.cert).asIssuer);
    const { issuer } = namesOf(new X509Certificate(cert).raw);
    expect(issuer).toEqual(readCertificate(own.cert).asIssuer.subject);
    // And back again.
    verifyChain(leaf + (await crossSign(own, root.cert, realRandom)), own.cert, Date.now());
    expect(() => verifyChain(cert, root.cert, Date.now())).toThrow();
  },
);

test.each([["rsa:1024"], ["ed25519"]])(
  "nothing is signed with a key of %s",
  async (...how) => {
    const own = operatorsRoot(...how);
    expect(() => assertSigns(readPrivateKey(own.key))).toThrow("unsupported key");
    await expect(issue(own)).rejects.toMatchObject({ code: "invalid-argument" });
  },
  30_000,
);

test("a request that was tampered with is refused", async () => {
  const csr = await createRequest(key, "node-1");
  const der = parsePem(csr)[0]?.der;
  if (der === undefined) throw new Error("no request");
  expect((await readRequest(csr)).commonName).toBe("node-1");
  for (const at of [10, 40, der.length - 5]) {
    const broken = Buffer.from(der);
    broken[at] = (broken[at] ?? 0) ^ 1;
    await expect(readRequest(formatPem("CERTIFICATE REQUEST", broken))).rejects.toThrow("request");
  }
}, 30_000);

test("the readers refuse any other bytes with a reason", () => {
  fc.assert(
    fc.property(fc.uint8Array(), fc.string(), (der, text) => {
      for (const input of [formatPem("CERTIFICATE", der), text]) {
        expect(() => readCertificate(input)).toThrow(/certificate/);
      }
    }),
  );
});

test("PEM blocks keep their headers, and bundles have one form", () => {
  const der = Buffer.from("some bytes");
  const text = formatPem("PRIVATE KEY", der, { "raft-dek": "AAEC", "kek-version": "7" });
  expect(parsePem(`rubbish\n${text}`)).toEqual([
    { label: "PRIVATE KEY", headers: { "kek-version": "7", "raft-dek": "AAEC" }, der },
  ]);
  expect(normalizePem(`\n# note\n${root.cert}\n\n${root.cert}`)).toBe(root.cert + root.cert);
});

test("the key in a request is found without the library, and shown as openssl would", async () => {
  const csr = await createRequest(key, "a name of the requester's own making");
  const spki = createPublicKey(key).export({ type: "spki", format: "der" });
  expect(Buffer.from(requestedKeyOf(csr)).equals(spki)).toBe(true);
  expect(Buffer.from((await readRequest(csr)).publicKey).equals(spki)).toBe(true);
  const digest = execFileSync("openssl", ["dgst", "-sha256", "-binary"], { input: spki });
  expect(`${fingerprintOf(spki)}=`).toBe(`SHA256:${digest.toString("base64")}`);
});

test("damaged requests are refused, and do nothing worse", async () => {
  const csr = await createRequest(key, "x");
  const der = parsePem(csr)[0]?.der ?? Buffer.alloc(0);
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat(der.length - 1), fc.nat(255)), { minLength: 1, maxLength: 8 }),
      fc.nat(der.length),
      async (edits, length) => {
        const damaged = Buffer.from(der);
        for (const [at, byte] of edits) damaged[at] = byte;
        const text = formatPem("CERTIFICATE REQUEST", damaged.subarray(0, length));
        const same = damaged.equals(der) && length === der.length;
        const verdict = await readRequest(text).then(
          () => "good",
          (error: unknown) => (error as { code?: string }).code,
        );
        expect(verdict).toBe(same ? "good" : "invalid-argument");
        try {
          requestedKeyOf(text);
        } catch (error) {
          expect(error).toMatchObject({ code: "invalid-argument" });
        }
      },
    ),
    { numRuns: 300 },
  );
}, 30_000);

test("damaged certificates are refused, and do nothing worse", () => {
  const der = parsePem(leaf)[0]?.der ?? Buffer.alloc(0);
  const refused = (work: () => unknown) => {
    try {
      work();
    } catch (error) {
      expect(error).toMatchObject({ code: "invalid-argument" });
    }
  };
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(der.length - 1), fc.nat(255)), { maxLength: 8 }),
      fc.nat(der.length),
      (edits, length) => {
        const damaged = Buffer.from(der);
        for (const [at, byte] of edits) damaged[at] = byte;
        const text = formatPem("CERTIFICATE", damaged.subarray(0, length));
        refused(() => readCertificate(text));
        refused(() => issuerOf(text, root.cert));
        if (damaged.equals(der) && length === der.length) return;
        expect(() => verifyChain(text, root.cert, NOW)).toThrow();
      },
    ),
    { numRuns: 500 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      const text = formatPem("CERTIFICATE", bytes);
      refused(() => readCertificate(text));
      refused(() => verifyChain(text, root.cert, NOW));
      refused(() => requestedKeyOf(formatPem("CERTIFICATE REQUEST", bytes)));
    }),
  );
}, 30_000);

/** Trees of ASN.1 whose lengths may lie, down to depths that no certificate has. */
function asn1(): fc.Arbitrary<Buffer> {
  const element = (tag: number, content: Buffer, lie: number) => {
    const length = Math.max(0, content.length + lie);
    const head =
      length < 0x80
        ? [tag, length]
        : [tag, 0x84, ...Buffer.from(length.toString(16).padStart(8, "0"), "hex")];
    return Buffer.concat([Buffer.from(head), content]);
  };
  // Mostly true, so that readers get far.
  const lies = fc.oneof(
    { weight: 8, arbitrary: fc.constant(0) },
    fc.integer({ min: -40, max: 2 ** 20 }),
  );
  const tags = fc.constantFrom(
    0x30,
    0x31,
    0xa0,
    0xa3,
    0x02,
    0x03,
    0x04,
    0x06,
    0x0c,
    0x13,
    0x24,
    0x80,
    0x00,
    0x1f,
  );
  const { tree } = fc.letrec<{ tree: Buffer }>((tie) => ({
    tree: fc.oneof(
      { maxDepth: 6 },
      fc
        .tuple(tags, fc.uint8Array({ maxLength: 12 }), lies)
        .map(([tag, bytes, lie]) => element(tag, Buffer.from(bytes), lie)),
      fc
        .tuple(tags, fc.array(tie("tree"), { maxLength: 5 }), lies)
        .map(([tag, parts, lie]) => element(tag, Buffer.concat(parts), lie)),
    ),
  }));
  const deep = fc.tuple(fc.integer({ min: 1, max: 800 }), tags, tree).map(([depth, tag, inner]) => {
    let bytes = inner;
    for (let at = 0; at < depth; at += 1) bytes = element(tag, bytes, 0);
    return bytes;
  });
  const endless = fc
    .integer({ min: 1, max: 4_000 })
    .map((depth) => Buffer.alloc(2 * depth, Buffer.from([0x30, 0x80])));
  return fc.oneof({ weight: 6, arbitrary: tree }, deep, endless);
}

test("ASN.1 that is no certificate and no request is refused, however it is built", async () => {
  const codeOf = (error: unknown) => (error as { code?: string }).code;
  const outcome = (work: () => unknown) => {
    try {
      work();
      return "read";
    } catch (error) {
      return codeOf(error);
    }
  };
  await fc.assert(
    fc.asyncProperty(asn1(), async (der) => {
      const request = formatPem("CERTIFICATE REQUEST", der);
      const certificate = formatPem("CERTIFICATE", der);
      expect(await readRequest(request).then(() => "read", codeOf)).toBe("invalid-argument");
      expect(outcome(() => readCertificate(certificate))).toBe("invalid-argument");
      expect(outcome(() => verifyChain(certificate, root.cert, NOW))).toBe("invalid-argument");
      // It looks at no more than the frame.
      expect(["read", "invalid-argument"]).toContain(outcome(() => requestedKeyOf(request)));
    }),
    { numRuns: Number(process.env["SKEP_TEST_RUNS"] ?? 300) },
  );
}, 30_000);

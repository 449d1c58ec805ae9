/** The chain of a Docker Engine's rotation, made as Go makes it, and everything that is nearly one. */

import { X509Certificate } from "node:crypto";
import "reflect-metadata";
import * as x509 from "@peculiar/x509";
import * as fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { verifyCrossSigned } from "./cross-signed.ts";
import {
  CLIENT,
  cross,
  leafOf,
  type Maker,
  maker,
  ROOT,
  root,
  SERVER,
  type Wish,
} from "./testing/go-certificates.ts";

const NOW = Date.now();
/** Head of an IA5String of twelve bytes. */
const COMMENT = new Uint8Array([0x16, 12]);

let old: Maker;
let next: Maker;
let stranger: Maker;
let node: Maker;
let oldRoot: string;
let crossed: X509Certificate;
let leaf: X509Certificate;

const leafFrom = (by: Maker, wish: Wish = {}) => leafOf(by, node, wish);

beforeAll(async () => {
  [old, next, stranger, node] = await Promise.all([maker(), maker(), maker(), maker()]);
  oldRoot = (await root(old)).toString();
  crossed = await cross(old, next);
  leaf = await leafFrom(next);
});

function judge(
  shown: readonly X509Certificate[],
  { roots = oldRoot, name = "swarm-manager", now = NOW } = {},
): string {
  try {
    verifyCrossSigned(shown, roots, name, now);
    return "believed";
  } catch (error) {
    expect(error).toMatchObject({ code: "invalid-argument" });
    return (error as Error).message;
  }
}

test("a leaf of the new root, which the old one signed, is believed", async () => {
  expect(judge([leaf, crossed])).toBe("believed");
  expect(judge([leaf, crossed], { name: "swarm-ca" })).toBe("believed");
  const others = (await root(stranger)).toString();
  expect(judge([leaf, crossed], { roots: others + oldRoot })).toBe("believed");
});

describe("refused is", () => {
  test("another number of certificates than two", async () => {
    const itself = new X509Certificate(oldRoot);
    expect(judge([])).toMatch("0 certificates");
    expect(judge([leaf])).toMatch("1 certificates");
    expect(judge([leaf, crossed, itself])).toMatch("3 certificates");
    expect(judge([leaf, crossed, crossed])).toMatch("3 certificates");
    // A path over two such roots would be one.
    const middle = await cross(old, stranger);
    expect(judge([leaf, await cross(stranger, next), middle])).toMatch("3 certificates");
  });

  test("a root that is not trusted", async () => {
    const unknown = "unknown authority";
    expect(judge([leaf, crossed], { roots: (await root(stranger)).toString() })).toMatch(unknown);
    expect(judge([leaf, crossed], { roots: "" })).toMatch(unknown);
    // Really signed by itself, as OpenSSL believes.
    expect(judge([leaf, await root(next)])).toMatch(unknown);
    expect(judge([await leafFrom(stranger), await root(stranger)])).toMatch(unknown);
    expect(judge([leaf, await cross(stranger, next)])).toMatch(unknown);
  });

  test("a root in whose name one could not sign", async () => {
    const flags = x509.KeyUsageFlags;
    for (const wish of [{ isAuthority: false }, { usages: flags.digitalSignature }]) {
      const roots = (await root(old, wish)).toString();
      expect(judge([leaf, crossed], { roots })).toMatch("unknown authority");
      expect(judge([leaf, await cross(old, next, wish)])).toMatch("not signed by the one behind");
    }
  });

  test("a leaf that another signed, or that signs", async () => {
    const behind = "not signed by the one behind";
    expect(judge([await leafFrom(stranger), crossed])).toMatch(behind);
    expect(judge([await leafFrom(old), crossed])).toMatch(behind);
    expect(judge([crossed, leaf])).toMatch("no root's");
    expect(judge([crossed, crossed])).toMatch(behind);
    expect(judge([await leafFrom(next, { isAuthority: true }), crossed])).toMatch("no server's");
  });

  test("a leaf in the place of the new root", async () => {
    // A node that signs with its own certificate, whatever name it has there.
    const own: Maker = { name: "CN=node", keys: node.keys };
    const made = await leafFrom(own);
    expect(judge([made, await leafFrom(old, { subject: "CN=node" })])).toMatch("no root's");
    const renamed: Maker = { name: ROOT, keys: node.keys };
    const forged = await leafFrom(renamed);
    expect(judge([forged, await leafFrom(old, { subject: ROOT })])).toMatch(
      "not signed by the one",
    );
  });

  test("an authority of another name, which OpenSSL judges well", async () => {
    const named: Maker = { name: "CN=other", keys: next.keys };
    const shown = [await leafFrom(named), await cross(old, next, { subject: "CN=other" })];
    expect(judge(shown)).toMatch("no root's");
  });

  test.each([
    ["not after", { until: NOW - 1_000 }],
    ["not before", { from: NOW + 5_000 }],
  ] as const)("what is valid %s now", async (_, wish) => {
    expect(judge([await leafFrom(next, wish), crossed])).toMatch("certificate (node) not valid");
    expect(judge([leaf, await cross(old, next, wish)])).toMatch("certificate (swarm-ca) not valid");
    const roots = (await root(old, wish)).toString();
    expect(judge([leaf, crossed], { roots })).toMatch("certificate (swarm-ca) not valid");
  });

  test("another name, a name in the subject, a wildcard, none", async () => {
    expect(judge([leaf, crossed], { name: "swarm-worker" })).toMatch("not for swarm-worker");
    expect(judge([leaf, crossed], { name: "" })).not.toBe("believed");
    const subject = "CN=swarm-manager";
    for (const names of [[], ["swarm-worker", "node"], ["*"], ["*-manager"]]) {
      const other = await leafFrom(next, { names, subject });
      expect(judge([other, crossed])).toMatch("not for swarm-manager");
    }
    const starred = await leafFrom(next, { names: ["*.example.org"] });
    expect(judge([starred, crossed], { name: "a.example.org" })).toMatch("not for a.example.org");
  });

  test("a leaf for other purposes", async () => {
    for (const purposes of [[], [CLIENT], [x509.ExtendedKeyUsage.codeSigning]]) {
      expect(judge([await leafFrom(next, { purposes }), crossed])).toMatch("no server's");
    }
  });

  test("an extension that nobody enforces here", async () => {
    for (const isCritical of [true, false]) {
      // Name constraints.
      const more = [new x509.Extension("2.5.29.30", isCritical, new Uint8Array([0x30, 0]))];
      const roots = (await root(old, { more })).toString();
      expect(judge([leaf, crossed], { roots })).toMatch("unknown extension");
      expect(judge([leaf, await cross(old, next, { more })])).toMatch("unknown extension");
      expect(judge([await leafFrom(next, { more }), crossed])).toMatch("unknown extension");
    }
    const again = await leafFrom(next, { more: [new x509.SubjectAlternativeNameExtension([])] });
    expect(judge([again, crossed])).not.toBe("believed");
    const twice = [new x509.ExtendedKeyUsageExtension([SERVER])];
    const doubled = await cross(old, next, { purposes: [SERVER], more: twice });
    expect(judge([leaf, doubled])).not.toBe("believed");
  });

  test("an authority for other purposes, or with too many below it", async () => {
    const purposes = [CLIENT];
    expect(judge([leaf, await cross(old, next, { purposes })])).toMatch("not for servers");
    const roots = (await root(old, { purposes })).toString();
    expect(judge([leaf, crossed], { roots })).toMatch("not for servers");
    const narrow = (await root(old, { pathLength: 0 })).toString();
    expect(judge([leaf, crossed], { roots: narrow })).toMatch("too many authorities");
  });
});

test("roots of an operator's own may tell more, as long as they do not insist on it", async () => {
  const text = Buffer.from("made by hand");
  const extensions = (isCritical: boolean) => [
    new x509.SubjectAlternativeNameExtension([{ type: "email", value: "a@b.c" }], isCritical),
    new x509.IssuerAlternativeNameExtension([{ type: "email", value: "a@b.c" }], isCritical),
    new x509.CertificatePolicyExtension(["1.3.6.1.4.1.1"], isCritical),
    new x509.CRLDistributionPointsExtension(["http://crl.example.org/root"], isCritical),
    new x509.AuthorityInfoAccessExtension({ ocsp: "http://ocsp.example.org" }, isCritical),
    new x509.Extension("2.16.840.1.113730.1.13", isCritical, Buffer.concat([COMMENT, text])),
  ];
  const wish = { more: extensions(false), purposes: [SERVER, CLIENT], pathLength: 1 };
  const roots = (await root(old, wish)).toString();
  expect(judge([leaf, await cross(old, next, wish)], { roots })).toBe("believed");
  for (const extension of extensions(true)) {
    const insisting = await cross(old, next, { more: [extension] });
    expect(judge([leaf, insisting])).toMatch("unknown extension");
  }
  // On a node's certificate nobody has put any of them.
  for (const extension of extensions(false).slice(1)) {
    expect(judge([await leafFrom(next, { more: [extension] }), crossed])).toMatch("unknown");
  }
});

test("no changed bit of either certificate is believed", () => {
  const place = fc.tuple(fc.boolean(), fc.nat(), fc.nat(7));
  fc.assert(
    fc.property(place, ([ofLeaf, seed, bit]) => {
      const bytes = Buffer.from((ofLeaf ? leaf : crossed).raw);
      const at = seed % bytes.length;
      bytes[at] = (bytes[at] ?? 0) ^ (1 << bit);
      let changed: X509Certificate;
      try {
        changed = new X509Certificate(bytes);
      } catch {
        return;
      }
      expect(judge(ofLeaf ? [changed, crossed] : [leaf, changed])).not.toBe("believed");
    }),
    { numRuns: 1_000 },
  );
});

test("of all chains of these certificates one is believed", async () => {
  const all = [
    leaf,
    crossed,
    await leafFrom(old),
    await leafFrom(stranger),
    await root(next),
    await root(old),
    await root(stranger),
    await cross(stranger, next),
    await cross(next, old),
  ];
  fc.assert(
    fc.property(fc.array(fc.nat(all.length - 1), { maxLength: 4 }), (places) => {
      const shown = places.flatMap((at) => all[at] ?? []);
      const isIt = shown.length === 2 && shown[0] === leaf && shown[1] === crossed;
      // The old root needs nobody to sign it, and the chain that has it there is a good one.
      const isOld = shown.length === 2 && shown[0] === all[2] && shown[1] === all[5];
      expect(judge(shown) === "believed").toBe(isIt || isOld);
    }),
    { numRuns: 2_000 },
  );
});

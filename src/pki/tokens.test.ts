import * as fc from "fast-check";
import { expect, test } from "vitest";
import { toHex } from "#base/ids.ts";
import type { Random } from "#base/ports.ts";
import { fromRawBase64, toRawBase64 } from "./base64.ts";
import { equalSecrets, generateJoinToken, parseJoinToken } from "./join-token.ts";
import { formatUnlockKey, parseUnlockKey } from "./unlock-key.ts";

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const fixed = (value: Uint8Array): Random => ({ int: () => 0, bytes: () => value });

test("a token names the root's digest, whatever the digest and the secret", () => {
  fc.assert(
    fc.property(bytes(32), bytes(16), (digest, secret) => {
      const token = generateJoinToken(digest, fixed(secret));
      expect(token).toHaveLength(85);
      expect(parseJoinToken(token)).toEqual({
        ok: true,
        value: { rootDigest: toHex(digest), secret: token.slice(-25), fips: false },
      });
    }),
  );
});

test("tokens of docker are read as docker reads them", () => {
  // From docker's documentation of `swarm join-token`.
  const token =
    "SWMTKN-1-3pu6hszjas19xyp7ghgosyx9k8atbfcr8p2is99znpy26u2lkl-1awxwuwd3z9j1z3puu7rcgdbx";
  const parsed = parseJoinToken(token);
  expect(parsed.ok && parsed.value.rootDigest).toHaveLength(64);
  expect(parsed.ok && parsed.value.secret).toBe("1awxwuwd3z9j1z3puu7rcgdbx");
  const fips = parseJoinToken(token.replace("SWMTKN-1-", "SWMTKN-2-1-"));
  expect(fips.ok && fips.value.fips).toBe(true);
  const plain = parseJoinToken(token.replace("SWMTKN-1-", "SWMTKN-2-0-"));
  expect(plain.ok && plain.value.fips).toBe(false);
});

test.each([
  "",
  "SWMTKN",
  "SWMTKN-1-short-secret",
  "SWMTKN-3-3pu6hszjas19xyp7ghgosyx9k8atbfcr8p2is99znpy26u2lkl-1awxwuwd3z9j1z3puu7rcgdbx",
  "SWMTKN-2-2-3pu6hszjas19xyp7ghgosyx9k8atbfcr8p2is99znpy26u2lkl-1awxwuwd3z9j1z3puu7rcgdbx",
  "SWMTKN-1-3pu6hszjas19xyp7ghgosyx9k8atbfcr8p2is99znpy26u2lkl-1awxwuwd3z9j1z3puu7rcgdbx-",
  "SWMTKN-1-3PU6HSZJAS19XYP7GHGOSYX9K8ATBFCR8P2IS99ZNPY26U2LKL-1awxwuwd3z9j1z3puu7rcgdbx",
  "SWMTKN-1-zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz-1awxwuwd3z9j1z3puu7rcgdbx",
])("%j is no token", (text) => {
  expect(parseJoinToken(text)).toEqual({ ok: false, error: "invalid join token" });
});

test("no text makes the parser do anything but answer", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.string().map((text) => `SWMTKN-1-${text}`),
      ),
      (text) => {
        expect(typeof parseJoinToken(text).ok).toBe("boolean");
        expect(typeof parseUnlockKey(text).ok).toBe("boolean");
      },
    ),
  );
});

test("secrets are equal only when all of them is", () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), (a, b) => {
      expect(equalSecrets(a, b)).toBe(a === b);
      expect(equalSecrets(a, `${a}${b}`)).toBe(b === "");
    }),
  );
});

test("unlock keys and base64 come back as they went", () => {
  fc.assert(
    fc.property(bytes(32), fc.uint8Array(), (key, any) => {
      expect(formatUnlockKey(key)).toBe(
        `SWMKEY-1-${Buffer.from(key).toString("base64").replace(/=+$/, "")}`,
      );
      expect(parseUnlockKey(formatUnlockKey(key))).toEqual({ ok: true, value: key });
      expect(fromRawBase64(toRawBase64(any))).toEqual({ ok: true, value: any });
    }),
  );
});

import fc from "fast-check";
import { expect, test } from "vitest";
import { parseGeneration } from "./nft-generation.ts";

const ANSWER = Buffer.from(
  "2c0000000f0a00000000000001000000" +
    "00000000" +
    "0800010000000102" +
    "0800020000000009" +
    "0700030061620000",
  "hex",
);

test("the number is found, behind other attributes too; all else is no answer", () => {
  expect(parseGeneration(ANSWER)).toBe(258);
  const turned = Uint8Array.of(
    ...ANSWER.slice(0, 20),
    ...ANSWER.slice(28, 36),
    ...ANSWER.slice(20, 28),
  );
  expect(parseGeneration(turned)).toBe(258);
  expect(parseGeneration(ANSWER.slice(0, 24))).toBeUndefined();
  expect(parseGeneration(new Uint8Array(0))).toBeUndefined();
  expect(
    parseGeneration(Uint8Array.of(...ANSWER.slice(0, 4), 2, ...ANSWER.slice(5))),
  ).toBeUndefined();
});

test("any bytes end, without an error", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (tail) => {
      parseGeneration(tail);
      parseGeneration(Uint8Array.of(...ANSWER.slice(0, 20), ...tail));
    }),
  );
});

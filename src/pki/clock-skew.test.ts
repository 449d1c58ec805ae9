import * as fc from "fast-check";
import { expect, test } from "vitest";
import { clockSkewMs, skewWarning } from "./clock-skew.ts";

test("a clock that is right is never called wrong, however long the way took", () => {
  fc.assert(
    fc.property(fc.nat(), fc.nat(), fc.nat(), (asked, there, back) => {
      expect(clockSkewMs(asked, asked + there, asked + there + back)).toBe(0);
    }),
  );
});

test("one that is off by more than the way took is called so, in its direction", () => {
  fc.assert(
    fc.property(fc.nat(), fc.nat(1_000), fc.integer({ min: -1e7, max: 1e7 }), (now, way, off) => {
      const skew = clockSkewMs(now + off, now + way, now + 2 * way + off);
      expect(Math.abs(skew)).toBeGreaterThanOrEqual(Math.abs(off) - way);
      expect(Math.abs(skew)).toBeLessThanOrEqual(Math.abs(off));
      if (skew !== 0) expect(Math.sign(skew)).toBe(Math.sign(off));
    }),
  );
});

test("it is worth a word from half a minute on", () => {
  expect(skewWarning(29_000)).toBeUndefined();
  expect(skewWarning(45_000)).toContain("45 s ahead of");
  expect(skewWarning(-7_200_000)).toContain("7200 s behind");
});

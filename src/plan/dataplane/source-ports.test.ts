import fc from "fast-check";
import { expect, test } from "vitest";
import { portsOf } from "./source-ports.ts";

const IDS = fc.uniqueArray(fc.string({ minLength: 1 }), { minLength: 1, maxLength: 40 });

test("no two of up to sixteen nodes have a port in common, and none is privileged", () => {
  fc.assert(
    fc.property(IDS, (ids) => {
      const parts = ids.map((id) =>
        portsOf(
          id,
          ids.filter((other) => other !== id),
        ),
      );
      const distinct = new Set(parts.map(([first]) => first)).size;
      expect(distinct).toBe(Math.min(ids.length, 16));
      for (const [first, last] of parts) {
        expect(first).toBeGreaterThanOrEqual(1024);
        expect(last).toBeLessThanOrEqual(65_535);
        expect(last - first).toBeGreaterThanOrEqual(4_000);
        const crossing = parts.filter(([other, end]) => other <= last && end >= first);
        expect(crossing.every(([other]) => other === first)).toBe(true);
      }
    }),
  );
});

import fc from "fast-check";
import { expect, test } from "vitest";
import { DetachScanner, parseDetachKeys } from "./detach-keys.ts";

test.each([
  ["ctrl-p,ctrl-q", [16, 17]],
  ["ctrl-A,z", [1, 122]],
  ["ctrl-@,ctrl-[,ctrl-_", [0, 27, 31]],
])("%s", (text, bytes) => {
  expect([...parseDetachKeys(text)]).toEqual(bytes);
});

test.each(["", "ctrl-", "ctrl-1", "ab", "a,,b", "ä"])("%j is refused", (text) => {
  expect(() => parseDetachKeys(text)).toThrow(`Invalid detach keys (${text}) provided`);
});

test("what comes before the keys passes, what comes after does not, however the input is cut", () => {
  const keys = parseDetachKeys("ctrl-p,ctrl-q");
  const input = fc.array(fc.constantFrom(16, 17, 97), { maxLength: 12 });
  fc.assert(
    fc.property(input, fc.array(fc.integer({ min: 1, max: 4 })), (bytes, cuts) => {
      const scanner = new DetachScanner(keys);
      const passed: number[] = [];
      let detached = false;
      let turn = 0;
      for (let at = 0; at < bytes.length && !detached; ) {
        const size = cuts[turn++] ?? 1;
        const result = scanner.push(Uint8Array.from(bytes.slice(at, at + size)));
        passed.push(...result.pass);
        detached = result.detached;
        at += size;
      }
      const found = bytes.findIndex((byte, at) => byte === 16 && bytes[at + 1] === 17);
      expect(detached).toBe(found >= 0);
      // A first key may be held back to see what follows.
      const before = found >= 0 ? bytes.slice(0, found) : bytes;
      const held = found < 0 && bytes.at(-1) === 16 ? 1 : 0;
      expect(passed).toEqual(before.slice(0, before.length - held));
    }),
  );
});

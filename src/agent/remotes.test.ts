import fc from "fast-check";
import { expect, test } from "vitest";
import { OBSERVATION_WEIGHT, Remotes } from "./remotes.ts";

const remote = (n: number) => ({ nodeId: `n${n}`, addr: `192.0.2.${n}:2377` });
const at = (point: number) => ({
  int: (bound: number) => Math.min(point, bound - 1),
  bytes: (length: number) => new Uint8Array(length),
});

test("a manager that fails is picked less, and never not at all", () => {
  const remotes = new Remotes([remote(1), remote(2)]);
  for (let n = 0; n < 10; n += 1) remotes.observe(remote(1), -OBSERVATION_WEIGHT);
  const picks = Array.from({ length: 40 }, (_, point) => remotes.pick(at(point))?.nodeId);
  expect(picks.filter((id) => id === "n1")).toHaveLength(1);
});

test("the list of a manager replaces what is known; an empty one says nothing", () => {
  const remotes = new Remotes([remote(1), remote(2)]);
  remotes.replace([
    { ...remote(2), weight: 10 },
    { ...remote(3), weight: 10 },
  ]);
  expect(remotes.list().map(({ nodeId }) => nodeId)).toEqual(["n2", "n3"]);
  remotes.replace([]);
  expect(remotes.list()).toHaveLength(2);
});

test("picking finds one of those known, whatever was observed", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(4), fc.integer({ min: -1000, max: 1000 })), { minLength: 1 }),
      fc.nat(5_000),
      (observations, point) => {
        const remotes = new Remotes();
        for (const [n, weight] of observations) remotes.observe(remote(n), weight);
        const picked = remotes.pick(at(point));
        expect(observations.some(([n]) => `n${n}` === picked?.nodeId)).toBe(true);
        expect(remotes.list().every(({ weight }) => Math.abs(weight) <= 256)).toBe(true);
      },
    ),
  );
});

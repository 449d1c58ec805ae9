import { expect, test } from "vitest";
import { levelRefusal, nextLevel } from "./feature-level.ts";

test("the level is what all managers know, and never falls", () => {
  expect(nextLevel(0, [2, 1, 2])).toBe(1);
  expect(nextLevel(1, [2, 1, 2])).toBeUndefined();
  expect(nextLevel(1, [2, 2, 3])).toBe(2);
  expect(nextLevel(2, [1, 1, 1])).toBeUndefined();
  expect(nextLevel(0, [])).toBeUndefined();
});

test("who knows less than is used may not manage, and is told what to run", () => {
  expect(levelRefusal(1, 1)).toBeUndefined();
  expect(levelRefusal(1, 2)).toBeUndefined();
  expect(levelRefusal(2, 1)).toMatch(/uses features of level 2, and this version .* level 1: run/);
});

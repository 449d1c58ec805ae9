import { expect, test } from "vitest";
import { type Ending, planRestart, startsWithEngine } from "./restart-policy.ts";

const ending: Ending = {
  exitCode: 1,
  restartCount: 0,
  stoppedByUser: false,
  ranForMs: 5,
  lastDelayMs: 0,
};

test("the delay doubles from 100 ms to a minute, and starts over after ten stable seconds", () => {
  const delays: number[] = [];
  let lastDelayMs = 0;
  for (let i = 0; i < 12; i++) {
    lastDelayMs = planRestart({ Name: "always" }, { ...ending, lastDelayMs }) ?? -1;
    delays.push(lastDelayMs);
  }
  expect(delays).toEqual([100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000]);
  const stable = { ...ending, lastDelayMs: 60_000, ranForMs: 10_000 };
  expect(planRestart({ Name: "always" }, stable)).toBe(100);
});

test.each([
  ["no", {}, undefined],
  ["always", {}, 100],
  ["always", { exitCode: 0 }, 100],
  ["always", { stoppedByUser: true }, undefined],
  ["unless-stopped", { exitCode: 0 }, 100],
  ["on-failure", {}, 100],
  ["on-failure", { exitCode: 0 }, undefined],
  ["on-failure", { restartCount: 2 }, 100],
  ["on-failure", { restartCount: 3 }, undefined],
] as const)("%s %o → %s", (Name, change, expected) => {
  expect(planRestart({ Name, MaximumRetryCount: 3 }, { ...ending, ...change })).toBe(expected);
});

test("the engine's start brings back what the user had not stopped", () => {
  const state = { exitCode: 0, stoppedByUser: true, everRan: true };
  expect(startsWithEngine({ Name: "always" }, state)).toBe(true);
  expect(startsWithEngine({ Name: "unless-stopped" }, state)).toBe(false);
  expect(startsWithEngine({ Name: "unless-stopped" }, { ...state, stoppedByUser: false })).toBe(
    true,
  );
  expect(startsWithEngine({ Name: "always" }, { ...state, everRan: false })).toBe(false);
  expect(startsWithEngine({ Name: "no" }, state)).toBe(false);
});

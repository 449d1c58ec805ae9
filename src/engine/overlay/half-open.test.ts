import { expect, test } from "vitest";
import type { LostFlow } from "#plan/dataplane/lost-flows.ts";
import { ManualClock } from "#platform/testing/manual-clock.ts";
import { ANSWER_MS, HalfOpenCuts } from "./half-open.ts";

const flow = (backend: string): LostFlow => ({
  containerId: undefined,
  protocol: "tcp",
  halfOpen: true,
  virtual: { port: 80 },
  backend,
});

function cuts() {
  const clock = new ManualClock();
  const cut: string[] = [];
  const half = new HalfOpenCuts(clock, async (flows) => {
    cut.push(...flows.map(({ backend }) => backend));
  });
  return { clock, cut, half };
}

test("what may be answered at this moment is not cut", async () => {
  const { clock, cut, half } = cuts();
  half.later([flow("10.0.0.5")], () => [flow("10.0.0.5")]);
  await clock.advance(ANSWER_MS - 1);
  expect(cut).toEqual([]);
  await clock.advance(1);
  expect(cut).toEqual(["10.0.0.5"]);
});

test("a backend that has come back meanwhile keeps what it is answering", async () => {
  const { clock, cut, half } = cuts();
  // 10.0.0.7 was lost only now, and has its own time.
  const now = [flow("10.0.0.5"), flow("10.0.0.7")];
  half.later([flow("10.0.0.5"), flow("10.0.0.6")], () => now);
  await clock.advance(ANSWER_MS);
  expect(cut).toEqual(["10.0.0.5"]);
});

test("nothing is cut after the end", async () => {
  const { clock, cut, half } = cuts();
  half.later([flow("10.0.0.5")], () => [flow("10.0.0.5")]);
  half.close();
  await clock.advance(ANSWER_MS);
  expect(cut).toEqual([]);
  expect(clock.pending).toBe(0);
});

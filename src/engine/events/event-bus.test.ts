import { expect, test } from "vitest";
import type { EngineEvent } from "#wire/docker/events.ts";
import { createEventBus } from "./event-bus.ts";

test("what happened in the swarm is not pushed out by busy containers, and comes in its order", async () => {
  let nowMs = 1_700_000_000_000;
  const bus = createEventBus({
    nowMs: () => (nowMs += 1),
    monotonicMs: () => nowMs,
    setTimer: () => ({ cancel: () => undefined }),
  });
  const publish = (Type: EngineEvent["Type"], scope: EngineEvent["scope"], name: string) =>
    bus.publish({ Type, Action: "create", Actor: { ID: name, Attributes: { name } }, scope });
  publish("service", "swarm", "early");
  for (let number = 0; number < 2_000; number += 1) publish("container", "local", `c${number}`);
  publish("service", "swarm", "late");
  const told: EngineEvent[] = [];
  const past = bus.subscribe({
    filters: new Map(),
    since: 1,
    until: nowMs / 1000 + 1e-3,
    signal: AbortSignal.abort(),
  });
  for await (const event of past) told.push(event);
  expect(told.map(({ Actor }) => Actor.ID)).toEqual([
    "early",
    ...Array.from({ length: 1_000 }, (_, number) => `c${number + 1_000}`),
    "late",
  ]);
});

import { expect, test } from "vitest";
import { INITIAL_STATE, NO_NETWORK, PHASES, type Phase } from "./record.ts";
import { ALLOWED, type LifeEvent, mayMeet, nextState } from "./state.ts";

const EVENTS: readonly LifeEvent[] = [
  { kind: "started", pid: 7, at: "T1", network: NO_NETWORK },
  { kind: "start-failed", exitCode: 127, error: "no such file", at: "T1" },
  { kind: "paused" },
  { kind: "resumed" },
  { kind: "exited", exitCode: 3, oomKilled: false, at: "T2" },
  { kind: "restart-planned" },
  { kind: "restart-cancelled" },
  { kind: "removing", volumes: false },
  { kind: "remove-failed", error: "busy" },
];

test("every event is listed, and leads where the table says or nowhere", () => {
  expect(EVENTS.map(({ kind }) => kind).sort()).toEqual(Object.keys(ALLOWED).sort());
  const table = PHASES.map((phase) => {
    const moves = EVENTS.filter(({ kind }) => mayMeet(phase, kind)).map(
      (event) => `${event.kind}→${nextState({ ...INITIAL_STATE, phase }, event).phase}`,
    );
    return `${phase}: ${moves.join(" ")}`;
  });
  expect(table).toEqual([
    "created: started→running start-failed→created removing→removing",
    "running: paused→paused exited→exited",
    "paused: resumed→running exited→exited",
    "restarting: started→running start-failed→exited restart-cancelled→exited",
    "exited: started→running start-failed→exited restart-planned→restarting removing→removing",
    "removing: removing→removing remove-failed→dead",
    "dead: removing→removing",
  ]);
});

test("what may not meet is a bug", () => {
  for (const phase of PHASES) {
    for (const event of EVENTS) {
      if (mayMeet(phase, event.kind)) continue;
      expect(() => nextState({ ...INITIAL_STATE, phase }, event)).toThrow(/invariant/);
    }
  }
});

test("pid and networks are held while it lives, and at no other time", () => {
  const alive: readonly Phase[] = ["running", "paused"];
  for (const phase of PHASES) {
    for (const event of EVENTS) {
      if (!mayMeet(phase, event.kind)) continue;
      const pid = alive.includes(phase) ? 7 : 0;
      const next = nextState({ ...INITIAL_STATE, phase, pid }, event);
      expect(next.pid !== 0).toBe(alive.includes(next.phase));
    }
  }
});

/** The checker against histories known to be right or wrong, and against brute force. */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type Action,
  INITIAL_VALUE,
  linearizabilityFault,
  type Operation,
} from "./linearizability.ts";

const put = (value: number): Action => ({ kind: "put", value });
const READ: Action = { kind: "read" };
const cas = (expected: number, value: number): Action => ({ kind: "cas", expected, value });

function operation(action: Action, from: number, to: number | undefined, value = 0): Operation {
  const answer = to === undefined ? undefined : { at: to, value, ok: value !== 0 };
  return { client: from, key: 1, action, calledAt: from, answer };
}

describe("linearizabilityFault", () => {
  it.each<[string, readonly Operation[]]>([
    ["a read during a write may see it", [operation(put(1), 0, 10), operation(READ, 2, 4, 1)]],
    ["a read during a write may not see it", [operation(put(1), 0, 10), operation(READ, 2, 4, 0)]],
    [
      "a write of unknown outcome may count late",
      [operation(put(1), 0, undefined), operation(READ, 5, 6, 0), operation(READ, 7, 8, 1)],
    ],
    [
      "a write of unknown outcome may be lost",
      [operation(put(1), 0, undefined), operation(put(2), 5, 6), operation(READ, 7, 8, 2)],
    ],
    [
      "one of two that expect the same wins",
      [operation(cas(0, 1), 0, 10, 1), operation(cas(0, 2), 0, 10, 0), operation(READ, 11, 12, 1)],
    ],
  ])("finds nothing wrong where %s", (_, history) => {
    expect(linearizabilityFault(history)).toBeUndefined();
  });

  it.each<[string, readonly Operation[]]>([
    ["a read misses a write before it", [operation(put(1), 0, 1), operation(READ, 2, 3, 0)]],
    [
      "two reads disagree on what came first",
      [operation(put(1), 0, 10), operation(READ, 1, 2, 1), operation(READ, 3, 4, 0)],
    ],
    [
      "a write takes effect twice",
      [operation(put(1), 0, 1), operation(put(2), 2, 3), operation(READ, 4, 5, 1)],
    ],
    [
      "two win that expected the same",
      [operation(cas(0, 1), 0, 10, 1), operation(cas(0, 2), 0, 10, 1)],
    ],
    ["a value comes from nowhere", [operation(READ, 0, 1, 7)]],
  ])("speaks up where %s", (_, history) => {
    expect(linearizabilityFault(history)).toMatch(/^key 1: no order explains client/);
  });

  it("looks at each key alone", () => {
    const other = { ...operation(READ, 2, 3, 0), key: 2 };
    expect(linearizabilityFault([operation(put(1), 0, 1), other])).toBeUndefined();
  });

  it("agrees with trying all orders", () => {
    const actions = fc.oneof(
      fc.constant(READ),
      fc.nat(2).map(put),
      fc.tuple(fc.nat(2), fc.nat(2)).map(([expected, value]) => cas(expected, value)),
    );
    const operations = fc
      .record({
        action: actions,
        calledAt: fc.nat(8),
        takes: fc.nat(6),
        value: fc.nat(2),
        isKnown: fc.boolean(),
      })
      .map(({ action, calledAt, takes, value, isKnown }) =>
        operation(action, calledAt, isKnown ? calledAt + takes : undefined, value),
      );
    fc.assert(
      fc.property(fc.array(operations, { maxLength: 6 }), (history) => {
        expect(linearizabilityFault(history) === undefined).toBe(hasOrder(history, INITIAL_VALUE));
      }),
      { numRuns: 3_000 },
    );
  });
});

/** Tries every order, and every set of unanswered operations that never took effect. */
function hasOrder(left: readonly Operation[], state: number): boolean {
  if (left.every(({ answer }) => answer === undefined)) return true;
  const firstAnswer = Math.min(...left.map(({ answer }) => answer?.at ?? Infinity));
  return left.some((one) => {
    if (one.calledAt > firstAnswer) return false;
    const { action, answer } = one;
    const rest = left.filter((other) => other !== one);
    if (action.kind === "put") return hasOrder(rest, action.value);
    if (action.kind === "read") {
      return (answer === undefined || answer.value === state) && hasOrder(rest, state);
    }
    const ok = action.expected === state;
    if (answer !== undefined && answer.ok !== ok) return false;
    return hasOrder(rest, ok ? action.value : state);
  });
}

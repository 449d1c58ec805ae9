import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { sameConfState } from "../message.ts";
import { confStateOf, EMPTY_TRACKER_CONFIG } from "../tracker/config.ts";
import type { Membership } from "../tracker/tracker.ts";
import type { ConfChange, ConfChangeSingle } from "../types.ts";
import { NO_LIMIT } from "../types.ts";
import { changeOf, enterJoint, leaveJoint, simple } from "./changer.ts";
import { asV2, decodeConfChange, encodeConfChange } from "./codec.ts";
import { restoreMembership } from "./restore.ts";

const CONTEXT = { lastIndex: 7, maxInflightMsgs: 4, maxInflightBytes: NO_LIMIT };
const EMPTY: Membership = { config: EMPTY_TRACKER_CONFIG, progress: new Map() };

const single: fc.Arbitrary<ConfChangeSingle> = fc.record({
  type: fc.constantFrom("addNode", "removeNode", "addLearnerNode", "updateNode"),
  nodeId: fc.integer({ min: 1, max: 6 }),
});
const changes = fc.array(single, { minLength: 1, maxLength: 6 });

function grow(...voters: readonly number[]): Membership {
  let current = EMPTY;
  for (const nodeId of voters) {
    const next = simple(current, CONTEXT, [{ type: "addNode", nodeId }]);
    if (next.ok) current = next.value;
  }
  return current;
}

describe("changes of members", () => {
  it("made one by one end where one joint change ends", () => {
    fc.assert(
      fc.property(changes, (list) => {
        const start = grow(1, 2, 3);
        const joint = enterJoint(start, CONTEXT, true, list);
        if (!joint.ok) return;
        const left = leaveJoint(joint.value, CONTEXT);
        if (!left.ok) expect.fail(left.error);
        let stepwise = start;
        for (const change of list) {
          const next = simple(stepwise, CONTEXT, [change]);
          // On the way the last voter may go; then there is nothing to compare.
          if (!next.ok) return;
          stepwise = next.value;
        }
        expect(confStateOf(left.value.config)).toEqual(confStateOf(stepwise.config));
      }),
      { numRuns: 1_000 },
    );
  });

  it("leave the membership that they start from as it was", () => {
    fc.assert(
      fc.property(changes, (list) => {
        const start = grow(1, 2, 3);
        const before = confStateOf(start.config);
        const roles = [...start.progress].map(([id, { isLearner }]) => [id, isLearner]);
        simple(start, CONTEXT, list);
        enterJoint(start, CONTEXT, false, list);
        expect(confStateOf(start.config)).toEqual(before);
        expect([...start.progress].map(([id, { isLearner }]) => [id, isLearner])).toEqual(roles);
      }),
    );
  });

  it("never change more than one voter outside of a joint state", () => {
    fc.assert(
      fc.property(changes, (list) => {
        const start = grow(1, 2, 3);
        const next = simple(start, CONTEXT, list);
        if (!next.ok) return;
        const before = start.config.voters.ids;
        const after = next.value.config.voters.ids;
        const changed = [...before, ...after].filter(
          (id) => before.includes(id) !== after.includes(id),
        );
        expect(changed.length).toBeLessThanOrEqual(1);
      }),
    );
  });

  it("keep members in id order, whatever the order of arrival", () => {
    expect([...grow(5, 1, 9, 3).progress.keys()]).toEqual([1, 3, 5, 9]);
  });

  it("keep what is known of a voter that is demoted", () => {
    const start = grow(1, 2);
    const progress = start.progress.get(2);
    if (progress === undefined) return expect.fail("2 is a member");
    progress.match = 42;
    const next = simple(start, CONTEXT, [{ type: "addLearnerNode", nodeId: 2 }]);
    if (!next.ok) return expect.fail(next.error);
    expect(next.value.progress.get(2)).toMatchObject({ match: 42, isLearner: true });
    expect(progress.isLearner).toBe(false);
  });
});

describe("restoreMembership", () => {
  it("rebuilds every membership that changes can lead to", () => {
    fc.assert(
      fc.property(changes, fc.boolean(), fc.boolean(), (list, autoLeave, leaves) => {
        const joint = enterJoint(grow(1, 2, 3), CONTEXT, autoLeave, list);
        if (!joint.ok) return;
        const reached = leaves ? leaveJoint(joint.value, CONTEXT) : joint;
        if (!reached.ok) return expect.fail(reached.error);
        const state = confStateOf(reached.value.config);
        const restored = restoreMembership(state, CONTEXT);
        if (!restored.ok) return expect.fail(restored.error);
        expect(sameConfState(confStateOf(restored.value.config), state)).toBe(true);
      }),
      { numRuns: 1_000 },
    );
  });
});

describe("changeOf", () => {
  const none = new Uint8Array(0);
  const add2 = { type: "addNode", nodeId: 2 } as const;
  const add3 = { type: "addNode", nodeId: 3 } as const;

  it("takes the simple way for one change and the joint one for more", () => {
    const one = { version: 2, transition: "auto", changes: [add2], context: none } as const;
    const two = { ...one, changes: [add2, add3] };
    const simply = changeOf(one, CONTEXT)(grow(1));
    const jointly = changeOf(two, CONTEXT)(grow(1));
    expect(simply.ok && simply.value.config.voters.isJoint).toBe(false);
    expect(jointly.ok && jointly.value.config.voters.isJoint).toBe(true);
    expect(jointly.ok && jointly.value.config.autoLeave).toBe(true);
  });

  it("stays joint until told where the transition says so", () => {
    const change = {
      version: 2,
      transition: "jointExplicit",
      changes: [add2],
      context: none,
    } as const;
    const next = changeOf(change, CONTEXT)(grow(1));
    expect(next.ok && next.value.config.autoLeave).toBe(false);
    expect(next.ok && next.value.config.voters.isJoint).toBe(true);
  });
});

describe("encodeConfChange", () => {
  const change: fc.Arbitrary<ConfChange> = fc.oneof(
    fc.record({
      version: fc.constant(1 as const),
      id: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      type: single.map(({ type }) => type),
      nodeId: fc.maxSafeNat(),
      context: fc.uint8Array({ maxLength: 20 }),
    }),
    fc.record({
      version: fc.constant(2 as const),
      transition: fc.constantFrom("auto" as const, "jointImplicit", "jointExplicit"),
      changes: fc.array(single, { maxLength: 4 }),
      context: fc.uint8Array({ maxLength: 20 }),
    }),
  );

  it("is undone by decodeConfChange", () => {
    fc.assert(
      fc.property(change, (original) => {
        const entry = { term: 1, index: 1, ...encodeConfChange(original) };
        expect(decodeConfChange(entry)).toEqual({ ok: true, value: original });
      }),
    );
  });

  it("writes the bytes of raftpb", () => {
    // ConfChange{ID: 1, Type: AddLearnerNode, NodeID: 300, Context: "x"}
    const v1: ConfChange = {
      version: 1,
      id: 1n,
      type: "addLearnerNode",
      nodeId: 300,
      context: Uint8Array.of(0x78),
    };
    expect([...encodeConfChange(v1).data]).toEqual([8, 1, 16, 3, 24, 0xac, 2, 34, 1, 0x78]);
    // ConfChangeV2{Transition: JointExplicit, Changes: [{RemoveNode, 5}]}
    const v2: ConfChange = {
      version: 2,
      transition: "jointExplicit",
      changes: [{ type: "removeNode", nodeId: 5 }],
      context: new Uint8Array(0),
    };
    expect([...encodeConfChange(v2).data]).toEqual([8, 2, 18, 4, 8, 1, 16, 5]);
    expect(encodeConfChange(undefined)).toEqual({ type: "confChangeV2", data: new Uint8Array(0) });
  });

  it("reads an empty entry as the change that leaves the joint state", () => {
    const entry = { term: 1, index: 1, ...encodeConfChange(undefined) };
    const decoded = decodeConfChange(entry);
    expect(decoded.ok && asV2(decoded.value)).toMatchObject({ transition: "auto", changes: [] });
  });
});

describe("decodeConfChange", () => {
  it("never throws, whatever the bytes", () => {
    const type = fc.constantFrom("confChange" as const, "confChangeV2" as const);
    fc.assert(
      fc.property(type, fc.uint8Array({ maxLength: 40 }), (kind, data) => {
        decodeConfChange({ term: 1, index: 1, type: kind, data });
      }),
      { numRuns: 2_000 },
    );
  });

  it.each([
    ["a cut tag", [0x80], "cut varint"],
    ["a cut varint", [0x18, 0x80], "broken field 3"],
    ["a byte string longer than the input", [0x22, 9, 1], "broken field 4"],
    ["an unknown type", [0x10, 9], "unknown change type"],
    ["a node id beyond 2^53", [0x18, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1], "node id"],
  ])("refuses %s", (_, data, reason) => {
    const decoded = decodeConfChange({
      term: 1,
      index: 1,
      type: "confChange",
      data: Uint8Array.from(data),
    });
    expect(decoded.ok ? "accepted" : decoded.error).toContain(reason);
  });
});

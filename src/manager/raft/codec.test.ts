/** What goes to disk and over the wire comes back the same; what is not ours is refused, not thrown at. */

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { expect, test } from "vitest";
import { EngineError } from "#base/error.ts";
import { type Entry, MESSAGE_TYPE_NUMBERS, type Message, message } from "#raft/index.ts";
import { MessageSchema } from "#wire/gen/raft/raftpb_pb.js";
import { decodeItems, encodeItems, identity, type LogItem } from "./log-records.ts";
import { fromRaftpb, toRaftpb } from "./raftpb.ts";

const number = fc.oneof(fc.nat(300), fc.maxSafeNat());
const entryArb: fc.Arbitrary<Entry> = fc.record({
  type: fc.constantFrom("normal" as const, "confChange" as const, "confChangeV2" as const),
  term: number,
  index: number,
  data: fc.uint8Array({ maxLength: 40 }),
});
const idsArb = fc.array(number, { maxLength: 4 });
const messageArb: fc.Arbitrary<Message> = fc
  .record({
    type: fc.constantFrom(
      "MsgApp" as const,
      "MsgSnap" as const,
      "MsgVote" as const,
      "MsgHeartbeatResp" as const,
      "MsgReadIndex" as const,
    ),
    to: number,
    from: number,
    term: number,
    logTerm: number,
    index: number,
    commit: number,
    rejectHint: number,
    reject: fc.boolean(),
    context: fc.uint8Array({ maxLength: 20 }),
    entries: fc.array(entryArb, { maxLength: 4 }),
    snapshot: fc.option(
      fc.record({
        data: fc.uint8Array({ maxLength: 40 }),
        metadata: fc.record({
          index: number,
          term: number,
          confState: fc.record({
            voters: idsArb,
            learners: idsArb,
            votersOutgoing: idsArb,
            learnersNext: idsArb,
            autoLeave: fc.boolean(),
          }),
        }),
      }),
      { nil: undefined },
    ),
  })
  .map((fields) => message(fields));

test("messages survive the wire", () => {
  fc.assert(
    fc.property(messageArb, (m) => {
      const bytes = toBinary(MessageSchema, toRaftpb(m));
      expect(fromRaftpb(fromBinary(MessageSchema, bytes))).toEqual(m);
    }),
  );
});

test("any message of the schema is taken or refused as invalid, nothing else", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), fc.nat(40), (bytes, type) => {
      let pb = create(MessageSchema);
      try {
        pb = fromBinary(MessageSchema, bytes);
      } catch {
        // Not a message at all; gRPC refuses it before us.
      }
      Object.assign(pb, { type });
      try {
        expect(fromRaftpb(pb).type in MESSAGE_TYPE_NUMBERS).toBe(true);
      } catch (error) {
        expect((error as EngineError).code).toBe("invalid-argument");
      }
    }),
  );
});

test("what only a node may send itself is refused", () => {
  for (const type of ["MsgHup", "MsgStorageAppendResp", "MsgStorageApplyResp"] as const) {
    const pb = create(MessageSchema, { type: MESSAGE_TYPE_NUMBERS[type] as never });
    expect(() => fromRaftpb(pb)).toThrow(EngineError);
  }
});

const itemArb: fc.Arbitrary<LogItem> = fc.oneof(
  entryArb.map((entry) => ({ kind: "entry" as const, entry })),
  fc
    .record({ term: number, vote: number, commit: number })
    .map((hardState) => ({ kind: "hardState" as const, hardState })),
  fc
    .record({ index: number, term: number, replaces: fc.boolean() })
    .map((mark) => ({ kind: "snapshot" as const, mark })),
  number.map((id) => ({ kind: "identity" as const, member: identity(id, "node", "a:1") })),
);

test("log items survive the disk, and a cut record is refused", () => {
  fc.assert(
    fc.property(fc.array(itemArb, { maxLength: 6 }), fc.nat(1000), (items, cut) => {
      const bytes = encodeItems(items);
      expect(decodeItems(bytes)).toEqual({ ok: true, value: items });
      const shorter = decodeItems(bytes.subarray(0, cut % (bytes.length + 1)));
      if (shorter.ok) expect(items.slice(0, shorter.value.length)).toEqual(shorter.value);
    }),
  );
});

test("no bytes make the item reader throw", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => void decodeItems(bytes)));
});

/** The compiled codec against protobuf-es' own, over random messages of the schemas that we use. */

import {
  create,
  type DescField,
  type DescMessage,
  fromBinary,
  type Message,
  ScalarType,
  toBinary,
} from "@bufbuild/protobuf";
import { WireType } from "@bufbuild/protobuf/wire";
import fc from "fast-check";
import { expect, test } from "vitest";
import { decodeMessage } from "./decode.ts";
import { encodeMessage } from "./encode.ts";
import { MetricSchema } from "./gen/containerd/types_pb.js";
import { MessageSchema } from "./gen/raft/raftpb_pb.js";
import { file_swarmkit_control } from "./gen/swarmkit/control_pb.js";
import { AssignmentsMessageSchema } from "./gen/swarmkit/dispatcher_pb.js";
import { ClusterSchema, ConfigSchema, TaskSchema } from "./gen/swarmkit/objects_pb.js";
import { InternalRaftRequestSchema } from "./gen/swarmkit/raft_pb.js";
import { SnapshotSchema } from "./gen/swarmkit/snapshot_pb.js";

const SCHEMAS: readonly DescMessage[] = [
  ...file_swarmkit_control.messages,
  AssignmentsMessageSchema,
  InternalRaftRequestSchema,
  MessageSchema,
  MetricSchema,
  SnapshotSchema,
  TaskSchema,
];

/** Draws from a stream of numbers, so that a failure shrinks. */
type Draw = (bound: number) => number;

const STRINGS = ["", "a", "web", "naïve", "😀", "\ud800", "x".repeat(200), "日本".repeat(60)];
const LONGS = [0n, 1n, -1n, 127n, 128n, 2n ** 31n, 2n ** 53n, 2n ** 63n - 1n, -(2n ** 63n)];
const INTS = [0, 1, -1, 127, 128, 16_384, 2 ** 31 - 1, -(2 ** 31)];

function scalar(type: ScalarType, draw: Draw): unknown {
  const int = INTS[draw(INTS.length)] ?? 0;
  const long = LONGS[draw(LONGS.length)] ?? 0n;
  switch (type) {
    case ScalarType.STRING:
      return STRINGS[draw(STRINGS.length)];
    case ScalarType.BYTES:
      return new Uint8Array(draw(3) === 0 ? draw(300) : draw(4)).fill(draw(256));
    case ScalarType.BOOL:
      return draw(2) === 1;
    case ScalarType.DOUBLE:
    case ScalarType.FLOAT:
      return [0, -0, 1.5, -2.25, Number.POSITIVE_INFINITY][draw(5)];
    case ScalarType.UINT32:
    case ScalarType.FIXED32:
      return int >>> 0;
    case ScalarType.INT32:
    case ScalarType.SINT32:
    case ScalarType.SFIXED32:
      return int;
    case ScalarType.UINT64:
    case ScalarType.FIXED64:
      return BigInt.asUintN(64, long);
    case ScalarType.INT64:
    case ScalarType.SFIXED64:
    case ScalarType.SINT64:
      return long;
  }
}

function value(field: DescField, draw: Draw, depth: number): unknown {
  switch (field.fieldKind) {
    case "scalar":
      return scalar(field.scalar, draw);
    case "enum":
      return field.enum.values[draw(field.enum.values.length)]?.number;
    case "message":
      return instance(field.message, draw, depth - 1);
    case "list":
      return Array.from({ length: draw(4) }, () => {
        if (field.listKind === "message") return instance(field.message, draw, depth - 1);
        return scalar(field.listKind === "enum" ? ScalarType.INT32 : field.scalar, draw);
      });
    case "map":
      return Object.fromEntries(
        Array.from({ length: draw(4) }, () => [
          field.mapKey === ScalarType.STRING ? `k${draw(9)}` : `${draw(9)}`,
          field.mapKind === "message"
            ? instance(field.message, draw, depth - 1)
            : scalar(field.mapKind === "enum" ? ScalarType.INT32 : field.scalar, draw),
        ]),
      );
  }
}

function instance(schema: DescMessage, draw: Draw, depth: number): Message {
  if (schema.typeName.endsWith("Value")) {
    const [field] = schema.fields;
    // As a field of another message this is the bare value.
    if (field?.fieldKind === "scalar") return scalar(field.scalar, draw) as Message;
  }
  const init: Record<string, unknown> = {};
  for (const field of schema.fields) {
    if (draw(3) === 0) continue;
    if (depth <= 0 && "message" in field && field.message !== undefined) continue;
    const drawn = value(field, draw, depth);
    if (field.oneof === undefined) init[field.localName] = drawn;
    else init[field.oneof.localName] = { case: field.localName, value: drawn };
  }
  const message = create(schema, init);
  if (draw(6) === 0) {
    message.$unknown = [
      { no: 9_000, wireType: WireType.Varint, data: Uint8Array.of(7) },
      { no: 9_001, wireType: WireType.LengthDelimited, data: Uint8Array.of(2, 1, 2) },
    ];
  }
  return message;
}

function attempt<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch {
    return undefined;
  }
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

test("the bytes are those of protobuf-es, for every schema and any content", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...SCHEMAS),
      fc.infiniteStream(fc.nat(2 ** 20)),
      fc.nat(3),
      (schema, stream, depth) => {
        const draw = (bound: number) => stream.next().value % bound;
        const message = instance(schema, draw, depth);
        expect(hex(encodeMessage(schema, message))).toBe(hex(toBinary(schema, message)));
      },
    ),
    { numRuns: 500 },
  );
});

test("messages are read as protobuf-es reads them, and broken bytes are refused alike", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...SCHEMAS),
      fc.infiniteStream(fc.nat(2 ** 20)),
      fc.array(fc.tuple(fc.nat(2 ** 20), fc.nat(255)), { maxLength: 3 }),
      (schema, stream, mutations) => {
        const draw = (bound: number) => stream.next().value % bound;
        const whole = instance(schema, draw, 2);
        // Twice the same in a row is a message, too: its parts are merged.
        const twice = Buffer.concat([toBinary(schema, whole), toBinary(schema, whole)]);
        const bytes = new Uint8Array(twice);
        for (const [at, value] of mutations) {
          if (bytes.length > 0) bytes[at % bytes.length] = value;
        }
        const wanted = attempt(() => fromBinary(schema, bytes));
        const found = attempt(() => decodeMessage(schema, bytes));
        if (wanted === undefined || found === undefined) {
          expect(found === undefined).toBe(wanted === undefined);
        } else {
          expect(found).toEqual(wanted);
          expect(hex(encodeMessage(schema, found))).toBe(hex(toBinary(schema, wanted)));
        }
      },
    ),
    { numRuns: 700 },
  );
});

/**
 * Of an enum of proto2, protobuf-es forgets a number without a name when a field without one comes after
 * it; ours keeps both.
 */
const ALIKE = SCHEMAS.filter(
  ({ fields }) => !fields.some((field) => field.enum !== undefined && !field.enum.open),
);

test("no bytes whatever do more than throw", () => {
  fc.assert(
    fc.property(fc.constantFrom(...ALIKE), fc.uint8Array({ maxLength: 60 }), (schema, bytes) => {
      const wanted = attempt(() => fromBinary(schema, bytes));
      expect(attempt(() => decodeMessage(schema, bytes))).toEqual(wanted);
    }),
    { numRuns: 2_000 },
  );
});

test("an object does not keep the bytes alive that it came in", () => {
  const bytes = toBinary(ConfigSchema, create(ConfigSchema, { spec: { data: new Uint8Array(9) } }));
  const padded = Buffer.concat([
    bytes,
    toBinary(ConfigSchema, create(ConfigSchema, { id: "x".repeat(9000) })),
  ]);
  expect(decodeMessage(ConfigSchema, padded).spec?.data.buffer.byteLength).toBe(9);
});

test("a message larger than the buffer, and a small one after it", () => {
  const data = new Uint8Array(9_000_000).fill(3);
  const large = create(ConfigSchema, { id: "large", spec: { data } });
  const encoded = encodeMessage(ConfigSchema, large);
  expect(Buffer.compare(encoded, toBinary(ConfigSchema, large))).toBe(0);
  const small = create(ConfigSchema, { id: "small" });
  expect(encodeMessage(ConfigSchema, small)).toEqual(toBinary(ConfigSchema, small));
});

test("what a field cannot hold is refused, and the next message is whole", () => {
  const broken = create(ClusterSchema, { id: "x", VXLANUDPPort: 2 ** 40 });
  expect(() => encodeMessage(ClusterSchema, broken)).toThrow("is not an unsigned 32-bit integer");
  const fine = create(TaskSchema, { id: "x", slot: 5n });
  expect(encodeMessage(TaskSchema, fine)).toEqual(toBinary(TaskSchema, fine));
});

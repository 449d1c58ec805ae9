import fc from "fast-check";
import { expect, test } from "vitest";
import { concat } from "#base/concat.ts";
import { type Breach, type Frame, FrameReader } from "./frame-reader.ts";
import { CODE, FLAG, FRAME, FRAME_MAX_BYTES, frame, PREFACE } from "./frames.ts";

/** All that comes out of the pieces, up to the first breach. */
function readAll(reader: FrameReader, pieces: readonly Uint8Array[]): (Frame | Breach)[] {
  const out: (Frame | Breach)[] = [];
  for (const piece of pieces) {
    reader.push(piece);
    for (let next = reader.next(); next !== undefined; next = reader.next()) {
      out.push(next.kind === "frame" ? { ...next, payload: next.payload.slice() } : next);
      if (next.kind === "breach") return out;
    }
  }
  return out;
}

const bytes = (...values: number[]) => Uint8Array.from(values);
const whole = { kind: "frame", type: FRAME.HEADERS } as const;
const refused = (code: number) => [expect.objectContaining({ kind: "breach", code })];
const read = (...frames: Uint8Array[]) => readAll(new FrameReader(false), frames);

/** Frames as a well-meaning side sends them: padded or not, header blocks in one frame or in several. */
const payloads = fc.uint8Array({ maxLength: 40 });
const stream = fc.integer({ min: 1, max: 99 });
const sent = fc.oneof(
  fc.record({ stream, payload: payloads }).map(({ stream, payload }) => ({
    wire: [frame(FRAME.DATA, FLAG.END_STREAM, stream, payload)],
    read: { type: FRAME.DATA, stream, payload, size: payload.length },
  })),
  fc.record({ stream, payload: payloads, padding: fc.nat(20) }).map((of) => {
    const padded = concat([bytes(of.padding), of.payload, new Uint8Array(of.padding)]);
    return {
      wire: [frame(FRAME.DATA, FLAG.PADDED, of.stream, padded)],
      read: { type: FRAME.DATA, stream: of.stream, payload: of.payload, size: padded.length },
    };
  }),
  fc.record({ stream, parts: fc.array(payloads, { minLength: 1, maxLength: 4 }) }).map((of) => {
    const last = of.parts.length - 1;
    const wire = of.parts.map((part, at) =>
      frame(
        at === 0 ? FRAME.HEADERS : FRAME.CONTINUATION,
        at === last ? FLAG.END_HEADERS : 0,
        of.stream,
        part,
      ),
    );
    const payload = concat(of.parts);
    return { wire, read: { ...whole, stream: of.stream, payload, size: payload.length } };
  }),
);

test("however the bytes are cut, the same frames come out", () => {
  const histories = fc.array(sent, { maxLength: 8 });
  fc.assert(
    fc.property(histories, fc.array(fc.nat(400)), fc.boolean(), (frames, cuts, isServer) => {
      const all = concat([...(isServer ? [PREFACE] : []), ...frames.flatMap(({ wire }) => wire)]);
      const edges = [
        0,
        ...cuts.filter((cut) => cut < all.length).sort((a, b) => a - b),
        all.length,
      ];
      const pieces = edges.slice(1).map((edge, at) => all.subarray(edges[at], edge));
      expect(readAll(new FrameReader(isServer), pieces)).toMatchObject(
        frames.map(({ read }) => read),
      );
    }),
  );
});

test("bytes that mean nothing end in a breach or in silence, never in an exception", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 200 })), fc.boolean(), (pieces, isServer) => {
      for (const out of readAll(new FrameReader(isServer), pieces)) {
        expect(out.kind === "breach" || out.payload.length <= FRAME_MAX_BYTES).toBe(true);
      }
    }),
  );
});

test("what breaks the protocol is named", () => {
  const open = frame(FRAME.HEADERS, 0, 1, bytes(1));
  expect(readAll(new FrameReader(true), [Uint8Array.from(Buffer.from("GET / HTTP"))])).toEqual(
    refused(CODE.PROTOCOL_ERROR),
  );
  expect(read(bytes(0, 64, 1, 0, 0, 0, 0, 0, 1))).toEqual(refused(CODE.FRAME_SIZE_ERROR));
  expect(read(frame(FRAME.DATA, FLAG.PADDED, 1, bytes(2, 0)))).toEqual(
    refused(CODE.PROTOCOL_ERROR),
  );
  expect(read(frame(FRAME.DATA, FLAG.PADDED, 1, bytes()))).toEqual(refused(CODE.PROTOCOL_ERROR));
  expect(read(frame(FRAME.HEADERS, FLAG.PRIORITY, 1, bytes(0, 0, 0, 0)))).toEqual(
    refused(CODE.FRAME_SIZE_ERROR),
  );
  expect(read(frame(FRAME.HEADERS, FLAG.END_HEADERS, 0, bytes()))).toEqual(
    refused(CODE.PROTOCOL_ERROR),
  );
  expect(read(open, frame(FRAME.PING, 0, 0, new Uint8Array(8)))).toEqual(
    refused(CODE.PROTOCOL_ERROR),
  );
  expect(read(open, frame(FRAME.CONTINUATION, 0, 3, bytes()))).toEqual(
    refused(CODE.PROTOCOL_ERROR),
  );
  expect(read(frame(FRAME.CONTINUATION, 0, 1, bytes()))).toEqual(refused(CODE.PROTOCOL_ERROR));
});

test("a header block has an end, in bytes and in frames", () => {
  const open = frame(FRAME.HEADERS, 0, 1, bytes());
  const big = frame(FRAME.CONTINUATION, 0, 1, new Uint8Array(FRAME_MAX_BYTES));
  expect(read(open, big, big, big, big)).toEqual([]);
  expect(read(open, big, big, big, big, big)).toEqual(refused(CODE.ENHANCE_YOUR_CALM));
  const empty = frame(FRAME.CONTINUATION, 0, 1, bytes());
  const many = Array.from({ length: 16 }, () => empty);
  expect(read(open, ...many)).toEqual(refused(CODE.ENHANCE_YOUR_CALM));
});

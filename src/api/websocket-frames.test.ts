import fc from "fast-check";
import { expect, test } from "vitest";
import { dataFrame, FRAME_MAX_BYTES, FrameDecoder, type Received } from "./websocket-frames.ts";

const MASK = Buffer.from([1, 2, 3, 4]);

/** As a client sends it. */
function masked(opcode: number, body: Buffer): Buffer {
  const frame = dataFrame(body);
  const head = frame.subarray(0, frame.length - body.length);
  head[0] = 0x80 | opcode;
  head[1] = (head[1] ?? 0) | 0x80;
  const payload = Buffer.from(body.map((byte, index) => byte ^ (MASK[index & 3] ?? 0)));
  return Buffer.concat([head, MASK, payload]);
}

function decodeAll(chunks: readonly Uint8Array[]): Received[] | string {
  const decoder = new FrameDecoder();
  const all: Received[] = [];
  for (const chunk of chunks) {
    const decoded = decoder.push(chunk);
    if (!decoded.ok) return decoded.reason;
    all.push(...decoded.received);
  }
  return all;
}

test("frames of every length come out as they went in, however they are cut", () => {
  const length = fc.oneof(fc.nat(300), fc.constantFrom(125, 126, 65535, 65536));
  fc.assert(
    fc.property(fc.array(length, { maxLength: 4 }), fc.nat(70_000), (lengths, cut) => {
      const bodies = lengths.map((size, index) => Buffer.alloc(size, index + 1));
      const bytes = Buffer.concat(bodies.map((body) => masked(2, body)));
      const at = Math.min(cut, bytes.length);
      const got = decodeAll([bytes.subarray(0, at), bytes.subarray(at)]);
      if (typeof got === "string") throw new Error(got);
      expect(got.length).toBe(bodies.length);
      for (const [index, message] of got.entries()) {
        expect(message.kind === "data" && message.bytes.equals(bodies[index] ?? MASK)).toBe(true);
      }
    }),
    { numRuns: 30 },
  );
});

test("pings and the close are told apart, pongs are dropped", () => {
  const bytes = Buffer.concat([
    masked(9, Buffer.from("p")),
    masked(10, Buffer.from("x")),
    masked(8, Buffer.alloc(2)),
  ]);
  expect(decodeAll([bytes])).toEqual([
    { kind: "ping", bytes: Buffer.from("p") },
    { kind: "close" },
  ]);
});

test("what breaks the protocol is refused before it is kept", () => {
  expect(decodeAll([dataFrame(Buffer.from("x"))])).toContain("not masked");
  const long = Buffer.alloc(14);
  long[0] = 0x82;
  long[1] = 0xff;
  long.writeBigUInt64BE(BigInt(FRAME_MAX_BYTES + 1), 2);
  expect(decodeAll([long])).toContain("too long");
});

test("any bytes are decoded or refused", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 5 }), (chunks) => {
      decodeAll(chunks);
    }),
  );
});

import { once } from "node:events";
import { PassThrough } from "node:stream";
import { buffer } from "node:stream/consumers";
import fc from "fast-check";
import { expect, test } from "vitest";
import { FrameBatch } from "./frame-batch.ts";
import { encodeFrame, type StreamType } from "./stdcopy.ts";

const lines = fc.array(
  fc.tuple(
    fc.constantFrom<StreamType>(1, 2),
    fc.oneof(
      fc.uint8Array({ maxLength: 50 }),
      fc.nat(200_000).map((size) => Buffer.alloc(size, 7)),
    ),
  ),
  { maxLength: 20 },
);

test("what is pushed is written, each with its head, in order", async () => {
  await fc.assert(
    fc.asyncProperty(lines, fc.boolean(), async (pushed, raw) => {
      const out = new PassThrough();
      const written = buffer(out);
      const batch = new FrameBatch(out, raw);
      for (const [stream, payload] of pushed) batch.push(stream, payload);
      batch.flush();
      out.end();
      const expected = pushed.map(([stream, payload]) =>
        raw ? payload : encodeFrame(stream, payload),
      );
      expect((await written).equals(Buffer.concat(expected))).toBe(true);
    }),
    { numRuns: 50 },
  );
});

test("a single line does not wait for more", async () => {
  const out = new PassThrough();
  new FrameBatch(out, false).push(2, Buffer.from("x"));
  const [chunk] = (await once(out, "data")) as [Buffer];
  expect(chunk.equals(encodeFrame(2, Buffer.from("x")))).toBe(true);
});

test("says when the reader is behind", () => {
  const batch = new FrameBatch(new PassThrough({ highWaterMark: 10 }), true);
  expect(batch.push(1, Buffer.alloc(60_000))).toBe(true);
  expect(batch.push(1, Buffer.alloc(60_000))).toBe(false);
});

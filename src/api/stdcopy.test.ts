import fc from "fast-check";
import { expect, test } from "vitest";
import { encodeFrame, FrameDecoder, type StreamFrame, type StreamType } from "./stdcopy.ts";

const frames = fc.array(
  fc.record({
    stream: fc.constantFrom<StreamType>(0, 1, 2, 3),
    payload: fc.uint8Array({ maxLength: 300 }),
  }),
  { maxLength: 12 },
);

test("frames survive any cutting of the stream", () => {
  fc.assert(
    fc.property(frames, fc.array(fc.nat(40), { maxLength: 60 }), (sent, cuts) => {
      const bytes = Buffer.concat(sent.map((frame) => encodeFrame(frame.stream, frame.payload)));
      const decoder = new FrameDecoder();
      const received: StreamFrame[] = [];
      let offset = 0;
      for (const cut of [...cuts, bytes.length]) {
        received.push(...decoder.push(bytes.subarray(offset, offset + cut)));
        offset = Math.min(bytes.length, offset + cut);
      }
      expect(received.map(({ stream }) => stream)).toEqual(sent.map(({ stream }) => stream));
      received.forEach((frame, i) => {
        expect(Buffer.from(frame.payload).equals(Buffer.from(sent[i]?.payload ?? []))).toBe(true);
      });
      expect(decoder.pendingBytes).toBe(0);
    }),
  );
});

test("any bytes are frames, an incomplete rest, or a RangeError", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 64 }), { maxLength: 8 }), (chunks) => {
      const decoder = new FrameDecoder();
      try {
        for (const chunk of chunks) decoder.push(chunk);
      } catch (error) {
        expect(error).toBeInstanceOf(RangeError);
      }
    }),
  );
});

test("the header is docker's", () => {
  expect([...encodeFrame(2, new Uint8Array([65, 66]))]).toEqual([2, 0, 0, 0, 0, 0, 0, 2, 65, 66]);
});

import fc from "fast-check";
import { expect, test } from "vitest";
import { createDemultiplexer } from "./attach-streams.ts";

function frame(stream: number, text: string): Buffer {
  const data = Buffer.from(text);
  const header = Buffer.alloc(8);
  header[0] = stream;
  header.writeUInt32BE(data.length, 4);
  return Buffer.concat([header, data]);
}

test("frames come out whole, however the stream is cut", () => {
  const frames = fc.array(
    fc.record({ stream: fc.constantFrom(1, 2), text: fc.string({ maxLength: 40 }) }),
  );
  fc.assert(
    fc.property(frames, fc.array(fc.nat({ max: 20 })), (messages, cuts) => {
      const bytes = Buffer.concat(messages.map(({ stream, text }) => frame(stream, text)));
      const seen: string[] = [];
      const feed = createDemultiplexer({
        write: (name, data) => seen.push(`${name}:${data.toString()}`),
      });
      let at = 0;
      for (const cut of cuts) {
        feed(bytes.subarray(at, at + cut));
        at += Math.min(cut, bytes.length - at);
      }
      feed(bytes.subarray(at));
      expect(seen).toEqual(
        messages.map(({ stream, text }) => `${stream === 2 ? "stderr" : "stdout"}:${text}`),
      );
    }),
  );
});

test("bytes that are no frames are an error, not output", () => {
  const feed = createDemultiplexer({ write: () => undefined });
  expect(() => feed(Buffer.from("plain text that is no frame"))).toThrow("not framed");
});

import fc from "fast-check";
import { expect, test } from "vitest";
import { type HeaderField, HeaderReader, writeHeaders } from "./hpack.ts";

const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(" ", ""), "hex"));

function read(reader: HeaderReader, block: string): readonly HeaderField[] {
  const fields = reader.read(hex(block));
  if (!fields.ok) throw new Error(fields.error);
  return fields.value;
}

test("requests of RFC 7541, C.4: Huffman codes, and a table that fills", () => {
  const reader = new HeaderReader(16_384);
  const first: HeaderField[] = [
    [":method", "GET"],
    [":scheme", "http"],
    [":path", "/"],
    [":authority", "www.example.com"],
  ];
  expect(read(reader, "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff")).toEqual(first);
  expect(read(reader, "8286 84be 5886 a8eb 1064 9cbf")).toEqual([
    ...first,
    ["cache-control", "no-cache"],
  ]);
  expect(read(reader, "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf")).toEqual([
    [":method", "GET"],
    [":scheme", "https"],
    [":path", "/index.html"],
    [":authority", "www.example.com"],
    ["custom-key", "custom-value"],
  ]);
});

test("responses of RFC 7541, C.6: the oldest entries leave a table of 256 bytes", () => {
  const reader = new HeaderReader(16_384);
  // The examples assume that size from the start; here it is set by the first block.
  const set = "3fe101";
  const block =
    "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff" +
    "6e91 9d29 ad17 1863 c78f 0b97 c8e9 ae82 ae43 d3";
  const fields: HeaderField[] = [
    [":status", "302"],
    ["cache-control", "private"],
    ["date", "Mon, 21 Oct 2013 20:13:21 GMT"],
    ["location", "https://www.example.com"],
  ];
  expect(read(reader, `${set}${block}`)).toEqual(fields);
  expect(read(reader, "4883 640e ffc1 c0bf")).toEqual([[":status", "307"], ...fields.slice(1)]);
});

test("what is written is read as it was", () => {
  const latin = fc.string({
    unit: fc.integer({ min: 0, max: 255 }).map((n) => String.fromCharCode(n)),
  });
  fc.assert(
    fc.property(fc.array(fc.tuple(latin, latin), { maxLength: 20 }), (fields) => {
      const reader = new HeaderReader(1_000_000);
      const found = reader.read(writeHeaders(fields));
      expect(found).toEqual({ ok: true, value: fields });
    }),
  );
});

test("any bytes are read or refused, and a list never exceeds its bound", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 5 }), (blocks) => {
      const reader = new HeaderReader(500);
      for (const block of blocks) {
        const found = reader.read(block);
        if (!found.ok) return;
        const size = found.value.reduce(
          (sum, [name, value]) => sum + name.length + value.length,
          0,
        );
        expect(size).toBeLessThanOrEqual(500);
      }
    }),
    { numRuns: 2_000 },
  );
});

test("a block that repeats a large entry of the table is refused in time", () => {
  const reader = new HeaderReader(16_384);
  const value = "x".repeat(3_000);
  const field = [0x40, 1, 0x61, 0x7f, ...integerRest(3_000), ...Buffer.from(value)];
  const bomb = Uint8Array.from([...field, ...Buffer.alloc(100_000, 0xbe)]);
  expect(reader.read(bomb).ok).toBe(false);
});

/** What follows a 7-bit prefix that is full. */
function integerRest(value: number): number[] {
  const rest = value - 127;
  return [(rest % 128) | 128, Math.floor(rest / 128)];
}

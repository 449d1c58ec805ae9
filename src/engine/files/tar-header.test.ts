import { Readable } from "node:stream";
import fc from "fast-check";
import { extract, type Header } from "tar-stream";
import { expect, test } from "vitest";
import { paddingOf, type TarHeader, tarHeader } from "./tar-header.ts";

/** The headers as another reader of tar has them. */
async function read(...blocks: readonly Uint8Array[]): Promise<readonly Header[]> {
  const reader = extract();
  Readable.from([Buffer.concat([...blocks, Buffer.alloc(1024)])]).pipe(reader);
  const headers: Header[] = [];
  for await (const entry of reader) {
    headers.push(entry.header);
    entry.resume();
  }
  return headers;
}

const PLAIN: TarHeader = {
  name: "f",
  type: "file",
  mode: 0o644,
  uid: 0,
  gid: 0,
  mtime: 0,
  size: 0,
};
const utf8 = (text: string) => Buffer.from(text).toString("latin1");

test.each([
  ["a name of 100 bytes", "n".repeat(100), 512],
  ["one that is parted", `${"d".repeat(155)}/${"n".repeat(100)}`, 512],
  ["one that cannot be", "n".repeat(101), 1536],
  ["a folder of 101 bytes", `${"d".repeat(100)}/`, 1536],
  ["text that is not ASCII", "ü/ß", 1536],
])("%s", async (_, name, bytes) => {
  const encoded = tarHeader({ ...PLAIN, name: utf8(name) });
  expect(encoded.length).toBe(bytes);
  expect((await read(encoded)).map((header) => header.name)).toEqual([name]);
});

test("bytes that are no text stay as they are", () => {
  const encoded = Buffer.from(tarHeader({ ...PLAIN, name: "a\xff\xfe" }));
  expect(encoded.includes(Buffer.from("path=a\xff\xfe\n", "latin1"))).toBe(true);
});

test("numbers beyond the plain fields", async () => {
  const large = { ...PLAIN, uid: 4_000_000_000, gid: 2_097_152, mtime: 5_000_000_000 };
  const [header] = await read(tarHeader(large));
  // The reader leaves ids to its caller.
  expect(header).toMatchObject({ mtime: new Date(5_000_000_000_000) });
  expect((header as { pax?: unknown }).pax).toMatchObject({ uid: "4000000000", gid: "2097152" });
  const huge = Buffer.from(tarHeader({ ...PLAIN, size: 2 ** 33 }));
  expect(huge.includes("size=8589934592\n")).toBe(true);
  expect(Buffer.from(tarHeader({ ...PLAIN, size: 2 ** 33 - 1 })).length).toBe(512);
});

const NAME = fc.string({ unit: "grapheme", minLength: 1, maxLength: 300 }).map(
  (text) =>
    // Neither may be in a name; the reader takes a slash at the end for a folder.
    `n${text.replaceAll(/[\0/]/g, "_")}`,
);
const HEADER = fc.record({
  name: fc.array(NAME, { minLength: 1, maxLength: 4 }).map((parts) => parts.join("/")),
  linkname: NAME,
  mode: fc.nat(0o7777),
  uid: fc.nat(0o7777777),
  gid: fc.nat(0o7777777),
  mtime: fc.nat(2 ** 31 - 1),
  size: fc.nat(3000),
  type: fc.constantFrom("file", "link", "symlink", "directory", "fifo", "block-device"),
});

test("another reader finds what was written, one after the other", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(HEADER, { maxLength: 4 }), async (headers) => {
      const sized = headers.map((header) =>
        header.type === "file" ? header : { ...header, size: 0 },
      );
      const blocks = sized.flatMap((header) => {
        const { name, linkname } = header;
        const encoded = { ...header, name: utf8(name), linkname: utf8(linkname) };
        return [tarHeader(encoded), Buffer.alloc(header.size + paddingOf(header.size), 1)];
      });
      const found = await read(...blocks);
      expect(found).toMatchObject(
        sized.map((header) => ({
          ...header,
          mtime: new Date(header.mtime * 1000),
        })),
      );
    }),
  );
});

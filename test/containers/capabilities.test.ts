/** File capabilities go through archives: bytes that are no text, under names of any length. */

import { execFileSync } from "node:child_process";
import { lstat, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pack } from "tar-stream";
import { afterEach, beforeEach, expect, test } from "vitest";
import { extractTree } from "#engine/files/extract.ts";
import { packTree } from "#engine/files/pack.ts";
import { readXattr, writeXattr } from "#platform/libc.ts";
import { openRoot, using } from "#platform/rooted.ts";

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "skep-caps-"));
  await mkdir(join(folder, "from"));
  await mkdir(join(folder, "to"));
});

afterEach(() => rm(folder, { recursive: true, force: true }));

/** vfs_cap_data, revision 2, effective: capabilities 0 to 31 by their bits. */
function capability(bits: number): Buffer {
  const value = Buffer.alloc(20);
  value.writeUInt32LE(0x02000001, 0);
  value.writeUInt32LE(bits, 4);
  return value;
}

test("what is packed with a capability is unpacked with it", async () => {
  const long = `${"d".repeat(90)}/${"ü".repeat(60)}`;
  const names = new Map([
    ["net_raw", capability(1 << 13)],
    ["setuid", capability((1 << 7) | (1 << 15) | (1 << 23))],
    [long, capability(0x80)],
  ]);
  for (const [name, value] of names) {
    await mkdir(join(folder, "from", name, ".."), { recursive: true });
    await writeFile(join(folder, "from", name), name);
    writeXattr(join(folder, "from", name), "security.capability", value);
  }
  await writeFile(join(folder, "from", "z-plain"), "none");
  await using(openRoot(join(folder, "from")), (from) =>
    using(openRoot(join(folder, "to")), (root) => {
      const archive = Readable.from(packTree({ folder: from, name: ".", as: "" }), {
        objectMode: false,
      });
      return extractTree(archive, { root, path: "/", keepKinds: false, owner: undefined });
    }),
  );
  const got = (name: string) => readXattr(join(folder, "to", name), "security.capability");
  for (const [name, value] of names) {
    expect(Buffer.from(got(name) ?? []).toString("hex")).toBe(value.toString("hex"));
  }
  expect(got("z-plain")).toBeUndefined();
});

test("names of any bytes and contents of any size come back as they were", async () => {
  const names = ["plain", "ü", "\xff\xfe", "a\nb", "n".repeat(255)];
  const inFrom = (name: string) => Buffer.from(`${folder}/from/${name}`, "latin1");
  const sizes = [0, 1, 512, 32 * 1024, 32 * 1024 + 1, 300_000];
  for (const name of names) await writeFile(inFrom(name), name, "latin1");
  for (const size of sizes) await writeFile(inFrom(`s${size}`), Buffer.alloc(size, "x"));
  await using(openRoot(join(folder, "from")), async (from) => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of packTree({ folder: from, name: ".", as: "" })) chunks.push(chunk);
    execFileSync("tar", ["-x", "-C", join(folder, "to")], { input: Buffer.concat(chunks) });
  });
  const found = await readdir(join(folder, "to"), { encoding: "latin1" });
  expect(found.toSorted()).toEqual([...names, ...sizes.map((size) => `s${size}`)].toSorted());
  for (const name of found) {
    const to = Buffer.from(`${folder}/to/${name}`, "latin1");
    expect((await readFile(to)).equals(await readFile(inFrom(name)))).toBe(true);
  }
});

test("of names that come twice the last counts; links reach what came just before them", async () => {
  const tar = pack();
  const file = (name: string, text: string, mode = 0o644) =>
    tar.entry({ name, mode, uid: 7, gid: 8, mtime: new Date(1_000_000_000_000) }, text);
  for (let index = 0; index < 100; index += 1) file(`many/f${index}`, `first ${index}`);
  for (let index = 0; index < 100; index += 1) file(`many/f${index}`, `second ${index}`);
  file("many/bits", "x", 0o4755);
  file("many/new", "linked");
  tar.entry({ name: "many/link", type: "link", linkname: "many/new" });
  tar.entry({ name: "many/f0", type: "symlink", linkname: "f1" });
  file("many/f0", "no link");
  file("late/deep/er", "made on the way");
  tar.finalize();
  await using(openRoot(join(folder, "to")), (root) =>
    extractTree(Readable.from(tar), { root, path: "/", keepKinds: false, owner: undefined }),
  );
  const to = (name: string) => join(folder, "to", name);
  const text = (name: string) => readFile(to(name), "utf8");
  for (let index = 1; index < 100; index += 1) {
    expect(await text(`many/f${index}`)).toBe(`second ${index}`);
  }
  expect([await text("many/f0"), await text("many/link"), await text("late/deep/er")]).toEqual([
    "no link",
    "linked",
    "made on the way",
  ]);
  const { mode, uid, gid, mtimeMs } = await lstat(to("many/bits"));
  expect([mode & 0o7777, uid, gid, mtimeMs]).toEqual([0o4755, 7, 8, 1_000_000_000_000]);
});

test("what cannot be written ends the extraction with the reason", async () => {
  const tar = pack();
  for (let index = 0; index < 5; index += 1) tar.entry({ name: `f${index}` }, "x");
  tar.entry({ name: "n".repeat(256) }, "x");
  tar.finalize();
  const done = using(openRoot(join(folder, "to")), (root) =>
    extractTree(Readable.from(tar), { root, path: "/", keepKinds: false, owner: undefined }),
  );
  await expect(done).rejects.toThrow("ENAMETOOLONG");
});

import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterEach, beforeEach, expect, test } from "vitest";
import { writeWhole } from "./open-file.ts";

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "skep-open-file-"));
});

afterEach(() => rm(folder, { recursive: true }));

async function* brokenOff(): AsyncGenerator<Buffer> {
  yield Buffer.from("half");
  throw new Error("the engine is gone");
}

test("a transfer that breaks off leaves the file of before, and nothing else", async () => {
  const path = join(folder, "image.tar");
  await writeFile(path, "old");
  await expect(writeWhole(path, Readable.from(brokenOff()))).rejects.toThrow("the engine is gone");
  expect(await readFile(path, "utf8")).toBe("old");
  await writeWhole(path, Readable.from([Buffer.from("new")]));
  expect(await readFile(path, "utf8")).toBe("new");
  expect(await readdir(folder)).toEqual(["image.tar"]);
});

test("a folder is no file to write", async () => {
  await expect(writeWhole(folder, Readable.from([Buffer.from("x")]))).rejects.toThrow(
    `open ${folder}: is a directory`,
  );
});

test("what cannot be made is named as it was given", async () => {
  const path = join(folder, "none/image.tar");
  await expect(writeWhole(path, Readable.from([Buffer.from("x")]))).rejects.toThrow(
    `open ${path}: no such file or directory`,
  );
});

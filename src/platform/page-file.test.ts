import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { overwritePage, PAGE_BYTES } from "./page-file.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "skep-page-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test("the beginning is overwritten and what lies behind stays; one page at most", async () => {
  const path = join(folder, "file");
  expect(await overwritePage(path, Buffer.from("new"))).toBe(false);
  await writeFile(path, "older content");
  expect(await overwritePage(path, Buffer.from("NEW"))).toBe(true);
  expect(await readFile(path, "utf8")).toBe("NEWer content");
  expect(await overwritePage(path, Buffer.alloc(PAGE_BYTES + 1))).toBe(false);
  expect(await readFile(path, "utf8")).toBe("NEWer content");
  await expect(overwritePage(folder, Buffer.from("x"))).rejects.toThrow("EISDIR");
});

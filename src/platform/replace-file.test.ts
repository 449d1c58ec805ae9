import { mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { replaceFile } from "./replace-file.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "skep-replace-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test.each([undefined, "content", "name"] as const)("replaced as a whole, sync %s", async (sync) => {
  const path = join(folder, "file");
  await replaceFile(path, "older and longer", { mode: 0o600, sync });
  await replaceFile(path, Buffer.from("new"), { mode: 0o600, sync });
  expect(await readFile(path, "utf8")).toBe("new");
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect(await readdir(folder)).toEqual(["file"]);
});

test("no room: the old content stays, the half of the new one goes, the error names the file", async () => {
  const path = join(folder, "file");
  await writeFile(path, "old");
  // The device that is always full, behind the name of the unfinished file.
  await symlink("/dev/full", `${path}.new`);
  await expect(replaceFile(path, "x", { mode: 0o600, suffix: ".new" })).rejects.toMatchObject({
    code: "resource-exhausted",
    message: `cannot write ${path}: no space left on device`,
  });
  expect(await readFile(path, "utf8")).toBe("old");
  expect(await readdir(folder)).toEqual(["file"]);
});

test("any other failure is said as it is", async () => {
  const missing = replaceFile(join(folder, "no/file"), "x", { mode: 0o600 });
  await expect(missing).rejects.toMatchObject({ code: "ENOENT" });
});

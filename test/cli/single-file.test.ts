/** The single-file program: made, run without a Node to be found, and its unpacked files defended. */

import { execFileSync, spawnSync } from "node:child_process";
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readSegments, withNote } from "../../tools/single-file/elf.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "skep-single-test-"));
const program = join(folder, "skep");

afterAll(() => rmSync(folder, { recursive: true, force: true }));

beforeAll(() => {
  const words = ["--import", "tsx", "tools/single-file/build.ts", program];
  execFileSync(process.execPath, words, { cwd: root, stdio: "ignore" });
});

function run(...args: string[]) {
  const env = { PATH: "/nowhere", HOME: folder, XDG_CACHE_HOME: join(folder, "cache") };
  const { status, stdout, stderr } = spawnSync(program, args, { env, encoding: "utf8" });
  return { status, stdout, stderr };
}

const unpacked = () => readdirSync(join(folder, "cache/skep"));

test("the command line runs from inside and unpacks nothing", () => {
  expect(run("--version")).toEqual({
    status: 0,
    stdout: expect.stringMatching(/^skep version/),
    stderr: "",
  });
  expect(run("no such").stderr).toContain("skep: unknown command: skep no such");
  expect(run("context", "ls", "-q").stdout).toBe("default\n");
  expect(existsSync(join(folder, "cache"))).toBe(false);
});

test("files of variables are a container's, and none of Node's", () => {
  const file = join(folder, "variables");
  writeFileSync(file, "NODE_OPTIONS=--nosuch\nDOCKER_HOST=unix:///nowhere/taken\n");
  const create = (path: string) =>
    run("-H", "unix:///nowhere/s", "create", "--env-file", path, "x").stderr;
  expect(create(file)).toContain("Cannot connect to the engine at unix:///nowhere/s");
  expect(create(join(folder, "nosuch"))).toContain("nosuch: no such file or directory");
});

test("the engine is unpacked once, for its user alone, and again where somebody changed it", () => {
  const version = { status: 0, stdout: expect.stringMatching(/^skep version .*build/), stderr: "" };
  expect(run("engine", "--version")).toEqual(version);
  const [name = ""] = unpacked();
  const cache = join(folder, "cache/skep");
  const addon = join(cache, name, "node_modules/koffi/package.json");
  const { ino } = statSync(addon);
  expect(statSync(cache).mode & 0o777).toBe(0o700);
  expect(run("engine", "--version")).toEqual(version);
  expect(statSync(addon).ino).toBe(ino);
  const engine = join(cache, name, "dist/engine.mjs");
  const text = readFileSync(engine, "utf8");
  writeFileSync(engine, 'console.log("changed");');
  expect(run("engine", "--version")).toEqual(version);
  expect(readFileSync(engine, "utf8")).toBe(text);
  expect(unpacked()).toEqual([name]);
});

test("a note is found by the program headers, and the program still runs", () => {
  const content = Buffer.from("what it holds");
  const noted = withNote(readFileSync("/bin/true"), "OURS", content);
  const note = readSegments(noted).at(-1);
  expect(note?.type).toBe(4);
  const bytes = noted.subarray(note?.offset, (note?.offset ?? 0) + (note?.fileBytes ?? 0));
  expect([bytes.readUInt32LE(0), bytes.readUInt32LE(4)]).toEqual([5, content.length]);
  expect(bytes.toString("latin1", 12)).toBe("OURS\0\0\0\0what it holds\0\0\0");
  const copy = join(folder, "true");
  writeFileSync(copy, noted, { mode: 0o755 });
  expect(spawnSync(copy).status).toBe(0);
  expect(() => withNote(Buffer.alloc(100), "OURS", content)).toThrow("not a 64-bit");
});

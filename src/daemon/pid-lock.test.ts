import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { takePidLock } from "./pid-lock.ts";

let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "skep-pid-"));
  path = join(folder, "run/skep.pid");
});

afterEach(() => rmSync(folder, { recursive: true }));

test("the lock names us and is gone after release", () => {
  const lock = takePidLock(path);
  expect(readFileSync(path, "utf8")).toBe(`${process.pid}\n`);
  lock.release();
  expect(existsSync(path)).toBe(false);
});

test("a file whose process is gone, or is no engine, is taken over", () => {
  takePidLock(path).release();
  for (const stale of ["999999999\n", "1\n", "garbage"]) {
    writeFileSync(path, stale);
    takePidLock(path).release();
  }
});

test("a live engine's file is respected, and said by name", async () => {
  takePidLock(path).release();
  const engine = spawn(process.execPath, ["-e", "process.stdin.resume()", "engine"], {
    stdio: ["pipe", "ignore", "ignore"],
  });
  try {
    await new Promise((resolve) => engine.once("spawn", resolve));
    writeFileSync(path, `${engine.pid}\n`);
    expect(() => takePidLock(path)).toThrow(`process ${engine.pid} holds ${path}`);
    expect(readFileSync(path, "utf8")).toBe(`${engine.pid}\n`);
  } finally {
    engine.kill("SIGKILL");
  }
});

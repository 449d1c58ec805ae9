import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Script } from "node:vm";
import { afterAll, describe, expect, test } from "vitest";

const SKEP = fileURLToPath(new URL("../../bin/skep", import.meta.url));
const BUNDLE = fileURLToPath(new URL("../../dist/cli.cjs", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "skep-launcher-"));

afterAll(() => rmSync(folder, { recursive: true, force: true }));

const nodeFlags = (pid: number | undefined) =>
  readFileSync(`/proc/${pid}/cmdline`, "utf8")
    .split("\0")
    .slice(1)
    .filter((word) => word.startsWith("--max"));

describe("the launcher", () => {
  test("this Node takes what the build compiled", () => {
    const cachedData = readFileSync(`${BUNDLE}.compiled`);
    const script = new Script(readFileSync(BUNDLE, "utf8"), { filename: BUNDLE, cachedData });
    expect(script.cachedDataRejected).toBe(false);
  });

  test("by a link, from another folder, with words that a shell would take apart", () => {
    const link = join(folder, "linked skep");
    symlinkSync(SKEP, link);
    const run = spawnSync(link, ["a  b $HOME *"], { cwd: folder, encoding: "utf8" });
    expect(run.stderr).toContain("skep: unknown command: skep a  b $HOME *");
    expect(run.status).toBe(1);
  });

  test("files of variables are a container's, and none of Node's", () => {
    const file = join(folder, "variables");
    writeFileSync(file, "NODE_OPTIONS=--nosuch\nDOCKER_HOST=unix:///nowhere/taken\n");
    const create = (path: string) =>
      spawnSync(SKEP, ["-H", "unix:///nowhere/s", "create", "--env-file", path, "x"], {
        encoding: "utf8",
      }).stderr;
    expect(create(file)).toContain("Cannot connect to the engine at unix:///nowhere/s");
    expect(create(join(folder, "nosuch"))).toContain("nosuch: no such file or directory");
  });

  test("the engine's mistakes and its answers come through", () => {
    expect(spawnSync(SKEP, ["engine", "--nosuch"]).status).toBe(1);
    const run = spawnSync(SKEP, ["engine", "--version"], { encoding: "utf8" });
    expect([run.status, run.stdout]).toEqual([0, expect.stringMatching(/^skep version .*build/)]);
  });

  test("no process stands between a signal and the command", async () => {
    const socket = join(folder, "silent.sock");
    const server = createServer();
    server.listen(socket);
    try {
      const child = spawn(SKEP, ["-H", `unix://${socket}`, "events"], { stdio: "ignore" });
      const exited = once(child, "exit");
      await once(server, "connection");
      expect(basename(readlinkSync(`/proc/${child.pid}/exe`))).toBe(basename(process.execPath));
      expect(nodeFlags(child.pid)).toEqual([]);
      child.kill("SIGTERM");
      expect(await exited).toEqual([null, "SIGTERM"]);
    } finally {
      server.close();
    }
  });
});

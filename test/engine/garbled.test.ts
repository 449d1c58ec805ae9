/** The engine's own files, damaged while it is down: told, repaired by hand, the others unaffected. */

import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { docker } from "../../bench/lib/engine.ts";
import { SkepEngine } from "../../bench/lib/skep.ts";
import { loadImage } from "../compatibility/engines.ts";
import { IMAGE } from "../compatibility/requests.ts";

let engine: SkepEngine;
const run = (...args: readonly string[]) => docker(engine, ...args);
const data = (...path: readonly string[]) => join(engine.host.folder, "d", ...path);
/** Lines of the engine's log that are errors with all of the texts. */
const told = (...texts: readonly string[]) =>
  readFileSync(join(engine.host.folder, "skep.log"), "utf8")
    .split("\n")
    .filter((line) => ['"level":"error"', ...texts].every((text) => line.includes(text)));

beforeAll(async () => {
  engine = new SkepEngine();
  await engine.start();
  await loadImage(engine);
  await run("run", "-d", "--name=other", "--init", IMAGE, "sleep", "1000");
}, 60_000);

afterAll(() => engine?.host.destroy());

/** Damages the file while the engine is down; what was in it. */
async function damaged(path: string, text: string): Promise<string> {
  await engine.crash();
  const before = readFileSync(path, "utf8");
  writeFileSync(path, text);
  await engine.start();
  return before;
}

/** Whatever happened: it runs on, can be used, and so can what is made anew. */
async function othersWork(): Promise<void> {
  expect(await run("exec", "other", "echo", "here")).toBe("here");
  expect(await run("run", "--rm", IMAGE, "echo", "new")).toBe("new");
}

test("a container's configuration: it is kept, and back when the file is", async () => {
  const command = ["sh", "-c", "echo mine >/own; exec sleep 1000"];
  const id = await run("run", "-d", "--name=hurt", "--network=none", "--init", IMAGE, ...command);
  const pid = await run("inspect", "-f", "{{.State.Pid}}", "hurt");
  const path = data("containers", id, "config.json");
  const before = await damaged(path, '{"version":1,"id":');
  await expect(run("inspect", "hurt")).rejects.toThrow("No such object: hurt");
  expect(told("configuration cannot be read", path)).toHaveLength(1);
  await othersWork();
  await damaged(path, before);
  expect(await run("inspect", "-f", "{{.State.Running}} {{.State.Pid}}", "hurt")).toBe(
    `true ${pid}`,
  );
  expect(await run("exec", "hurt", "cat", "/own")).toBe("mine");
  await run("rm", "-f", "hurt");
});

test("and goes with its folder", async () => {
  const id = await run(
    "run",
    "-d",
    "--name=lost",
    "--network=none",
    "--init",
    IMAGE,
    "sleep",
    "999",
  );
  const pid = await run("inspect", "-f", "{{.State.Pid}}", "lost");
  await damaged(data("containers", id, "config.json"), "");
  expect(existsSync(`/proc/${pid}`)).toBe(true);
  await engine.crash();
  rmSync(data("containers", id), { recursive: true });
  await engine.start();
  await expect.poll(() => existsSync(`/proc/${pid}`), { timeout: 30_000 }).toBe(false);
  await othersWork();
});

test("a container's state: it is there, and starts", async () => {
  const id = await run("create", "--name=stateless", "--network=none", IMAGE, "echo", "started");
  await run("start", "-a", "stateless");
  await damaged(data("containers", id, "state.json"), "\0\0\0garbage");
  expect(await run("start", "-a", "stateless")).toBe("started");
  await othersWork();
  await run("rm", "stateless");
});

test("a volume's description: its data is kept, and back when the file is", async () => {
  await run("run", "--rm", "-v", "vol:/v", "-v", "vol2:/v2", IMAGE, "sh", "-c", "echo kept >/v/f");
  const path = data("volumes", "vol", "volume.json");
  const before = await damaged(path, "");
  expect(await run("volume", "ls", "-q")).toBe("vol2");
  expect(told("volume's description cannot be read", '"vol"')).toHaveLength(1);
  await othersWork();
  await damaged(path, before);
  expect(await run("run", "--rm", "-v", "vol:/v", IMAGE, "cat", "/v/f")).toBe("kept");
});

test("a network's record: it is passed over, the other networks work", async () => {
  const id = await run("network", "create", "net");
  const path = data("networks", `${id}.json`);
  const before = await damaged(path, "null");
  expect(await run("network", "ls", "-q", "-f", "name=net")).toBe("");
  expect(told("unreadable record", path)).toHaveLength(1);
  await othersWork();
  await damaged(path, before);
  expect(await run("run", "--rm", "--network=net", IMAGE, "echo", "again")).toBe("again");
});

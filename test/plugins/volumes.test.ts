/** Volumes that a plug-in keeps, a process of its own in the place where Docker looks for it. */

import type { ChildProcess } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DOCKERS, EngineProcess } from "../engine/engine-process.ts";
import { type Call, endPlugin, importDemoImage, socketOf, spawnPlugin } from "./plugin-process.ts";

const NAME = `skep-test-${process.pid}`;

let engine: EngineProcess;
let folder: string;
let plugin: ChildProcess | undefined;

async function startPlugin(): Promise<void> {
  plugin = await spawnPlugin("volume-plugin.mjs", NAME, folder);
}

async function stopPlugin(): Promise<void> {
  await endPlugin(plugin);
  plugin = undefined;
}

interface VolumeCall extends Call {
  readonly accept: string;
}

/** The calls that the plug-in got about one volume. */
function callsOf(volume: string): readonly VolumeCall[] {
  return readFileSync(join(folder, "calls"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as VolumeCall)
    .filter(({ body }) => body?.["Name"] === volume);
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "skep-plugin-"));
  engine = new EngineProcess();
  await startPlugin();
  await engine.start(["--bridge=none"]);
  await importDemoImage(engine);
});

afterAll(async () => {
  await engine.destroy();
  await stopPlugin();
  rmSync(socketOf(NAME), { force: true });
  rmSync(folder, { recursive: true, force: true });
});

describe.each(DOCKERS)("%s", (docker) => {
  const run = (...args: string[]) => engine.run(docker, args);
  const volume = docker.includes("local") ? "newer" : "older";

  test("made, listed, inspected, written by one container, read by another, removed", async () => {
    const made = await run(
      "volume",
      "create",
      "-d",
      NAME,
      "-o",
      "size=1",
      "--label",
      "a=b",
      volume,
    );
    expect(made).toMatchObject({ code: 0, stdout: `${volume}\n` });
    const listed = await run(
      "volume",
      "ls",
      "--format",
      "{{.Driver}} {{.Name}}",
      "-f",
      `name=${volume}`,
    );
    expect(listed.stdout).toBe(`${NAME} ${volume}\n`);
    const format = "{{.Scope}} {{.Mountpoint}} {{.Status.kept}} {{.Options.size}}";
    const inspected = await run("volume", "inspect", "-f", format, volume);
    expect(inspected.stdout).toBe(`global ${folder}/volumes/${volume} by the plug-in 1\n`);
    const none = ["--rm", "--network", "none", "-v", `${volume}:/data`, "web:demo"];
    expect(await run("run", ...none, "sh", "-c", "echo kept >/data/file")).toMatchObject({
      code: 0,
    });
    expect((await run("run", ...none, "cat", "/data/file")).stdout).toBe("kept\n");
    expect(await run("volume", "rm", volume)).toMatchObject({ code: 0 });
    const calls = callsOf(volume);
    const mounts = calls.filter(({ method }) => method === "VolumeDriver.Mount");
    const unmounts = calls.filter(({ method }) => method === "VolumeDriver.Unmount");
    expect(mounts).toHaveLength(2);
    expect(new Set(mounts.map(({ body }) => body?.["ID"])).size).toBe(2);
    expect(unmounts.map(({ body }) => body)).toEqual(mounts.map(({ body }) => body));
    expect(calls[0]).toEqual({
      method: "VolumeDriver.Create",
      body: { Name: volume, Opts: { size: "1" } },
      accept: "application/vnd.docker.plugins.v1.2+json",
    });
    expect(calls.at(-1)?.method).toBe("VolumeDriver.Remove");
  });

  test("what the plug-in refuses is said in its words, and changes nothing", async () => {
    const refused = await run("volume", "create", "-d", NAME, "-o", "refuse=me", "never");
    expect(refused.stderr).toContain("create never: no: me");
    expect((await run("volume", "ls", "-q")).stdout).not.toContain("never");
    await run("volume", "create", "-d", NAME, "broken");
    const broken = ["--network", "none", "-v", "broken:/data", "web:demo", "true"];
    const failed = await run("run", "--rm", ...broken);
    expect(failed.code).not.toBe(0);
    expect(failed.stderr).toContain("the disk is on fire");
    expect(await run("volume", "rm", "broken")).toMatchObject({ code: 0 });
  });

  test("a driver that is not there, and a name that another driver has", async () => {
    const missing = await run("volume", "create", "-d", "nosuch", "x");
    expect(missing.stderr).toContain(
      'create x: error looking up volume plugin nosuch: plugin "nosuch" not found',
    );
    await run("volume", "create", "mine");
    const taken = await run("volume", "create", "-d", NAME, "mine");
    expect(taken.stderr).toContain("volume name must be unique");
    await run("volume", "rm", "mine");
  });
});

test("a volume that only the plug-in knows is found, and used by its name", async () => {
  mkdirSync(join(folder, "volumes/foreign"));
  writeFileSync(join(folder, "volumes/foreign/file"), "theirs\n");
  expect((await engine.skep("volume", "ls", "-q")).stdout).toContain("foreign\n");
  const read = ["--network", "none", "-v", "foreign:/data", "web:demo", "cat", "/data/file"];
  expect((await engine.skep("run", "--rm", ...read)).stdout).toBe("theirs\n");
});

test("the node tells the scheduler of its drivers", async () => {
  const info = await engine.http("GET", "/info");
  expect(JSON.parse(info.text)).toMatchObject({ Plugins: { Volume: ["local", NAME] } });
});

test("a running container survives the plug-in and the engine; both come back", async () => {
  const args = ["--network", "none", "--name", "user", "-v", "lasting:/data", "web:demo"];
  await engine.skep("volume", "create", "-d", NAME, "lasting");
  expect(await engine.skep("run", "-d", ...args, "sleep", "1000")).toMatchObject({ code: 0 });
  await stopPlugin();
  await engine.end("SIGKILL");
  await engine.start(["--bridge=none"]);
  const state = ["inspect", "-f", "{{.State.Running}}", "user"];
  expect((await engine.skep(...state)).stdout).toBe("true\n");
  await startPlugin();
  const busy = await engine.skep("volume", "rm", "lasting");
  expect(busy.stderr).toContain("volume is in use");
  expect(await engine.skep("rm", "-f", "user")).toMatchObject({ code: 0 });
  expect(await engine.skep("volume", "rm", "lasting")).toMatchObject({ code: 0 });
});

/** The engine as a process: how it starts, ends, survives, and what the docker commands say of it. */

import { execFileSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DOCKERS, EngineProcess } from "./engine-process.ts";

const IMAGE_SCRIPT = fileURLToPath(new URL("../../tools/demo-image/make.sh", import.meta.url));

let engine: EngineProcess;

beforeAll(async () => {
  engine = new EngineProcess();
  await engine.start();
});

afterAll(() => engine.destroy());

test("the demo's image is imported, and both command lines and ours see it", async () => {
  const archive = join(engine.folder, "web.tar");
  writeFileSync(archive, execFileSync("bash", [IMAGE_SCRIPT], { maxBuffer: 64 * 1024 * 1024 }));
  const imported = await engine.skep("import", "-c", 'CMD ["httpd","-f"]', archive, "web:demo");
  expect(imported).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/^sha256:[0-9a-f]{64}\n$/),
  });
  const format = ["images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}} {{.Size}}"];
  const ours = await engine.skep(...format);
  expect(ours.stdout).toMatch(/^web:demo [0-9a-f]{12} /);
  for (const docker of DOCKERS) {
    expect((await engine.run(docker, format)).stdout, docker).toBe(ours.stdout);
  }
});

describe.each(DOCKERS)("%s", (docker) => {
  test("version, tag, save, load, rmi, volumes", async () => {
    const version = await engine.run(docker, ["version", "--format", "{{.Server.MinAPIVersion}}"]);
    expect(version.stdout).toBe("1.24\n");
    const archive = join(engine.folder, "saved.tar");
    const steps = [
      ["tag", "web:demo", "other:1"],
      ["save", "-o", archive, "other:1"],
      ["rmi", "other:1"],
      ["load", "-i", archive],
      ["rmi", "other:1"],
      ["volume", "create", "data"],
      ["volume", "inspect", "data"],
      ["volume", "rm", "data"],
    ];
    for (const step of steps) {
      expect(await engine.run(docker, step), step.join(" ")).toMatchObject({ code: 0 });
    }
    // Not to a terminal: no progress, only what was loaded.
    const loaded = await engine.run(docker, ["load", "-i", archive]);
    expect(loaded).toMatchObject({ code: 0, stdout: "Loaded image: other:1\n" });
    await engine.run(docker, ["rmi", "other:1"]);
  });

  test("what is not there is said in docker's words", async () => {
    const missing = await engine.run(docker, ["rmi", "nosuch:1"]);
    expect(missing.stderr).toContain("No such image: nosuch:1");
    const volume = await engine.run(docker, ["volume", "rm", "nosuch"]);
    expect(volume.stderr).toMatch(/no such volume/i);
  });
});

test("bad input is refused and changes nothing", async () => {
  const bodies: readonly [string, string, number, RegExp][] = [
    ["/volumes/create", "{not json", 400, /invalid/],
    ["/volumes/create", '{"Name":"../up"}', 400, /invalid characters/],
    ["/nosuch", "{}", 404, /page not found/],
    ["/v1.12/volumes/create", "{}", 400, /too old/],
    ["/v9.99/volumes/create", "{}", 400, /too new/],
  ];
  for (const [path, body, status, message] of bodies) {
    const answer = await engine.http("POST", path, body);
    expect(answer, path).toMatchObject({ status, text: expect.stringMatching(message) });
  }
  expect(JSON.parse((await engine.http("GET", "/volumes")).text)).toMatchObject({ Volumes: [] });
});

test("a body past the limit is refused, or its connection cut, and changes nothing", async () => {
  const body = `{"Name":"${"x".repeat(17 * 1024 * 1024)}"}`;
  // The answer comes while the body is still on its way: its sender may see only the cut.
  const answer = await engine.http("POST", "/volumes/create", body).catch(() => undefined);
  if (answer !== undefined) expect(answer).toMatchObject({ status: 400 });
  expect(JSON.parse((await engine.http("GET", "/volumes")).text)).toMatchObject({ Volumes: [] });
});

test("a second engine on the same roots is refused by name", async () => {
  expect(await engine.start([], true)).toBe(1);
  expect(engine.log).toContain("another engine runs here already");
  expect((await engine.http("GET", "/_ping")).text).toBe("OK");
});

test("kill -9: images and volumes are there again, containerd was never gone", async () => {
  await engine.http("POST", "/volumes/create", '{"Name":"kept"}');
  await engine.end("SIGKILL");
  await engine.start();
  expect((await engine.skep("images", "-q")).stdout).toMatch(/^[0-9a-f]{12}\n$/);
  expect((await engine.skep("volume", "ls", "-q")).stdout).toBe("kept\n");
  expect(engine.log.match(/containerd started/g)).toHaveLength(1);
});

test("SIGTERM ends it in order: the socket and the pid file are gone", async () => {
  await engine.end("SIGTERM");
  expect(existsSync(engine.socket)).toBe(false);
  expect(existsSync(join(engine.folder, "x/skep.pid"))).toBe(false);
});

test.each([
  [["--frobnicate"], "unknown flag: --frobnicate"],
  [["--userns-remap=default"], "will not pretend to"],
  [["-H", "tcp://0.0.0.0:1"], "refusing to listen"],
])("%j is refused with the reason", async (flags, reason) => {
  const code = await engine.start(flags, true);
  expect(code).toBeGreaterThan(0);
  expect(engine.log).toContain(reason);
});

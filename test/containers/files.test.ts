/** `docker cp` both ways, `diff`, `export`, `commit`: of containers that run and that do not. */

import { execFileSync } from "node:child_process";
import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { makeTar } from "../images/fixtures.ts";
import type { Host } from "./engine-host.ts";
import { DOCKERS, docker, type Harness, IMAGE, makeHarness } from "./harness.ts";

const SKEP = fileURLToPath(new URL("../../bin/skep", import.meta.url));

let harness: Harness;
let host: Host;
let scratch: string;
let count = 0;

beforeAll(async () => {
  harness = await makeHarness();
  host = await harness.open();
});

afterAll(async () => {
  await host?.close();
  await harness?.remove();
});

beforeEach(() => {
  count += 1;
  scratch = join(harness.folder, `scratch${count}`);
  mkdirSync(join(scratch, "src/sub"), { recursive: true });
  writeFileSync(join(scratch, "src/a"), "one\n");
  writeFileSync(join(scratch, "src/sub/b"), "two\n", { mode: 0o750 });
  symlinkSync("a", join(scratch, "src/link"));
  linkSync(join(scratch, "src/a"), join(scratch, "src/hard"));
});

const TREE =
  "cat /proc/self/stat >/dev/null; busybox mkdir -p /d/e /deep; echo x > /d/f; busybox ln -s /d/f /d/lf; busybox ln -s /d /ld; busybox ln -s /etc /d/abs; echo v > /vol/v; echo up; exec sleep 1000";

async function cli(program: string, ...args: string[]) {
  return docker(program, harness.socket, args);
}

/** A container "cc" with a tree in its own layer and in a volume, running or stopped. */
async function makeContainer(program: string, runs: boolean): Promise<void> {
  const flags = ["--name", "cc", "--network=none", "-v", "/vol", "-v", `${scratch}/src:/ro:ro`];
  const made = await cli(program, "run", "-d", ...flags, IMAGE, "sh", "-c", TREE);
  expect(made.stderr).toBe("");
  for await (const { line } of host.containers.logs("cc", {
    stdout: true,
    stderr: true,
    follow: true,
  })) {
    if (Buffer.from(line).toString() === "up\n") break;
  }
  if (!runs) await cli(program, "stop", "-t", "0", "cc");
}

/** Reads a file of the container whichever way it is in. */
async function contentOf(program: string, path: string): Promise<string> {
  const target = join(scratch, `read-${Math.random()}`);
  const copied = await cli(program, "cp", `cc:${path}`, target);
  expect(copied.code, copied.stderr).toBe(0);
  return readFileSync(target, "utf8");
}

describe.each([...DOCKERS.filter((path) => existsSync(path)), SKEP])("%s", (program) => {
  describe.each([
    ["running", true],
    ["stopped", false],
  ])("%s", (_state, runs) => {
    beforeEach(async () => {
      await cli(program, "rm", "-fv", "cc");
      await makeContainer(program, runs);
    });

    test("into the container: names, links, modes, volumes, and what a link leads to", async () => {
      const copy = (source: string, target: string) =>
        cli(program, "cp", `${scratch}/${source}`, `cc:${target}`);
      expect(await copy("src", "/in")).toMatchObject({ code: 0 });
      expect(await copy("src/a", "/in/renamed")).toMatchObject({ code: 0 });
      expect(await copy("src/.", "/deep")).toMatchObject({ code: 0 });
      expect(await copy("src/a", "/vol/given")).toMatchObject({ code: 0 });
      expect(await copy("src/a", "/ld/through")).toMatchObject({ code: 0 });
      expect(await copy("src/a", "/d/abs/inside")).toMatchObject({ code: 0 });
      expect(existsSync("/etc/inside")).toBe(false);
      if (!runs) await cli(program, "start", "cc");
      const listed = await cli(
        program,
        "exec",
        "cc",
        "sh",
        "-c",
        "cd /; cat in/a in/renamed in/hard deep/sub/b vol/given d/through etc/inside; busybox readlink in/link; busybox stat -c '%a %h' in/sub/b in/a",
      );
      expect(listed.stderr).toBe("");
      expect(listed.stdout).toBe("one\none\none\ntwo\none\none\none\na\n750 1\n644 2\n");
    });

    test("out of the container: files, folders with and without their name, links", async () => {
      const out = (path: string, name: string, ...flags: string[]) =>
        cli(program, "cp", ...flags, `cc:${path}`, join(scratch, name));
      expect(await out("/d", "whole")).toMatchObject({ code: 0 });
      mkdirSync(join(scratch, "into"));
      expect(await out("/d/.", "into")).toMatchObject({ code: 0 });
      for (const folder of ["whole", "into"]) {
        expect(readdirSync(join(scratch, folder)).sort()).toEqual(["abs", "e", "f", "lf"]);
      }
      expect(await out("/d/lf", "followed", "-L")).toMatchObject({ code: 0 });
      expect(readFileSync(join(scratch, "followed"), "utf8")).toBe("x\n");
      expect(await out("/vol", "volume")).toMatchObject({ code: 0 });
      expect(readFileSync(join(scratch, "volume/v"), "utf8")).toBe("v\n");
      expect(await contentOf(program, "/etc/passwd")).toContain("ann:x:1000");
    });

    test("refusals, in docker's words", async () => {
      const a = join(scratch, "src/a");
      const refused = async (...args: string[]) => (await cli(program, "cp", ...args)).stderr;
      expect(await refused(a, "cc:/nodir/x")).toMatch(
        /Could not find the file \/nodir in container cc|No such container:path/,
      );
      expect(await refused("cc:/nope", scratch)).toMatch(
        /Could not find the file \/nope in container cc|No such container:path/,
      );
      expect(await refused(a, "cc:/ro/x")).toContain("mounted volume is marked read-only");
      expect(await refused(join(scratch, "src"), "cc:/d/f")).toMatch(/cannot|not a directory/);
      expect(await refused(a, "nosuch:/x")).toMatch(/No such container(:path)?: nosuch/);
    });

    test("an archive cannot leave the container, whatever its names and links are", async () => {
      const evil = await makeTar([
        { name: "out", type: "symlink", linkname: "/etc" },
        { name: "out/owned", content: "by archive\n" },
        { name: "../../../../../../../../etc/climbed", content: "up\n" },
        { name: "/etc/absolute", content: "abs\n" },
      ]);
      expect(await put("cc", "/deep", evil)).toEqual({ status: 200, text: "" });
      for (const name of ["owned", "climbed", "absolute"]) {
        expect(existsSync(`/etc/${name}`), name).toBe(false);
      }
      const link = { name: "h", type: "link", linkname: "../../../etc/hostname" } as const;
      expect((await put("cc", "/deep", await makeTar([link]))).status).toBe(400);
      expect(await contentOf(program, "/etc/owned")).toBe("by archive\n");
      expect(await contentOf(program, "/deep/etc/climbed")).toBe("up\n");
    });

    test("diff shows what the container changed, and nothing of the engine's", async () => {
      await cli(program, "cp", join(scratch, "src/a"), "cc:/etc/added");
      const { stdout } = await cli(program, "diff", "cc");
      const lines = stdout.trim().split("\n");
      for (const line of ["A /d", "A /d/f", "A /ld", "C /etc", "A /etc/added", "A /vol"]) {
        expect(lines).toContain(line);
      }
      expect(stdout).not.toMatch(/dockerenv|\/proc|\/sys|hosts|resolv/);
    });
  });

  test("diff: deletions and changes; commit keeps them, with its instructions", async () => {
    await cli(program, "rm", "-fv", "cc");
    const script = "busybox rm /data/seed; echo more >> /etc/group; echo n > /data/new";
    const flags = ["--name", "cc", "--network=none", "-e", "KEPT=1"];
    await cli(program, "run", ...flags, IMAGE, "sh", "-c", script);
    const { stdout } = await cli(program, "diff", "cc");
    expect(stdout.trim().split("\n").sort()).toEqual([
      "A /data/new",
      "C /data",
      "C /etc",
      "C /etc/group",
      "D /data/seed",
    ]);
    const changes = ["-c", 'CMD ["ls","/data"]', "-c", "ENV A=b"];
    const made = await cli(program, "commit", "-a", "me", "-m", "why", ...changes, "cc", "made:1");
    expect(made.stdout).toMatch(/^sha256:[0-9a-f]{64}\n$/);
    const run = await cli(program, "run", "--rm", "--network=none", "made:1");
    expect(run).toEqual({ code: 0, stdout: "new\n", stderr: "" });
    const format = "{{.Author}} {{.Comment}} {{json .Config.Env}} {{.Config.Cmd}}";
    const shown = await cli(program, "image", "inspect", "-f", format, "made:1");
    expect(shown.stdout).toMatch(/^me why \[.*"KEPT=1".*"A=b".*\] \[ls \/data\]\n$/);
    await cli(program, "rmi", "made:1");
    await cli(program, "rm", "cc");
  });

  test("export is the file system alone, of a running container too, and imports again", async () => {
    await cli(program, "rm", "-fv", "cc");
    await makeContainer(program, true);
    const archive = join(scratch, "export.tar");
    expect(await cli(program, "export", "-o", archive, "cc")).toMatchObject({ code: 0 });
    const names = execFileSync("tar", ["tf", archive], { encoding: "utf8" }).split("\n");
    for (const name of ["bin/busybox", "d/f", "etc/passwd", "data/seed", ".dockerenv", "vol/"]) {
      expect(names).toContain(name);
    }
    expect(names).not.toContain("vol/v");
    expect(names.some((name) => name.startsWith("proc/1"))).toBe(false);
    await cli(program, "import", archive, "again:1");
    const run = await cli(program, "run", "--rm", "--network=none", "again:1", "cat", "/d/f");
    expect(run).toEqual({ code: 0, stdout: "x\n", stderr: "" });
    await cli(program, "rmi", "again:1");
    await cli(program, "rm", "-fv", "cc");
  });
});

test("large files arrive whole, packed uploads are unpacked, damaged ones are refused", async () => {
  await cli(DOCKERS[1] ?? "docker", "rm", "-fv", "cc");
  await makeContainer(DOCKERS[1] ?? "docker", true);
  const big = join(scratch, "src/big");
  execFileSync("dd", ["if=/dev/urandom", `of=${big}`, "bs=1M", "count=40", "status=none"]);
  await cli(DOCKERS[1] ?? "docker", "cp", big, "cc:/big");
  await cli(DOCKERS[1] ?? "docker", "cp", "cc:/big", `${big}2`);
  execFileSync("cmp", [big, `${big}2`]);
  const packed = execFileSync("tar", ["-czC", join(scratch, "src"), "a"]);
  expect(await put("cc", "/d/e", packed)).toEqual({ status: 200, text: "" });
  expect(await contentOf(DOCKERS[1] ?? "docker", "/d/e/a")).toBe("one\n");
  expect((await put("cc", "/d/e", Buffer.from("no archive at all"))).status).toBe(400);
  expect(await put("cc", "/d/f", packed)).toMatchObject({
    status: 400,
    text: expect.stringContaining("extraction point is not a directory"),
  });
  await cli(DOCKERS[1] ?? "docker", "rm", "-fv", "cc");
});

test("nothing stays mounted", () => {
  const mounts = readFileSync("/proc/self/mounts", "utf8");
  expect(mounts).not.toContain(`${harness.folder}/run/mounts`);
  expect(readdirSync(join(harness.folder, "run/mounts"))).toEqual([]);
  expect(statSync(harness.socket).isSocket()).toBe(true);
});

function put(
  container: string,
  path: string,
  archive: Uint8Array,
): Promise<{ readonly status: number; readonly text: string }> {
  return new Promise((resolve, reject) => {
    const target = `/containers/${container}/archive?path=${encodeURIComponent(path)}`;
    const sent = request(
      { socketPath: harness.socket, method: "PUT", path: target },
      (response) => {
        let text = "";
        response.on("data", (chunk) => (text += String(chunk)));
        response.on("end", () => resolve({ status: response.statusCode ?? 0, text }));
      },
    );
    sent.on("error", reject);
    sent.end(archive);
  });
}

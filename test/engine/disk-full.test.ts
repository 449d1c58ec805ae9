/**
 * The engine's file systems get full, one after another: what needs room is refused by name and leaves
 * nothing, what runs goes on, and all works again when there is room.
 */

import { execFile, execFileSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { DOCKER, docker } from "../../bench/lib/engine.ts";
import { SkepEngine } from "../../bench/lib/skep.ts";
import { send } from "../compatibility/call.ts";
import { imageArchive } from "../compatibility/engines.ts";
import { IMAGE } from "../compatibility/requests.ts";
import { SmallDisk } from "./small-disk.ts";

const PATIENCE = { timeout: 60_000, interval: 100 };

let engine: SkepEngine;
let data: SmallDisk;
let images: SmallDisk;
let run: SmallDisk;
let archive: Buffer;
const cli = (...args: readonly string[]) => docker(engine, ...args);
const id = (name: string) => cli("inspect", "-f", "{{.Id}}", name);
const state = (name: string) =>
  cli("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}} {{.State.Pid}}", name);
const inside = ["--network=none", "--init", IMAGE];
const engineLog = () => readFileSync(join(engine.host.folder, "skep.log"), "utf8");
/** A line every 20 ms, numbered, until the file /stop is there; it ends with 7. */
const COUNT = "i=0; while [ ! -f /stop ]; do echo line $i; i=$((i+1)); usleep 20000; done; exit 7";

beforeAll(async () => {
  engine = new SkepEngine();
  const { folder, runFolder } = engine.host;
  data = new SmallDisk(join(folder, "d"), 24);
  images = new SmallDisk(join(folder, "d/containerd"), 48);
  run = new SmallDisk(join(runFolder, "x"), 8);
  await engine.start();
  archive = await imageArchive();
  await send(engine.socket, { method: "POST", path: "/images/load?quiet=1", raw: archive });
  await cli("run", "-d", "--name=other", ...inside, "sleep", "1000");
}, 60_000);

afterAll(() => engine?.host.destroy());

afterEach(async () => {
  for (const disk of [data, images, run]) disk.free();
  expect(await cli("exec", "other", "echo", "on")).toBe("on");
  expect(engineLog()).not.toMatch(/a bug: stopping|InvariantError/);
});

/** What a command that fails says to its user. */
function said(...args: readonly string[]): Promise<string> {
  const env = { ...process.env, DOCKER_HOST: `unix://${engine.socket}` };
  return new Promise((resolve, reject) => {
    execFile(DOCKER, args, { env }, (error, stdout, stderr) => {
      if (error === null) reject(new Error(`${args.join(" ")} went through`));
      else resolve(stdout + stderr);
    });
  });
}

async function refused(...args: readonly string[]): Promise<string> {
  const reason = await cli(...args).then(
    (output) => `it went through: ${output}`,
    (error: unknown) => String(error),
  );
  expect(reason, args.join(" ")).toMatch(/no space left on device/i);
  return reason;
}

describe("the data root", () => {
  test("what needs room is refused with the file's name, and leaves nothing", async () => {
    const before = [
      await cli("ps", "-aq"),
      await cli("volume", "ls", "-q"),
      await cli("network", "ls", "-q"),
    ];
    const links = () =>
      execFileSync("ip", ["-n", engine.host.folder.split("/").at(-1) ?? "", "-br", "link"], {
        encoding: "utf8",
      });
    const linksBefore = links();
    data.fill();
    for (const args of [
      ["create", ...inside, "true"],
      ["create", "-v", "/data", ...inside, "true"],
      ["run", "-d", ...inside, "true"],
      ["volume", "create", "vol"],
      ["network", "create", "n"],
    ]) {
      expect(await refused(...args)).toContain(join(engine.host.folder, "d"));
    }
    const after = [
      await cli("ps", "-aq"),
      await cli("volume", "ls", "-q"),
      await cli("network", "ls", "-q"),
    ];
    expect(after).toEqual(before);
    expect(links()).toBe(linksBefore);
    for (const folder of ["containers", "volumes", "networks"]) {
      const names = readdirSync(join(data.path, folder), { recursive: true }).map(String);
      expect(names.filter((name) => /\.(tmp|new)$/.test(name))).toEqual([]);
    }
    expect(readdirSync(join(data.path, "containers"))).toHaveLength(1);
    expect(readdirSync(join(data.path, "volumes"))).toEqual([]);
    data.free();
    expect(await cli("run", "--rm", "-v", "/data", ...inside, "echo", "again")).toBe("again");
    await cli("network", "create", "n");
    await cli("network", "rm", "n");
  });

  test("containers end, are waited for, restart and are removed", async () => {
    await cli("create", "--name=never", ...inside, "true");
    await cli("run", "-d", "--name=ends", ...inside, "sh", "-c", COUNT);
    await cli("run", "-d", "--name=stopped", ...inside, "sleep", "1000");
    await cli("run", "-d", "--name=again", "--restart=always", ...inside, "sleep", "1000");
    const first = Number((await state("again")).split(" ")[2]);
    data.fill();
    const waited = cli("wait", "ends");
    await cli("exec", "ends", "touch", "/stop");
    expect(await waited).toBe("7");
    expect(await state("ends")).toBe("exited 7 0");
    await cli("stop", "stopped");
    expect(await state("stopped")).toBe("exited 143 0");
    process.kill(first, "SIGKILL");
    await cli("rm", "never", "ends");
    data.free();
    await expect
      .poll(async () => (await state("again")).replace(String(first), "the first"), PATIENCE)
      .toMatch(/^running 0 \d+$/);
    await cli("rm", "-f", "stopped", "again");
  });

  test("a log has whole lines only, and goes on", async () => {
    await cli("run", "-d", "--name=counts", ...inside, "sh", "-c", COUNT);
    const path = join(
      data.path,
      "containers",
      await id("counts"),
      `${await id("counts")}-json.log`,
    );
    const lines = async () =>
      (await cli("logs", "counts")).split("\n").filter((line) => line !== "");
    await expect.poll(async () => (await lines()).length, PATIENCE).toBeGreaterThan(3);
    data.fill();
    const told = engineLog().length;
    const news = () => engineLog().slice(told);
    await expect.poll(news, PATIENCE).toContain("container output cannot be logged and is lost");
    const last = (await lines()).at(-1);
    data.free();
    await expect.poll(news, PATIENCE).toContain("container output is logged again");
    await expect.poll(async () => (await lines()).at(-1), PATIENCE).not.toBe(last);
    await cli("exec", "counts", "touch", "/stop");
    await cli("wait", "counts");
    for (const line of readFileSync(path, "utf8").trimEnd().split("\n")) JSON.parse(line);
    await cli("rm", "counts");
  });

  test("an engine that starts on it takes up what runs", async () => {
    const before = await state("other");
    data.fill();
    await engine.crash();
    await engine.start();
    expect(await state("other")).toBe(before);
  });
});

describe("the images' file system", () => {
  test("load, commit, import and a container's own file are refused, and what they brought goes", async () => {
    const tar = join(engine.host.folder, "image.tar");
    execFileSync(
      "dd",
      ["if=/dev/urandom", `of=${engine.host.folder}/random`, "bs=1M", "count=20"],
      { stdio: "ignore" },
    );
    execFileSync("tar", ["-C", engine.host.folder, "-cf", tar, "random"]);
    await cli(
      "run",
      "-d",
      "--name=big",
      ...inside,
      "sh",
      "-c",
      "head -c 8000000 /dev/urandom >/big; sleep 1000",
    );
    const before = await cli("images", "-aq");
    images.fill();
    await refused("import", tar, "big:1");
    await refused("commit", "big", "big:2");
    expect(await cli("images", "-aq")).toBe(before);
    images.free();
    const free = images.freeBytes;
    expect(await cli("run", "--rm", ...inside, "echo", "again")).toBe("again");
    expect(await cli("commit", "big", "big:2")).toMatch(/^sha256:/);
    await cli("rmi", "big:2");
    await cli("rm", "-f", "big");
    await expect.poll(() => images.freeBytes, PATIENCE).toBeGreaterThan(free);
  });
});

describe("the run root", () => {
  test("start and exec are refused, and work again", async () => {
    await cli("create", "--name=later", ...inside, "echo", "later");
    run.fill();
    await refused("start", "-a", "later");
    // As docker's, the reason of an exec comes where its output would.
    expect(await said("exec", "other", "echo", "x")).toMatch(/no space left on device/i);
    run.free();
    expect(await cli("start", "-a", "later")).toBe("later");
    await cli("rm", "later");
  });
});

test("a swarm of one refuses what it cannot write down, and forgets nothing", async () => {
  const file = join(engine.host.folder, "config");
  writeFileSync(file, "x".repeat(400_000));
  const names = () => cli("config", "ls", "--format={{.Name}}").catch(String);
  await cli("swarm", "init", "--advertise-addr=127.0.0.1", "--listen-addr=127.0.0.1:2377");
  await cli("config", "create", "before", file);
  data.fill();
  const accepted: string[] = [];
  const refusal = await createUntilRefused(accepted, file);
  expect(refusal).toMatch(/no space left|free some space/);
  data.free();
  await expect
    .poll(() => cli("config", "create", "after", file).catch(String), PATIENCE)
    .toMatch(/^\w{25}$/);
  await engine.crash();
  await engine.start();
  await expect.poll(names, PATIENCE).toContain("after");
  expect((await names()).split("\n").toSorted()).toEqual(
    ["after", "before", ...accepted].toSorted(),
  );
  await cli("swarm", "leave", "--force");
}, 120_000);

/** What the first config that was refused was refused with. */
async function createUntilRefused(accepted: string[], file: string): Promise<string> {
  for (let index = 0; index < 200; index += 1) {
    try {
      await cli("config", "create", `full${index}`, file);
      accepted.push(`full${index}`);
    } catch (error) {
      return String(error);
    }
  }
  return "";
}

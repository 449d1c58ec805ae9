/** Signals to a command line that stays with a container. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Host } from "./engine-host.ts";
import { docker, type Harness, IMAGE, makeHarness } from "./harness.ts";

const SKEP = fileURLToPath(new URL("../../bin/skep", import.meta.url));
const SCRIPT =
  'trap "echo hup" HUP; trap "exit 9" TERM; echo up; while :; do busybox sleep 0.1; done';

let harness: Harness;
let host: Host;

beforeAll(async () => {
  harness = await makeHarness();
  host = await harness.open();
});

afterAll(async () => {
  await host?.close();
  await harness?.remove();
});

/** `run` in the foreground with SCRIPT; `until` awaits a line of its output. */
function foreground(...flags: readonly string[]) {
  const words = ["-H", `unix://${harness.socket}`, "run", "--name=sg", ...flags, "--network=none"];
  const child = spawn(SKEP, [...words, IMAGE, "sh", "-c", SCRIPT]);
  const exited = once(child, "exit");
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk) => (output += String(chunk)));
  }
  const until = async (line: string) => {
    while (!output.split("\n").includes(line)) {
      const more = await Promise.race([once(child.stdout, "data"), exited.then(() => "exited")]);
      if (more === "exited" && !output.split("\n").includes(line)) throw new Error(output);
    }
  };
  return { child, exited, until };
}

test("the container gets them, and its code comes back", async () => {
  const { child, exited, until } = foreground("--rm");
  await until("up");
  child.kill("SIGHUP");
  await until("hup");
  child.kill("SIGTERM");
  expect(await exited).toEqual([9, null]);
});

test("--sig-proxy=false: the program ends alone", async () => {
  const { child, exited, until } = foreground("--sig-proxy=false");
  await until("up");
  child.kill("SIGTERM");
  expect(await exited).toEqual([null, "SIGTERM"]);
  const listed = await docker(SKEP, harness.socket, ["ps", "-q", "--filter=name=sg"]);
  expect(listed.stdout).toMatch(/^[0-9a-f]{12}\n$/);
  await docker(SKEP, harness.socket, ["rm", "-f", "sg"]);
});

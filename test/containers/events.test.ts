/** What happens to a container, in order, as `docker events` tells it; and its filters. */

import { existsSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Host } from "./engine-host.ts";
import { DOCKERS, docker, type Harness, IMAGE, makeHarness } from "./harness.ts";

const DOCKER = DOCKERS.filter((path) => existsSync(path)).at(-1) ?? "docker";

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

const cli = (...args: string[]) => docker(DOCKER, harness.socket, args);

async function eventsSince(seconds: number, ...filters: string[]): Promise<readonly string[]> {
  const until = String(Math.floor(Date.now() / 1000) + 1);
  const flags = filters.flatMap((filter) => ["--filter", filter]);
  const format = "{{.Type}} {{.Action}}";
  const words = ["events", "--since", String(seconds), "--until", until, "--format", format];
  return (await cli(...words, ...flags)).stdout.split("\n").filter((line) => line !== "");
}

test("a run with a volume, a stop, a rename, a prune", async () => {
  const since = Math.floor(Date.now() / 1000) - 1;
  await cli("run", "--rm", "--network=none", "-v", "ev:/v", IMAGE, "true");
  await cli("volume", "rm", "ev");
  expect(await eventsSince(since)).toEqual([
    "volume create",
    "container create",
    "container attach",
    "volume mount",
    "container start",
    "container die",
    "volume unmount",
    "container destroy",
    "volume destroy",
  ]);
  await cli("run", "-d", "--name=old", "--network=none", "-l", "k=v", IMAGE, "sleep", "100");
  await cli("rename", "old", "new");
  await cli("pause", "new");
  await cli("unpause", "new");
  await cli("exec", "new", "true");
  await cli("top", "new");
  await cli("stop", "-t", "0", "new");
  await cli("container", "prune", "-f");
  const actions = ["create", "start", "rename", "pause", "unpause", "exec_create: true"];
  const ends = ["exec_start: true", "exec_die", "top", "kill", "kill", "die", "stop", "destroy"];
  const labelled = await eventsSince(since, "type=container", "label=k=v");
  expect(labelled.toSorted()).toEqual(
    [...actions, ...ends].map((action) => `container ${action}`).toSorted(),
  );
  expect(await eventsSince(since, "event=prune")).toEqual(["container prune"]);
  expect(await eventsSince(since, "event=exec_start")).toEqual(["container exec_start: true"]);
  expect(await eventsSince(since, "volume=ev", "event=destroy")).toEqual(["volume destroy"]);
  expect((await cli("events", "--until", "1", "--filter", "bogus=1")).stderr).toContain(
    "invalid filter 'bogus'",
  );
});

test("a signal is told of before the end that it brings", async () => {
  const since = Math.floor(Date.now() / 1000) - 1;
  const names = ["k1", "k2"];
  for (const name of names) {
    await cli(
      "run",
      "-d",
      "--rm",
      `--name=${name}`,
      "--network=none",
      "-l",
      "s",
      IMAGE,
      "sleep",
      "99",
    );
  }
  for (const name of names) await cli("kill", name);
  await cli("run", "-d", "--name=frozen", "--network=none", "-l", "s", IMAGE, "sleep", "99");
  await cli("pause", "frozen");
  await cli("kill", "-s", "HUP", "frozen");
  expect((await cli("inspect", "-f", "{{.State.Status}}", "frozen")).stdout).toBe("running\n");
  await cli("pause", "frozen");
  expect(await cli("kill", "frozen")).toMatchObject({ code: 0, stderr: "" });
  await cli("rm", "frozen");
  const kinds = ["kill", "die", "pause"].map((kind) => `event=${kind}`);
  expect(await eventsSince(since, "label=s", ...kinds)).toEqual(
    [...names.flatMap(() => ["kill", "die"]), "pause", "kill", "pause", "kill", "die"].map(
      (action) => `container ${action}`,
    ),
  );
});

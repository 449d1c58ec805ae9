import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";
import type { CommandContext } from "../command.ts";
import { NOUNS } from "../nouns.ts";
import { complete } from "./complete.ts";
import { objectKindOf } from "./objects.ts";

const NO_ENGINE = { DOCKER_HOST: "unix:///nowhere/skep.sock" };

async function words(...typed: readonly string[]): Promise<readonly string[]> {
  const lines = (await complete(typed, NO_ENGINE)).split("\n").slice(0, -1);
  return lines.map((line) => line.split("\t")[0] ?? "");
}

test("nouns, verbs and shortcuts that begin as typed", async () => {
  expect(await words("se")).toEqual(["search", "secret", "service"]);
  expect(await words("-H", "unix:///other", "eng")).toEqual(["engine"]);
  expect(await words("volume", "")).toEqual(["create", "inspect", "ls", "prune", "rm"]);
  expect(await words("help", "volume", "l")).toEqual(["ls"]);
  expect(await words("completion", "")).toEqual(["bash", "fish", "zsh"]);
  expect(await words("nosuch", "")).toEqual([]);
});

test("flags of the command, but not of what a container is to run", async () => {
  expect(await words("run", "--net")).toEqual(["--network", "--network-alias"]);
  expect(await words("--h")).toEqual(["--help", "--host"]);
  expect(await words("run", "alpine", "--net")).toEqual([]);
  expect(await words("logs", "name", "--fol")).toEqual(["--follow"]);
});

test("without an engine there is nothing to offer, and no error", async () => {
  expect(await words("stop", "")).toEqual([]);
  expect(await words("run", "--network", "")).toEqual([]);
});

test.each([
  ["container stop", 0, "container"],
  ["container stop", 4, "container"],
  ["container rename", 1, undefined],
  ["network connect", 0, "network"],
  ["network connect", 1, "container"],
  ["network create", 0, undefined],
  ["service create", 0, "image"],
  ["service create", 1, undefined],
  ["service scale", 2, "service"],
  ["node inspect", 0, "node"],
  ["secret rm", 1, "secret"],
  ["secret create", 0, undefined],
  ["image pull", 0, undefined],
  ["image push", 0, "image"],
  ["stack rm", 0, "stack"],
  ["stack deploy", 0, undefined],
  ["system inspect", 0, "container"],
  ["system logout", 0, "server"],
  ["context use", 0, "context"],
  ["context create", 0, undefined],
  ["volume ls", 0, undefined],
])("%s: argument %i names a %s", async (path, count, kind) => {
  const commands = (await NOUNS[path.split(" ")[0] ?? ""]?.load()) ?? [];
  const command = commands.find((one) => one.path.join(" ") === path);
  if (command === undefined) throw new Error(`no command ${path}`);
  expect(objectKindOf(command, count)).toBe(kind);
});

test.each([
  ["skep rmi local/app:1", "local/app:1.2 local/app:1.3", "1.2 1.3"],
  ["skep run --network=b", "--network=bridge", "bridge"],
  ["skep volume ", "ls rm", "ls rm"],
])("bash completes %s", async (line, offered, replies) => {
  const commands = (await NOUNS.completion?.load()) ?? [];
  let script = "";
  for (const command of commands) {
    const stdout = { write: (text: string) => (script += command.path[1] === "bash" ? text : "") };
    await command.run({ stdout } as unknown as CommandContext);
  }
  const fake = `skep() { for word in ${offered}; do printf '%s\\tmeaning\\n' "$word"; done; }`;
  const ask = `COMP_LINE=$1; COMP_POINT=\${#1}; _skep; echo "\${COMPREPLY[*]}"`;
  const bash = spawnSync("bash", ["-c", `${script}\n${fake}\n${ask}`, "bash", line]);
  expect([String(bash.stderr), String(bash.stdout)]).toEqual(["", `${replies}\n`]);
});

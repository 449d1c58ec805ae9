/** daemon.json from end to end: what it sets, what is refused, and what a SIGHUP takes over. */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DOCKERS, EngineProcess } from "./engine-process.ts";

let engine: EngineProcess;
let file: string;

const write = (content: unknown) =>
  writeFileSync(file, typeof content === "string" ? content : JSON.stringify(content));

interface Info {
  readonly Labels: readonly string[];
  readonly Debug: boolean;
  readonly RegistryConfig: {
    readonly IndexConfigs: Readonly<Record<string, { readonly Secure: boolean }>>;
    readonly Mirrors: readonly string[];
  };
  readonly DefaultAddressPools: unknown;
}

async function info(): Promise<Info> {
  return JSON.parse((await engine.http("GET", "/info")).text) as Info;
}

beforeAll(async () => {
  engine = new EngineProcess();
  file = join(engine.folder, "daemon.json");
  write({ labels: ["zone=a"], "insecure-registries": ["one:5000"], "shutdown-timeout": 7 });
  await engine.start([`--config-file=${file}`]);
});

afterAll(() => engine.destroy());

describe("refused before anything is started", () => {
  async function attempt(content: unknown, ...flags: readonly string[]): Promise<string> {
    const other = join(engine.folder, "other.json");
    writeFileSync(other, typeof content === "string" ? content : JSON.stringify(content));
    const args = ["engine", "--validate", `--config-file=${other}`, ...flags];
    const { code, stdout, stderr } = await engine.skep(...args);
    return `${code} ${stdout}${stderr}`;
  }

  test.each<[unknown, readonly string[], RegExp]>([
    [{ frobnicate: 1, debug: true }, [], /^1 .*don't match any configuration option: frobnicate\n/],
    [
      { debug: true },
      ["-D"],
      /^1 .*both as a flag and in the configuration file: debug: \(from flag: true, from file: true\)/,
    ],
    ["{", [], /^1 unable to configure the daemon with file .*other\.json: .*JSON/],
    ["[]", [], /^1 .*it must hold a JSON object/],
    [{ "log-level": "loud" }, [], /^1 invalid logging level: loud/],
    [{}, [], /^0 configuration OK\n$/],
    ["", [], /^0 configuration OK\n$/],
  ])("%j with %j", async (content, flags, message) => {
    expect(await attempt(content, ...flags)).toMatch(message);
  });

  test("a file that was named must be there", async () => {
    const { code, stderr } = await engine.skep(
      "engine",
      "--validate",
      "--config-file=/nosuch.json",
    );
    expect([code, stderr]).toEqual([1, expect.stringContaining("/nosuch.json")]);
  });
});

test("SIGHUP takes over what may change, tells of it, and names the rest", async () => {
  expect(await info()).toMatchObject({ Labels: ["zone=a"], Debug: false });
  write({
    labels: ["zone=b"],
    debug: true,
    "insecure-registries": ["two:5000"],
    "registry-mirrors": ["http://mirror:5000"],
    "max-concurrent-downloads": 1,
    mtu: 1400,
  });
  engine.signal("SIGHUP");
  await engine.logged(/configuration reloaded/);
  expect(await reloadEvent()).toMatchObject({
    Type: "daemon",
    Action: "reload",
    Actor: { Attributes: { labels: '["zone=b"]', "max-concurrent-downloads": "1", debug: "true" } },
  });
  const { Labels, Debug, RegistryConfig } = await info();
  expect([Labels, Debug]).toEqual([["zone=b"], true]);
  expect(RegistryConfig.Mirrors).toEqual(["http://mirror:5000"]);
  expect(Object.keys(RegistryConfig.IndexConfigs).toSorted()).toEqual(["docker.io", "two:5000"]);
  expect(engine.log).toMatch(/"settings":\["bridge"\].*takes effect with the next start only/);
  for (const docker of DOCKERS) {
    const { stdout } = await engine.run(docker, ["info", "--format={{.Labels}}"]);
    expect(stdout, docker).toBe("[zone=b]\n");
  }
});

test("a pull goes by what was reloaded", async () => {
  write({ "insecure-registries": ["127.0.0.1:1"] });
  engine.signal("SIGHUP");
  await engine.logged(/"registry".*"configuration reloaded"/);
  // Nobody listens there; that plain http was tried at last shows that it counts as insecure.
  const { stderr } = await engine.run(DOCKERS[0] ?? "docker", ["pull", "127.0.0.1:1/x"]);
  expect(stderr).toContain('Get "http://127.0.0.1:1/v2/"');
});

test("a bad file changes nothing, and the engine goes on", async () => {
  const before = await info();
  write({ labels: ["zone=c"], frobnicate: 1 });
  engine.signal("SIGHUP");
  await engine.logged(/frobnicate.*the configuration is not reloaded/);
  expect((await info()).Labels).toEqual(before.Labels);
  write("{");
  engine.signal("SIGHUP");
  await engine.logged(/JSON.*the configuration is not reloaded/);
  expect((await engine.http("GET", "/_ping")).text).toBe("OK");
});

test("generic resources of the node are parsed at the start", async () => {
  const other = new EngineProcess();
  const code = await other.start(["--node-generic-resource=gpu"], true);
  expect(code).toBe(1);
  expect(other.log).toContain("invalid generic resource specification: gpu");
  await other.destroy();
});

/** What the engine has told of its reload, by the docker command. */
async function reloadEvent(): Promise<unknown> {
  const until = String(Math.ceil(Date.now() / 1000));
  const args = ["events", "--since=0", `--until=${until}`, "--filter=type=daemon"];
  const { stdout } = await engine.run(DOCKERS[0] ?? "docker", [...args, "--format={{json .}}"]);
  return JSON.parse(stdout) as unknown;
}

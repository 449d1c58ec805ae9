/**
 * From one build to another, host by host, while a service is asked: engines of both serve one swarm,
 * an engine that goes back before all have moved is taken as it is, and one that goes back later is
 * refused with the reason where the swarm uses by then what it does not know.
 *
 * A fresh clone has no older build: by default this tree's own is the older one, and the newer one is
 * this tree built once more under another version and with one feature level more. So what is tested
 * is the way of an upgrade, and not what a certain release has changed. SKEP_TEST_OLDER_BUILD=FOLDER
 * names a build of an older commit (a folder with its `bin/skep` and `dist`), and then this tree's own
 * is the newer one.
 */

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { FEATURE_LEVEL } from "#model/feature-level.ts";
import { IMAGE, Lab, SKEP, until } from "./lab.ts";
import { type Load, startLoad } from "./requests.ts";

const OLDER = process.env["SKEP_TEST_OLDER_BUILD"];
const MANAGERS = ["h1", "h2", "h3"] as const;
const WORKERS = OLDER === undefined ? ["h4"] : ["h4", "h5"];
const HOSTS = [...MANAGERS, ...WORKERS];
const NEXT_LEVEL = FEATURE_LEVEL + 1;
const PORT = 8080;

let folder: string;
let older: string;
let newer: string;
let lab: Lab;
let load: Load;
let replicas = 4;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "skep-upgrade-"));
  if (OLDER === undefined) {
    const options = ["--version=0.0.0-drill", `--feature-level=${NEXT_LEVEL}`, `--out=${folder}`];
    execFileSync(process.execPath, ["tools/build.mjs", ...options]);
  }
  older = OLDER === undefined ? SKEP : join(OLDER, "bin/skep");
  newer = OLDER === undefined ? join(folder, "bin/skep") : SKEP;
  lab = await Lab.up({ hosts: HOSTS.length, managers: MANAGERS.length, program: older });
  await lab.loadImage(HOSTS);
  const create = ["service", "create", "-d", "--name=web", `--replicas=${replicas}`];
  await lab.docker("h1", ...create, `--publish=${PORT}:80`, IMAGE);
  await until("the service runs", async () => (await running()) === replicas);
  load = startLoad(
    HOSTS.map((host) => `${lab.address(host)}:${PORT}`),
    4,
    25,
  );
}, 180_000);

afterAll(async () => {
  await load?.stop();
  await lab?.down();
  rmSync(folder, { recursive: true, force: true });
});

const running = async (host = "h1") => (await lab.running(host, "web")).length;

const versionOf = (skep: string) =>
  execFileSync(process.execPath, [skep, "--version"], { encoding: "utf8" }).split(/[ ,\n]/)[2] ??
  "";

interface NodeFacts {
  readonly Status: { readonly State: string };
  readonly Description: { readonly Engine: { readonly EngineVersion: string } };
  readonly ManagerStatus?: { readonly Reachability: string };
}

/** Another program takes over what the host's engine left, and the host has its part in the swarm. */
async function move(host: string, skep: string): Promise<void> {
  await lab.changeProgram(host, skep);
  const version = versionOf(skep);
  const asked = MANAGERS.find((name) => name !== host) ?? "";
  await until(`${host} is back`, async () => {
    const { ID } = await lab.node(asked, host);
    const { Status, Description, ManagerStatus } = await lab.get<NodeFacts>(asked, `/nodes/${ID}`);
    const reachable = ManagerStatus === undefined || ManagerStatus.Reachability === "reachable";
    return Status.State === "ready" && reachable && Description.Engine.EngineVersion === version;
  });
  await until("the swarm can be asked everywhere", async () => {
    for (const name of MANAGERS) await lab.leader(name);
    return true;
  });
}

/** One manager makes the service larger by a task, and the others read what it wrote. */
async function growBy(host: string, readers: readonly string[] = MANAGERS): Promise<void> {
  replicas += 1;
  await until(`${host} changes the service`, async () => {
    const mode = { Replicated: { Replicas: replicas } };
    const answer = await lab.update(host, "web", (spec) => ({ ...spec, Mode: mode }));
    return answer.status === 200;
  });
  for (const name of readers) {
    await until(`${name} knows`, async () => (await running(name)) === replicas);
  }
}

test("hosts move one by one to another build and one moves back: no request fails", async () => {
  await move("h3", newer);
  await growBy("h3");
  await growBy("h2");
  for (const worker of WORKERS) await move(worker, newer);
  await move("h2", newer);
  // Two of three are new, and one of them goes back.
  await move("h3", older);
  await growBy("h3");
  await growBy("h1");
  await move("h3", newer);
  await move("h1", newer);
  await growBy("h1");
  await until("all tasks run", async () => (await running("h2")) === replicas);
  expect(load.failures).toEqual([]);
  expect(load.by.size).toBeGreaterThan(0);
}, 300_000);

const logOf = (host: string) => readFileSync(`${lab.dataRoot(host)}.log`, "utf8");

test.skipIf(OLDER === undefined)(
  "one that goes back to the older build when all have moved serves, or says why not; the newer one is well again",
  async () => {
    await lab.changeProgram("h3", older);
    interface Info {
      readonly Swarm: { readonly ControlAvailable: boolean; readonly Error: string };
    }
    const outcome = await until("h3 serves or refuses", async () => {
      const { Swarm } = await lab.get<Info>("h3", "/info");
      if (Swarm.Error.includes("this swarm uses features of level")) return Swarm.Error;
      return Swarm.ControlAvailable && (await running("h3")) === replicas && "it serves";
    });
    console.info(`${versionOf(older)} after ${versionOf(newer)}: ${outcome}`);
    await growBy("h2", ["h1", "h2"]);
    await move("h3", newer);
    await growBy("h3");
    expect(load.failures).toEqual([]);
  },
  180_000,
);

test.skipIf(OLDER !== undefined)(
  "one that goes back when newer features are in use is told so, and is well again with the newer build",
  async () => {
    await until("the level rises", async () =>
      MANAGERS.some((host) => logOf(host).includes(`"level":${NEXT_LEVEL},`)),
    );
    await lab.changeProgram("h3", older);
    interface Info {
      readonly Swarm: { readonly LocalNodeState: string; readonly Error: string };
    }
    const refusal = `this swarm uses features of level ${NEXT_LEVEL}, and this version of skep knows them up to level ${FEATURE_LEVEL}`;
    await until("h3 says why it does not take part", async () => {
      const { Swarm } = await lab.get<Info>("h3", "/info");
      return Swarm.Error.includes(refusal);
    });
    await growBy("h2", ["h1", "h2"]);
    await move("h3", newer);
    await growBy("h3");
  },
  180_000,
);

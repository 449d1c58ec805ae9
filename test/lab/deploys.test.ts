/**
 * Deploys under load: rolling updates in both orders, canaries good and bad, blue/green switches and
 * returns, while a program of its own asks through the mesh of every host. No request fails, and a bad
 * version never gets beyond its canary. A version is told by the hostname that its answers carry.
 *
 * A few of each with a rate that any machine bears; `SKEP_DEPLOYS=50 SKEP_LOAD_RATE=1000` is the whole
 * proof: that many rolling updates, a fifth of it canaries of both kinds and switches.
 */

import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { ServiceSpec } from "#wire/docker/services.ts";
import { Lab, until } from "./lab.ts";
import { PROBE, startTraffic, type Traffic } from "./traffic.ts";

const HOSTS = ["h1", "h2", "h3"];
const FULL = Number(process.env["SKEP_DEPLOYS"] ?? 0);
const ROLLING = FULL > 0 ? FULL : 2;
const OTHERS = FULL > 0 ? Math.ceil(FULL / 5) : 1;
const RATE = Number(process.env["SKEP_LOAD_RATE"] ?? 200);
const REPLICAS = 6;
/** Many more than a client that has no turn has open at once: of those the quick ones answer first. */
const SHARE_SAMPLE = RATE * 5;
const PORT = 8080;
const ONE_MS = 120_000;
/** Serves for a while, then fails its health check, and serves on. */
const BAD = "(sleep 4; echo > /tmp/sick) & exec probe serve 80";
const HEALTH = [
  "--health-cmd=probe check 80",
  "--health-interval=1s",
  "--health-retries=2",
  "--health-start-period=20s",
];

let lab: Lab;
let load: Traffic;
let version = 1;
/** What serves. */
let current = "v1";

beforeAll(async () => {
  lab = await Lab.up({ hosts: 3, managers: 3 });
  await lab.loadImage(HOSTS, PROBE);
  const create = ["service", "create", "-q", "--name=web", `--replicas=${REPLICAS}`];
  const pace = ["--update-monitor=1s", "--update-parallelism=2", "--rollback-monitor=1s"];
  await skep(...create, "--hostname=v1", `--publish=${PORT}:80`, ...HEALTH, ...pace, PROBE.name);
  await until("the service runs", async () => {
    return (await lab.running("h1", "web")).length === REPLICAS;
  });
  load = await startTraffic(
    RATE,
    HOSTS.map((host) => `${lab.address(host)}:${PORT}`),
  );
});

afterEach(async ({ task }) => {
  if (task.result?.state === "fail") console.error(await lab.describe("web"));
});

afterAll(async () => {
  const result = await load.stop();
  await lab.down();
  console.info(JSON.stringify({ ...result, failures: result.failures.length }));
  expect(result.failures).toEqual([]);
});

async function skep(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await lab.skep("h1", ...args);
  if (code !== 0) throw new Error(`${args.join(" ")}: ${stderr}${stdout}`);
  return stdout;
}

/** Gives the service its next version with further flags, and waits as users do. */
async function update(...flags: readonly string[]): Promise<string> {
  version += 1;
  current = `v${version}`;
  await skep("service", "update", `--hostname=${current}`, ...flags, "web");
  return current;
}

async function state(): Promise<string | undefined> {
  return (await lab.service("h1", "web")).UpdateStatus?.State;
}

/** Only this version answers from now on: so many answers in a row. */
async function serves(hostname: string): Promise<void> {
  await until(`${hostname} serves alone`, async () => {
    const before = load.by;
    await until("answers come", async () => count(load.by) - count(before) > 50);
    const others = Object.entries(load.by).filter(
      ([name, n]) => name !== hostname && n > (before[name] ?? 0),
    );
    return others.length === 0;
  });
}

function withCommand(spec: ServiceSpec, Hostname: string, command: string): ServiceSpec {
  const { TaskTemplate } = spec;
  const ContainerSpec = { ...TaskTemplate.ContainerSpec, Hostname, Args: ["sh", "-c", command] };
  return { ...spec, TaskTemplate: { ...TaskTemplate, ContainerSpec } };
}

const count = (by: Traffic["by"]) => Object.values(by).reduce((a, b) => a + b, 0);

async function versions(): Promise<ReadonlyMap<string, number>> {
  const found = new Map<string, number>();
  for (const { Spec } of await lab.running("h1", "web")) {
    const name = (Spec.ContainerSpec as { Hostname?: string } | undefined)?.Hostname ?? "";
    found.set(name, (found.get(name) ?? 0) + 1);
  }
  return found;
}

describe("under load", () => {
  test(
    "rolling updates in both orders fail no request",
    async () => {
      for (let at = 0; at < ROLLING; at++) {
        const order = at % 2 === 0 ? "start-first" : "stop-first";
        const name = await update("--strategy=rolling", `--update-order=${order}`);
        expect(await state()).toBe("completed");
        expect(await versions()).toEqual(new Map([[name, REPLICAS]]));
      }
      expect(load.failures).toEqual([]);
    },
    ROLLING * ONE_MS,
  );

  test(
    "a canary gets its share, and spreads when it is promoted",
    async () => {
      const canary = ["--strategy=canary", "--canary=1", "--canary-weight=30%"];
      for (let at = 0; at < OTHERS; at++) {
        const before = current;
        const name = await update(...canary, "--promotion=manual", "--analysis=1s");
        expect(await skep("service", "explain", "web")).toContain("waits for promotion: 1 of 6");
        expect(await versions()).toEqual(
          new Map([
            [before, REPLICAS - 1],
            [name, 1],
          ]),
        );
        const seen = load.by;
        await until("many answers come", async () => count(load.by) - count(seen) > SHARE_SAMPLE);
        const { by } = load;
        const share = ((by[name] ?? 0) - (seen[name] ?? 0)) / (count(by) - count(seen));
        expect(share).toBeGreaterThan(0.2);
        expect(share).toBeLessThan(0.4);
        await skep("service", "promote", "web");
        await until("it has spread", async () => (await state()) === "completed");
        expect(await versions()).toEqual(new Map([[name, REPLICAS]]));
      }
      expect(load.failures).toEqual([]);
    },
    OTHERS * ONE_MS,
  );

  test(
    "a bad canary goes no further, and the others serve on",
    async () => {
      for (let at = 0; at < OTHERS; at++) {
        const before = current;
        const flags = ["--strategy=canary", "--canary=1", "--promotion=auto", "--analysis=60s"];
        await skep("service", "update", "-q", ...flags, "web");
        version += 1;
        const name = `v${version}`;
        const answer = await lab.update("h1", "web", (spec) => withCommand(spec, name, BAD));
        expect(answer.text).toBe('{"Warnings":null}\n');
        let most = 0;
        await until(
          "the canary has failed",
          async () => {
            most = Math.max(most, (await versions()).get(name) ?? 0);
            return (await state()) === "rollback_completed";
          },
          ONE_MS,
        );
        expect(load.by[name]).toBeGreaterThan(0);
        expect(most).toBeLessThanOrEqual(1);
        expect(await versions()).toEqual(new Map([[before, REPLICAS]]));
      }
      expect(load.failures).toEqual([]);
    },
    OTHERS * ONE_MS,
  );

  test(
    "blue/green moves everything at once, and back",
    async () => {
      for (let at = 0; at < OTHERS; at++) {
        const before = current;
        const name = await update("--strategy=blue-green", "--keep=1h", "--analysis=1s");
        await serves(name);
        expect(await versions()).toEqual(
          new Map([
            [before, REPLICAS],
            [name, REPLICAS],
          ]),
        );
        await skep("service", "rollback", "-q", "web");
        await serves(before);
        await skep("service", "rollback", "-q", "web");
        await serves(name);
        await skep("service", "update", "-q", "--keep=0", "web");
        await until("the old set is gone", async () => (await versions()).size === 1);
      }
      expect(load.failures).toEqual([]);
    },
    OTHERS * ONE_MS,
  );
});

test("what cannot run says why, and which node comes nearest", async () => {
  await skep("service", "create", "-d", "--name=big", "--reserve-memory=900g", PROBE.name);
  await until("it is explained", async () => {
    const said = await skep("service", "explain", "big");
    return /nearest: h\d: it lacks \d+ MiB of memory/.test(said);
  });
  await skep("service", "rm", "big");
});

test("every manager tells what changes in the swarm, and has told", async () => {
  const since = ["--since=1", `--until=${Math.ceil(Date.now() / 1000)}`];
  const filters = ["--filter=scope=swarm", "--filter=service=big"];
  const format = ["--format", "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}"];
  for (const host of HOSTS) {
    const told = await lab.docker(host, "events", ...since, ...filters, ...format);
    // In between, the allocator notes what it has given.
    const [first, ...others] = told.split("\n");
    expect([first, others.at(-1)]).toEqual(["service create big", "service remove big"]);
  }
});

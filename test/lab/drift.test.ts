/**
 * Deploys, scales, power cuts, network cuts, reboots, restarts of engines, and hands in the kernel, at
 * random and on top of each other; then quiet. Every host's kernel must then be what the swarm's state
 * says, and stay so. The seed is printed; SKEP_TEST_SEED replays its choices, SKEP_DRIFT_SECONDS says how
 * long the disorder lasts.
 */

import { afterAll, beforeAll, expect, test } from "vitest";
import type { ServiceSpec } from "#wire/docker/services.ts";
import {
  differences,
  gatewaysOf,
  readState,
  readSwarm,
  type State,
  wantedStates,
} from "./kernel-state.ts";
import { IMAGE, Lab, until } from "./lab.ts";
import { type Choose, pick, seeded } from "./random.ts";

const HOSTS = ["h1", "h2", "h3", "h4", "h5"];
const SEED = Number(process.env["SKEP_TEST_SEED"] ?? Date.now() % 1_000_000);
const SECONDS = Number(process.env["SKEP_DRIFT_SECONDS"] ?? 20);
const SERVICES = ["alpha", "beta", "gamma", "delta", "epsilon"];
const NETWORKS = ["one", "two"];
/** Hosts that are in trouble at once, at most: else there would be nothing to go on with. */
const TROUBLED_MAX = 2;
const QUIET_MS = 9_000;

let lab: Lab;
const log: string[] = [];

beforeAll(async () => {
  console.info(`seed ${SEED}`);
  lab = await Lab.up({ hosts: HOSTS.length, managers: 3 });
  await lab.loadImage(HOSTS);
  await lab.docker("h1", "swarm", "update", "--dispatcher-heartbeat=1s");
  for (const name of NETWORKS) await lab.docker("h1", "network", "create", "-d", "overlay", name);
});

afterAll(() => lab.down());

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function note(what: string): void {
  log.push(`${new Date().toISOString().slice(11, 23)} ${what}`);
}

/** An order that anybody may refuse: what counts is that all agree in the end. */
async function order(choose: Choose): Promise<void> {
  const host = pick(choose, ["h1", "h2", "h3"]);
  const name = pick(choose, SERVICES);
  const kind = choose(10);
  const spec = specOf(choose, name);
  const ask = async (method: string, path: string, body?: unknown) => {
    const answer = await lab.http(host, method, path, body, 4_000).catch(() => undefined);
    note(`${method} ${name} by ${host}: ${answer?.status ?? "no answer"}`);
  };
  const known = await lab
    .http(host, "GET", `/services/${name}`, undefined, 4_000)
    .catch(() => undefined);
  if (known === undefined) return;
  if (known.status === 404) return ask("POST", "/services/create", spec);
  if (known.status !== 200) return;
  const { ID, Version } = JSON.parse(known.text) as { ID: string; Version: { Index: number } };
  if (kind < 2) return ask("DELETE", `/services/${ID}`);
  await ask("POST", `/services/${ID}/update?version=${Version.Index}`, spec);
}

function specOf(choose: Choose, name: string): ServiceSpec {
  const at = SERVICES.indexOf(name);
  const ports = [
    {
      Protocol: "tcp" as const,
      TargetPort: 80,
      PublishedPort: 8_000 + at,
      PublishMode: "ingress" as const,
    },
  ];
  return {
    Name: name,
    Labels: {},
    TaskTemplate: {
      ForceUpdate: choose(3),
      Networks: NETWORKS.filter(() => choose(2) === 0).map((Target) => ({ Target })),
      ContainerSpec: { Image: IMAGE, StopGracePeriod: 1e9 },
      RestartPolicy: { Condition: "any", Delay: 1e9, MaxAttempts: 0 },
    },
    Mode: at === 0 ? { Global: {} } : { Replicated: { Replicas: 1 + choose(4) } },
    EndpointSpec: { Mode: "vip", Ports: choose(3) > 0 ? ports : [] },
  };
}

const HANDS = [
  "nft delete table inet skep_overlay",
  "nft flush ruleset",
  "for d in $(ip -br link show type vxlan | cut -d' ' -f1); do ip link del $d; done",
  "for d in $(ip -br link show type bridge | grep -o '^ov-[^ ]*'); do ip link del $d; done",
  "ip route flush proto 115",
  "ip -4 rule flush && ip rule add pref 32766 lookup main && ip rule add pref 32767 lookup default",
];

const troubled = new Set<string>();

/** Something goes wrong with a host, and is right again after a while. */
async function trouble(choose: Choose): Promise<void> {
  const host = pick(choose, HOSTS);
  const kind = pick(choose, ["kill", "cut", "stop-engine", "hand"] as const);
  const whileMs = 300 + choose(6_000);
  const hand = pick(choose, HANDS);
  if (troubled.has(host) || troubled.size >= TROUBLED_MAX) return;
  troubled.add(host);
  note(`${kind} ${host} for ${whileMs} ms${kind === "hand" ? `: ${hand}` : ""}`);
  try {
    if (kind === "hand") {
      await lab.command("exec", host, "--", "sh", "-c", hand).catch(() => "");
      return;
    }
    await lab.command(kind, host);
    await pause(whileMs);
    await lab.command(kind === "cut" ? "heal" : "start", host);
  } finally {
    troubled.delete(host);
    note(`${host} is right again`);
  }
}

async function states(): Promise<readonly string[]> {
  const gateways = new Map(
    await Promise.all(HOSTS.map(async (host) => [host, await gatewaysOf(lab, host)] as const)),
  );
  const swarm = await readSwarm(lab, "h1");
  const wanted = wantedStates(swarm, gateways, (host) => lab.address(host));
  const found = await Promise.all(HOSTS.map((host) => readState(lab, host)));
  const empty: State = new Map();
  return HOSTS.flatMap((host, at) =>
    differences(wanted.get(host) ?? empty, found[at] ?? empty).map((line) => `${host}: ${line}`),
  );
}

async function settled(): Promise<void> {
  await until(
    "every service runs what it shall",
    async () => {
      for (const { Spec, ServiceStatus, UpdateStatus } of await lab.services("h1")) {
        const { RunningTasks = 0, DesiredTasks = -1 } = ServiceStatus ?? {};
        if (RunningTasks === DesiredTasks && UpdateStatus?.State !== "updating") continue;
        throw new Error(`${Spec.Name ?? ""}: ${RunningTasks} of ${DesiredTasks}`);
      }
      return true;
    },
    90_000,
  );
}

async function repairs(): Promise<readonly number[]> {
  const logs = await Promise.all(HOSTS.map((host) => lab.command("logs", host)));
  return logs.map((text) => text.split("the kernel was not what it should be").length);
}

test("disorder, then quiet: every kernel is what the swarm's state says", async () => {
  const choose = seeded(SEED);
  const [orders, troubles] = [seeded(choose(2 ** 31)), seeded(choose(2 ** 31))];
  const stop = AbortSignal.timeout(SECONDS * 1_000);
  const running: Promise<void>[] = [];
  await Promise.all([
    (async () => {
      while (!stop.aborted) {
        await order(orders);
        await pause(orders(700));
      }
    })(),
    (async () => {
      while (!stop.aborted) {
        running.push(trouble(troubles));
        await pause(troubles(2_500));
      }
    })(),
  ]);
  await Promise.all(running);
  note("quiet");
  try {
    await settled();
    note("settled");
    await until(
      "every kernel is as wanted",
      async () => {
        const wrong = await states();
        note(`differs in ${wrong.length}`);
        if (wrong.length > 0) throw new Error(`\n${wrong.join("\n")}`);
        return true;
      },
      60_000,
    );
    note("equal");
    const before = await repairs();
    await pause(QUIET_MS);
    expect(await states()).toEqual([]);
    expect(await repairs()).toEqual(before);
  } catch (error) {
    console.info(`seed ${SEED}\n${log.join("\n")}`);
    throw error;
  }
}, 400_000);

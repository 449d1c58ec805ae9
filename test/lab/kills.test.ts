/**
 * Engines are killed (-9) at random moments, again and again, while a client creates, scales, updates
 * and removes services. What was acknowledged holds, what runs goes on, and at the end nothing is
 * left over. The seed is printed; SKEP_TEST_SEED replays the client's and the killer's choices.
 */

import { afterAll, beforeAll, expect, test } from "vitest";
import type { Service, ServiceSpec } from "#wire/docker/services.ts";
import { containersOf, leftovers, startOf } from "./host-state.ts";
import { IMAGE, Lab, until } from "./lab.ts";
import { seeded } from "./random.ts";

const HOSTS = ["h1", "h2", "h3"];
const SEED = Number(process.env["SKEP_TEST_SEED"] ?? Date.now() % 1_000_000);
const CHAOS_MS = 30_000;
const CLIENT_TIMEOUT_MS = 4000;
/** Shorter than it takes to call a node dead, so that nothing may move for this reason. */
const DEAD_ENGINE_MAX_MS = 4000;
const SERVICES = 4;

let lab: Lab;

beforeAll(async () => {
  console.info(`seed ${SEED}`);
  lab = await Lab.up({ hosts: 3, managers: 3 });
  await lab.loadImage(HOSTS);
});

afterAll(() => lab.down());

/** What a service may look like: `REVISION/REPLICAS`, or "" for none. */
type Look = string;

/** Everything that the client may be shown for each name, given what it was told so far. */
class Beliefs {
  readonly #possible = new Map<string, Set<Look>>();

  possible(name: string): ReadonlySet<Look> {
    return this.#possible.get(name) ?? new Set([""]);
  }

  acknowledged(name: string, look: Look): void {
    this.#possible.set(name, new Set([look]));
  }

  /** The change may have happened, or happen still. */
  uncertain(name: string, look: Look): void {
    this.#possible.set(name, new Set([...this.possible(name), look]));
  }

  names(): readonly string[] {
    return [...this.#possible.keys()];
  }
}

function lookOf(service: Service | undefined): Look {
  if (service === undefined) return "";
  const { Spec } = service;
  return `${Spec.Labels?.["revision"] ?? ""}/${Spec.Mode.Replicated?.Replicas ?? 0}`;
}

function specOf(name: string, revision: number, replicas: number): ServiceSpec {
  return {
    Name: name,
    Labels: { revision: String(revision) },
    TaskTemplate: {
      ForceUpdate: 0,
      Networks: [{ Target: "net" }],
      ContainerSpec: { Image: IMAGE, Env: [`REVISION=${Math.floor(revision / 3)}`] },
    },
    Mode: { Replicated: { Replicas: replicas } },
    EndpointSpec: {
      Mode: "vip",
      Ports: [{ Protocol: "tcp", TargetPort: 80, PublishMode: "ingress" }],
    },
    UpdateConfig: {
      Parallelism: 2,
      FailureAction: "pause",
      MaxFailureRatio: 0,
      Order: "stop-first",
    },
  };
}

/** One client; it asks any host that it likes, and remembers what it was promised. */
async function client(random: (bound: number) => number, beliefs: Beliefs, stop: AbortSignal) {
  let acknowledged = 0;
  for (let revision = 1; !stop.aborted; revision += 1) {
    const host = HOSTS[random(HOSTS.length)] ?? "";
    const name = `svc-${random(SERVICES)}`;
    const wanted = random(10);
    const replicas = 1 + random(3);
    const current = await read(host, name);
    if (current === "unknown") continue;
    expect([...beliefs.possible(name)], `what ${host} shows of ${name}`).toContain(lookOf(current));
    const look = current !== undefined && wanted === 0 ? "" : `${revision}/${replicas}`;
    beliefs.uncertain(name, look);
    const status = await change(
      host,
      current,
      look === "" ? undefined : specOf(name, revision, replicas),
    );
    if (status >= 200 && status < 300) {
      beliefs.acknowledged(name, look);
      acknowledged += 1;
    }
  }
  return acknowledged;
}

async function read(host: string, name: string): Promise<Service | undefined | "unknown"> {
  try {
    const { status, text } = await lab.http(
      host,
      "GET",
      `/services/${name}`,
      undefined,
      CLIENT_TIMEOUT_MS,
    );
    if (status === 200) return JSON.parse(text) as Service;
    return status === 404 ? undefined : "unknown";
  } catch {
    return "unknown";
  }
}

/** The status of the answer; 0 without one. */
async function change(
  host: string,
  current: Service | undefined,
  spec: ServiceSpec | undefined,
): Promise<number> {
  const path =
    current === undefined
      ? "/services/create"
      : spec === undefined
        ? `/services/${current.ID}`
        : `/services/${current.ID}/update?version=${current.Version.Index}`;
  try {
    const method = spec === undefined ? "DELETE" : "POST";
    return (await lab.http(host, method, path, spec, CLIENT_TIMEOUT_MS)).status;
  } catch {
    return 0;
  }
}

/** Kills one engine at a time or more, and starts each again after a while. */
async function killer(random: (bound: number) => number, stop: AbortSignal): Promise<number> {
  let kills = 0;
  while (!stop.aborted) {
    await pause(random(3000));
    const first = random(HOSTS.length);
    const count = 1 + random(HOSTS.length);
    const victims = HOSTS.map((_, index) => HOSTS[(first + index) % HOSTS.length] ?? "").slice(
      0,
      count,
    );
    kills += count;
    await Promise.all(
      victims.map(async (host) => {
        await pause(random(500));
        await lab.command("stop-engine", host);
        await pause(random(DEAD_ENGINE_MAX_MS - 1000));
        await lab.command("start", host);
      }),
    );
  }
  return kills;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** task → pid and start time of its container, over all hosts. */
async function sightings(): Promise<ReadonlyMap<string, string>> {
  const seen = new Map<string, string>();
  for (const host of HOSTS) {
    for (const { task, pid } of await containersOf(lab, host)) {
      seen.set(task, `${pid} since ${startOf(pid) ?? "never"}`);
    }
  }
  return seen;
}

test("engines die at random moments: no promise is broken, nothing that runs is touched", async () => {
  const random = seeded(SEED);
  await lab.docker("h1", "network", "create", "--driver=overlay", "net");
  await lab.docker("h1", "service", "create", "--detach", "--mode=global", "--name=steady", IMAGE);
  await until(
    "one steady task on each host",
    async () => (await lab.running("h1", "steady")).length === 3,
  );
  const steady = await sightings();

  const stop = AbortSignal.timeout(CHAOS_MS);
  const beliefs = new Beliefs();
  const [acknowledged, kills] = await Promise.all([
    client(seeded(random(2 ** 31)), beliefs, stop),
    killer(seeded(random(2 ** 31)), stop),
  ]);
  console.info(`${acknowledged} changes acknowledged, ${kills} engines killed`);
  expect(acknowledged).toBeGreaterThan(0);

  const services = await until("a quorum that answers", () => lab.services("h1"));
  for (const name of beliefs.names()) {
    const shown = lookOf(services.find(({ Spec }) => Spec.Name === name));
    expect([...beliefs.possible(name)], name).toContain(shown);
  }
  for (const [task, process] of steady) {
    expect((await sightings()).get(task), `the steady task ${task}`).toBe(process);
  }
  for (const { ID, Status } of await lab.tasks("h1")) {
    expect(["failed", "rejected", "orphaned"], `${ID}: ${Status.Err}`).not.toContain(Status.State);
  }
}, 120_000);

/** Throws what is still on its way. */
async function converged(services: readonly Service[]): Promise<true> {
  for (const { Spec } of services) {
    const name = Spec.Name ?? "";
    const wanted = Spec.Mode.Replicated?.Replicas ?? HOSTS.length;
    const env = String(Spec.TaskTemplate.ContainerSpec?.Env);
    const tasks = await lab.tasks("h2", name);
    const alive = tasks.filter(({ DesiredState }) => DesiredState === "running");
    const right = alive.filter(
      ({ Status, Spec: own }) =>
        Status.State === "running" && String(own.ContainerSpec?.Env) === env,
    );
    const { UpdateStatus } = await lab.service("h2", name);
    if (right.length === wanted && alive.length === wanted && UpdateStatus?.State !== "updating") {
      continue;
    }
    const shown = tasks.map(({ ID, Slot, DesiredState, Status }) => {
      return `${ID} ${Slot ?? ""} ${Status.State} (${Status.Message ?? ""} ${Status.Err ?? ""}) of ${DesiredState}`;
    });
    throw new Error(
      `${name}, ${wanted} wanted, ${UpdateStatus?.State ?? ""}:\n${shown.join("\n")}`,
    );
  }
  return true;
}

test("then everything converges, and nothing is left over", async () => {
  const services = await until("a manager that answers", () => lab.services("h2"));
  const wanted = services.reduce((sum, { Spec }) => sum + (Spec.Mode.Replicated?.Replicas ?? 3), 0);
  await until("every service runs what it shall", () => converged(services), 90_000);
  await until("what runs is what the tasks say, and no more", async () => {
    const tasks = (await lab.tasks("h2")).filter(({ Status }) => Status.State === "running");
    expect(tasks.map(({ ID }) => ID).sort()).toEqual([...(await sightings()).keys()].sort());
    for (const host of HOSTS) expect(JSON.stringify(await leftovers(lab, host)), host).toBe("{}");
    return tasks.length === wanted;
  });
}, 150_000);

test("all removed: nothing of them stays on any host", async () => {
  for (const { Spec } of await lab.services("h3")) {
    await lab.docker("h3", "service", "rm", Spec.Name ?? "");
  }
  await until("no container, shim, namespace, or network endpoint is left", async () => {
    for (const host of HOSTS) {
      expect(await containersOf(lab, host), host).toEqual([]);
      expect(JSON.stringify(await leftovers(lab, host)), host).toBe("{}");
    }
    return (await lab.tasks("h3")).length === 0;
  });
});

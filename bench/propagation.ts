/**
 * How long it takes from a task's being ready (the time that its node gave its state RUNNING) until the
 * kernel of every host balances over it, and containers on every host find it by name. A lab of five
 * hosts with three managers: what starts the container takes its part of the machine too. Gossip, which
 * dockerd uses, has no such figure; its members tell each other every 200 ms.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { Lab, until } from "../test/lab/lab.ts";
import { PROBE, probeService } from "../test/lab/traffic.ts";
import type { Report } from "./report.ts";

const HOSTS = ["h1", "h2", "h3", "h4", "h5"];
const ROUNDS = 30;
const NETWORK = "net";
const PORT = 8080;

interface Task {
  readonly ID: string;
  readonly Status: { readonly State: string; readonly Timestamp: string };
  readonly NetworksAttachments?: readonly {
    readonly Network: { readonly Spec: { readonly Name: string } };
    readonly Addresses?: readonly string[];
  }[];
}

/** When (milliseconds since 1970) each host first knew an address. */
type Sightings = ReadonlyMap<string, Map<string, number>>;

export async function run(report: Report): Promise<void> {
  const lab = await Lab.up({ hosts: HOSTS.length, managers: 3, name: `bench-${process.pid}` });
  const children: ChildProcess[] = [];
  try {
    const [kernels, names] = await prepare(lab, children);
    const took = { kernel: [] as number[], name: [] as number[] };
    for (let round = 0; round < ROUNDS; round += 1) {
      const { readyMs, ingress, own } = await oneMore(lab, 2 + round);
      took.kernel.push((await lastOf(kernels, ingress)) - readyMs);
      took.name.push((await lastOf(names, own)) - readyMs);
    }
    tell(report, "task ready → every host's balance, 5 hosts", took.kernel);
    tell(report, "task ready → its name on every host, 5 hosts", took.name);
  } finally {
    for (const child of children) child.kill("SIGKILL");
    await lab.down();
  }
}

async function prepare(lab: Lab, children: ChildProcess[]): Promise<[Sightings, Sightings]> {
  await lab.loadImage(HOSTS, PROBE);
  await lab.docker("h1", "network", "create", "-d", "overlay", "--attachable", NETWORK);
  const spec = probeService("web", 1, PORT);
  const TaskTemplate = {
    ...spec.TaskTemplate,
    ContainerSpec: { Image: PROBE.name },
    Networks: [{ Target: NETWORK }],
  };
  const made = await lab.http("h1", "POST", "/services/create", { ...spec, TaskTemplate });
  if (made.status !== 201) throw new Error(made.text);
  await until("it runs", async () => (await lab.running("h1", "web")).length === 1);
  const kernels = new Map<string, Map<string, number>>();
  const names = new Map<string, Map<string, number>>();
  for (const host of HOSTS) {
    const netns = `/run/netns/skep-lab-${lab.name}-${host}`;
    kernels.set(host, watch(children, "nsenter", [`--net=${netns}`, "nft", "monitor"]));
    const id = await lab.docker(host, "run", "-d", `--network=${NETWORK}`, PROBE.name);
    const words = ["-H", `unix://${lab.socket(host)}`, "exec", id, "probe", "watch", "tasks.web"];
    names.set(host, watch(children, "docker", words));
  }
  return [kernels, names];
}

/** Addresses in what a program prints, by the time of their first line. */
function watch(
  children: ChildProcess[],
  program: string,
  words: readonly string[],
): Map<string, number> {
  const child = spawn(program, words, { stdio: ["ignore", "pipe", "inherit"] });
  children.push(child);
  const seen = new Map<string, number>();
  createInterface({ input: child.stdout }).on("line", (line) => {
    for (const [address] of line.matchAll(/\b\d+\.\d+\.\d+\.\d+\b/g)) {
      if (!seen.has(address)) seen.set(address, Date.now());
    }
  });
  return seen;
}

/** Scales to `count`; the task that came, and when it was ready. */
async function oneMore(lab: Lab, count: number) {
  const known = new Set((await lab.running("h1", "web")).map(({ ID }) => ID));
  await lab.update("h1", "web", (spec) => ({ ...spec, Mode: { Replicated: { Replicas: count } } }));
  const task = await until("one more runs", async () => {
    const tasks = await lab.get<readonly Task[]>("h1", "/tasks");
    return tasks.find(
      ({ ID, Status, NetworksAttachments = [] }) =>
        !known.has(ID) && Status.State === "running" && NetworksAttachments.length === 2,
    );
  });
  const on = (ingress: boolean) =>
    (task.NetworksAttachments ?? [])
      .filter(({ Network }) => (Network.Spec.Name === "ingress") === ingress)
      .flatMap(({ Addresses = [] }) =>
        Addresses.map((address) => address.split("/")[0] ?? ""),
      )[0] ?? "";
  return { readyMs: Date.parse(task.Status.Timestamp), ingress: on(true), own: on(false) };
}

function lastOf(sightings: Sightings, address: string): Promise<number> {
  return until(`every host knows ${address}`, () => {
    const times = [...sightings.values()].map((seen) => seen.get(address));
    return Promise.resolve(times.every((time) => time !== undefined) && Math.max(...times));
  });
}

function tell(report: Report, name: string, took: readonly number[]): void {
  const sorted = took.toSorted((a, b) => a - b);
  for (const [label, at] of [
    ["p50", 0.5],
    ["p99", 0.99],
  ] as const) {
    const ours = Math.round(sorted[Math.floor((sorted.length - 1) * at)] ?? 0);
    report({
      name: `${name}: ${label}`,
      ours,
      peer: "none keeps such a table",
      unit: "ms",
      ratio: undefined,
    });
  }
}

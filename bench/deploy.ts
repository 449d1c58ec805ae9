/**
 * Deploys as users make them. On one host beside dockerd's swarm mode: a rolling update of fifty
 * replicas and a stack of twenty services, until all tasks are what was asked for, with the CPU time
 * of everything on the host. Ours alone on five hosts: a hundred replicas from `service create` until
 * all run, fifty of them updated, and the CPU time of the leader's engine for both.
 *
 * Both updates watch each task for no time (1 ms; 0 would be the default of 5 s): we wait for the
 * monitor time between the steps of an update and docker does not, so that anything else compares two
 * promises.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Lab, until as untilTrue } from "../test/lab/lab.ts";
import { compare, measurement, median, seconds } from "./lib/compare.ts";
import { openDockerd } from "./lib/dockerd.ts";
import { docker, type Engine, get } from "./lib/engine.ts";
import { IMAGE, importImage } from "./lib/image.ts";
import { SkepEngine } from "./lib/skep.ts";
import { undoAll, undoLater } from "./lib/undo.ts";
import type { Report } from "./report.ts";

const UPDATED = Number(process.env["BENCH_UPDATED"] ?? 50);
const STACK_SERVICES = Number(process.env["BENCH_SERVICES"] ?? 20);
const WIDE = Number(process.env["BENCH_REPLICAS"] ?? 100);
const HOSTS = 5;
const PARALLELISM = 10;
const ROUNDS = 2;
const POLL_MS = 50;
const TIMEOUT_MS = 180_000;
/** The image's process, as the first of its container, obeys no signal but SIGKILL. */
const QUICK = ["--stop-signal=SIGKILL"];
const PACE = [`--update-parallelism=${PARALLELISM}`, "--update-monitor=1ms", "--update-delay=0s"];

export async function run(report: Report): Promise<void> {
  try {
    await besideDockerd(report);
    await overHosts(report);
  } finally {
    await undoAll();
  }
}

async function besideDockerd(report: Report): Promise<void> {
  const ours = new SkepEngine();
  await ours.start();
  await prepare(ours);
  const peer = await openDockerd();
  if (typeof peer !== "string") await prepare(peer);
  const cpu = new Map<Engine, number[]>();
  const timed = async (engine: Engine, work: () => Promise<void>) => {
    const before = engine.host.cpuSeconds();
    const took = await seconds(work);
    cpu.set(engine, [...(cpu.get(engine) ?? []), engine.host.cpuSeconds() - before]);
    return took;
  };
  const rounds = { unit: "s", rounds: ROUNDS, warmUp: 0, digits: 2 };
  const cpuRow = (name: string) => {
    const theirs = typeof peer === "string" ? peer : median(cpu.get(peer) ?? []);
    report(measurement({ ...rounds, name }, median(cpu.get(ours) ?? []), theirs));
    cpu.clear();
  };
  const update = `rolling update of ${UPDATED} replicas, ${PARALLELISM} at a time`;
  report(
    await compare(ours, peer, { ...rounds, name: update }, (engine) => {
      return timed(engine, () => updateService(engine));
    }),
  );
  cpuRow("CPU time of that, all processes");
  for (const engine of typeof peer === "string" ? [ours] : [ours, peer]) {
    await docker(engine, "service", "rm", "rolled");
    await gone(engine);
  }
  const stack = `stack of ${STACK_SERVICES} services, all running`;
  report(
    await compare(ours, peer, { ...rounds, name: stack }, async (engine) => {
      const took = await timed(engine, () => deployStack(engine));
      await docker(engine, "stack", "rm", "app");
      await gone(engine);
      return took;
    }),
  );
  cpuRow("CPU time of that, all processes");
}

async function prepare(engine: Engine): Promise<void> {
  await importImage(engine);
  await docker(engine, "swarm", "init", "--advertise-addr", "127.0.0.1");
  const flags = ["--detach", "--name=rolled", `--replicas=${UPDATED}`, ...QUICK, ...PACE];
  await docker(engine, "service", "create", ...flags, "--env=ROUND=0", IMAGE);
  await running(engine, UPDATED, "rolled", "ROUND=0");
}

let round = 0;

async function updateService(engine: Engine): Promise<void> {
  round += 1;
  await docker(engine, "service", "update", "--detach", `--env-add=ROUND=${round}`, "rolled");
  await running(engine, UPDATED, "rolled", `ROUND=${round}`);
}

async function deployStack(engine: Engine): Promise<void> {
  const file = join(engine.host.folder, "stack.yml");
  const services = Array.from(
    { length: STACK_SERVICES },
    (_, at) => `  s${at}: { image: "${IMAGE}", stop_signal: SIGKILL, networks: [net] }`,
  );
  const text = ['version: "3.8"', "services:", ...services, "networks: { net: {} }", ""];
  writeFileSync(file, text.join("\n"));
  await docker(engine, "stack", "deploy", "--resolve-image=never", "-c", file, "app");
  await running(engine, STACK_SERVICES);
}

interface TaskJson {
  readonly DesiredState: string;
  readonly Status: { readonly State: string };
  readonly Spec: { readonly ContainerSpec?: { readonly Env?: readonly string[] } };
}

/** So many tasks run, and have that variable. */
async function running(engine: Engine, count: number, service = "", env = ""): Promise<void> {
  const filters = service === "" ? {} : { service: [service] };
  await until(engine, `${count} tasks to run`, async () => {
    const text = await get(engine, `/tasks?filters=${encodeURIComponent(JSON.stringify(filters))}`);
    const tasks = JSON.parse(text ?? "[]") as readonly TaskJson[];
    return tasks.filter((task) => isUp(task, env)).length === count;
  });
}

function isUp({ DesiredState, Status, Spec }: TaskJson, env: string): boolean {
  if (DesiredState !== "running" || Status.State !== "running") return false;
  return env === "" || (Spec.ContainerSpec?.Env ?? []).includes(env);
}

async function gone(engine: Engine): Promise<void> {
  await until(engine, "containers to go", async () => {
    return (await get(engine, "/containers/json?all=1"))?.trim() === "[]";
  });
}

async function until(engine: Engine, what: string, done: () => Promise<boolean>): Promise<void> {
  const begun = performance.now();
  while (!(await done())) {
    if (performance.now() - begun > TIMEOUT_MS) {
      throw new Error(`${engine.title}: no end of waiting for ${what}`);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

async function overHosts(report: Report): Promise<void> {
  const name = `bench-${process.pid}`;
  const made: { lab?: Lab } = {};
  undoLater(() => (made.lab ?? new Lab(name)).down());
  const lab = await Lab.up({ name, hosts: HOSTS, managers: 3 });
  made.lab = lab;
  const hosts = Array.from({ length: HOSTS }, (_, at) => `h${at + 1}`);
  await lab.loadImage(hosts);
  const alone = "ours alone, five hosts";
  const row = (what: string, value: number) =>
    report(measurement({ name: what, unit: "s", digits: 2 }, value, alone));
  const leader = await lab.leader("h1");
  const pid = Number(readFileSync(`/run/skep-lab/${name}/${leader}/skep.pid`, "utf8"));
  const wide = async (count: number, args: readonly string[], env: string) => {
    const before = processSeconds(pid);
    const took = await seconds(async () => {
      await lab.docker("h1", "service", ...args);
      await untilTrue(
        `${count} tasks run`,
        async () => {
          const tasks = (await lab.tasks("h1", "wide")) as readonly TaskJson[];
          return tasks.filter((task) => isUp(task, env)).length === count;
        },
        TIMEOUT_MS,
      );
    });
    return [took, processSeconds(pid) - before] as const;
  };
  const flags = [
    "--detach",
    "--name=wide",
    `--replicas=${WIDE}`,
    "--env=ROUND=0",
    ...QUICK,
    ...PACE,
  ];
  const created = await wide(WIDE, ["create", ...flags, "web:demo"], "ROUND=0");
  row(`service create, ${WIDE} replicas running`, created[0]);
  row("CPU time of the leader's engine for that", created[1]);
  const half = Math.ceil(WIDE / 2);
  await wide(half, ["scale", "--detach", `wide=${half}`], "ROUND=0");
  const updated = await wide(half, ["update", "--detach", "--env-add=ROUND=1", "wide"], "ROUND=1");
  row(`rolling update of ${half} replicas, ${PARALLELISM} at a time`, updated[0]);
  row("CPU time of the leader's engine for that", updated[1]);
}

/** CPU time that a process has taken; the kernel counts in hundredths of a second. */
function processSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

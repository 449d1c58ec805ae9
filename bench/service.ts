/**
 * Fifty replicas on one host: from `service create` until all run, what that takes of the CPUs
 * (which another load on the machine hardly changes), and from `service rm` until no
 * container of them is left, on our engine and on dockerd's swarm mode side by side.
 */

import { compare, measurement, median, seconds } from "./lib/compare.ts";
import { openDockerd } from "./lib/dockerd.ts";
import { docker, type Engine, get } from "./lib/engine.ts";
import { IMAGE, importImage } from "./lib/image.ts";
import { SkepEngine } from "./lib/skep.ts";
import { undoAll } from "./lib/undo.ts";
import type { Report } from "./report.ts";

const REPLICAS = 50;
const ROUNDS = 3;
const POLL_MS = 50;
const TIMEOUT_MS = 180_000;
const SERVICE = "bench";

export async function run(report: Report): Promise<void> {
  try {
    const ours = new SkepEngine();
    await ours.start();
    await prepare(ours);
    const peer = await openDockerd();
    if (typeof peer !== "string") await prepare(peer);
    const others = new Map<Engine, readonly [cpu: number, removal: number][]>();
    const rounds = { unit: "s", rounds: ROUNDS, warmUp: 1, digits: 2 };
    const create = { ...rounds, name: `service create, ${REPLICAS} replicas running` };
    const created = await compare(ours, peer, create, async (engine) => {
      const cpuBefore = engine.host.cpuSeconds();
      const took = await seconds(() => createService(engine));
      const cpu = engine.host.cpuSeconds() - cpuBefore;
      const removed = await seconds(() => removeService(engine));
      others.set(engine, [...(others.get(engine) ?? []), [cpu, removed]]);
      return took;
    });
    report(created);
    // What went with each creation, in the same order.
    const no = typeof created.peer === "string" ? created.peer : undefined;
    const row = (name: string, at: 0 | 1) => {
      const middle = (engine: Engine) =>
        median((others.get(engine) ?? []).slice(rounds.warmUp).map((round) => round[at]));
      const theirs = no ?? (typeof peer === "string" ? peer : middle(peer));
      report(measurement({ ...rounds, name }, middle(ours), theirs));
    };
    row(`CPU time of that, all processes`, 0);
    row(`service rm, all ${REPLICAS} containers gone`, 1);
  } finally {
    await undoAll();
  }
}

async function prepare(engine: Engine): Promise<void> {
  await importImage(engine);
  await docker(engine, "swarm", "init", "--advertise-addr", "127.0.0.1");
}

/** The image's process, as the first of its container, obeys no signal but SIGKILL. */
async function createService(engine: Engine): Promise<void> {
  const flags = ["--detach", `--name=${SERVICE}`, `--replicas=${REPLICAS}`];
  await docker(engine, "service", "create", ...flags, "--stop-signal=SIGKILL", IMAGE);
  await until(engine, "tasks to run", async () => (await countRunningTasks(engine)) === REPLICAS);
}

async function removeService(engine: Engine): Promise<void> {
  await docker(engine, "service", "rm", SERVICE);
  await until(engine, "containers to go", async () => (await countContainers(engine)) === 0);
}

async function countRunningTasks(engine: Engine): Promise<number> {
  const filters = encodeURIComponent(JSON.stringify({ service: [SERVICE] }));
  const tasks = await list(engine, `/tasks?filters=${filters}`);
  return tasks.filter(({ Status }) => Status?.State === "running").length;
}

async function countContainers(engine: Engine): Promise<number> {
  return (await list(engine, "/containers/json?all=1")).length;
}

interface Listed {
  readonly Status?: { readonly State?: string };
}

async function list(engine: Engine, path: string): Promise<readonly Listed[]> {
  const text = await get(engine, path);
  if (text === undefined) throw new Error(`${engine.title} does not answer ${path}`);
  return JSON.parse(text) as readonly Listed[];
}

/** Both are asked the same questions at the same pace: what asking costs, it costs both. */
async function until(engine: Engine, what: string, done: () => Promise<boolean>): Promise<void> {
  const begun = performance.now();
  while (!(await done())) {
    if (performance.now() - begun > TIMEOUT_MS) {
      throw new Error(`${engine.title}: no end of waiting for ${what}`);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

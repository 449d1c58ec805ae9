/**
 * Fifty replicas on one host: from `service create` until all run, and from `service rm` until no
 * container of them is left, on our engine and on dockerd's swarm mode side by side.
 */

import { compare, seconds } from "./lib/compare.ts";
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
    const removals = new Map<Engine, number[]>();
    const create = { name: `service create, ${REPLICAS} replicas running`, unit: "s" };
    const measure = async (engine: Engine) => {
      const created = await seconds(() => createService(engine));
      const removed = await seconds(() => removeService(engine));
      removals.set(engine, [...(removals.get(engine) ?? []), removed]);
      return created;
    };
    report(await compare(ours, peer, { ...create, rounds: ROUNDS, warmUp: 1, digits: 2 }, measure));
    const remove = { name: `service rm, all ${REPLICAS} containers gone`, unit: "s" };
    report(
      await compare(ours, peer, { ...remove, rounds: ROUNDS, warmUp: 1, digits: 2 }, (engine) =>
        Promise.resolve(removals.get(engine)?.shift() ?? Number.NaN),
      ),
    );
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

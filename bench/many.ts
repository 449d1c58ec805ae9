/**
 * What an engine with many containers costs: memory beside that of an empty one, and what `ps` takes,
 * by docker's command line on both engines, and by each engine's own.
 */

import { openBoth } from "./lib/both.ts";
import { compare, measurement, seconds } from "./lib/compare.ts";
import { DOCKER, docker, type Engine, run as runProgram, usageOf } from "./lib/engine.ts";
import { IMAGE } from "./lib/image.ts";
import { SKEP } from "./lib/skep.ts";
import { undoAll } from "./lib/undo.ts";
import type { Report } from "./report.ts";

const CONTAINERS = 200;
/** That many are started at a time. */
const AT_ONCE = 4;
const ROUNDS = 15;
const SETTLE_MS = 10_000;

export async function run(report: Report): Promise<void> {
  try {
    const { ours, peer, engines } = await openBoth();
    await memory(report, engines, 0);
    const filled = { name: `start of ${CONTAINERS}, ${AT_ONCE} at a time`, unit: "s", digits: 1 };
    const took: number[] = [];
    for (const engine of engines) took.push(await seconds(() => fill(engine)));
    report(measurement(filled, took[0] ?? 0, took[1] ?? "not run"));
    await memory(report, engines, CONTAINERS);
    const list = { name: `docker ps, ${CONTAINERS} containers`, unit: "s", rounds: ROUNDS };
    report(await compare(ours, peer, list, (engine) => seconds(() => docker(engine, "ps"))));
    const own = { ...list, name: `skep ps beside docker ps, ${CONTAINERS} containers` };
    report(await compare(ours, peer, own, (engine) => seconds(() => ownPs(engine, ours))));
    const one = { ...list, name: "docker ps -n 1" };
    report(await compare(ours, peer, one, (engine) => seconds(() => docker(engine, "ps", "-n1"))));
  } finally {
    await undoAll();
  }
}

function ownPs(engine: Engine, ours: Engine): Promise<string> {
  const program = engine === ours ? SKEP : DOCKER;
  return runProgram(program, ["ps"], { DOCKER_HOST: `unix://${engine.socket}` });
}

async function fill(engine: Engine): Promise<void> {
  let left = CONTAINERS;
  const worker = async () => {
    while (left > 0) {
      left -= 1;
      await docker(engine, "run", "-d", IMAGE);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

/** Once it has settled: what a collector of garbage has not collected yet is not asked about. */
async function memory(report: Report, engines: readonly Engine[], count: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
  const [ours, peer] = engines.map((engine) => {
    const [own, containerd] = engine.pids();
    return [usageOf([own]).rssMib, usageOf([own, containerd]).rssMib] as const;
  });
  for (const [at, what] of [[0, "engine"] as const, [1, "engine and containerd"] as const]) {
    const name = `memory with ${count} containers, ${what}`;
    const row = { name, unit: "MiB RSS", digits: 0 };
    report(measurement(row, ours?.[at] ?? 0, peer?.[at] ?? "not run"));
  }
}

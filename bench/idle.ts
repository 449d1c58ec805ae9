/**
 * What an engine costs that does nothing: memory and CPU of a one-node swarm with a few tasks, the
 * time from its start until it answers, and what the command line adds to every command.
 */

import { compare, measurement, median, seconds } from "./lib/compare.ts";
import { type DockerEngine, openDockerd } from "./lib/dockerd.ts";
import {
  DOCKER,
  docker,
  type Engine,
  run as runProgram,
  type Usage,
  usageOf,
} from "./lib/engine.ts";
import { IMAGE, importImage } from "./lib/image.ts";
import { SKEP, SkepEngine } from "./lib/skep.ts";
import { undoAll } from "./lib/undo.ts";
import type { Report } from "./report.ts";

const TASKS = 5;
const ADOPTED = 20;
const ROUNDS = 5;
const SETTLE_MS = 45_000;
const WATCH_MS = 30_000;

export async function run(report: Report): Promise<void> {
  for (const part of [starts, rest]) {
    try {
      await part(report);
    } finally {
      await undoAll();
    }
  }
}

/** From the start of the process until it answers: on an empty disk, then beside containers. */
async function starts(report: Report): Promise<void> {
  const cold = { ours: [] as number[], peer: [] as number[] };
  let [ours, peer]: [SkepEngine | undefined, DockerEngine | string] = [undefined, "not run"];
  for (let round = 0; round < ROUNDS; round += 1) {
    await undoAll();
    ours = new SkepEngine();
    cold.ours.push((await ours.start()) / 1000);
    const begun = performance.now();
    // Without the flag it would take its containers down when it goes.
    peer = await openDockerd(["--live-restore"]);
    cold.peer.push((performance.now() - begun) / 1000);
  }
  const empty = { name: "start on an empty disk, containerd included", unit: "s" };
  const theirs = typeof peer === "string" ? peer : median(cold.peer);
  report(measurement(empty, median(cold.ours), theirs));
  if (ours === undefined) return;
  for (const engine of typeof peer === "string" ? [ours] : [ours, peer]) await fill(engine);
  const name = `start after kill -9, ${ADOPTED} containers to adopt`;
  report(
    await compare(ours, peer, { name, unit: "s", rounds: ROUNDS }, async (engine) => {
      await engine.crash();
      return (await engine.start()) / 1000;
    }),
  );
  await commandLines(report, ours);
}

async function fill(engine: Engine): Promise<void> {
  await importImage(engine);
  for (let number = 0; number < ADOPTED; number += 1) await docker(engine, "run", "-d", IMAGE);
}

/** Both against our engine: only the command lines differ. */
async function commandLines(report: Report, engine: Engine): Promise<void> {
  const env = { DOCKER_HOST: `unix://${engine.socket}` };
  for (const words of [["--version"], ["ps"]]) {
    const name = `command line: ${words.join(" ")}`;
    const ours = () => runProgram(SKEP, words, env);
    const peer = () => runProgram(DOCKER, words, env);
    const times: [number[], number[]] = [[], []];
    for (let round = 0; round < 4 * ROUNDS; round += 1) {
      times[0].push(await seconds(ours));
      times[1].push(await seconds(peer));
    }
    report(measurement({ name, unit: "s" }, median(times[0]), median(times[1])));
  }
}

/** A one-node swarm with a few tasks, after it has settled. */
async function rest(report: Report): Promise<void> {
  const ours = new SkepEngine();
  await ours.start();
  await fillSwarm(ours);
  const peer = await openDockerd();
  if (typeof peer !== "string") await fillSwarm(peer);
  const engines = typeof peer === "string" ? [ours] : [ours, peer];
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
  const before = engines.map(usages);
  await new Promise((resolve) => setTimeout(resolve, WATCH_MS));
  const [mine, theirs] = engines.map((engine, index) => {
    const after = usages(engine);
    const spent = after.map((usage, process) => {
      const seconds = usage.cpuSeconds - (before[index]?.[process]?.cpuSeconds ?? 0);
      return (100 * 1000 * seconds) / WATCH_MS;
    });
    return { memory: after.map(({ rssMib }) => rssMib), spent };
  });
  if (mine === undefined) return;
  const no = typeof peer === "string" ? peer : "not run";
  const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
  const row = (name: string, unit: string, figure: (one: NonNullable<typeof mine>) => number) =>
    report(
      measurement(
        { name, unit, digits: 2 },
        figure(mine),
        theirs === undefined ? no : figure(theirs),
      ),
    );
  row("memory at rest, engine", "MiB RSS", ({ memory }) => memory[0] ?? 0);
  row("memory at rest, engine and containerd", "MiB RSS", ({ memory }) => sum(memory));
  row("CPU at rest, engine", "% of a core", ({ spent }) => spent[0] ?? 0);
  row("CPU at rest, engine and containerd", "% of a core", ({ spent }) => sum(spent));
}

async function fillSwarm(engine: Engine): Promise<void> {
  await importImage(engine);
  await docker(engine, "swarm", "init", "--advertise-addr", "127.0.0.1");
  // Not detached: returns when all run.
  await docker(engine, "service", "create", "-q", `--replicas=${TASKS}`, IMAGE);
}

function usages(engine: Engine): readonly [Usage, Usage] {
  const [own, containerd] = engine.pids();
  return [usageOf([own]), usageOf([containerd])];
}

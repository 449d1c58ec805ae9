/**
 * A container's life, as `docker run --rm` and its single steps show it to a user, one and ten at
 * once, on our engine and on Debian's dockerd side by side: same command line, same image, rounds
 * that alternate.
 */

import { openBoth } from "./lib/both.ts";
import { compare, seconds } from "./lib/compare.ts";
import { docker, type Engine } from "./lib/engine.ts";
import { IMAGE } from "./lib/image.ts";
import { undoAll } from "./lib/undo.ts";
import type { Report } from "./report.ts";

const PARALLEL = 10;
const ROUNDS = 15;

interface Case {
  readonly name: string;
  readonly rounds: number;
  readonly measure: (engine: Engine) => Promise<number>;
}

const CASES: readonly Case[] = [
  {
    name: "run --rm true, no network",
    rounds: ROUNDS,
    measure: (engine) => seconds(() => runTrue(engine, "none")),
  },
  {
    name: "run --rm true, bridge",
    rounds: ROUNDS,
    measure: (engine) => seconds(() => runTrue(engine, "bridge")),
  },
  {
    name: `${PARALLEL} × run --rm true at once, bridge`,
    rounds: 5,
    measure: (engine) =>
      seconds(() => Promise.all(Array.from({ length: PARALLEL }, () => runTrue(engine, "bridge")))),
  },
  { name: `${PARALLEL} × start at once, bridge`, rounds: 5, measure: startMany },
  { name: "create, start, stop, rm", rounds: ROUNDS, measure: (engine) => lives(engine, 1) },
  {
    name: `${PARALLEL} × create, start, stop, rm at once`,
    rounds: 5,
    measure: (engine) => lives(engine, PARALLEL),
  },
  { name: "exec true", rounds: ROUNDS, measure: execTrue },
];

export async function run(report: Report): Promise<void> {
  try {
    const { ours, peer } = await openBoth();
    for (const { name, rounds, measure } of CASES) {
      report(await compare(ours, peer, { name, unit: "s", rounds, warmUp: 2 }, measure));
    }
  } finally {
    await undoAll();
  }
}

function runTrue(engine: Engine, network: string): Promise<string> {
  return docker(engine, "run", "--rm", `--network=${network}`, IMAGE, "true");
}

/** Containers that are there already, all started by one command. */
async function startMany(engine: Engine): Promise<number> {
  const create = () => docker(engine, "create", IMAGE);
  const ids = await Promise.all(Array.from({ length: PARALLEL }, create));
  const took = await seconds(() => Promise.all(ids.map((id) => docker(engine, "start", id))));
  await docker(engine, "rm", "-f", ...ids);
  return took;
}

/** Four commands one after the other, `count` times side by side. */
function lives(engine: Engine, count: number): Promise<number> {
  const life = async () => {
    // As process 1, sleep obeys no signal but this one.
    const id = await docker(engine, "create", "--stop-signal=KILL", IMAGE);
    await docker(engine, "start", id);
    await docker(engine, "stop", id);
    await docker(engine, "rm", id);
  };
  return seconds(() => Promise.all(Array.from({ length: count }, life)));
}

const EXEC_TARGET = "exec-target";

async function execTrue(engine: Engine): Promise<number> {
  const there = await docker(engine, "ps", "-q", "--filter", `name=${EXEC_TARGET}`);
  if (there === "") await docker(engine, "run", "-d", `--name=${EXEC_TARGET}`, IMAGE);
  return seconds(() => docker(engine, "exec", EXEC_TARGET, "true"));
}

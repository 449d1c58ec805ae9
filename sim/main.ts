/** The simulator's command line. Exits with 1 if a law was broken, with 2 if it was not understood. */

import { parseArgs } from "node:util";
import { messageOf } from "#base/error.ts";
import { BUGS, isBug } from "./bugs.ts";
import { runAll } from "./pool.ts";
import { isSwarmBug, SWARM_BUGS } from "./swarm/bugs.ts";
import {
  type Assignment,
  describeResult,
  type Result,
  runWorld,
  WORLDS,
  type WorldName,
} from "./worlds.ts";

/** Of a run that breaks a law, so much is shown; the rest with `--seed`. */
const LAST_LINES = 30;

const USAGE = `Usage: ./dev sim [--seeds N [--from S] | --seed S] [--world group|swarm] [--bug NAME]

  --seeds N    run N seeds on all cores, show each that breaks a law, and a summary (100)
  --from S     the first of them (1)
  --seed S     run one seed and print everything that happens in it
  --world W    only this world, whatever the seed stands for: group or swarm
  --bug NAME   with a bug put in on purpose, to see what a breach looks like

Bugs of groups: ${BUGS.join(", ")}
Bugs of swarms: ${SWARM_BUGS.join(", ")}
`;

const values = parseCommandLine();
if (values !== undefined) process.exitCode = await main(values);

function parseCommandLine() {
  try {
    const { values } = parseArgs({
      options: {
        seed: { type: "string" },
        seeds: { type: "string", default: "100" },
        from: { type: "string", default: "1" },
        world: { type: "string" },
        bug: { type: "string" },
        help: { type: "boolean", short: "h" },
      },
    });
    for (const name of ["seed", "seeds", "from"] as const) {
      const text = values[name];
      if (text !== undefined && !/^\d{1,15}$/.test(text)) {
        throw new Error(`--${name} takes a number, not "${text}"`);
      }
    }
    if (values.help !== true) return values;
    process.stdout.write(USAGE);
  } catch (error) {
    process.stderr.write(`${messageOf(error)}\n\n${USAGE}`);
    process.exitCode = 2;
  }
  return undefined;
}

async function main(options: NonNullable<typeof values>): Promise<number> {
  const { world } = options;
  const bug = options.bug === undefined ? undefined : bugOf(options.bug);
  if (options.bug !== undefined && bug === undefined) {
    return misuse(`unknown bug "${options.bug}"`, [...BUGS, ...SWARM_BUGS]);
  }
  if (world !== undefined && !isWorld(world)) return misuse(`unknown world "${world}"`, WORLDS);
  if (options.seed !== undefined) return await showSeed({ seed: Number(options.seed), world, bug });
  const from = Number(options.from);
  const count = Number(options.seeds);
  return await runSeeds(
    Array.from({ length: count }, (_, at) => ({ seed: from + at, world, bug })),
  );
}

function misuse(problem: string, known: readonly string[]): number {
  process.stderr.write(`${problem}; known are ${known.join(", ")}\n`);
  return 2;
}

function isWorld(name: string): name is WorldName {
  return (WORLDS as readonly string[]).includes(name);
}

async function showSeed(assignment: Assignment): Promise<number> {
  const result = await runWorld({ ...assignment, trace: true });
  for (const line of result.lines) process.stdout.write(`${line}\n`);
  process.stdout.write(`trace ${(result.digest >>> 0).toString(16)}\n${describeResult(result)}\n`);
  return result.broken === undefined ? 0 : 1;
}

async function runSeeds(assignments: readonly Assignment[]): Promise<number> {
  const bug = assignments[0]?.bug;
  const started = process.hrtime.bigint();
  const totals = new Map<string, number>();
  const add = (what: string, count: number) => totals.set(what, (totals.get(what) ?? 0) + count);
  const broken: Result[] = [];
  await runAll(assignments, (result) => {
    add(`${result.world} seeds`, 1);
    for (const [what, count] of Object.entries(result.counts)) add(what, count);
    if (result.isUndecided) add("undecided histories", 1);
    if (result.broken === undefined) return;
    broken.push(result);
    process.stdout.write(`${describeResult(result)}\n`);
  });
  for (const { seed, world } of broken.slice(0, 3)) await showEnd({ seed, world, bug });
  const seconds = Number(process.hrtime.bigint() - started) / 1e9;
  const counts = [...totals].map(([what, count]) => `${count} ${what}`).join(", ");
  const rate = (assignments.length / seconds).toFixed(1);
  process.stdout.write(
    `${broken.length} of ${assignments.length} seeds broke a law; ${counts}; ${seconds.toFixed(1)} s, ${rate} seeds/s\n`,
  );
  return broken.length === 0 ? 0 : 1;
}

/** How a run came to its end. */
async function showEnd(assignment: Assignment): Promise<void> {
  const { lines } = await runWorld({ ...assignment, trace: true });
  const { seed, world, bug } = assignment;
  const flags = bug === undefined ? "" : ` --bug ${bug}`;
  process.stdout.write(
    `\nseed ${seed} ends so (all of it: ./dev sim --seed ${seed} --world ${world}${flags})\n`,
  );
  for (const line of lines.slice(-LAST_LINES)) process.stdout.write(`  ${line}\n`);
}

function bugOf(name: string) {
  return isBug(name) || isSwarmBug(name) ? name : undefined;
}

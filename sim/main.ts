/**
 * The simulator's command line:
 *   --seeds N [--from S]   run N seeds, print a line for each that breaks a law, and a summary
 *   --seed S               run one seed and print everything that happens
 *   --bug NAME             with a bug put in on purpose (see bugs.ts): to see what a breach looks like
 * Exits with 1 if a law was broken.
 */

import { parseArgs } from "node:util";
import { BUGS, type Bug, isBug } from "./bugs.ts";
import { describeProfile } from "./profile.ts";
import { type Outcome, runSeed } from "./world.ts";

const { values } = parseArgs({
  options: {
    seed: { type: "string" },
    seeds: { type: "string" },
    from: { type: "string", default: "1" },
    bug: { type: "string" },
  },
});

const bug = values.bug;
if (bug !== undefined && !isBug(bug)) {
  process.stderr.write(`unknown bug "${bug}"; known are ${BUGS.join(", ")}\n`);
  process.exitCode = 2;
} else if (values.seed !== undefined) {
  process.exitCode = showSeed(Number(values.seed), bug);
} else {
  process.exitCode = runSeeds(Number(values.from), Number(values.seeds ?? "100"), bug);
}

function showSeed(seed: number, bug: Bug | undefined): number {
  const outcome = runSeed(seed, { trace: true, bug });
  for (const line of outcome.trace.lines) process.stdout.write(`${line}\n`);
  process.stdout.write(`${describeOutcome(outcome)}\n`);
  return outcome.broken === undefined ? 0 : 1;
}

function runSeeds(from: number, count: number, bug: Bug | undefined): number {
  const started = process.hrtime.bigint();
  const totals = { broken: 0, terms: 0, applied: 0, writes: 0, reads: 0 };
  for (let seed = from; seed < from + count; seed++) {
    const outcome = runSeed(seed, { bug });
    totals.terms += outcome.terms;
    totals.applied += outcome.applied;
    totals.writes += outcome.writesAcked;
    totals.reads += outcome.readsAnswered;
    if (outcome.broken === undefined) continue;
    totals.broken++;
    process.stdout.write(`${describeOutcome(outcome)}\n`);
    const flags = bug === undefined ? "" : ` --bug ${bug}`;
    process.stdout.write(`  replay: ./dev sim --seed ${seed}${flags}\n`);
  }
  const seconds = Number(process.hrtime.bigint() - started) / 1e9;
  process.stdout.write(
    `${count} seeds from ${from}: ${totals.broken} broke a law; ${totals.terms} terms, ${totals.applied} entries, ${totals.writes} writes acknowledged, ${totals.reads} reads answered, ${seconds.toFixed(1)} s\n`,
  );
  return totals.broken === 0 ? 0 : 1;
}

function describeOutcome(outcome: Outcome): string {
  const { seed, broken, message, endedAtMs, profile } = outcome;
  const verdict =
    broken === undefined
      ? `no law broken; ${outcome.terms} terms, ${outcome.applied} entries, ${outcome.writesAcked} writes, ${outcome.readsAnswered} reads`
      : `BROKEN at ${endedAtMs}ms: ${message}`;
  return `seed ${seed} (${describeProfile(profile)}): ${verdict}`;
}

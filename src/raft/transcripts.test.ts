/**
 * Transcripts against this core: etcd's published ones, read from outside of the repository
 * (`SKEP_SHARED`, or the folder `shared` beside it; without them one skipped test says so), and our
 * own in `testdata/`. `SKEP_REWRITE=1` records the output of our own anew: read the difference, and
 * commit it only if you understand it.
 */

import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { Cluster } from "./testing/cluster.ts";
import { ConfChangeScript } from "./testing/confchange-script.ts";
import { type Command, parseDataDriven, replaceOutputs } from "./testing/datadriven.ts";
import { DEVIATIONS } from "./testing/deviations.ts";
import { runInteractionCommand } from "./testing/interaction-script.ts";
import { runQuorumCommand } from "./testing/quorum-script.ts";

const REPO = resolve(import.meta.dirname, "../..");
const SHARED = process.env["SKEP_SHARED"] ?? resolve(REPO, "../shared");
const PUBLISHED = join(SHARED, "raft-transcripts");
const OWN = join(import.meta.dirname, "testdata");

type Run = (command: Command) => string;

/** A fresh script per file: state carries from command to command. */
const SUITES: Readonly<Record<string, () => Run>> = {
  quorum: () => runQuorumCommand,
  confchange: () => {
    const script = new ConfChangeScript();
    return (command) => script.run(command);
  },
  interaction: () => {
    const cluster = new Cluster();
    return (command) => runInteractionCommand(cluster, command);
  },
};

describe("published transcripts", () => {
  if (!existsSync(PUBLISHED)) {
    it.skip(`are not at ${PUBLISHED}; set SKEP_SHARED to their parent folder`, () => {});
    return;
  }
  runAll(PUBLISHED);
});

describe("own transcripts", () => runAll(OWN));

function runAll(root: string): void {
  for (const [suite, start] of Object.entries(SUITES)) {
    for (const file of scriptsIn(join(root, suite))) {
      const name = `${suite}/${file}`;
      it(`${name} gives the recorded output`, () => {
        if (root === OWN && process.env["SKEP_REWRITE"] === "1") rewrite(join(root, name), start());
        const run = start();
        const commands = parseDataDriven(readFileSync(join(root, name), "utf8"));
        expect(commands.length, "commands in the file").toBeGreaterThan(0);
        for (const command of commands) {
          const known = DEVIATIONS.find((d) => d.file === name && d.line === command.line);
          const expected = known?.actual ?? command.expected;
          const where = `${name}:${command.line} ${command.name}`;
          expect(`${where}\n${run(command)}`).toBe(`${where}\n${expected}`);
          // A deviation that prints what was recorded is none any more.
          expect(known?.actual).not.toBe(command.expected);
        }
      });
    }
  }
}

function rewrite(path: string, run: Run): void {
  const text = readFileSync(path, "utf8");
  const outputs = parseDataDriven(text).map((command) => run(command));
  writeFileSync(path, replaceOutputs(text, outputs));
}

function scriptsIn(folder: string): readonly string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((file) => file.endsWith(".txt"))
    .sort();
}

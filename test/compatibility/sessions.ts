/** The session by both command lines of docker's on both engines, and what differs without a reason. */

import { existsSync } from "node:fs";
import { send } from "./call.ts";
import {
  bothOf,
  type CommandFlags,
  type Commands,
  commandOf,
  commandsOf,
  flagsOf,
  namesUsed,
} from "./commands.ts";
import type { Pair } from "./engines.ts";
import { type Outcome, runSession } from "./run-session.ts";
import { SESSION, wordsOf } from "./session.ts";

/** Debian's 20.10, and a newer one where there is one. */
const PROGRAMS = ["/usr/bin/docker", "/usr/local/bin/docker"].filter((path) => existsSync(path));

/** A difference in what a line prints or returns that is meant. */
interface AcceptedLine {
  readonly line: RegExp;
  readonly why: string;
}

const ACCEPTED_LINES: readonly AcceptedLine[] = [
  { line: /^image (inspect|save) nosuch/, why: "newer words" },
  { line: /^image push .*nosuch/, why: "what is not there is told before anything is sent" },
  {
    line: /^pull .*app:1$/,
    why: "the layers of a pushed image are fetched when it is pulled again",
  },
  { line: /^run --rm app:1 \/(nosuch|etc\/passwd)/, why: "newer words" },
  { line: /^exec sleeper nosuch/, why: "a program that is not there is 127, as with Docker 28" },
  { line: /^exec sleeper true/, why: "a paused container is told by its id" },
  { line: /^diff /, why: "what the engine itself put into the container is not shown" },
  { line: /^container update --cpu-period/, why: "two mistakes are told in another order" },
  { line: /^kill --signal BAD/, why: "newer words" },
  {
    line: /^(run --name bad --gpus|rm bad)/,
    why: "devices that are not there are refused at creation",
  },
  { line: /^network create --subnet bad/, why: "newer words" },
  { line: /^network rm back/, why: "newer words" },
];

export interface CommandFinding {
  lines: number;
  readonly why: Set<string>;
  readonly flags: Set<string>;
}

export interface SessionFindings {
  readonly commands: Commands;
  readonly byCommand: ReadonlyMap<string, CommandFinding>;
  readonly unexplained: readonly string[];
  readonly unused: readonly string[];
}

export async function runSessions(pair: Pair): Promise<SessionFindings> {
  const byCommand = new Map<string, CommandFinding>();
  const unexplained: string[] = [];
  const used = new Set<AcceptedLine>();
  const commands = new Map<string, CommandFlags>();
  for (const program of PROGRAMS) {
    for (const [path, flags] of await commandsOf([program])) {
      commands.set(path, bothOf(commands.get(path), flags));
    }
    // What dockerd keeps of a swarm that it has left.
    const path = "/networks/docker_gwbridge";
    await send(pair.theirs.engine.socket, { method: "DELETE", path });
    const [ours, theirs] = await Promise.all(
      [pair.ours, pair.theirs].map((side) => runSession([program], side, SESSION)),
    );
    for (const [index, outcome] of (ours ?? []).entries()) {
      const { line } = outcome;
      const words = wordsOf(line.replace(/^< \([^)]*\) /, ""));
      const path = commandOf(commands, words);
      const finding = byCommand.get(path ?? "") ?? { lines: 0, why: new Set(), flags: new Set() };
      byCommand.set(path ?? "", finding);
      finding.lines += 1;
      for (const flag of namesUsed(words, flagsOf(commands, words))) finding.flags.add(flag);
      const difference = differenceOf(outcome, theirs?.[index]);
      if (difference === undefined) continue;
      const row = ACCEPTED_LINES.find((accepted) => accepted.line.test(line));
      if (row === undefined) unexplained.push(`${program} ${line}\n${difference}`);
      else {
        used.add(row);
        finding.why.add(row.why);
      }
    }
  }
  const unused = ACCEPTED_LINES.filter((row) => !used.has(row)).map(({ line }) => line.source);
  return { commands, byCommand, unexplained, unused };
}

function differenceOf(ours: Outcome, theirs: Outcome | undefined): string | undefined {
  if (theirs === undefined) return "not run by dockerd";
  const found: string[] = [];
  if (ours.code !== theirs.code) found.push(`code ${ours.code}, not ${theirs.code}`);
  for (const stream of ["stdout", "stderr"] as const) {
    const [left, right] = [words(ours[stream]), words(theirs[stream])];
    if (left !== right)
      found.push(`${stream} ${JSON.stringify(left)}, not ${JSON.stringify(right)}`);
  }
  return found.length === 0 ? undefined : found.join("\n");
}

/** Newer engines begin their messages with small letters; two messages come in either order. */
function words(text: string): string {
  // What 20.10's command line logs, or not, when it gives up its own wait before it ends.
  const race = "error waiting for container: context canceled";
  const lines = text.toLowerCase().split("\n");
  return lines
    .filter((line) => !line.includes(race))
    .sort()
    .join("\n");
}

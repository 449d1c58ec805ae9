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
  /** What the page shows, where the output has no order of its own. */
  readonly shown?: readonly [ours: string, theirs: string];
}

const AS_28 = "as Docker 28 says it";
const BUILD_CACHE = "layers of builds are in the build cache, not kept as nameless images";

const ACCEPTED_LINES: readonly AcceptedLine[] = [
  { line: /^image (inspect|save) nosuch/, why: AS_28 },
  { line: /^image push .*nosuch/, why: "what is not there is told before anything is sent" },
  {
    line: /^pull .*app:1$/,
    why: "the layers of a pushed image are fetched when it is pulled again",
    shown: ["lines for each layer", "none"],
  },
  { line: /^(rmi built|image prune -f$|builder prune -f -a$)/, why: BUILD_CACHE },
  { line: /^image build -q --target nosuch/, why: AS_28 },
  { line: /^run --rm (app:1 \/(nosuch|etc\/passwd)|--cpu-rt-period)/, why: AS_28 },
  { line: /^exec sleeper nosuch/, why: "a program that is not there is 127, as with Docker 28" },
  { line: /^exec sleeper true/, why: AS_28 },
  { line: /^diff /, why: "what the engine itself put into the container is not shown" },
  { line: /^kill --signal BAD/, why: AS_28 },
  {
    line: /^(run --name bad --gpus|rm bad)/,
    why: "devices that are not there are refused at creation",
  },
  { line: /^network create --subnet bad/, why: AS_28 },
  { line: /^network rm back/, why: AS_28 },
  {
    line: /^node inspect --pretty/,
    why: "log drivers and the version are this engine's",
    // Plug-ins of the machine are among the drivers.
    shown: ["Log: journald, json-file, local, none, syslog", "Log: awslogs, fluentd, gcplogs, …"],
  },
];

export interface CommandFinding {
  lines: number;
  readonly why: Set<string>;
  readonly flags: Set<string>;
}

/** What 20.10's command line logs, or not, when it gives up its own wait before it ends. */
const RACE = "error waiting for container: context canceled";

interface ToldLine {
  readonly line: string;
  readonly ours: string;
  readonly theirs: string;
  readonly why: string;
}

export interface SessionFindings {
  readonly commands: Commands;
  readonly byCommand: ReadonlyMap<string, CommandFinding>;
  /** Accepted differences, with what is printed on one engine only. */
  readonly told: readonly ToldLine[];
  readonly unexplained: readonly string[];
  readonly unused: readonly string[];
}

export async function runSessions(pair: Pair): Promise<SessionFindings> {
  const byCommand = new Map<string, CommandFinding>();
  const told = new Map<string, ToldLine>();
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
        // As the older command line, which comes first, shows it.
        const before = told.get(line);
        if (before === undefined) told.set(line, toldOf(outcome, theirs?.[index], row));
      }
    }
  }
  const unused = ACCEPTED_LINES.filter((row) => !used.has(row)).map(({ line }) => line.source);
  return { commands, byCommand, told: [...told.values()], unexplained, unused };
}

/** Of each engine's output, the lines that the other's has not. */
function toldOf(ours: Outcome, theirs: Outcome | undefined, row: AcceptedLine): ToldLine {
  const { line } = ours;
  const { why, shown } = row;
  if (shown !== undefined) return { line, ours: shown[0], theirs: shown[1], why };
  const linesOf = (outcome: Outcome | undefined) =>
    `${outcome?.stdout ?? ""}\n${outcome?.stderr ?? ""}`
      .split("\n")
      .map((text) => text.replace(/^Error response from daemon: /, ""))
      .filter((text) => text !== "" && !text.includes(RACE));
  const alone = (one: Outcome | undefined, other: Outcome | undefined) => {
    const others = new Set(linesOf(other).map((text) => text.toLowerCase()));
    return [...new Set(linesOf(one))].filter((text) => !others.has(text.toLowerCase()));
  };
  const [left, right] = [alone(ours, theirs), alone(theirs, ours)];
  const said = (outcome: Outcome | undefined, texts: readonly string[]) => {
    const code = ours.code === theirs?.code ? [] : [`exit code ${outcome?.code}`];
    const none = left.length + right.length + code.length === 0;
    return [...code, ...(none ? [`${linesOf(outcome).length} lines`] : texts)].join(" / ");
  };
  return { line, ours: said(ours, left), theirs: said(theirs, right), why };
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
  const lines = text.toLowerCase().split("\n");
  return lines
    .filter((line) => !line.includes(RACE))
    .sort()
    .join("\n");
}

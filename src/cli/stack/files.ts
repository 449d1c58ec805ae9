/** Compose files and what they name, from disk and standard input. */

import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { EngineError } from "#base/error.ts";
import type { Result } from "#base/result.ts";
import { parseDotEnv } from "#plan/compose/dot-env.ts";
import {
  type ComposeProject,
  type ComposeSource,
  type ComposeSurroundings,
  mergeCompose,
  type ReadCompose,
  readCompose,
} from "#plan/compose/load.ts";
import { payloadFiles, planStack } from "#plan/compose/plan.ts";
import { type ComposeError, describeError } from "#plan/compose/refusal.ts";
import type { StackPlan } from "#plan/compose/stack.ts";
import type { CommandContext } from "../command.ts";
import { readAll } from "../http.ts";
import type { FlagSpec } from "../pflag.ts";

const COMPOSE_FILE_FLAG: FlagSpec = {
  name: "compose-file",
  short: "c",
  kind: "list",
  valueName: "strings",
  usage: 'Compose file to read, or "-" for standard input; several are merged in order',
};

/** What both `deploy` and `config` read; docker's own command has only the first. */
export const INPUT_FLAGS: readonly FlagSpec[] = [
  COMPOSE_FILE_FLAG,
  {
    name: "env-file",
    kind: "list",
    usage: "File of variables for the Compose files, instead of .env beside the first one",
  },
  {
    name: "profile",
    kind: "list",
    usage: 'Include services of this profile ("*" for all); COMPOSE_PROFILES means the same',
  },
];

/** Reads, interpolates, checks and merges what `--compose-file` names. */
export async function loadProject(context: CommandContext): Promise<ComposeProject> {
  const names = context.flags.list("compose-file").flatMap((value) => value.split(","));
  const [first] = names;
  if (first === undefined) {
    throw new EngineError("invalid-argument", "specify a Compose file (with --compose-file)");
  }
  const sources: ComposeSource[] = [];
  for (const name of names) {
    const text = name === "-" ? await readAll(context.stdin) : await contents(name, "utf8");
    sources.push({ name: name === "-" ? "<stdin>" : name, text });
  }
  const workingDir = first === "-" ? process.cwd() : dirname(resolve(first));
  const variables = await variablesOf(context, workingDir);
  const lookup = (name: string) => context.env[name] ?? variables.get(name);
  const profiles = [
    ...context.flags.list("profile"),
    ...(lookup("COMPOSE_PROFILES") ?? "").split(",").filter((each) => each !== ""),
  ];
  const around: ComposeSurroundings = {
    places: { workingDir, home: context.env.HOME ?? homedir() },
    lookup,
    profiles,
    interpolate: !context.flags.bool("skip-interpolation"),
  };
  const read = await readAllFiles(sources, around);
  const wanted = read.envFiles.filter(
    (name) => !read.optionalEnvFiles.has(name) || existsSync(name),
  );
  const envFiles = await readFiles(wanted, "utf8");
  return valueOf(mergeCompose(read, around, envFiles));
}

/** With the files that the files name, and those that these name. */
async function readAllFiles(
  sources: readonly ComposeSource[],
  around: ComposeSurroundings,
): Promise<ReadCompose> {
  const more = new Map<string, string>();
  for (;;) {
    const read = valueOf(readCompose(sources, around, more));
    if (read.missing.length === 0) return read;
    for (const [name, text] of await readFiles(read.missing, "utf8")) more.set(name, text);
  }
}

/** Of the files that are named, the later over the earlier; of `.env` if it is there, else none. */
async function variablesOf(
  { env, flags }: CommandContext,
  workingDir: string,
): Promise<ReadonlyMap<string, string>> {
  const named = flags.list("env-file");
  const beside = join(workingDir, ".env");
  const files = named.length > 0 ? named : existsSync(beside) ? [beside] : [];
  const found = new Map<string, string>();
  for (const file of files) {
    const text = await contents(file, "utf8");
    const lookup = (name: string) => env[name] ?? found.get(name);
    for (const [name, value] of valueOf(parseDotEnv(text, file, lookup))) found.set(name, value);
  }
  return found;
}

/** The stack's objects, with what its secrets and configs hold. */
export async function planProject(project: ComposeProject, name: string): Promise<StackPlan> {
  const payloads = await readFiles(payloadFiles(project), "base64");
  return valueOf(planStack(project, name, payloads));
}

/** Says what has no effect, as docker does: on standard error, before anything is done. */
export function tell({ stderr }: CommandContext, { warnings, notices }: ComposeProject): void {
  for (const warning of warnings) stderr.write(`WARNING: ${warning}\n`);
  for (const notice of notices) stderr.write(`${notice}\n\n`);
}

function valueOf<T>(result: Result<T, ComposeError>): T {
  if (result.ok) return result.value;
  throw new EngineError("invalid-argument", describeError(result.error));
}

async function readFiles(
  names: readonly string[],
  encoding: BufferEncoding,
): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>();
  for (const name of names) found.set(name, await contents(name, encoding));
  return found;
}

async function contents(name: string, encoding: BufferEncoding): Promise<string> {
  try {
    return await readFile(name, encoding);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") {
      throw new EngineError("not-found", `open ${name}: no such file or directory`);
    }
    throw error;
  }
}

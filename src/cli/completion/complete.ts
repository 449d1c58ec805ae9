/**
 * `skep __complete WORD...`: what the last word can become. One candidate a line, after a tab what it
 * means. Nothing where the shell should offer files, and when the engine does not answer in time.
 */

import type { Command } from "../command.ts";
import { findCommand, GLOBAL_FLAGS, NOUNS, pathsOf, SHORTCUTS } from "../nouns.ts";
import { type FlagSpec, parseFlags } from "../pflag.ts";
import { listObjects, type ObjectKind, objectKindOf } from "./objects.ts";

interface Candidate {
  readonly word: string;
  readonly meaning: string;
}

const HELP: FlagSpec = { name: "help", kind: "bool", usage: "Print usage" };

/** Flags of any command whose value names an object. */
const KIND_OF_FLAG: Readonly<Record<string, ObjectKind>> = {
  network: "network",
  "network-add": "network",
  "network-rm": "network",
  "volumes-from": "container",
  image: "image",
  secret: "secret",
  config: "config",
};

/** `--network=` before what is typed of the value. */
const ASSIGNED = /^--([a-z-]+)=/;

export async function complete(words: readonly string[], env: NodeJS.ProcessEnv): Promise<string> {
  const typed = words.at(-1) ?? "";
  const found = await candidates(words.slice(0, -1), typed, env);
  return found
    .filter(({ word }) => word.startsWith(typed))
    .toSorted((a, b) => (a.word < b.word ? -1 : 1))
    .map(({ word, meaning }) => `${word}\t${meaning}\n`)
    .join("");
}

async function candidates(
  before: readonly string[],
  typed: string,
  env: NodeJS.ProcessEnv,
): Promise<readonly Candidate[]> {
  const parsed = parseFlags(GLOBAL_FLAGS, before, { interspersed: false });
  // The value of a flag is missing: it is what is being typed.
  if (!parsed.ok) return [];
  const path = parsed.value.args[0] === "help" ? parsed.value.args.slice(1) : parsed.value.args;
  if (path.length === 0) return typed.startsWith("-") ? flagCandidates(GLOBAL_FLAGS) : top();
  const found = await findCommand(path);
  if (found === undefined) return path.length === 1 ? verbs(path[0] ?? "") : [];
  const wanted = wantedBy(found.command, found.rest, typed);
  if (typeof wanted !== "string") return wanted;
  const prefix = ASSIGNED.exec(typed)?.[0] ?? "";
  return (await listObjects(wanted, found.command, parsed.value.flags, env)).map((word) => ({
    word: `${prefix}${word}`,
    meaning: wanted,
  }));
}

function top(): readonly Candidate[] {
  const shortcuts = Object.keys(SHORTCUTS).map((word) => ({ word, meaning: "" }));
  const nouns = Object.entries(NOUNS).map(([word, { summary }]) => ({ word, meaning: summary }));
  const engine = { word: "engine", meaning: "Run the engine (the daemon)" };
  return [...nouns, engine, ...shortcuts];
}

async function verbs(noun: string): Promise<readonly Candidate[]> {
  if (!Object.hasOwn(NOUNS, noun)) return [];
  const commands = (await NOUNS[noun]?.load()) ?? [];
  return commands.flatMap((command) =>
    pathsOf(command)
      .filter(([first, , more]) => first === noun && more === undefined)
      .slice(0, 1)
      .map(([, word = ""]) => ({ word, meaning: command.summary })),
  );
}

/** A kind of object, or the candidates themselves. */
function wantedBy(
  command: Command,
  rest: readonly string[],
  typed: string,
): ObjectKind | readonly Candidate[] {
  const specs = [...command.flags, HELP];
  const options = { interspersed: command.flagsFirst !== true };
  const parsed = parseFlags(specs, rest, options);
  if (!parsed.ok) {
    const flag = (rest.at(-1) ?? "").replace(/^-+/, "");
    const spec = specs.find(({ name, short }) => name === flag || short === flag);
    return KIND_OF_FLAG[spec?.name ?? ""] ?? [];
  }
  const { args } = parsed.value;
  const assigned = ASSIGNED.exec(typed)?.[1];
  if (assigned !== undefined) return KIND_OF_FLAG[assigned] ?? [];
  if (typed.startsWith("-") && (options.interspersed || args.length === 0)) {
    return flagCandidates(specs);
  }
  return objectKindOf(command, args.length) ?? [];
}

function flagCandidates(specs: readonly FlagSpec[]): readonly Candidate[] {
  return specs
    .filter(({ hidden }) => hidden !== true)
    .map(({ name, usage }) => ({ word: `--${name}`, meaning: usage }));
}

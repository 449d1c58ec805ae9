/** Every command and flag of a command line, as its own --help tells. */

import { execFile } from "node:child_process";
import { PLAIN_ENV } from "../../bench/lib/host.ts";

/** A command's flags, without dashes. */
export interface CommandFlags {
  readonly names: ReadonlySet<string>;
  /** "a" → "all". */
  readonly shorts: ReadonlyMap<string, string>;
}

/** By the command's words: "container run". */
export type Commands = ReadonlyMap<string, CommandFlags>;

export async function commandsOf(program: readonly string[]): Promise<Commands> {
  const commands = new Map<string, CommandFlags>();
  const visit = async (path: readonly string[]): Promise<void> => {
    const help = await helpOf(program, path);
    const below = [...help.matchAll(/^ {2}([a-z][a-z-]*)\*? {2,}\S/gm)].map((match) => match[1]);
    const isNoun = /^(Management )?Commands:$/m.test(help);
    if (isNoun && path.length < 2) {
      await Promise.all(below.map((word) => visit([...path, word ?? ""])));
    } else if (path.length > 0) {
      commands.set(path.join(" "), flagsIn(help));
    }
  };
  await visit([]);
  return commands;
}

function flagsIn(help: string): CommandFlags {
  const names = new Set<string>();
  const shorts = new Map<string, string>();
  for (const [, short, name = ""] of help.matchAll(/^ {2,6}(?:-(\w), )?--([a-z0-9-]+)/gm)) {
    if (name === "help") continue;
    names.add(name);
    if (short !== undefined) shorts.set(short, name);
  }
  return { names, shorts };
}

/** What either of two versions of a command has. */
export function bothOf(one: CommandFlags | undefined, other: CommandFlags): CommandFlags {
  return {
    names: new Set([...(one?.names ?? []), ...other.names]),
    shorts: new Map([...(one?.shorts ?? []), ...other.shorts]),
  };
}

function helpOf([program = "", ...first]: readonly string[], path: readonly string[]) {
  return new Promise<string>((resolve) => {
    const args = [...first, ...path, "--help"];
    execFile(program, args, { env: { ...PLAIN_ENV } }, (_error, stdout) => resolve(stdout));
  });
}

const SHORT: Readonly<Record<string, string>> = {
  images: "image ls",
  info: "system info",
  events: "system events",
  ps: "container ls",
  rmi: "image rm",
  ...short("container", "attach commit cp create diff exec export kill logs pause port rename"),
  ...short("container", "restart rm run start stats stop top unpause update wait"),
  ...short("image", "build history import load pull push save tag"),
};

function short(noun: string, verbs: string): Readonly<Record<string, string>> {
  return Object.fromEntries(verbs.split(" ").map((verb) => [verb, `${noun} ${verb}`]));
}

/** The whole name of a command: "ps" is "container ls". */
export function wholeName(path: string): string {
  return Object.hasOwn(SHORT, path) ? (SHORT[path] ?? path) : path;
}

/** The command of a line's words; undefined for one that no command line has. */
export function commandOf(commands: Commands, words: readonly string[]): string | undefined {
  const path = pathOf(commands, words);
  return path === undefined ? undefined : wholeName(path);
}

/** The flags of the command of a line's words. */
export function flagsOf(commands: Commands, words: readonly string[]): CommandFlags {
  const found = commands.get(pathOf(commands, words) ?? "");
  return found ?? { names: new Set(), shorts: new Map() };
}

function pathOf(commands: Commands, words: readonly string[]): string | undefined {
  const two = words
    .slice(0, 2)
    .join(" ")
    .replace(/ list$/, " ls");
  return [two, words[0] ?? ""].find((path) => commands.has(path));
}

/** Long names of the flags that a line's words use, also of short ones, of a value's and in a row (-itd). */
export function namesUsed(
  words: readonly string[],
  { names, shorts }: CommandFlags,
): readonly string[] {
  return words.flatMap((word) => {
    const long = /^--([a-z0-9-]+)/.exec(word)?.[1];
    if (long !== undefined) return names.has(long) ? [long] : [];
    const row = /^-([a-zA-Z]+)/.exec(word)?.[1] ?? "";
    // What follows a flag with a value is the value: -w/data, -fname=x.
    const letters = Array.from(row).filter((letter, at) => at === 0 || shorts.has(letter));
    return letters.flatMap((letter) => shorts.get(letter) ?? []);
  });
}

/** The flags that a line's words use, long names as they are and short ones by their letter. */
export function flagsUsed(words: readonly string[]): readonly string[] {
  return words
    .filter((word) => /^--?[a-z]/.test(word))
    .map((word) => word.replace(/^--?/, "").replace(/=.*$/s, ""));
}

/** Every command and flag of a command line, as its own --help tells. */

import { execFile } from "node:child_process";
import { PLAIN_ENV } from "../../bench/lib/host.ts";

/** "container run" → its flags without dashes. */
export type Commands = ReadonlyMap<string, readonly string[]>;

export async function commandsOf(program: readonly string[]): Promise<Commands> {
  const commands = new Map<string, readonly string[]>();
  const visit = async (path: readonly string[]): Promise<void> => {
    const help = await helpOf(program, path);
    const below = [...help.matchAll(/^ {2}([a-z][a-z-]*)\*? {2,}\S/gm)].map((match) => match[1]);
    const isNoun = /^(Management )?Commands:$/m.test(help);
    if (isNoun && path.length < 2) {
      await Promise.all(below.map((word) => visit([...path, word ?? ""])));
    } else if (path.length > 0) {
      const flags = [...help.matchAll(/^ {2,6}(?:-\w, )?--([a-z0-9-]+)/gm)].map(
        (match) => match[1],
      );
      commands.set(
        path.join(" "),
        flags.filter((flag): flag is string => flag !== "help"),
      );
    }
  };
  await visit([]);
  return commands;
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
  const two = words
    .slice(0, 2)
    .join(" ")
    .replace(/ list$/, " ls");
  if (commands.has(two)) return wholeName(two);
  const one = words[0] ?? "";
  return commands.has(one) ? wholeName(one) : undefined;
}

/** The flags that a line's words use, long names as they are and short ones by their letter. */
export function flagsUsed(words: readonly string[]): readonly string[] {
  return words
    .filter((word) => /^--?[a-z]/.test(word))
    .map((word) => word.replace(/^--?/, "").replace(/=.*$/s, ""));
}

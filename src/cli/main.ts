/** The command line: global flags, running a command, help, errors and exit codes as docker's. */

import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import type { Command } from "./command.ts";
import { type Found, findCommand, GLOBAL_FLAGS, NOUNS, pathsOf, SHORTCUTS } from "./nouns.ts";
import { type FlagSpec, type FlagValues, flagUsages, parseFlags } from "./pflag.ts";
import { VERSION } from "./version.ts";

/** What docker's command line returns for flags that it does not understand. */
const BAD_FLAGS = 125;

/** Of a terminal that is missing, and a file that is there, docker says no more and returns 1. */
const PLAIN: ReadonlySet<string> = new Set(["already-exists", "failed-precondition"]);

/** How messages of the engine's begin. */
const FROM_ENGINE = "Error response from daemon: ";

const HELP_FLAG: FlagSpec = { name: "help", kind: "bool", usage: "Print usage" };

/** Runs one command line (without the program's own words) and sets the exit code. */
export async function main(argv: readonly string[]): Promise<void> {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    // `skep ps | head`: the reader has gone, there is nobody left to write to.
    if (error.code === "EPIPE") process.exit(0);
    throw error;
  });
  process.exitCode = await execute(argv);
}

async function execute(argv: readonly string[]): Promise<number> {
  if (argv[0] === "__complete") {
    const { complete } = await import("./completion/complete.ts");
    return printed(await complete(argv.slice(1), process.env));
  }
  const parsed = parseFlags(GLOBAL_FLAGS, argv, { interspersed: false });
  if (!parsed.ok) return badFlags(parsed.error, [], "[OPTIONS] COMMAND [ARG...]");
  const { flags, args } = parsed.value;
  if (flags.bool("version")) {
    process.stdout.write(`skep version ${VERSION}\n`);
    return 0;
  }
  const words = args[0] === "help" ? args.slice(1) : args;
  if (words.length === 0) return printed(topHelp());
  if (args[0] === "help" || flags.bool("help")) return help(words);
  const found = await findCommand(words);
  if (found === undefined) return unknownCommand(words);
  return runCommand(found, flags);
}

async function runCommand({ command, words, rest }: Found, globals: FlagValues): Promise<number> {
  const specs = [...command.flags, HELP_FLAG];
  const parsed = parseFlags(specs, rest, { interspersed: command.flagsFirst !== true });
  if (!parsed.ok) return badFlags(parsed.error, words, command.usage);
  const { flags, args } = parsed.value;
  if (flags.bool("help")) return printed(commandHelp(command, words));
  const wrongCount = countProblem(command, args.length);
  if (wrongCount !== undefined) {
    process.stderr.write(
      `skep: 'skep ${words.join(" ")}' ${wrongCount}\n\n${usage(words, command.usage)}`,
    );
    return 1;
  }
  try {
    const { createClient } = await import("./http.ts");
    const { resolveEndpoint } = await import("./connect/endpoint.ts");
    const env = environment(globals);
    return await command.run({
      flags,
      globals,
      args,
      client: createClient(() => resolveEndpoint(globals, env), env),
      env,
      // Each is made when it is asked for: most commands never read.
      get stdin() {
        return process.stdin;
      },
      get stdout() {
        return process.stdout;
      },
      get stderr() {
        return process.stderr;
      },
    });
  } catch (error) {
    const shown = globals.bool("debug") && error instanceof Error ? error.stack : messageOf(error);
    return failed(words, command, shown ?? "", error);
  }
}

/** A container's exit code must be told from that of a container that never was. */
function failed(
  words: readonly string[],
  { path }: Command,
  message: string,
  error: unknown,
): number {
  const verb = path[0] === "container" ? path[1] : undefined;
  const ours = !message.startsWith(FROM_ENGINE) && !isErrorCode(error, "unavailable");
  const making = verb === "run" || (verb === "create" && ours);
  if (error instanceof EngineError && making && !PLAIN.has(error.code)) {
    process.stderr.write(`skep: ${message}\n\n${seeHelp(words)}`);
    return BAD_FLAGS;
  }
  process.stderr.write(`${message.trimEnd()}\n`);
  return 1;
}

/** `--config` is to everything what DOCKER_CONFIG would be. */
function environment(globals: FlagValues): NodeJS.ProcessEnv {
  const folder = globals.string("config");
  return folder === undefined ? process.env : { ...process.env, DOCKER_CONFIG: folder };
}

function countProblem(command: Command, count: number): string | undefined {
  const { minArgs, maxArgs } = command;
  const plural = (n: number) => (n === 1 ? "argument" : "arguments");
  if (maxArgs === minArgs && count !== minArgs) {
    return minArgs === 0 ? "accepts no arguments" : `requires ${minArgs} ${plural(minArgs)}`;
  }
  if (count < minArgs) return `requires at least ${minArgs} ${plural(minArgs)}`;
  if (maxArgs !== undefined && count > maxArgs) {
    return `requires at most ${maxArgs} ${plural(maxArgs)}`;
  }
  return undefined;
}

function badFlags(message: string, words: readonly string[], rest: string): number {
  process.stderr.write(`${message}\n\n${usage(words, rest)}`);
  return BAD_FLAGS;
}

function usage(words: readonly string[], rest: string): string {
  return `Usage:  ${["skep", ...words, rest].join(" ").trim()}\n\n${seeHelp(words)}`;
}

export function seeHelp(words: readonly string[]): string {
  return `Run '${["skep", ...words].join(" ")} --help' for more information\n`;
}

function printed(text: string): number {
  process.stdout.write(text);
  return 0;
}

async function help(words: readonly string[]): Promise<number> {
  const found = await findCommand(words);
  if (found !== undefined) return printed(commandHelp(found.command, found.words));
  const [first = ""] = words;
  const noun = Object.hasOwn(NOUNS, first) ? NOUNS[first] : undefined;
  if (noun === undefined) return unknownCommand(words);
  return printed(nounHelp(first, noun.summary, await noun.load()));
}

async function unknownCommand(words: readonly string[]): Promise<number> {
  const [first = "", second] = words;
  const noun = Object.hasOwn(NOUNS, first) ? NOUNS[first] : undefined;
  if (noun !== undefined && (second === undefined || second === "--help" || second === "-h")) {
    return printed(nounHelp(first, noun.summary, await noun.load()));
  }
  const { reasonWithout } = await import("./without.ts");
  const shown = noun === undefined ? first : `${first} ${second ?? ""}`;
  const why = reasonWithout(words.join(" "));
  if (why !== undefined) {
    process.stderr.write(`skep: there is no 'skep ${shown}': ${why}\n`);
    return 1;
  }
  if (noun !== undefined && second?.startsWith("-") === true) {
    return badFlags(`unknown flag: ${second}`, [first], "");
  }
  const more = noun === undefined ? seeHelp([]) : usage([first], "");
  process.stderr.write(`skep: unknown command: skep ${shown}\n\n${more}`);
  return 1;
}

function topHelp(): string {
  const nouns = Object.entries(NOUNS).map(([name, { summary }]) => [name, summary] as const);
  const words = Object.keys(SHORTCUTS).sort().join(" ");
  return `Usage:  skep [OPTIONS] COMMAND

A container engine with orchestration built in

Management Commands:
${nouns.map(([name, summary]) => `  ${name.padEnd(12)}${summary}`).join("\n")}
  engine      Run the engine (the daemon)

Commands:
${wrap(words)}

Global Options:
${flagUsages(GLOBAL_FLAGS)}

Run 'skep COMMAND --help' for more on a command.
`;
}

function wrap(text: string): string {
  return text.replace(/(.{1,76})(?:\s|$)/g, "  $1\n").trimEnd();
}

function nounHelp(noun: string, summary: string, commands: readonly Command[]): string {
  const rows = commands
    .filter((command) => command.path[0] === noun)
    .map((command) => `  ${(command.path.at(-1) ?? "").padEnd(14)}${command.summary}`)
    .sort();
  return `Usage:  skep ${noun} COMMAND\n\n${summary}\n\nCommands:\n${rows.join("\n")}\n\nRun 'skep ${noun} COMMAND --help' for more on a command.\n`;
}

function commandHelp(command: Command, words: readonly string[]): string {
  const names = pathsOf(command).map((path) => `skep ${path.join(" ")}`);
  const aliases = names.length > 1 ? `\nAliases:\n  ${names.join(", ")}\n` : "";
  const options = command.flags.length > 0 ? `\nOptions:\n${flagUsages(command.flags)}\n` : "";
  const first = `Usage:  skep ${words.join(" ")} ${command.usage}`.trimEnd();
  return `${first}\n\n${command.summary}\n${aliases}${options}`;
}

/**
 * What a command is. Each `<noun>/<verb>.ts` exports its commands; `main.ts` finds them by the words
 * of the command line and loads only that noun's file. A command gets its parsed flags, its
 * arguments and the world (streams, environment, the API client) as values, and returns its exit
 * code.
 */

import type { Readable, Writable } from "node:stream";
import type { ApiClient } from "./http.ts";
import type { FlagSpec, FlagValues } from "./pflag.ts";

export interface CommandContext {
  readonly flags: FlagValues;
  /** Those before the command. */
  readonly globals: FlagValues;
  readonly args: readonly string[];
  readonly client: ApiClient;
  readonly env: NodeJS.ProcessEnv;
  readonly stdin: Readable & { readonly isTTY?: boolean; setRawMode?(raw: boolean): unknown };
  readonly stdout: Writable & {
    readonly isTTY?: boolean;
    readonly columns?: number;
    readonly rows?: number;
  };
  readonly stderr: Writable;
}

export interface Command {
  /** ["service", "create"]. */
  readonly path: readonly string[];
  /** Other names of the last word ("ls" and "list"). */
  readonly aliases?: readonly string[];
  /** Whole paths that mean the same: ["ps"] for ["container", "ls"]. */
  readonly shortcuts?: readonly (readonly string[])[];
  /** After the words: "[OPTIONS] IMAGE [COMMAND] [ARG...]". */
  readonly usage: string;
  readonly summary: string;
  readonly flags: readonly FlagSpec[];
  readonly minArgs: number;
  /** Undefined = no upper bound. */
  readonly maxArgs: number | undefined;
  /** True: flags end at the first argument. */
  readonly flagsFirst?: boolean;
  /** Exit code for usage errors: 125 where docker uses it (run), else 1. */
  run(context: CommandContext): Promise<number>;
}

export const FORMAT_FLAG: FlagSpec = {
  name: "format",
  kind: "string",
  usage: 'Format the output with a Go template, "table", "table TEMPLATE" or "json"',
};
export const FILTER_FLAG: FlagSpec = {
  name: "filter",
  short: "f",
  kind: "list",
  valueName: "filter",
  usage: "Show only what matches the condition (key=value)",
};
/** Of commands that remove what is not used: their `-f` is no filter. */
export const PRUNE_FLAGS: readonly FlagSpec[] = [
  { name: "filter", kind: "list", valueName: "filter", usage: FILTER_FLAG.usage },
  { name: "force", short: "f", kind: "bool", usage: "Do not ask for confirmation" },
];
export const QUIET_FLAG: FlagSpec = {
  name: "quiet",
  short: "q",
  kind: "bool",
  usage: "Show only IDs",
};
export const NO_TRUNC_FLAG: FlagSpec = {
  name: "no-trunc",
  kind: "bool",
  usage: "Show values in full",
};

export const NO_RESOLVE_FLAG: FlagSpec = {
  name: "no-resolve",
  kind: "bool",
  usage: "Show IDs instead of names",
};

/** `--filter k=v --filter k=w` as the API's `filters` query; undefined when there are none. */
export function filtersQuery(values: readonly string[]): string | undefined {
  if (values.length === 0) return undefined;
  const filters: Record<string, Record<string, true>> = {};
  for (const value of values) {
    const equals = value.indexOf("=");
    const key = (equals < 0 ? value : value.slice(0, equals)).trim().toLowerCase();
    const wanted = equals < 0 ? "" : value.slice(equals + 1).trim();
    filters[key] = { ...filters[key], [wanted]: true };
  }
  return JSON.stringify(filters);
}

/** Runs one action per argument, prints what it returns, and goes on past failures. */
export async function forEachArg(
  context: CommandContext,
  action: (arg: string) => Promise<string | undefined>,
): Promise<number> {
  let failed = 0;
  for (const arg of context.args) {
    try {
      const line = await action(arg);
      if (line !== undefined) context.stdout.write(`${line}\n`);
    } catch (error) {
      failed += 1;
      context.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    }
  }
  return failed === 0 ? 0 : 1;
}

/**
 * Command-line flags with the grammar and the messages of spf13/pflag and cobra, which docker's
 * command line is made of: `--name value`, `--name=value`, `-n value`, `-nvalue`, grouped short
 * booleans (`-it`), `--bool=false`, `--` as the end, and commands whose flags end at the first
 * positional argument (`run [OPTIONS] IMAGE [COMMAND]`). One table of `FlagSpec`s yields parsing,
 * help and completion. Pure: it knows nothing of the process.
 */

import { parseBytes } from "#base/bytes.ts";
import { parseDuration } from "#base/duration.ts";
import { err, ok, type Result } from "#base/result.ts";

export type FlagKind =
  | "bool"
  | "string"
  | "int"
  | "uint"
  | "float"
  | "duration"
  | "bytes"
  /** Repeatable; values are kept apart, commas included. */
  | "list";

export interface FlagSpec {
  readonly name: string;
  readonly short?: string;
  readonly kind: FlagKind;
  /** What `--help` shows as the value's type instead of the kind. */
  readonly valueName?: string;
  readonly usage: string;
  /** Shown in help; not set in the result (`FlagValues.has` tells what was given). */
  readonly defaultText?: string;
  readonly hidden?: boolean;
}

export class FlagValues {
  readonly #values = new Map<string, string[]>();

  add(name: string, value: string, kind: FlagKind): void {
    if (kind === "list") this.#values.set(name, [...(this.#values.get(name) ?? []), value]);
    else this.#values.set(name, [value]);
  }

  /** Whether the flag was given on the command line (pflag's `Changed`). */
  has(name: string): boolean {
    return this.#values.has(name);
  }

  string(name: string): string | undefined {
    return this.#values.get(name)?.at(-1);
  }

  bool(name: string): boolean {
    return parseBool(this.string(name) ?? "false") ?? false;
  }

  number(name: string): number | undefined {
    const text = this.string(name);
    return text === undefined ? undefined : Number(text);
  }

  /** Nanoseconds. */
  duration(name: string): number | undefined {
    const text = this.string(name);
    if (text === undefined) return undefined;
    const parsed = parseDuration(text);
    return parsed.ok ? parsed.value : undefined;
  }

  bytes(name: string): number | undefined {
    const text = this.string(name);
    if (text === undefined) return undefined;
    const parsed = parseBytes(text);
    return parsed.ok ? parsed.value : undefined;
  }

  list(name: string): readonly string[] {
    return this.#values.get(name) ?? [];
  }
}

export interface ParsedFlags {
  readonly flags: FlagValues;
  readonly args: readonly string[];
}

export interface ParseOptions {
  /** False: the first positional argument ends the flags (docker run, exec, service create). */
  readonly interspersed: boolean;
}

export function parseFlags(
  specs: readonly FlagSpec[],
  argv: readonly string[],
  options: ParseOptions,
): Result<ParsedFlags> {
  const byName = new Map(specs.map((spec) => [spec.name, spec]));
  const byShort = new Map(
    specs.flatMap((spec) => (spec.short === undefined ? [] : [[spec.short, spec] as const])),
  );
  const flags = new FlagValues();
  const args: string[] = [];
  let index = 0;
  while (index < argv.length) {
    const word = argv[index] as string;
    index += 1;
    if (word === "--") {
      args.push(...argv.slice(index));
      break;
    }
    if (word.startsWith("--")) {
      const step = parseLong(word, argv[index], byName, flags);
      if (!step.ok) return step;
      index += step.value;
    } else if (word.startsWith("-") && word.length > 1) {
      const step = parseShorts(word, argv[index], byShort, flags);
      if (!step.ok) return step;
      index += step.value;
    } else {
      args.push(word);
      if (!options.interspersed) {
        args.push(...argv.slice(index));
        break;
      }
    }
  }
  return ok({ flags, args });
}

/** Takes one `--flag`; the value says how many further words it used up. */
function parseLong(
  word: string,
  next: string | undefined,
  byName: ReadonlyMap<string, FlagSpec>,
  flags: FlagValues,
): Result<number> {
  const equals = word.indexOf("=");
  const name = equals < 0 ? word.slice(2) : word.slice(2, equals);
  const spec = byName.get(name);
  if (spec === undefined) return err(`unknown flag: --${name}`);
  if (equals >= 0) return set(spec, `--${name}`, word.slice(equals + 1), flags, 0);
  if (spec.kind === "bool") return set(spec, `--${name}`, "true", flags, 0);
  if (next === undefined) return err(`flag needs an argument: --${name}`);
  return set(spec, `--${name}`, next, flags, 1);
}

function parseShorts(
  word: string,
  next: string | undefined,
  byShort: ReadonlyMap<string, FlagSpec>,
  flags: FlagValues,
): Result<number> {
  let rest = word.slice(1);
  while (rest.length > 0) {
    const letter = rest[0] as string;
    const spec = byShort.get(letter);
    if (spec === undefined) return err(`unknown shorthand flag: '${letter}' in ${word}`);
    const shown = `-${letter}, --${spec.name}`;
    const after = rest.slice(1);
    if (after.startsWith("=")) return set(spec, shown, after.slice(1), flags, 0);
    if (spec.kind !== "bool") {
      if (after.length > 0) return set(spec, shown, after, flags, 0);
      if (next === undefined) return err(`flag needs an argument: '${letter}' in ${word}`);
      return set(spec, shown, next, flags, 1);
    }
    const done = set(spec, shown, "true", flags, 0);
    if (!done.ok) return done;
    rest = after;
  }
  return ok(0);
}

function set(
  spec: FlagSpec,
  shown: string,
  value: string,
  flags: FlagValues,
  used: number,
): Result<number> {
  const problem = check(spec.kind, value);
  if (problem !== undefined) {
    return err(`invalid argument ${JSON.stringify(value)} for "${shown}" flag: ${problem}`);
  }
  flags.add(spec.name, value, spec.kind);
  return ok(used);
}

function check(kind: FlagKind, value: string): string | undefined {
  const syntax = (parser: string) => `${parser}: parsing ${JSON.stringify(value)}: invalid syntax`;
  switch (kind) {
    case "bool":
      return parseBool(value) === undefined ? syntax("strconv.ParseBool") : undefined;
    case "int":
      return /^[-+]?\d+$/.test(value) ? undefined : syntax("strconv.ParseInt");
    case "uint":
      return /^\d+$/.test(value) ? undefined : syntax("strconv.ParseUint");
    case "float":
      return value !== "" && Number.isFinite(Number(value))
        ? undefined
        : syntax("strconv.ParseFloat");
    case "duration": {
      const parsed = parseDuration(value);
      return parsed.ok ? undefined : parsed.error;
    }
    case "bytes": {
      const parsed = parseBytes(value);
      return parsed.ok ? undefined : parsed.error;
    }
    case "string":
    case "list":
      return undefined;
  }
}

/** Go's strconv.ParseBool. */
export function parseBool(text: string): boolean | undefined {
  if (["1", "t", "T", "true", "TRUE", "True"].includes(text)) return true;
  if (["0", "f", "F", "false", "FALSE", "False"].includes(text)) return false;
  return undefined;
}

/** The flags part of `--help`, aligned as cobra does. */
export function flagUsages(specs: readonly FlagSpec[]): string {
  const rows = specs
    .filter((spec) => spec.hidden !== true)
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map((spec) => {
      const short = spec.short === undefined ? "    " : `-${spec.short}, `;
      const type = spec.valueName ?? (spec.kind === "bool" ? "" : spec.kind);
      const left = `  ${short}--${spec.name}${type === "" ? "" : ` ${type}`}`;
      const suffix = spec.defaultText === undefined ? "" : ` (default ${spec.defaultText})`;
      return [left, `${spec.usage}${suffix}`] as const;
    });
  const width = Math.max(0, ...rows.map(([left]) => left.length)) + 3;
  return rows.map(([left, right]) => `${left.padEnd(width)}${right}`).join("\n");
}

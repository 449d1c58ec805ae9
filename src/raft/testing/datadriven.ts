/**
 * Reads data-driven test files: commands, each followed by `----` and the output that is expected.
 * The format is that of cockroachdb/datadriven, which etcd's transcripts are written in:
 *
 *   command arg key=value key=(a,b)      a trailing backslash continues the line
 *   more input lines
 *   ----
 *   output up to an empty line; or, fenced by a second `----` at both ends, with empty lines in it
 */

export interface Argument {
  readonly key: string;
  /** Undefined for a bare word; a list for `key=(a,b)`. */
  readonly values: readonly string[] | undefined;
}

export interface Command {
  /** 1-based line of the file where the command stands. */
  readonly line: number;
  readonly name: string;
  readonly args: readonly Argument[];
  readonly input: string;
  readonly expected: string;
}

const SEPARATOR = "----";

export function parseDataDriven(text: string): readonly Command[] {
  const lines = text.split("\n");
  const commands: Command[] = [];
  let at = 0;
  while (at < lines.length) {
    const line = (lines[at] ?? "").trim();
    if (line === "" || line.startsWith("#")) {
      at++;
      continue;
    }
    const { command, next } = parseCommand(lines, at);
    commands.push(command);
    at = next;
  }
  return commands;
}

/** The file with the outputs of its commands replaced, everything else as it was. */
export function replaceOutputs(text: string, outputs: readonly string[]): string {
  const lines = text.split("\n");
  const replaced: string[] = [];
  let at = 0;
  let position = 0;
  while (at < lines.length) {
    const line = lines[at] ?? "";
    replaced.push(line);
    at++;
    if (line !== SEPARATOR) continue;
    const output = outputs[position++] ?? "";
    at = parseOutput(lines, at).next;
    const isFenced = output.includes("\n\n");
    const fence = isFenced ? `${SEPARATOR}\n` : "";
    replaced.push(`${fence}${output}${fence}${fence}`.replace(/\n$/, ""));
  }
  return replaced.join("\n");
}

function parseCommand(
  lines: readonly string[],
  start: number,
): { readonly command: Command; readonly next: number } {
  let at = start;
  let directive = (lines[at++] ?? "").trim();
  while (directive.endsWith("\\")) {
    directive = `${directive.slice(0, -1)} ${(lines[at++] ?? "").trim()}`;
  }
  const input: string[] = [];
  while (at < lines.length && lines[at] !== SEPARATOR) input.push(lines[at++] ?? "");
  const output = parseOutput(lines, at + 1);
  const [name = "", ...args] = splitDirective(directive);
  const command = {
    line: start + 1,
    name,
    args: args.map(parseArgument),
    input: input.join("\n").trim(),
    expected: output.text,
  };
  return { command, next: output.next };
}

function parseOutput(
  lines: readonly string[],
  start: number,
): { readonly text: string; readonly next: number } {
  const output: string[] = [];
  let at = start;
  const isFenced = lines[at] === SEPARATOR;
  if (isFenced) {
    at++;
    while (at < lines.length && !(lines[at] === SEPARATOR && lines[at + 1] === SEPARATOR)) {
      output.push(lines[at++] ?? "");
    }
    at += 2;
  } else {
    while (at < lines.length && (lines[at] ?? "").trim() !== "") output.push(lines[at++] ?? "");
  }
  return { text: output.map((line) => `${line}\n`).join(""), next: at };
}

/** Words at spaces, where a parenthesized list is part of its word. */
function splitDirective(directive: string): readonly string[] {
  return directive.match(/[^\s=]+=\([^)]*\)|\S+/g) ?? [];
}

function parseArgument(word: string): Argument {
  const equals = word.indexOf("=");
  if (equals < 0) return { key: word, values: undefined };
  const value = word.slice(equals + 1);
  const list = /^\((.*)\)$/.exec(value)?.[1];
  const values = list === undefined ? [value] : list.split(",").map((item) => item.trim());
  return { key: word.slice(0, equals), values: values.filter((item) => item !== "") };
}

/**
 * Go's text/template, as far as docker's `--format` uses it: fields, pipelines, variables, if/else,
 * range, with, comparison and logic, and docker's own functions (json, join, split, lower, upper,
 * title, pad, truncate, println). Values are plain JSON data; there is no access to JavaScript
 * objects beyond their own properties. Parsing and evaluation are separate and pure; a template that
 * Go would refuse is refused with an error that says where.
 */

import { EngineError } from "#base/error.ts";

type Node =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "pipe"; readonly pipe: Pipe }
  | { readonly kind: "set"; readonly name: string; readonly pipe: Pipe }
  | {
      readonly kind: "if" | "with" | "range";
      readonly pipe: Pipe;
      readonly names: readonly string[];
      readonly body: readonly Node[];
      readonly otherwise: readonly Node[];
    };

type Pipe = readonly Command[];
type Command = readonly Operand[];

type Operand =
  | { readonly kind: "literal"; readonly value: unknown }
  | { readonly kind: "dot"; readonly path: readonly string[] }
  | { readonly kind: "variable"; readonly name: string; readonly path: readonly string[] }
  | { readonly kind: "call"; readonly name: string }
  | { readonly kind: "group"; readonly pipe: Pipe; readonly path: readonly string[] };

/** `heading`: the data are the headings of columns, which most functions leave as they are. */
export type Template = (data: unknown, heading?: boolean) => string;

/** Compiles a template; throws EngineError `invalid-argument` with Go's kind of message. */
export function compileTemplate(source: string): Template {
  const parser = new Parser(split(source));
  const nodes = parser.block([]);
  return (data, heading = false) => {
    const out: string[] = [];
    run(nodes, { dot: data, variables: new Map([["$", data]]), heading }, out);
    return out.join("");
  };
}

function fail(message: string): never {
  throw new EngineError("invalid-argument", `template parsing error: template: :1: ${message}`);
}

type Piece =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "action"; readonly tokens: readonly Token[] };

/** Cuts the source into text and actions, applying `{{-` and `-}}`. */
function split(source: string): readonly Piece[] {
  const pieces: Piece[] = [];
  let at = 0;
  let trimNext = false;
  while (at < source.length) {
    const open = source.indexOf("{{", at);
    let text = open < 0 ? source.slice(at) : source.slice(at, open);
    if (trimNext) text = text.trimStart();
    trimNext = false;
    const trimBefore = open >= 0 && /^\{\{-\s/.test(source.slice(open, open + 4));
    if (trimBefore) text = text.trimEnd();
    if (text !== "") pieces.push({ kind: "text", text });
    if (open < 0) break;
    const close = closing(source, open + 2);
    let body = source.slice(open + (trimBefore ? 3 : 2), close);
    if (/\s-$/.test(body)) {
      body = body.slice(0, -1);
      trimNext = true;
    }
    if (!/^\s*\/\*[\s\S]*\*\/\s*$/.test(body)) {
      pieces.push({ kind: "action", tokens: tokenize(body) });
    }
    at = close + 2;
  }
  return pieces;
}

/** Index of the `}}` that ends an action, not one inside a string. */
function closing(source: string, from: number): number {
  const pattern = /"(?:[^"\\]|\\.)*"|`[^`]*`|\}\}/g;
  pattern.lastIndex = from;
  for (let match = pattern.exec(source); match !== null; match = pattern.exec(source)) {
    if (match[0] === "}}") return match.index;
  }
  return fail("unclosed action");
}

interface Token {
  readonly kind: "field" | "variable" | "word" | "literal" | "symbol";
  readonly text: string;
  readonly value?: unknown;
  /** Whether white space stands before it: `(x).y` and `(x) .y` differ. */
  readonly spaced: boolean;
}

const TOKEN =
  /(\s*)(?:("(?:[^"\\]|\\.)*"|`[^`]*`)|(-?\d+(?:\.\d+)?)|(\$\w*)|(\.[A-Za-z_]\w*)|([A-Za-z_]\w*)|(:=|[|().,=]))/y;

function tokenize(body: string): readonly Token[] {
  const tokens: Token[] = [];
  TOKEN.lastIndex = 0;
  const trimmed = body.trimEnd();
  while (TOKEN.lastIndex < trimmed.length) {
    const at = TOKEN.lastIndex;
    const match = TOKEN.exec(trimmed);
    if (match === null) return fail(`unexpected ${JSON.stringify(trimmed.slice(at).trim()[0])}`);
    const [, space = "", text, number, variable, field, word, symbol] = match;
    const spaced = space !== "";
    if (text !== undefined) {
      const value = text.startsWith("`") ? text.slice(1, -1) : unquote(text);
      tokens.push({ kind: "literal", text, value, spaced });
    } else if (number !== undefined) {
      tokens.push({ kind: "literal", text: number, value: Number(number), spaced });
    } else if (variable !== undefined) tokens.push({ kind: "variable", text: variable, spaced });
    else if (field !== undefined) tokens.push({ kind: "field", text: field.slice(1), spaced });
    else if (word !== undefined) tokens.push({ kind: "word", text: word, spaced });
    else if (symbol !== undefined) tokens.push({ kind: "symbol", text: symbol, spaced });
  }
  return tokens;
}

function unquote(text: string): string {
  try {
    return JSON.parse(text);
  } catch {
    return fail(`invalid string ${text}`);
  }
}

class Parser {
  readonly #pieces: readonly Piece[];
  #next = 0;

  constructor(pieces: readonly Piece[]) {
    this.#pieces = pieces;
  }

  /** Nodes up to one of the words (left unread), or to the end when there are none. */
  block(until: readonly string[]): readonly Node[] {
    const nodes: Node[] = [];
    for (;;) {
      const piece = this.#pieces[this.#next];
      if (piece === undefined) {
        return until.length > 0 ? fail("unexpected EOF") : nodes;
      }
      if (piece.kind === "action" && until.includes(piece.tokens[0]?.text ?? "")) return nodes;
      this.#next += 1;
      nodes.push(piece.kind === "text" ? piece : this.#action(piece.tokens));
    }
  }

  #action(tokens: readonly Token[]): Node {
    const first = tokens[0];
    if (first === undefined) return fail("missing value for command");
    if (first.kind === "word") {
      if (first.text === "if" || first.text === "with" || first.text === "range") {
        return this.#control(first.text, tokens.slice(1));
      }
      if (["end", "else", "define", "template", "block"].includes(first.text)) {
        return fail(`unexpected {{${first.text}}}`);
      }
    }
    const { names, rest } = assignment(tokens);
    const [name] = names;
    if (name !== undefined) return { kind: "set", name, pipe: parsePipe(rest) };
    return { kind: "pipe", pipe: parsePipe(tokens) };
  }

  #control(kind: "if" | "with" | "range", tokens: readonly Token[]): Node {
    const { names, rest } = assignment(tokens);
    const pipe = parsePipe(rest);
    const body = this.block(["else", "end"]);
    const stop = this.#take();
    if (stop[0]?.text === "end") return { kind, pipe, names, body, otherwise: [] };
    if (stop.length > 1) {
      // {{else if x}} stands for {{else}}{{if x}}…{{end}} with one end for both.
      return { kind, pipe, names, body, otherwise: [this.#action(stop.slice(1))] };
    }
    const otherwise = this.block(["end"]);
    this.#take();
    return { kind, pipe, names, body, otherwise };
  }

  #take(): readonly Token[] {
    const piece = this.#pieces[this.#next];
    this.#next += 1;
    return piece?.kind === "action" ? piece.tokens : [];
  }
}

/** `$a := …`, `$i, $v := …`, `$a = …`. */
function assignment(tokens: readonly Token[]): {
  readonly names: readonly string[];
  readonly rest: readonly Token[];
} {
  const sign = tokens.findIndex((token) => token.text === ":=" || token.text === "=");
  if (sign < 1) return { names: [], rest: tokens };
  const names = tokens
    .slice(0, sign)
    .filter((token) => token.kind === "variable")
    .map((token) => token.text);
  return { names, rest: tokens.slice(sign + 1) };
}

function parsePipe(tokens: readonly Token[]): Pipe {
  const reader = { tokens, at: 0 };
  const pipe = readPipe(reader);
  if (reader.at < tokens.length)
    return fail(`unexpected ${JSON.stringify(tokens[reader.at]?.text)}`);
  return pipe;
}

interface Reader {
  readonly tokens: readonly Token[];
  at: number;
}

function readPipe(reader: Reader): Pipe {
  const commands: Command[] = [];
  for (;;) {
    const command: Operand[] = [];
    for (;;) {
      const token = reader.tokens[reader.at];
      if (token === undefined || token.text === ")" || token.text === "|") break;
      command.push(readOperand(reader));
    }
    if (command.length === 0) return fail("missing value for command");
    commands.push(command);
    if (reader.tokens[reader.at]?.text !== "|") return commands;
    reader.at += 1;
  }
}

function readOperand(reader: Reader): Operand {
  const token = reader.tokens[reader.at] as Token;
  reader.at += 1;
  switch (token.kind) {
    case "literal":
      return { kind: "literal", value: token.value };
    case "field":
      return { kind: "dot", path: [token.text, ...readPath(reader)] };
    case "variable":
      return { kind: "variable", name: token.text, path: readPath(reader) };
    case "word": {
      const constants: Readonly<Record<string, unknown>> = { true: true, false: false, nil: null };
      if (token.text in constants) return { kind: "literal", value: constants[token.text] };
      if (!Object.hasOwn(FUNCTIONS, token.text)) fail(`function "${token.text}" not defined`);
      return { kind: "call", name: token.text };
    }
    case "symbol": {
      if (token.text === ".") return { kind: "dot", path: [] };
      if (token.text !== "(") return fail(`unexpected ${JSON.stringify(token.text)} in operand`);
      const pipe = readPipe(reader);
      if (reader.tokens[reader.at]?.text !== ")") return fail("unclosed left paren");
      reader.at += 1;
      return { kind: "group", pipe, path: readPath(reader) };
    }
  }
}

function readPath(reader: Reader): readonly string[] {
  const path: string[] = [];
  for (;;) {
    const token = reader.tokens[reader.at];
    if (token?.kind !== "field" || token.spaced) return path;
    path.push(token.text);
    reader.at += 1;
  }
}

interface Scope {
  readonly heading: boolean;
  readonly dot: unknown;
  readonly variables: ReadonlyMap<string, unknown>;
}

function run(nodes: readonly Node[], outer: Scope, out: string[]): void {
  let scope = outer;
  for (const node of nodes) {
    switch (node.kind) {
      case "text":
        out.push(node.text);
        break;
      case "pipe":
        out.push(show(evaluate(node.pipe, scope)));
        break;
      case "set":
        scope = bind(scope, [[node.name, evaluate(node.pipe, scope)]]);
        break;
      case "range":
        runRange(node, scope, out);
        break;
      case "if":
      case "with": {
        const value = evaluate(node.pipe, scope);
        const inner = bind(
          scope,
          node.names.map((name) => [name, value]),
        );
        if (!truthy(value)) run(node.otherwise, inner, out);
        else run(node.body, node.kind === "with" ? { ...inner, dot: value } : inner, out);
        break;
      }
    }
  }
}

function runRange(
  node: Node & { readonly kind: "if" | "with" | "range" },
  scope: Scope,
  out: string[],
): void {
  const value = evaluate(node.pipe, scope);
  const entries = entriesOf(value);
  if (entries.length === 0) return run(node.otherwise, scope, out);
  for (const [key, item] of entries) {
    const [first, second] = node.names;
    const names: [string, unknown][] = [];
    if (second !== undefined && first !== undefined) names.push([first, key], [second, item]);
    else if (first !== undefined) names.push([first, item]);
    run(node.body, { ...bind(scope, names), dot: item }, out);
  }
}

function entriesOf(value: unknown): readonly (readonly [unknown, unknown])[] {
  if (Array.isArray(value)) return [...(value as readonly unknown[]).entries()];
  if (typeof value === "object" && value !== null) {
    return Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  }
  if (value === null || value === undefined) return [];
  throw new EngineError("invalid-argument", `template: range can't iterate over ${show(value)}`);
}

function bind(scope: Scope, names: readonly (readonly [string, unknown])[]): Scope {
  if (names.length === 0) return scope;
  return { ...scope, variables: new Map([...scope.variables, ...names]) };
}

function evaluate(pipe: Pipe, scope: Scope): unknown {
  let piped: readonly unknown[] = [];
  for (const command of pipe) {
    const [head, ...rest] = command as readonly [Operand, ...Operand[]];
    const args = [...rest.map((operand) => operandValue(operand, scope)), ...piped];
    if (head.kind === "call") piped = [call(head.name, args, scope)];
    else if (args.length > 0) piped = [method(operandValue(head, scope))(...args)];
    else piped = [operandValue(head, scope)];
  }
  return piped[0];
}

/** Of those that change a value, a heading is no value. */
const OF_VALUES: ReadonlySet<string> = new Set([
  "json",
  "join",
  "split",
  "lower",
  "upper",
  "title",
  "truncate",
]);

function call(name: string, args: readonly unknown[], { heading }: Scope): unknown {
  return heading && OF_VALUES.has(name) ? args[0] : FUNCTIONS[name]?.(...args);
}

/** A field that takes arguments, as `.Label "name"` does: rows have them as functions. */
function method(value: unknown): (...args: readonly unknown[]) => unknown {
  if (typeof value !== "function") return fail("can't give argument to non-function");
  return value as (...args: readonly unknown[]) => unknown;
}

function operandValue(operand: Operand, scope: Scope): unknown {
  switch (operand.kind) {
    case "literal":
      return operand.value;
    case "dot":
      return follow(scope.dot, operand.path);
    case "variable": {
      if (!scope.variables.has(operand.name)) return fail(`undefined variable "${operand.name}"`);
      return follow(scope.variables.get(operand.name), operand.path);
    }
    case "group":
      return follow(evaluate(operand.pipe, scope), operand.path);
    case "call":
      return FUNCTIONS[operand.name]?.();
  }
}

/** Members that are maps to Go: what they do not have is "<no value>", where a struct's is an error. */
const MAPS: ReadonlySet<string> = new Set([
  "Annotations",
  "Attributes",
  "AuxiliaryAddresses",
  "Containers",
  "DriverOpts",
  "Labels",
  "Networks",
  "Options",
  "Services",
  "StorageOpt",
  "Sysctls",
  "Tmpfs",
]);

function follow(start: unknown, path: readonly string[]): unknown {
  let value = start;
  for (const [index, name] of path.entries()) {
    if (value === null || value === undefined) return undefined;
    if (typeof value !== "object" || !Object.hasOwn(value, name)) {
      if (MAPS.has(path[index - 1] ?? "")) return undefined;
      throw new EngineError(
        "invalid-argument",
        `template: :1: executing "" at <.${path.join(".")}>: can't evaluate field ${name}`,
      );
    }
    value = (value as Readonly<Record<string, unknown>>)[name];
  }
  return value;
}

function truthy(value: unknown): boolean {
  if (value === null || value === undefined || value === false || value === 0 || value === "") {
    return false;
  }
  if (Array.isArray(value)) return value.length > 0;
  return typeof value !== "object" || Object.keys(value).length > 0;
}

/** A value as Go's `%v` prints it. */
function show(value: unknown): string {
  if (value === undefined) return "<no value>";
  if (value === null) return "<nil>";
  if (Array.isArray(value)) return `[${value.map(show).join(" ")}]`;
  if (typeof value === "object") {
    const pairs = entriesOf(value).map(([key, item]) => `${String(key)}:${show(item)}`);
    return `map[${pairs.join(" ")}]`;
  }
  return `${value as string | number | boolean | bigint}`;
}

function compare(a: unknown, b: unknown): number {
  if (typeof a === "number" && typeof b === "number") return a - b;
  const left = show(a);
  const right = show(b);
  if (left === right) return 0;
  return left < right ? -1 : 1;
}

/** Go's encoding/json escapes these for HTML's sake, and `docker --format json` shows it. */
function goJson(value: unknown): string {
  return JSON.stringify(value ?? null).replace(
    /[<>&\u2028\u2029]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function printf(format: unknown, ...args: readonly unknown[]): string {
  let next = 0;
  return String(format).replace(/%(-?)(\d*)(?:\.(\d+))?([sdvqtfx%])/g, (_all, ...groups) => {
    const [minus, width, precision, verb] = groups as [string, string, string | undefined, string];
    if (verb === "%") return "%";
    const value = args[next++];
    let text = show(value);
    if (verb === "s" && precision !== undefined) text = text.slice(0, Number(precision));
    if (verb === "q") text = JSON.stringify(text);
    if (verb === "f") text = Number(value).toFixed(precision === undefined ? 6 : Number(precision));
    if (verb === "x" && typeof value === "number") text = value.toString(16);
    return minus === "-" ? text.padEnd(Number(width)) : text.padStart(Number(width));
  });
}

const FUNCTIONS: Readonly<Record<string, (...args: readonly unknown[]) => unknown>> = {
  json: goJson,
  join: (list, separator) => (Array.isArray(list) ? list : []).map(show).join(String(separator)),
  split: (text, separator) => show(text).split(String(separator)),
  lower: (text) => show(text).toLowerCase(),
  upper: (text) => show(text).toUpperCase(),
  title: (text) => show(text).replace(/(^|\s)\S/g, (first) => first.toUpperCase()),
  pad: (text, before, after) =>
    text === "" ? "" : `${" ".repeat(Number(before))}${show(text)}${" ".repeat(Number(after))}`,
  truncate: (text, length) => show(text).slice(0, Number(length)),
  println: (...args) => `${args.map(show).join(" ")}\n`,
  print: (...args) => args.map(show).join(""),
  printf,
  len: (value) => (typeof value === "string" ? value.length : entriesOf(value).length),
  index: (value, ...keys) =>
    keys.reduce<unknown>((inner, key) => {
      if (Array.isArray(inner)) return inner[Number(key)] as unknown;
      return (inner as Readonly<Record<string, unknown>> | undefined)?.[String(key)] ?? "";
    }, value),
  eq: (first, ...others) => others.some((other) => compare(first, other) === 0),
  ne: (a, b) => compare(a, b) !== 0,
  lt: (a, b) => compare(a, b) < 0,
  le: (a, b) => compare(a, b) <= 0,
  gt: (a, b) => compare(a, b) > 0,
  ge: (a, b) => compare(a, b) >= 0,
  not: (value) => !truthy(value),
  and: (...args) => args.find((value) => !truthy(value)) ?? args.at(-1),
  or: (...args) => args.find(truthy) ?? args.at(-1),
};

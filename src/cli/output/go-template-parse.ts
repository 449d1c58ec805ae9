/** The grammar of Go's text/template, as far as docker's `--format` uses it: text to a tree. */

import { EngineError } from "#base/error.ts";
import { FUNCTIONS } from "./go-template-functions.ts";

export type Node =
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

export type Pipe = readonly Command[];
type Command = readonly Operand[];

export type Operand =
  | { readonly kind: "literal"; readonly value: unknown }
  | { readonly kind: "dot"; readonly path: readonly string[] }
  | { readonly kind: "variable"; readonly name: string; readonly path: readonly string[] }
  | { readonly kind: "call"; readonly name: string }
  | { readonly kind: "group"; readonly pipe: Pipe; readonly path: readonly string[] };

/** Throws EngineError `invalid-argument` with Go's kind of message. */
export function parseTemplate(source: string): readonly Node[] {
  return new Parser(split(source)).block([]);
}

export function fail(message: string): never {
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

/**
 * Go's text/template, as far as docker's `--format` uses it: fields, pipelines, variables, if/else,
 * range, with, comparison and logic, and docker's own functions (json, join, split, lower, upper,
 * title, pad, truncate, println). Values are plain JSON data; there is no access to JavaScript
 * objects beyond their own properties. Parsing and evaluation are separate and pure; a template that
 * Go would refuse is refused with an error that says where.
 */

import { EngineError } from "#base/error.ts";
import { entriesOf, FUNCTIONS, show, truthy } from "./go-template-functions.ts";
import { fail, type Node, type Operand, type Pipe, parseTemplate } from "./go-template-parse.ts";

/** `heading`: the data are the headings of columns, which most functions leave as they are. */
export type Template = (data: unknown, heading?: boolean) => string;

/** Compiles a template; throws EngineError `invalid-argument` with Go's kind of message. */
export function compileTemplate(source: string): Template {
  const nodes = parseTemplate(source);
  return (data, heading = false) => {
    const out: string[] = [];
    run(nodes, { dot: data, variables: new Map([["$", data]]), heading }, out);
    return out.join("");
  };
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

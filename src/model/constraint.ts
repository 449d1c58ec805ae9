/**
 * Placement constraints: `key==value`, `key!=value` over what is known of a node. Keys ignore case,
 * except the name of a label; values are compared whole, ignoring case; a label that a node does not
 * have reads as "". A key that nobody knows matches no node, whatever its operator.
 */

import { err, ok, type Result } from "#base/result.ts";
import type { Node } from "#wire/gen/swarmkit/objects_pb.js";
import { NodeRole } from "#wire/gen/swarmkit/types_pb.js";
import { parseIp, parsePrefix, prefixContains } from "./ip.ts";

export interface Constraint {
  readonly key: string;
  readonly equal: boolean;
  readonly value: string;
}

const OPERATORS = ["==", "!="] as const;
const KEY = /^[a-z_][a-z0-9\-_.]+$/i;
const VALUE = /^[a-z0-9:\-_\s.*()?+[\]\\^$|/]+$/i;
const NODE_LABEL = "node.labels.";
const ENGINE_LABEL = "engine.labels.";
/** Given with the token that let the node in; neither node nor a later update can change them. */
const IDENTITY_LABEL = "node.identity.";

/** Parses all of them, or says what is wrong with the first bad one, in SwarmKit's words. */
export function parseConstraints(texts: readonly string[]): Result<readonly Constraint[]> {
  const constraints: Constraint[] = [];
  for (const text of texts) {
    const parsed = parseConstraint(text);
    if (!parsed.ok) return parsed;
    constraints.push(parsed.value);
  }
  return ok(constraints);
}

/** The constraints that a node does not satisfy, as they are written. */
export function unmetBy(constraints: readonly Constraint[], node: Node): readonly string[] {
  return constraints
    .filter((constraint) => !matches(constraint, node))
    .map(({ key, equal, value }) => `${key}${equal ? "==" : "!="}${value}`);
}

/** Whether a node satisfies all constraints. */
export function nodeMatches(constraints: readonly Constraint[], node: Node): boolean {
  return constraints.every((constraint) => matches(constraint, node));
}

function parseConstraint(text: string): Result<Constraint> {
  const operator = OPERATORS.find((one) => text.includes(one));
  if (operator === undefined) {
    return err(`constraint expected one operator from ${OPERATORS.join(", ")}`);
  }
  const at = text.indexOf(operator);
  const key = text.slice(0, at).trim();
  const value = text.slice(at + operator.length).trim();
  if (!KEY.test(key)) return err(`key '${key}' is invalid`);
  if (!VALUE.test(value)) return err(`value '${value}' is invalid`);
  return ok({ key, equal: operator === "==", value });
}

function matches(constraint: Constraint, node: Node): boolean {
  const key = constraint.key.toLowerCase();
  if (key === "node.ip") return ipMatches(constraint, node.status?.addr ?? "");
  const actual = attributeOf(node, key, constraint.key);
  if (actual === undefined) return false;
  return (actual.toLowerCase() === constraint.value.toLowerCase()) === constraint.equal;
}

/** What the key stands for on this node; undefined for a key that means nothing. */
function attributeOf(node: Node, key: string, written: string): string | undefined {
  const { description, spec } = node;
  switch (key) {
    case "node.id":
      return node.id;
    case "node.hostname":
      return description?.hostname ?? "";
    case "node.role":
      return node.role === NodeRole.MANAGER ? "manager" : "worker";
    case "node.platform.os":
      return description?.platform?.os ?? "";
    case "node.platform.arch":
      return description?.platform?.architecture ?? "";
    default:
  }
  if (key.length > NODE_LABEL.length && key.startsWith(NODE_LABEL)) {
    return labelOf(spec?.annotations?.labels, written.slice(NODE_LABEL.length));
  }
  if (key.length > ENGINE_LABEL.length && key.startsWith(ENGINE_LABEL)) {
    return labelOf(description?.engine?.labels, written.slice(ENGINE_LABEL.length));
  }
  if (key.length > IDENTITY_LABEL.length && key.startsWith(IDENTITY_LABEL)) {
    return labelOf(node.identityLabels, written.slice(IDENTITY_LABEL.length));
  }
  return undefined;
}

function labelOf(labels: Readonly<Record<string, string>> | undefined, name: string): string {
  return labels !== undefined && Object.hasOwn(labels, name) ? (labels[name] ?? "") : "";
}

function ipMatches({ value, equal }: Constraint, addr: string): boolean {
  const node = parseIp(addr);
  const single = parseIp(value);
  if (single !== undefined) {
    const same = node?.family === single.family && node.value === single.value;
    return same === equal;
  }
  const prefix = parsePrefix(value);
  if (prefix === undefined) return false;
  return (node !== undefined && prefixContains(prefix, node)) === equal;
}

/**
 * What a deploy would change in a service: the spec that the engine has against the planned one, field
 * by field. Both are brought to one form first: what is empty or the engine's default is left out,
 * references are by name, and lists without an order are compared as sets.
 */

import type { SparseServiceSpec } from "./stack.ts";

export interface Change {
  /** "TaskTemplate.ContainerSpec.Image". */
  readonly field: string;
  /** As text; undefined: not there. */
  readonly before: string | undefined;
  readonly after: string | undefined;
}

/** What the engine writes where nothing was given. */
const DEFAULTS: Readonly<Record<string, unknown>> = {
  "Mode.Replicated.Replicas": 1,
  "Mode.ReplicatedJob.MaxConcurrent": 1,
  "Mode.ReplicatedJob.TotalCompletions": 1,
  "TaskTemplate.ContainerSpec.Isolation": "default",
  "TaskTemplate.Runtime": "container",
  "EndpointSpec.Mode": "vip",
  "UpdateConfig.FailureAction": "pause",
  "UpdateConfig.Order": "stop-first",
  "RollbackConfig.FailureAction": "pause",
  "RollbackConfig.Order": "stop-first",
  "TaskTemplate.RestartPolicy.Condition": "any",
};
/** Ids of what is compared by name, and what a deploy carries over. */
const NOT_COMPARED = new Set([
  "SecretID",
  "ConfigID",
  "TaskTemplate.ForceUpdate",
  "TaskTemplate.Placement.Platforms",
]);
const PORT_DEFAULTS: Readonly<Record<string, unknown>> = {
  Protocol: "tcp",
  PublishMode: "ingress",
};

type Tree = string | readonly string[] | { readonly [key: string]: Tree };

/** `nameOf` turns a network's id into its name. */
export function changes(
  before: unknown,
  after: SparseServiceSpec,
  nameOf: (networkId: string) => string,
): readonly Change[] {
  const found: Change[] = [];
  compare(form(before, "", nameOf), form(after, "", nameOf), "", found);
  return found;
}

/** Undefined for what says nothing. */
function form(value: unknown, field: string, nameOf: (id: string) => string): Tree | undefined {
  const name = field.slice(field.lastIndexOf(".") + 1);
  if (NOT_COMPARED.has(field) || NOT_COMPARED.has(name) || DEFAULTS[field] === value) {
    return undefined;
  }
  if (value === null || value === undefined || value === "" || value === 0 || value === false) {
    return undefined;
  }
  if (Array.isArray(value)) {
    const items = value.map((item: unknown) => itemText(item, field, nameOf));
    if (items.length === 0) return undefined;
    // The order of words matters, that of everything else does not.
    return name === "Args" || name === "Command" || name === "Test"
      ? JSON.stringify(value)
      : items.sort();
  }
  if (typeof value !== "object") return textOf(value);
  const parts: Record<string, Tree> = {};
  for (const [key, item] of Object.entries(value)) {
    const part = form(item, field === "" ? key : `${field}.${key}`, nameOf);
    if (part !== undefined) parts[key] = part;
  }
  // A mode is told by its key alone: `Global: {}`.
  if (field === "Mode" && Object.keys(parts).length === 0) return Object.keys(value).join();
  return Object.keys(parts).length === 0 ? undefined : parts;
}

function itemText(item: unknown, field: string, nameOf: (id: string) => string): string {
  if (typeof item !== "object" || item === null) return textOf(item);
  const defaults = field === "EndpointSpec.Ports" ? PORT_DEFAULTS : {};
  const entries = Object.entries(item)
    .filter(([key, value]) => !NOT_COMPARED.has(key) && value !== defaults[key])
    .map(([key, value]): [string, unknown] => {
      if (key === "Target" && field === "TaskTemplate.Networks")
        return [key, nameOf(textOf(value))];
      const part = form(value, key, nameOf);
      return [key, typeof value === "number" && part !== undefined ? value : part];
    })
    .filter(([, value]) => value !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify(Object.fromEntries(entries));
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : (JSON.stringify(value) ?? "");
}

function compare(
  before: Tree | undefined,
  after: Tree | undefined,
  field: string,
  found: Change[],
): void {
  if (isParts(before) || isParts(after)) {
    const old = isParts(before) ? before : {};
    const next = isParts(after) ? after : {};
    if (typeof before === "string") found.push({ field, before, after: undefined });
    for (const key of new Set([...Object.keys(old), ...Object.keys(next)])) {
      compare(old[key], next[key], field === "" ? key : `${field}.${key}`, found);
    }
    if (typeof after === "string") found.push({ field, before: undefined, after });
    return;
  }
  if (isItems(before) || isItems(after)) {
    const old = isItems(before) ? before : [];
    const next = isItems(after) ? after : [];
    for (const item of old) {
      if (!next.includes(item)) found.push({ field, before: item, after: undefined });
    }
    for (const item of next) {
      if (!old.includes(item)) found.push({ field, before: undefined, after: item });
    }
    return;
  }
  if (before !== after) found.push({ field, before, after });
}

function isItems(tree: Tree | undefined): tree is readonly string[] {
  return Array.isArray(tree);
}

function isParts(tree: Tree | undefined): tree is { readonly [key: string]: Tree } {
  return typeof tree === "object" && !Array.isArray(tree);
}

/**
 * Several files into one, the later over the earlier, by docker's rules for stacks: services key by
 * key; maps are joined, ports replaced by what they publish, volumes by target, secrets and configs
 * by source; commands replaced; other lists appended; networks and the like replaced whole.
 */

import { isList, isMapping, type Mapping, textOf, type Value } from "./document.ts";

const REPLACED = new Set(["command", "entrypoint"]);
const KEYED: Readonly<Record<string, (item: Mapping) => string>> = {
  ports: ({ published, target, protocol }) =>
    // Ports that publish nothing cannot take each other's place.
    published === undefined
      ? `target ${textOf(target)}/${textOf(protocol)}`
      : `published ${textOf(published)}`,
  volumes: ({ target }) => textOf(target),
  secrets: ({ source }) => textOf(source),
  configs: ({ source }) => textOf(source),
};

export function mergeServices(base: Mapping, over: Mapping): Mapping {
  const merged: Record<string, Value> = { ...base };
  for (const [name, service] of Object.entries(over)) {
    const before = merged[name];
    merged[name] =
      isMapping(before) && isMapping(service) ? mergeService(before, service) : service;
  }
  return merged;
}

function mergeService(base: Mapping, over: Mapping): Mapping {
  const merged: Record<string, Value> = { ...base };
  for (const [key, value] of Object.entries(over)) {
    merged[key] = mergeKey(key, merged[key], value);
  }
  return merged;
}

function mergeKey(key: string, before: Value | undefined, value: Value): Value {
  if (before === undefined || before === null || REPLACED.has(key)) return value;
  const keyOf = Object.hasOwn(KEYED, key) ? KEYED[key] : undefined;
  if (keyOf !== undefined && isList(before) && isList(value))
    return mergeKeyed(before, value, keyOf);
  if (key === "logging" && isMapping(before) && isMapping(value))
    return mergeLogging(before, value);
  if (key === "networks" && isMapping(before) && isMapping(value)) return { ...before, ...value };
  if (key === "ulimits" && isMapping(before) && isMapping(value)) return { ...before, ...value };
  return mergeDeep(before, value);
}

function mergeDeep(before: Value | undefined, value: Value): Value {
  if (isList(before) && isList(value)) return [...before, ...value];
  if (!isMapping(before) || !isMapping(value)) return value;
  const merged: Record<string, Value> = { ...before };
  for (const [key, item] of Object.entries(value)) merged[key] = mergeDeep(merged[key], item);
  return merged;
}

function mergeKeyed(
  before: readonly Value[],
  value: readonly Value[],
  keyOf: (item: Mapping) => string,
): Value {
  const items = new Map<string, Value>();
  for (const item of [...before, ...value]) {
    if (isMapping(item)) items.set(keyOf(item), item);
  }
  return [...items.values()];
}

/** Options of another driver mean nothing to the new one. */
function mergeLogging(before: Mapping, value: Mapping): Value {
  const sameDriver =
    before.driver === value.driver || value.driver === undefined || before.driver === undefined;
  return sameDriver ? mergeDeep(before, value) : value;
}

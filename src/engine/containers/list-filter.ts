/** Docker's filters of `GET /containers/json` and of prune. Pure. */

import { parseDuration } from "#base/duration.ts";
import { EngineError } from "#base/error.ts";
import { parseNs } from "../logs/timestamps.ts";
import type { Filters } from "../ports.ts";
import type { Container } from "./container.ts";
import { parsePort } from "./port-bindings.ts";
import type { Phase } from "./record.ts";

const KEYS = [
  "ancestor",
  "before",
  "exited",
  "expose",
  "health",
  "id",
  "isolation",
  "is-task",
  "label",
  "name",
  "network",
  "publish",
  "since",
  "status",
  "volume",
];

/** What a filter looks up outside of the container that it judges. */
export interface FilterScope {
  readonly find: (reference: string) => Container;
  /** Image id of a reference; undefined when there is none. */
  readonly imageIds: ReadonlyMap<string, string>;
}

export function checkListFilters(filters: Filters): void {
  for (const [key, values] of filters) {
    if (!KEYS.includes(key)) throw new EngineError("invalid-argument", `invalid filter '${key}'`);
    for (const value of values) checkValue(key, value);
  }
}

/** In the order in which docker tells them. */
const STATES: readonly string[] = [
  "created",
  "running",
  "paused",
  "restarting",
  "removing",
  "exited",
  "dead",
] satisfies readonly Phase[];
const HEALTHS: readonly string[] = ["none", "starting", "healthy", "unhealthy"];

function checkValue(key: string, value: string): void {
  const refuse = (what: string, allowed: readonly string[]) =>
    new EngineError(
      "invalid-argument",
      `invalid filter '${key}=${value}': invalid value for ${what} (${value}): must be one of ${allowed.join(", ")}`,
    );
  if (key === "status" && !STATES.includes(value)) throw refuse("state", STATES);
  if (key === "health" && !HEALTHS.includes(value)) throw refuse("health", HEALTHS);
  if (key === "exited" && !/^-?\d+$/.test(value)) {
    throw new EngineError("invalid-argument", `invalid filter 'exited=${value}'`);
  }
}

export function matchesListFilters(
  container: Container,
  filters: Filters,
  scope: FilterScope,
): boolean {
  for (const [key, values] of filters) {
    if (values.length > 0 && !accepts(container, key, values, scope)) return false;
  }
  return true;
}

function accepts(
  container: Container,
  key: string,
  values: readonly string[],
  scope: FilterScope,
): boolean {
  const { record, state } = container;
  switch (key) {
    case "id":
      return values.some((value) => value !== "" && record.id.startsWith(value));
    case "name":
      return values.some((value) => nameMatches(record.name, value));
    case "status":
      return values.includes(state.phase);
    case "exited":
      return state.phase === "exited" && values.includes(String(state.exitCode));
    case "health":
      return values.includes(container.health?.Status ?? "none");
    case "label":
      return matchesLabels(record.config.Labels ?? {}, values);
    case "ancestor":
      return values.some(
        (value) => record.config.Image === value || scope.imageIds.get(value) === record.imageId,
      );
    case "network":
      return values.some((value) => onNetwork(container, value));
    case "volume":
      return values.some((value) =>
        record.mounts.some((mount) => mount.source === value || mount.destination === value),
      );
    case "before":
      return values.every((value) => record.createdAt < scope.find(value).record.createdAt);
    case "since":
      return values.every((value) => record.createdAt > scope.find(value).record.createdAt);
    case "publish":
    case "expose":
      return values.some((value) => hasPort(container, value, key === "publish"));
    case "is-task": {
      const isTask = "com.docker.swarm.task.id" in (record.config.Labels ?? {});
      return values.some((value) => isTask === ["1", "t", "true"].includes(value.toLowerCase()));
    }
    default:
      return true;
  }
}

/** A regular expression or plain part of the name, with or without the slash. */
function nameMatches(name: string, value: string): boolean {
  try {
    const pattern = new RegExp(value);
    return pattern.test(name) || pattern.test(`/${name}`);
  } catch {
    return name.includes(value);
  }
}

export function matchesLabels(
  labels: Readonly<Record<string, string>>,
  values: readonly string[],
): boolean {
  return values.every((value) => {
    const cut = value.indexOf("=");
    if (cut < 0) return Object.hasOwn(labels, value);
    return labels[value.slice(0, cut)] === value.slice(cut + 1);
  });
}

function onNetwork({ record, state }: Container, value: string): boolean {
  if (record.hostConfig.NetworkMode === value || Object.hasOwn(record.endpoints, value))
    return true;
  return state.network.networks.some(
    ({ networkName, endpoint }) =>
      networkName === value || (value.length >= 12 && endpoint.NetworkID?.startsWith(value)),
  );
}

function hasPort({ record, state }: Container, value: string, published: boolean): boolean {
  const [range = "", protocol = "tcp"] = value.split("/");
  const [first = 0, last = first] = range.split("-").map(Number);
  const inRange = (text: string) => {
    const port = parsePort(text);
    return port.protocol === protocol && port.port >= first && port.port <= last;
  };
  if (!published) return Object.keys(record.config.ExposedPorts ?? {}).some(inRange);
  return Object.entries(state.network.ports).some(
    ([key, bindings]) =>
      inRange(key) ||
      (bindings ?? []).some(({ HostPort = "0" }) => {
        const port = Number(HostPort);
        return key.endsWith(`/${protocol}`) && port >= first && port <= last;
      }),
  );
}

/** Prune's own filters: "until" (a time or a duration ago), "label", "label!". */
export function matchesPruneFilters(
  subject: { readonly labels: Readonly<Record<string, string>>; readonly createdAt: string },
  filters: Filters,
  nowMs: number,
): boolean {
  const labels = filters.get("label") ?? [];
  if (!matchesLabels(subject.labels, labels)) return false;
  const without = filters.get("label!") ?? [];
  if (without.some((value) => matchesLabels(subject.labels, [value]))) return false;
  const [until] = filters.get("until") ?? [];
  return until === undefined || (parseNs(subject.createdAt) ?? 0n) < parseUntil(until, nowMs);
}

export function checkPruneFilters(filters: Filters, nowMs: number): void {
  for (const key of filters.keys()) {
    if (!["until", "label", "label!"].includes(key)) {
      throw new EngineError("invalid-argument", `invalid filter '${key}'`);
    }
  }
  const until = filters.get("until") ?? [];
  if (until.length > 1) {
    throw new EngineError("invalid-argument", "more than one until filter specified");
  }
  for (const text of until) parseUntil(text, nowMs);
}

function parseUntil(text: string, nowMs: number): bigint {
  if (/^\d+(\.\d+)?$/.test(text)) return BigInt(Math.floor(Number(text) * 1e9));
  const time = parseNs(text);
  if (time !== undefined) return time;
  const duration = parseDuration(text);
  if (!duration.ok) {
    throw new EngineError("invalid-argument", `invalid until filter: ${text}`);
  }
  return BigInt(Math.floor(nowMs)) * 1_000_000n - BigInt(Math.floor(duration.value));
}

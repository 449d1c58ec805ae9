/** Docker's filters of events. Pure. */

import { EngineError } from "#base/error.ts";
import type { EngineEvent, EventFilters } from "#wire/docker/events.ts";

/** Filters that name an actor of one type, by id, id prefix or name. */
const BY_ACTOR = [
  "container",
  "volume",
  "network",
  "daemon",
  "plugin",
  "service",
  "node",
  "secret",
  "config",
];
const OTHERS = ["event", "image", "label", "scope", "type"];

/** `invalid-argument` for a filter that events do not have. */
export function checkEventFilters(filters: EventFilters): void {
  for (const key of filters.keys()) {
    if (!BY_ACTOR.includes(key) && !OTHERS.includes(key)) {
      throw new EngineError("invalid-argument", `invalid filter '${key}'`);
    }
  }
}

/** Each key must accept the event; the values of one key are alternatives. */
export function matchesFilters(event: EngineEvent, filters: EventFilters): boolean {
  for (const [key, values] of filters) {
    if (values.length > 0 && !accepts(event, key, values)) return false;
  }
  return true;
}

function accepts(event: EngineEvent, key: string, values: readonly string[]): boolean {
  const { Attributes } = event.Actor;
  switch (key) {
    case "type":
      return values.includes(event.Type);
    case "scope":
      return values.includes(event.scope);
    case "event":
      // "exec_start: ls" and "health_status: healthy" are found by their first word too.
      return values.some((value) => event.Action === value || event.Action.startsWith(`${value}:`));
    case "label":
      return values.every((value) => {
        const cut = value.indexOf("=");
        if (cut < 0) return value in Attributes;
        return Attributes[value.slice(0, cut)] === value.slice(cut + 1);
      });
    case "image":
      return values.some((value) => imageMatches(event, value));
    default:
      return event.Type === key && values.some((value) => actorMatches(event, value));
  }
}

function actorMatches(event: EngineEvent, value: string): boolean {
  const { ID, Attributes } = event.Actor;
  return ID === value || Attributes["name"] === value || (value !== "" && ID.startsWith(value));
}

function imageMatches(event: EngineEvent, value: string): boolean {
  const { ID, Attributes } = event.Actor;
  const names = [event.Type === "image" ? ID : "", Attributes["image"], Attributes["name"]];
  return names.some((name) => {
    if (name === undefined || name === "") return false;
    return name === value || name.replace(/:[^/:]+$/, "") === value;
  });
}

/** Filters of `volume ls` and `volume prune`. */

import { EngineError } from "#base/error.ts";
import type { Filters } from "../ports.ts";

/** What filters look at. */
export interface VolumeFacts {
  readonly name: string;
  readonly driver: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Some container has it. */
  readonly used: boolean;
}

const FILTERS: Readonly<Record<string, (volume: VolumeFacts, value: string) => boolean>> = {
  name: (volume, value) => volume.name.includes(value),
  driver: (volume, value) => volume.driver === value,
  label: (volume, value) => hasLabel(volume, value),
  "label!": (volume, value) => !hasLabel(volume, value),
  dangling: (volume, value) => volume.used !== (value === "true" || value === "1"),
};

/** One value of each key must match; a key that is not known is refused. */
export function readVolumeFilters(filters: Filters): (volume: VolumeFacts) => boolean {
  const tests = [...filters].map(([key, values]) => {
    const test = Object.hasOwn(FILTERS, key) ? FILTERS[key] : undefined;
    if (test === undefined) throw new EngineError("invalid-argument", `invalid filter '${key}'`);
    return (volume: VolumeFacts) => values.some((value) => test(volume, value));
  });
  return (volume) => tests.every((test) => test(volume));
}

function hasLabel({ labels }: VolumeFacts, wanted: string): boolean {
  const [key = "", value] = wanted.split("=", 2);
  return Object.hasOwn(labels, key) && (value === undefined || labels[key] === value);
}

/**
 * Keys of today's format that say on the service what the formats 3 say under `deploy`: they become
 * that, so that files of both kinds merge.
 */

import { isMapping, type Mapping, textOf, type Value } from "./document.ts";
import { type Path, Refusal } from "./refusal.ts";

/** Key of a service → its place under `deploy`. */
const PLACES: Readonly<Record<string, readonly string[]>> = {
  cpus: ["resources", "limits", "cpus"],
  mem_limit: ["resources", "limits", "memory"],
  pids_limit: ["resources", "limits", "pids"],
  mem_reservation: ["resources", "reservations", "memory"],
  scale: ["replicas"],
};

export const IN_DEPLOY: ReadonlySet<string> = new Set(Object.keys(PLACES));

/** Throws `Refusal` where both places say something, and not the same. */
export function deployOf(
  service: Mapping,
  deploy: Value | undefined,
  path: Path,
): Value | undefined {
  let form = deploy;
  for (const [key, place] of Object.entries(PLACES)) {
    const value = service[key];
    if (value === undefined || value === null || isNoLimit(key, value)) continue;
    const before = place.reduce<Value | undefined>(
      (inner, name) => (isMapping(inner) ? inner[name] : undefined),
      form,
    );
    if (before !== undefined && before !== null && textOf(before) !== textOf(value)) {
      throw new Refusal(`${key} and deploy.${place.join(".")} say different things`, [
        ...path,
        key,
      ]);
    }
    const isNumber = key === "scale" || key === "pids_limit";
    form = withValue(form, place, isNumber ? value : textOf(value));
  }
  return form;
}

/** As docker's containers have it: none, which is what there is without the key. */
function isNoLimit(key: string, value: Value): boolean {
  if (key === "scale") return false;
  const text = textOf(value);
  return text === "0" || text === "" || (key === "pids_limit" && text === "-1");
}

function withValue(
  before: Value | undefined,
  [name, ...rest]: readonly string[],
  value: Value,
): Value {
  if (name === undefined) return value;
  const mapping = isMapping(before) ? before : {};
  return { ...mapping, [name]: withValue(mapping[name], rest, value) };
}

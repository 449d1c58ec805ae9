/** A merged project as a Compose file again: what `stack config` shows. */

import { stringify } from "yaml";
import type { Mapping, Value } from "./document.ts";
import { isList, isMapping } from "./document.ts";
import type { ComposeProject } from "./load.ts";
import { Refusal } from "./refusal.ts";
import { NEWEST_MINOR } from "./schema.ts";
import { validate } from "./validate.ts";

/**
 * Sections and their objects by name, so that two outputs can be compared. With `escape` a dollar in a
 * value is doubled: the variables are replaced, and reading the output must not do it again.
 */
export function printProject(project: ComposeProject, escape: boolean): string {
  const file: Record<string, Value> = {};
  for (const name of ["services", "networks", "volumes", "secrets", "configs"] as const) {
    if (Object.keys(project[name]).length > 0) file[name] = shown(project[name], escape);
  }
  const version = project.version ?? (fits(file) ? "3.13" : undefined);
  const all = version === undefined ? file : { version, ...file };
  // Of YAML 1.1, as it is read: "0440" as text needs its quotes.
  return stringify(all, { version: "1.1", lineWidth: 0, aliasDuplicateObjects: false });
}

/** docker prints a version for all; a file with keys of today's format may have none. */
function fits(file: Mapping): boolean {
  try {
    validate(file, NEWEST_MINOR);
    return true;
  } catch (thrown) {
    if (thrown instanceof Refusal) return false;
    throw thrown;
  }
}

function shown(value: Value, escape: boolean): Value {
  if (typeof value === "string") return escape ? value.replaceAll("$", "$$$$") : value;
  if (isList(value)) return value.map((item) => shown(item, escape));
  if (!isMapping(value)) return value;
  const entries = Object.entries(value).map(([key, item]) => [key, shown(item, escape)] as const);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** A merged project as a Compose file again: what `stack config` shows. */

import { stringify } from "yaml";
import type { Value } from "./document.ts";
import { isList, isMapping } from "./document.ts";
import type { ComposeProject } from "./load.ts";

/**
 * Sections and their objects by name, so that two outputs can be compared. With `escape` a dollar in a
 * value is doubled: the variables are replaced, and reading the output must not do it again.
 */
export function printProject(project: ComposeProject, escape: boolean): string {
  const file: Record<string, Value> = { version: project.version ?? "3.13" };
  for (const name of ["services", "networks", "volumes", "secrets", "configs"] as const) {
    if (Object.keys(project[name]).length > 0) file[name] = shown(project[name], escape);
  }
  // Of YAML 1.1, as it is read: "0440" as text needs its quotes.
  return stringify(file, { version: "1.1", lineWidth: 0, aliasDuplicateObjects: false });
}

function shown(value: Value, escape: boolean): Value {
  if (typeof value === "string") return escape ? value.replaceAll("$", "$$$$") : value;
  if (isList(value)) return value.map((item) => shown(item, escape));
  if (!isMapping(value)) return value;
  const entries = Object.entries(value).map(([key, item]) => [key, shown(item, escape)] as const);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}

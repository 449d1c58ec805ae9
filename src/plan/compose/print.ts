/** A merged project as a Compose file again: what `stack config` shows. */

import { stringify } from "yaml";
import type { Value } from "./document.ts";
import { isMapping } from "./document.ts";
import type { ComposeProject } from "./load.ts";

/** Sections and their objects by name, so that two outputs can be compared. */
export function printProject(project: ComposeProject): string {
  const file: Record<string, Value> = { version: project.version ?? "3.13" };
  for (const name of ["services", "networks", "volumes", "secrets", "configs"] as const) {
    if (Object.keys(project[name]).length > 0) file[name] = sorted(project[name]);
  }
  // Of YAML 1.1, as it is read: "yes" as text needs its quotes.
  return stringify(file, { version: "1.1", lineWidth: 0, aliasDuplicateObjects: false });
}

function sorted(value: Value): Value {
  if (!isMapping(value)) return value;
  const entries = Object.entries(value).map(([key, item]) => [key, sorted(item)] as const);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}

/**
 * Environment files as `docker run --env-file` reads them: a variable per line, `#` comments, no
 * quotes and no variables in values. A name alone takes the caller's value, or is left out.
 */

import type { Lookup } from "./interpolate.ts";
import { type Path, Refusal } from "./refusal.ts";

export function parseEnvFile(
  text: string,
  file: string,
  lookup: Lookup,
  path: Path,
): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const raw of text.replace(/^\uFEFF/, "").split("\n")) {
    const line = raw.replace(/\r$/, "").trimStart();
    if (line === "" || line.startsWith("#")) continue;
    const equals = line.indexOf("=");
    const name = equals < 0 ? line.trimEnd() : line.slice(0, equals);
    if (name === "")
      throw new Refusal(`invalid env file (${file}): no variable name on line '${line}'`, path);
    if (/\s/.test(name)) {
      throw new Refusal(
        `invalid env file (${file}): variable '${name}' contains whitespaces`,
        path,
      );
    }
    const value = equals < 0 ? lookup(name) : line.slice(equals + 1);
    if (value !== undefined) found.set(name, value);
  }
  return found;
}

/** Short volume syntax, `[SOURCE:]TARGET[:OPTIONS]`, → the long form, with absolute bind sources. */

import type { Mapping, Value } from "./document.ts";
import { isMapping, textOf } from "./document.ts";
import { isAbsolute, type Places, resolvePath } from "./paths.ts";
import { type Path, Refusal } from "./refusal.ts";

const PROPAGATIONS = ["rprivate", "private", "rshared", "shared", "rslave", "slave"];

export function expandVolume(value: Value, places: Places, path: Path): Mapping {
  const long = isMapping(value) ? value : shortVolume(textOf(value), path);
  if (long.type !== "bind") return long;
  const source = long.source;
  if (typeof source !== "string" || source === "") {
    throw new Refusal(`invalid mount config for type "bind": field Source must not be empty`, path);
  }
  return { ...long, source: isAbsolute(source) ? source : resolvePath(source, places) };
}

function shortVolume(text: string, path: Path): Mapping {
  const invalid = (why: string) => new Refusal(`invalid spec: ${text}: ${why}`, path);
  if (text === "") throw invalid("empty section between colons");
  const parts = splitColons(text);
  if (parts.some((part) => part === "")) throw invalid("empty section between colons");
  if (parts.length > 3) throw invalid("too many colons");
  const [first = "", target, options] = parts;
  if (target === undefined) return { type: "volume", target: first };
  const base: Record<string, Value> = {
    type: isFileName(first) ? "bind" : "volume",
    source: first,
    target,
  };
  for (const option of (options ?? "").split(",")) {
    if (option === "ro") base.read_only = true;
    else if (option === "rw") base.read_only = false;
    else if (option === "nocopy") base.volume = { nocopy: true };
    else if (PROPAGATIONS.includes(option)) base.bind = { propagation: option };
    // Others ("z", "cached") mean nothing to a service; docker passes over them too.
  }
  return base;
}

/** A colon after a single letter belongs to a Windows drive. */
function splitColons(text: string): readonly string[] {
  const parts: string[] = [];
  for (const part of text.split(":")) {
    const drive = parts.at(-1);
    if (drive !== undefined && /^[A-Za-z]$/.test(drive) && /^[\\/]/.test(part)) {
      parts[parts.length - 1] = `${drive}:${part}`;
    } else parts.push(part);
  }
  return parts;
}

function isFileName(source: string): boolean {
  return /^[./~]/.test(source) || isAbsolute(source);
}

/**
 * What two engines answered to the same request, compared: status, type, and of JSON the names, types
 * and values of all fields, of archives the names of their members. What is of the moment (ids,
 * times, process numbers, this run's folders) is replaced first by what it is.
 */

import type { Answer } from "./call.ts";

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** Of one engine's run: text → what it stands for. */
export type Names = ReadonlyMap<string, string>;

/** One line each: "State.Pid: 1, not 2", ours first. Empty: the same. */
export function differences(
  endpoint: string,
  ours: Answer,
  theirs: Answer,
  names: { readonly ours: Names; readonly theirs: Names },
): readonly string[] {
  const found: string[] = [];
  if (ours.status !== theirs.status) found.push(`status: ${ours.status}, not ${theirs.status}`);
  if (ours.type !== theirs.type) found.push(`type: ${shown(ours.type)}, not ${shown(theirs.type)}`);
  const left = readBody(endpoint, ours, names.ours);
  compare("", left, readBody(endpoint, theirs, names.theirs), found);
  return found;
}

function readBody(endpoint: string, answer: Answer, names: Names): Json {
  if (/\/(export|archive|get)$/.test(endpoint) && answer.status === 200) {
    return endpoint.includes("/images/") ? "ARCHIVE" : tarNames(answer.body);
  }
  const text = answer.body.toString("utf8");
  try {
    return normal(endpoint, "", JSON.parse(text) as Json, names);
  } catch {
    const lines = text.split(/\r?\n/).filter((line) => line !== "");
    try {
      return lines.map((line) => normal(endpoint, "", JSON.parse(line) as Json, names));
    } catch {
      return normalText(text, names);
    }
  }
}

const TAR_BLOCK = 512;

/** Of a plain archive; sorted, because no order is promised. */
function tarNames(archive: Buffer): readonly string[] {
  const found: string[] = [];
  for (let at = 0; at + TAR_BLOCK <= archive.length; ) {
    const name = archive.toString("utf8", at, at + 100).replace(/\0.*$/s, "");
    if (name === "") break;
    found.push(name);
    const size = Number.parseInt(archive.toString("latin1", at + 124, at + 136), 8) || 0;
    at += TAR_BLOCK + Math.ceil(size / TAR_BLOCK) * TAR_BLOCK;
  }
  return found.sort();
}

/** Numbers that no two runs share. */
const OF_THE_MOMENT = new Set([
  "Pid",
  "Index",
  "NFd",
  "NGoroutines",
  "NEventsListener",
  "MemTotal",
]);
/** Two engines word the same refusal with and without a capital. */
const MESSAGES = new Set(["message", "error", "Error"]);

function normal(endpoint: string, key: string, value: Json, names: Names): Json {
  if (typeof value === "string") {
    const text = normalText(value, names);
    if (MESSAGES.has(key)) return text.toLowerCase();
    return endpoint.endsWith("/top") ? text.replace(/^[\d:]+$/, "NUMBER") : text;
  }
  if (typeof value === "number") return normalNumber(endpoint, key, value);
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) {
    // Empty until the container's first access to a disk, which may be in memory already.
    if (endpoint.endsWith("/stats") && key.endsWith("_recursive")) return "ACCESSES";
    return ordered(value.map((item: Json) => normal(endpoint, "", item, names)));
  }
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => [
      normalText(name, names),
      normal(endpoint, name, item, names),
    ]),
  );
}

function normalNumber(endpoint: string, key: string, value: number): Json {
  if (value > 1.6e18) return "NANOSECONDS";
  if (value > 1.6e9 && value < 2e9) return "SECONDS";
  if (value > 0 && OF_THE_MOMENT.has(key)) return "NUMBER";
  return endpoint.endsWith("/stats") ? "NUMBER" : value;
}

/** Lists of things with names have no order of their own. */
function ordered(items: readonly Json[]): readonly Json[] {
  const keyOf = (item: Json) => {
    if (!isObject(item)) return undefined;
    const { Destination, Name, Names: given, PrivatePort, IP } = item;
    const key = Destination ?? Name ?? given ?? PrivatePort;
    return key === undefined ? undefined : JSON.stringify([item["Type"] ?? "", key, IP ?? ""]);
  };
  if (!items.every((item) => keyOf(item) !== undefined)) return items;
  return [...items].sort((a, b) => ((keyOf(a) ?? "") < (keyOf(b) ?? "") ? -1 : 1));
}

export function normalText(text: string, names: Names): string {
  let result = text;
  for (const [from, to] of names) result = result.replaceAll(from, to);
  return result
    .replaceAll(/-----BEGIN [^-]+-----[^-]+-----END [^-]+-----/g, "PEM")
    .replaceAll(/SWMKEY-1-[0-9A-Za-z+/]{43}/g, "UNLOCKKEY")
    .replaceAll(/SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25}/g, "TOKEN")
    .replaceAll(/\bMFkwEwYH[0-9A-Za-z+/=]+/g, "PUBLICKEY")
    .replaceAll(/\b[0-9a-f]{64}\b/g, "HEX64")
    .replaceAll(/\b[0-9a-z]{25}\b/g, "ID25")
    .replaceAll(/\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)/g, (time) =>
      time.startsWith("0001-") ? time : "TIME",
    )
    .replaceAll(/docker-import-\d+/g, "docker-import-N")
    .replaceAll(/\bUp (Less than a second|\d+ seconds?)/g, "Up A MOMENT")
    .replaceAll(/\b(Less than a second|\d+ seconds?) ago/g, "A MOMENT ago")
    .replaceAll(/\b[0-9a-f]{12}\b/g, "HEX12");
}

function compare(
  path: string,
  ours: Json | undefined,
  theirs: Json | undefined,
  found: string[],
): void {
  if (ours === undefined) found.push(`${path}: missing (${shown(theirs)})`);
  else if (theirs === undefined) found.push(`${path}: extra (${shown(ours)})`);
  else if (isObject(ours) && isObject(theirs)) {
    for (const key of new Set([...Object.keys(ours), ...Object.keys(theirs)])) {
      compare(path === "" ? key : `${path}.${key}`, ours[key], theirs[key], found);
    }
  } else if (Array.isArray(ours) && Array.isArray(theirs)) {
    for (let index = 0; index < Math.max(ours.length, theirs.length); index += 1) {
      compare(`${path}[${index}]`, (ours as Json[])[index], (theirs as Json[])[index], found);
    }
  } else if (JSON.stringify(ours) !== JSON.stringify(theirs)) {
    found.push(`${path}: ${shown(ours)}, not ${shown(theirs)}`);
  }
}

function isObject(value: Json | undefined): value is { readonly [key: string]: Json } {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

const SHOWN_MAX = 200;

function shown(value: Json | undefined): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}…` : text;
}

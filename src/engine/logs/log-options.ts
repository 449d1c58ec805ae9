/** Which log driver a container has, and its options, checked with docker's messages. Pure. */

import { EngineError } from "#base/error.ts";

export interface LogSettings {
  readonly driver: "json-file" | "local" | "none";
  /** Size at which a file is rotated; Infinity = never. */
  readonly maxBytes: number;
  readonly maxFiles: number;
  /** Attributes that `details` shows: chosen labels and variables of the container. */
  readonly attributes: Readonly<Record<string, string>>;
}

const JSON_FILE_OPTIONS = new Set([
  "max-size",
  "max-file",
  "compress",
  "labels",
  "labels-regex",
  "env",
  "env-regex",
  "tag",
  "mode",
  "max-buffer-size",
]);
const UNITS: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  k: 1024,
  m: 1024 ** 2,
  g: 1024 ** 3,
  t: 1024 ** 4,
};
const LOCAL_MAX_BYTES = 20 * 1024 ** 2;
const LOCAL_MAX_FILES = 5;

export interface LogSubject {
  readonly labels: Readonly<Record<string, string>>;
  readonly env: readonly string[];
}

export function parseLogConfig(
  config: {
    readonly Type?: string;
    readonly Config?: Readonly<Record<string, string>> | null;
  },
  subject: LogSubject,
): LogSettings {
  const driver = config.Type || "json-file";
  const options = config.Config ?? {};
  if (driver !== "json-file" && driver !== "local" && driver !== "none") {
    throw invalid(`logger: no log driver named '${driver}' is registered`);
  }
  if (driver !== "none") {
    for (const name of Object.keys(options)) {
      if (!JSON_FILE_OPTIONS.has(name)) {
        throw invalid(`unknown log opt '${name}' for ${driver} log driver`);
      }
    }
  }
  const local = driver === "local";
  const maxBytes = parseSize(options["max-size"]) ?? (local ? LOCAL_MAX_BYTES : Infinity);
  const maxFiles = parseFiles(options["max-file"]) ?? (local ? LOCAL_MAX_FILES : 1);
  if (maxFiles > 1 && maxBytes === Infinity) {
    throw invalid("max-file cannot be set without max-size: logs would never be rotated");
  }
  return { driver, maxBytes, maxFiles, attributes: pickAttributes(options, subject) };
}

function parseSize(text: string | undefined): number | undefined {
  if (text === undefined || text === "" || text === "-1") return undefined;
  const match = /^(\d+(?:\.\d+)?)\s?([bkmgt]?)(?:i?b)?$/i.exec(text);
  const size = Number(match?.[1] ?? 0) * (UNITS[(match?.[2] ?? "").toLowerCase()] ?? 1);
  if (!(size > 0)) throw invalid(`invalid value for max-size: '${text}'`);
  return Math.floor(size);
}

function parseFiles(text: string | undefined): number | undefined {
  if (text === undefined || text === "") return undefined;
  if (!/^\d+$/.test(text) || Number(text) < 1) throw invalid("max-file cannot be less than 1");
  return Number(text);
}

function pickAttributes(
  options: Readonly<Record<string, string>>,
  { labels, env }: LogSubject,
): Record<string, string> {
  const variables: Record<string, string> = {};
  for (const entry of env) {
    const cut = entry.indexOf("=");
    if (cut > 0) variables[entry.slice(0, cut)] = entry.slice(cut + 1);
  }
  const picked: Record<string, string> = {};
  const pick = (names: string | undefined, regex: string | undefined, from: typeof labels) => {
    const wanted = new Set((names ?? "").split(",").filter((name) => name !== ""));
    const pattern = regex === undefined ? undefined : compile(regex);
    for (const [name, value] of Object.entries(from)) {
      if (wanted.has(name) || pattern?.test(name)) picked[name] = value;
    }
  };
  pick(options["labels"], options["labels-regex"], labels);
  pick(options["env"], options["env-regex"], variables);
  if (options["tag"]) picked["tag"] = options["tag"];
  return picked;
}

function compile(pattern: string): RegExp {
  try {
    return new RegExp(pattern);
  } catch {
    throw invalid(`invalid regular expression in log options: ${pattern}`);
  }
}

function invalid(message: string): EngineError {
  return new EngineError("invalid-argument", message);
}

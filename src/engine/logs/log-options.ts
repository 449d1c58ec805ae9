/** Which log driver a container has, and its options, checked with docker's messages. Pure. */

import { EngineError } from "#base/error.ts";
import { journalName } from "./journal-format.ts";
import {
  parseFacility,
  parseFormat,
  parseSyslogAddress,
  type SyslogFormat,
  type SyslogTarget,
} from "./syslog-format.ts";
import { renderTag, type TagSubject } from "./tag.ts";

export interface SyslogTls {
  /** Paths; "" = not given. */
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  readonly skipVerify: boolean;
}

/** Where lines go besides the container's own file. */
export type ForwardSettings =
  | {
      readonly kind: "syslog";
      readonly target: SyslogTarget;
      readonly facility: number;
      readonly format: SyslogFormat;
      readonly tag: string;
      readonly tls: SyslogTls;
    }
  | { readonly kind: "journald"; readonly fields: Readonly<Record<string, string>> };

export interface LogSettings {
  readonly driver: "json-file" | "local" | "none" | "syslog" | "journald";
  readonly forward: ForwardSettings | undefined;
  /** Rotated files are packed. */
  readonly compress: boolean;
  /** Bytes that may wait before lines are dropped; undefined = the container waits instead. */
  readonly dropBeyondBytes: number | undefined;
  /** Size at which a file is rotated; Infinity = never. */
  readonly maxBytes: number;
  readonly maxFiles: number;
  /** Attributes that `details` shows: chosen labels and variables of the container. */
  readonly attributes: Readonly<Record<string, string>>;
}

const COMMON = ["labels", "labels-regex", "env", "env-regex", "tag", "mode", "max-buffer-size"];
/** Of the file that is kept for reading beside a driver that cannot be read. */
const CACHE = ["cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"];
const OPTIONS: Readonly<Record<LogSettings["driver"], ReadonlySet<string>>> = {
  "json-file": new Set([...COMMON, "max-size", "max-file", "compress"]),
  local: new Set([...COMMON, "max-size", "max-file", "compress"]),
  syslog: new Set([
    ...COMMON,
    ...CACHE,
    "syslog-address",
    "syslog-facility",
    "syslog-format",
    "syslog-tls-ca-cert",
    "syslog-tls-cert",
    "syslog-tls-key",
    "syslog-tls-skip-verify",
  ]),
  journald: new Set([...COMMON, ...CACHE]),
  none: new Set(),
};
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
const BUFFER_DEFAULT_BYTES = 1024 ** 2;

export interface LogSubject extends TagSubject {
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
  const driver = checkDriver(config.Type || "json-file");
  const options = config.Config ?? {};
  for (const name of Object.keys(options)) {
    if (driver !== "none" && !OPTIONS[driver].has(name)) {
      throw invalid(`unknown log opt '${name}' for ${driver} log driver`);
    }
  }
  const file = driver === "json-file" || driver === "local";
  const bounded = driver !== "json-file";
  const prefix = file ? "" : "cache-";
  const maxBytes =
    parseSize("max-size", options[`${prefix}max-size`]) ?? (bounded ? LOCAL_MAX_BYTES : Infinity);
  const maxFiles = parseFiles(options[`${prefix}max-file`]) ?? (bounded ? LOCAL_MAX_FILES : 1);
  if (maxFiles > 1 && maxBytes === Infinity) {
    throw invalid("max-file cannot be set without max-size: logs would never be rotated");
  }
  const attributes = pickAttributes(options, subject);
  return {
    driver,
    maxBytes,
    maxFiles,
    compress: parseFlag("compress", options[`${prefix}compress`]) ?? bounded,
    dropBeyondBytes: parseMode(options),
    attributes,
    forward: parseForward(driver, options, subject, attributes),
  };
}

function checkDriver(name: string): LogSettings["driver"] {
  if (name in OPTIONS) return name as LogSettings["driver"];
  throw invalid(`error looking up logging plugin ${name}: plugin "${name}" not found`);
}

function parseMode(options: Readonly<Record<string, string>>): number | undefined {
  const { mode = "", "max-buffer-size": size } = options;
  if (mode !== "" && mode !== "blocking" && mode !== "non-blocking") {
    throw invalid(`logger: invalid value for mode: ${mode}`);
  }
  if (mode === "non-blocking") return parseSize("max-buffer-size", size) ?? BUFFER_DEFAULT_BYTES;
  if (size === undefined) return undefined;
  throw invalid('logger: max-buffer-size option is only supported with "mode=non-blocking"');
}

function parseForward(
  driver: LogSettings["driver"],
  options: Readonly<Record<string, string>>,
  subject: LogSubject,
  attributes: Readonly<Record<string, string>>,
): ForwardSettings | undefined {
  const tag = renderTag(options["tag"] ?? "", subject);
  if (driver === "syslog") {
    return {
      kind: "syslog",
      target: parseSyslogAddress(options["syslog-address"] ?? ""),
      facility: parseFacility(options["syslog-facility"] ?? ""),
      format: parseFormat(options["syslog-format"] ?? ""),
      tag,
      tls: {
        ca: options["syslog-tls-ca-cert"] ?? "",
        cert: options["syslog-tls-cert"] ?? "",
        key: options["syslog-tls-key"] ?? "",
        skipVerify: options["syslog-tls-skip-verify"] !== undefined,
      },
    };
  }
  if (driver !== "journald") return undefined;
  const extra = Object.entries(attributes).map(([name, value]) => [journalName(name), value]);
  return {
    kind: "journald",
    fields: {
      CONTAINER_ID: subject.id.slice(0, 12),
      CONTAINER_ID_FULL: subject.id,
      CONTAINER_NAME: subject.name,
      CONTAINER_TAG: tag,
      IMAGE_NAME: subject.imageName,
      SYSLOG_IDENTIFIER: tag,
      ...Object.fromEntries(extra),
    },
  };
}

function parseFlag(name: string, text: string | undefined): boolean | undefined {
  if (text === undefined || text === "") return undefined;
  if (/^(1|t|true)$/i.test(text)) return true;
  if (/^(0|f|false)$/i.test(text)) return false;
  throw invalid(`invalid value for ${name}: '${text}'`);
}

function parseSize(name: string, text: string | undefined): number | undefined {
  if (text === undefined || text === "" || text === "-1") return undefined;
  const match = /^(\d+(?:\.\d+)?)\s?([bkmgt]?)(?:i?b)?$/i.exec(text);
  const size = Number(match?.[1] ?? 0) * (UNITS[(match?.[2] ?? "").toLowerCase()] ?? 1);
  if (!(size > 0)) throw invalid(`invalid value for ${name}: '${text}'`);
  return Math.floor(size);
}

function parseFiles(text: string | undefined): number | undefined {
  if (text === undefined || text === "") return undefined;
  if (!/^\d+$/.test(text) || Number(text) < 1) throw invalid("max-file cannot be less than 1");
  return Number(text);
}

function pickAttributes(
  options: Readonly<Record<string, string>>,
  subject: LogSubject,
): Record<string, string> {
  const { labels, env } = subject;
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
  if (options["tag"]) picked["tag"] = renderTag(options["tag"], subject);
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

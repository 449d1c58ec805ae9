/**
 * `--change`: the Dockerfile instructions that import and commit may apply to an image's config.
 * One instruction a line, JSON or shell form where Dockerfiles have both.
 */

import { parseDuration } from "#base/duration.ts";
import { EngineError } from "#base/error.ts";
import type { HealthConfig, ImageConfig } from "#wire/docker/images.ts";

type Writable<T> = { -readonly [K in keyof T]: T[K] };
type Config = Writable<ImageConfig>;
type Instruction = (config: Config, rest: string) => void;

/** The config with the changes applied, in order. */
export function applyChanges(config: ImageConfig, changes: readonly string[]): ImageConfig {
  const changed: Config = { ...config };
  for (const line of changes.flatMap((change) => change.split("\n"))) {
    const text = line.trim();
    if (text === "" || text.startsWith("#")) continue;
    const [, word = "", rest = ""] = /^(\S+)\s*(.*)$/s.exec(text) ?? [];
    const instruction = INSTRUCTIONS[word.toUpperCase()];
    if (instruction === undefined) {
      throw invalid(`${word.toLowerCase()} is not a valid change command`);
    }
    if (rest.trim() === "") throw invalid(`${word.toUpperCase()} requires at least one argument`);
    instruction(changed, rest.trim());
  }
  return changed;
}

function invalid(message: string): EngineError {
  return new EngineError("invalid-argument", message);
}

const INSTRUCTIONS: Readonly<Record<string, Instruction>> = {
  CMD: (config, rest) => {
    config.Cmd = command(config, rest);
  },
  ENTRYPOINT: (config, rest) => {
    config.Entrypoint = command(config, rest);
    config.Cmd = null;
  },
  ENV: (config, rest) => {
    const merged = new Map((config.Env ?? []).map((entry) => [nameOf(entry), entry]));
    for (const [name, value] of pairs("ENV", rest)) merged.set(name, `${name}=${value}`);
    config.Env = [...merged.values()];
  },
  EXPOSE: (config, rest) => {
    const ports = { ...config.ExposedPorts };
    for (const port of words(rest)) ports[exposedPort(port)] = {};
    config.ExposedPorts = ports;
  },
  HEALTHCHECK: (config, rest) => {
    config.Healthcheck = healthcheck(config, rest);
  },
  LABEL: (config, rest) => {
    config.Labels = { ...config.Labels, ...Object.fromEntries(pairs("LABEL", rest)) };
  },
  ONBUILD: (config, rest) => {
    config.OnBuild = [...(config.OnBuild ?? []), rest];
  },
  STOPSIGNAL: (config, rest) => {
    config.StopSignal = rest;
  },
  USER: (config, rest) => {
    config.User = rest;
  },
  VOLUME: (config, rest) => {
    const volumes = { ...config.Volumes };
    for (const path of jsonList(rest) ?? words(rest)) volumes[path] = {};
    config.Volumes = volumes;
  },
  WORKDIR: (config, rest) => {
    const base = rest.startsWith("/") ? "" : `${config.WorkingDir ?? ""}/`;
    config.WorkingDir = `/${`${base}${rest}`
      .split("/")
      .filter((part) => part !== "")
      .join("/")}`;
  },
};

/** JSON form as it is; anything else runs in the image's shell. */
function command(config: Config, rest: string): readonly string[] {
  return jsonList(rest) ?? [...(config.Shell ?? ["/bin/sh", "-c"]), rest];
}

function jsonList(text: string): readonly string[] | undefined {
  if (!text.startsWith("[")) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return Array.isArray(value) && value.every((item) => typeof item === "string")
      ? value
      : undefined;
  } catch {
    return undefined;
  }
}

function nameOf(entry: string): string {
  return entry.split("=")[0] ?? entry;
}

/** Words with quotes and backslashes undone, as Dockerfiles have them. */
export function words(text: string): readonly string[] {
  const found: string[] = [];
  let current: string | undefined;
  let quote = "";
  for (let at = 0; at < text.length; at += 1) {
    const character = text.charAt(at);
    if (character === "\\" && quote !== "'" && at + 1 < text.length) {
      at += 1;
      current = (current ?? "") + text.charAt(at);
    } else if (quote !== "") {
      if (character === quote) quote = "";
      else current = (current ?? "") + character;
    } else if (character === '"' || character === "'") {
      quote = character;
      current ??= "";
    } else if (/\s/.test(character)) {
      if (current !== undefined) found.push(current);
      current = undefined;
    } else {
      current = (current ?? "") + character;
    }
  }
  if (current !== undefined) found.push(current);
  return found;
}

/** `A=1 B=2`, or the old `A the rest`. */
function pairs(instruction: string, rest: string): readonly (readonly [string, string])[] {
  const parts = words(rest);
  if (!(parts[0] ?? "").includes("=")) {
    const [, name = "", value] = /^(\S+)\s+(.*)$/s.exec(rest) ?? [];
    if (value === undefined) throw invalid(`${instruction} must have two arguments`);
    return [[name, value]];
  }
  return parts.map((part) => {
    const equals = part.indexOf("=");
    if (equals < 0) {
      throw invalid(
        `Syntax error - can't find = in ${JSON.stringify(part)}. Must be of the form: name=value`,
      );
    }
    if (equals === 0) throw invalid(`${instruction} names can not be blank`);
    return [part.slice(0, equals), part.slice(equals + 1)];
  });
}

function exposedPort(text: string): string {
  const match = /^(\d{1,5}(?:-\d{1,5})?)(?:\/(tcp|udp|sctp))?$/i.exec(text);
  if (match === null) throw invalid(`invalid containerPort: ${text}`);
  return `${match[1] ?? ""}/${(match[2] ?? "tcp").toLowerCase()}`;
}

function healthcheck(config: Config, rest: string): HealthConfig {
  const health: Writable<HealthConfig> = {};
  let left = rest;
  for (;;) {
    const match = /^--([a-z-]+)=(\S+)\s+(.*)$/s.exec(left);
    if (match === null) break;
    const [, flag = "", value = "", after = ""] = match;
    setHealthFlag(health, flag, value);
    left = after;
  }
  const [, kind = "", argument = ""] = /^(\S+)\s*(.*)$/s.exec(left) ?? [];
  if (kind.toUpperCase() === "NONE") return { Test: ["NONE"] };
  if (kind.toUpperCase() !== "CMD" || argument === "") {
    throw invalid(`Unknown type ${JSON.stringify(kind)} in HEALTHCHECK (try CMD)`);
  }
  const list = jsonList(argument);
  const shell = config.Shell === undefined ? "CMD-SHELL" : "CMD";
  if (list !== undefined) health.Test = ["CMD", ...list];
  else
    health.Test = shell === "CMD" ? ["CMD", ...(config.Shell ?? []), argument] : [shell, argument];
  return health;
}

function setHealthFlag(health: Writable<HealthConfig>, flag: string, value: string): void {
  if (flag === "retries") {
    const retries = Number(value);
    if (!Number.isInteger(retries) || retries < 0) throw invalid(`--retries: ${value} is invalid`);
    health.Retries = retries;
    return;
  }
  const duration = parseDuration(value);
  if (!duration.ok) throw invalid(duration.error);
  if (flag === "interval") health.Interval = duration.value;
  else if (flag === "timeout") health.Timeout = duration.value;
  else if (flag === "start-period") health.StartPeriod = duration.value;
  else if (flag === "start-interval") health.StartInterval = duration.value;
  else throw invalid(`unknown flag: ${flag}`);
}

/**
 * Docker's configuration of a command line (`config.json` in `~/.docker`, DOCKER_CONFIG or `--config`),
 * shared with docker's own: what we do not know in it is kept. A file that cannot be read is an error,
 * never an empty one: the engine that is talked to, and credentials, are at stake.
 */

import { readFileSync } from "node:fs";
import { mkdir, realpath, rename, stat, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { EngineError, messageOf } from "#base/error.ts";
import { isMissing } from "#platform/missing.ts";

export interface StoredAuth {
  /** "user:password" in base64. */
  readonly auth?: string;
  readonly identitytoken?: string;
}

export interface ProxySettings {
  readonly httpProxy?: string;
  readonly httpsProxy?: string;
  readonly noProxy?: string;
  readonly ftpProxy?: string;
  readonly allProxy?: string;
}

export interface ConfigFile {
  readonly auths?: Readonly<Record<string, StoredAuth>>;
  /** The program `docker-credential-NAME` keeps the credentials of all registries. */
  readonly credsStore?: string;
  /** The same for single registries. */
  readonly credHelpers?: Readonly<Record<string, string>>;
  readonly currentContext?: string;
  readonly detachKeys?: string;
  /** "label=a" and the like: added to those of every prune. */
  readonly pruneFilters?: readonly string[];
  /** Sent with every request. */
  readonly HttpHeaders?: Readonly<Record<string, string>>;
  /** By an engine's address, or "default": what containers and builds get as environment. */
  readonly proxies?: Readonly<Record<string, ProxySettings>>;
  readonly [other: string]: unknown;
}

export function configFolder(env: NodeJS.ProcessEnv): string {
  const given = env["DOCKER_CONFIG"] ?? "";
  return given === "" ? join(env["HOME"] ?? homedir(), ".docker") : given;
}

export function configPath(env: NodeJS.ProcessEnv): string {
  return join(configFolder(env), "config.json");
}

/** Empty when there is none. */
export function readConfigFile(env: NodeJS.ProcessEnv): ConfigFile {
  const path = configPath(env);
  let parsed: unknown;
  try {
    parsed = JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    if (isMissing(error)) return {};
    throw unreadable(path, messageOf(error));
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    throw unreadable(path, "it is not a JSON object");
  }
  return parsed as ConfigFile;
}

function unreadable(path: string, why: string): EngineError {
  return new EngineError(
    "invalid-argument",
    `cannot read ${path}: ${why}: repair it or move it away`,
  );
}

/** What `change` makes of the file takes its place; one that is a link stays one. */
export async function changeConfigFile(
  env: NodeJS.ProcessEnv,
  change: (config: ConfigFile) => ConfigFile,
): Promise<void> {
  const changed = change(readConfigFile(env));
  const path = await realpath(configPath(env)).catch(() => configPath(env));
  const mode = await stat(path).then(
    (found) => found.mode & 0o777,
    () => 0o600,
  );
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await replaceFile(path, `${JSON.stringify(changed, null, "\t")}\n`, mode);
}

/** The whole new content or the old one, also after a crash. */
export async function replaceFile(
  path: string,
  content: string | Buffer,
  mode: number,
): Promise<void> {
  const fresh = `${path}.${process.pid}.new`;
  await writeFile(fresh, content, { mode, flush: true });
  await rename(fresh, path);
}

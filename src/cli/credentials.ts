/**
 * Credentials of registries, where docker's command line keeps them: with a program
 * `docker-credential-NAME` for all registries (`credsStore`) or for one (`credHelpers`), else in the
 * configuration file itself. The protocol of such programs: a verb as the only argument, one value on
 * standard input, one on standard output; an error is told on standard output, too.
 */

import { spawn } from "node:child_process";
import { text } from "node:stream/consumers";
import { EngineError, messageOf } from "#base/error.ts";
import {
  type ConfigFile,
  changeConfigFile,
  readConfigFile,
  type StoredAuth,
} from "./config-file.ts";

/** By what name the default registry's credentials are kept. */
export const HUB = "https://index.docker.io/v1/";

const HUB_NAMES: ReadonlySet<string> = new Set([
  "docker.io",
  "index.docker.io",
  "registry-1.docker.io",
]);

export interface Credentials {
  readonly username: string;
  readonly password: string;
  /** Of a registry that gives out tokens; then there is no password. */
  readonly identitytoken?: string;
}

/** Whose token, not password, a helper keeps. */
const TOKEN_USER = "<token>";
/** What helpers say when they have nothing, word for word. */
const NOT_FOUND = "credentials not found in native keychain";

/** What a user calls a registry, as its credentials are kept: a host, and a port where there is one. */
export function serverKey(server: string): string {
  if (server === "") return HUB;
  const host = hostOf(server);
  return HUB_NAMES.has(host) ? HUB : host;
}

function hostOf(server: string): string {
  return server.replace(/^https?:\/\//, "").replace(/\/.*$/, "");
}

/** Undefined when there are none. A helper that fails is an error. */
export async function credentialsOf(
  env: NodeJS.ProcessEnv,
  server: string,
): Promise<Credentials | undefined> {
  const config = readConfigFile(env);
  const helper = helperOf(config, server);
  return helper === undefined ? inFile(config, server) : fromHelper(helper, server, env);
}

/** Where they went: a helper's program, or undefined for the file. */
export async function storeCredentials(
  env: NodeJS.ProcessEnv,
  server: string,
  credentials: Credentials,
): Promise<string | undefined> {
  const helper = helperOf(readConfigFile(env), server);
  if (helper === undefined) {
    const { username, password, identitytoken } = credentials;
    const auth = Buffer.from(`${username}:${password}`).toString("base64");
    const entry = identitytoken === undefined ? { auth } : { auth, identitytoken };
    await setEntry(env, server, entry);
    return undefined;
  }
  const { username, password, identitytoken } = credentials;
  const secret = {
    ServerURL: server,
    Username: identitytoken === undefined ? username : TOKEN_USER,
    Secret: identitytoken ?? password,
  };
  await ask(helper, "store", JSON.stringify(secret), env);
  // That there are some, and no secret: what an earlier login left in the file goes.
  await setEntry(env, server, {});
  return programOf(helper);
}

export async function eraseCredentials(env: NodeJS.ProcessEnv, server: string): Promise<void> {
  const config = readConfigFile(env);
  const helper = helperOf(config, server);
  const names = Object.keys(config.auths ?? {}).filter((name) => isSame(name, server));
  if (names.length > 0) {
    await changeConfigFile(env, ({ auths = {}, ...others }) => ({
      ...others,
      auths: Object.fromEntries(Object.entries(auths).filter(([name]) => !names.includes(name))),
    }));
  }
  if (helper === undefined) return;
  for (const name of new Set([...names, server])) {
    try {
      await ask(helper, "erase", name, env);
    } catch (error) {
      // One that it does not have is as gone as can be.
      if (!messageOf(error).includes(NOT_FOUND)) throw error;
    }
  }
}

/** The registries that there are credentials for, by name. */
export async function knownServers(env: NodeJS.ProcessEnv): Promise<readonly string[]> {
  const config = readConfigFile(env);
  const servers = new Set([
    ...Object.keys(config.auths ?? {}),
    ...Object.keys(config.credHelpers ?? {}),
  ]);
  if (config.credsStore !== undefined) {
    const listed = parsed(config.credsStore, await ask(config.credsStore, "list", "unused", env));
    for (const name of Object.keys(listed as object)) servers.add(name);
  }
  return [...servers].toSorted();
}

/** All that the user has. A file that cannot be read has none, nor has a helper that fails: many images need none. */
export async function allCredentials(
  env: NodeJS.ProcessEnv,
): Promise<Readonly<Record<string, Credentials>>> {
  const found: Record<string, Credentials> = {};
  for (const server of await knownServers(env).catch(() => [])) {
    const credentials = await credentialsOf(env, server).catch(() => undefined);
    if (credentials !== undefined) found[server] = credentials;
  }
  return found;
}

function helperOf(config: ConfigFile, server: string): string | undefined {
  const helper = config.credHelpers?.[server] ?? config.credsStore ?? "";
  return helper === "" ? undefined : helper;
}

/** Docker itself once wrote names with a scheme and a path. */
function isSame(name: string, server: string): boolean {
  return name === server || serverKey(name) === server;
}

function inFile({ auths = {} }: ConfigFile, server: string): Credentials | undefined {
  const entry = auths[server] ?? Object.entries(auths).find(([name]) => isSame(name, server))?.[1];
  if (entry === undefined) return undefined;
  const pair = Buffer.from(entry.auth ?? "", "base64").toString("utf8");
  const colon = pair.indexOf(":");
  const token = entry.identitytoken ?? "";
  if (colon < 0 && token === "") return undefined;
  return {
    username: pair.slice(0, Math.max(0, colon)),
    // Other programs padded it with zeros.
    password: pair.slice(colon + 1).replace(/\0+$/, ""),
    ...(token === "" ? {} : { identitytoken: token }),
  };
}

async function setEntry(env: NodeJS.ProcessEnv, server: string, entry: StoredAuth): Promise<void> {
  await changeConfigFile(env, (config) => ({
    ...config,
    auths: { ...config.auths, [server]: entry },
  }));
}

interface HelperAnswer {
  readonly Username?: string;
  readonly Secret?: string;
}

async function fromHelper(
  helper: string,
  server: string,
  env: NodeJS.ProcessEnv,
): Promise<Credentials | undefined> {
  let answer: string;
  try {
    answer = await ask(helper, "get", server, env);
  } catch (error) {
    if (messageOf(error).includes(NOT_FOUND)) return undefined;
    throw error;
  }
  const { Username = "", Secret = "" } = parsed(helper, answer) as HelperAnswer;
  return Username === TOKEN_USER
    ? { username: "", password: "", identitytoken: Secret }
    : { username: Username, password: Secret };
}

function parsed(helper: string, answer: string): unknown {
  try {
    const value: unknown = JSON.parse(answer);
    if (typeof value === "object" && value !== null) return value;
  } catch {
    // Told below; what it said may hold a secret and is not shown.
  }
  throw new EngineError("internal", `${programOf(helper)} did not answer in JSON`);
}

function programOf(helper: string): string {
  return `docker-credential-${helper}`;
}

/** What the helper answers. It may talk to the user, and takes as long as that takes. */
async function ask(
  helper: string,
  verb: "get" | "store" | "erase" | "list",
  input: string,
  env: NodeJS.ProcessEnv,
): Promise<string> {
  const program = programOf(helper);
  const failed = (why: string) =>
    new EngineError("unknown", `error ${DOING[verb]} credentials - ${program}: ${why}`);
  if (helper.includes("/")) throw failed("the name of a helper has no slash");
  const child = spawn(program, [verb], { env, stdio: ["pipe", "pipe", "inherit"] });
  const ended = new Promise<number>((resolve, reject) => {
    child.on("error", (error: NodeJS.ErrnoException) =>
      reject(
        failed(error.code === "ENOENT" ? "executable file not found in $PATH" : error.message),
      ),
    );
    child.on("close", (code) => resolve(code ?? -1));
  });
  // A helper need not read what it is told.
  child.stdin.on("error", () => undefined);
  child.stdin.end(input);
  const [code, output] = await Promise.all([ended, text(child.stdout)]);
  if (code !== 0) throw failed(`exit status ${code}: ${output.trim()}`);
  return output;
}

const DOING = { get: "getting", store: "storing", erase: "erasing", list: "listing" } as const;

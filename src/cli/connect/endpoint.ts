/**
 * Which engine a command is for, with docker's precedence: `--context`; `-H`; SKEP_HOST or DOCKER_HOST;
 * DOCKER_CONTEXT; the current context of the configuration file; our own socket. Where a host is said
 * directly, TLS comes from the `--tls…` flags and DOCKER_TLS_VERIFY, DOCKER_TLS, DOCKER_CERT_PATH;
 * a context brings its own.
 */

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { EngineError, messageOf } from "#base/error.ts";
import { configFolder, readConfigFile } from "../config-file.ts";
import type { TlsFiles } from "../context/store.ts";
import type { FlagValues } from "../pflag.ts";

/** The context that no file describes. */
export const DEFAULT_CONTEXT = "default";
export const DEFAULT_HOST = "unix:///run/skep/skep.sock";

export interface Trust {
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
  /** Whoever answers is believed. */
  readonly skipVerify: boolean;
}

export interface Endpoint {
  /** "unix:///path", "tcp://name:port", "ssh://user@name". */
  readonly host: string;
  /** Undefined: in the clear. */
  readonly tls?: Trust;
}

/** Of the variables that override a context, the one that does. */
export function hostVariable(env: NodeJS.ProcessEnv): string | undefined {
  return ["SKEP_HOST", "DOCKER_HOST"].find((name) => (env[name] ?? "") !== "");
}

export function currentContext(globals: FlagValues, env: NodeJS.ProcessEnv): string {
  const named = globals.string("context") ?? "";
  if (named !== "") return named;
  if (globals.has("host") || hostVariable(env) !== undefined) return DEFAULT_CONTEXT;
  const variable = env["DOCKER_CONTEXT"] ?? "";
  if (variable !== "") return variable;
  const configured = readConfigFile(env).currentContext ?? "";
  return configured === "" ? DEFAULT_CONTEXT : configured;
}

export async function resolveEndpoint(
  globals: FlagValues,
  env: NodeJS.ProcessEnv,
): Promise<Endpoint> {
  if (globals.has("context") && globals.has("host")) {
    throw new EngineError(
      "invalid-argument",
      "conflicting options: cannot specify both --host and --context",
    );
  }
  const name = currentContext(globals, env);
  try {
    if (name === DEFAULT_CONTEXT) return defaultEndpoint(globals, env);
    return await storedEndpoint(name, env);
  } catch (error) {
    throw new EngineError(
      EngineError.from(error).code,
      `Failed to initialize: unable to resolve docker endpoint: ${messageOf(error)}`,
    );
  }
}

async function storedEndpoint(name: string, env: NodeJS.ProcessEnv): Promise<Endpoint> {
  // Its hashes need a library that takes longer to load than a whole command by the local socket.
  const { ContextStore, ENDPOINT } = await import("../context/store.ts");
  const store = new ContextStore(env);
  const { Host, SkipTLSVerify = false } = store.get(name).Endpoints[ENDPOINT] ?? {};
  if (Host === undefined || Host === "") {
    throw new EngineError("not-found", `no docker endpoint in context ${JSON.stringify(name)}`);
  }
  const files = store.tls(name)[ENDPOINT];
  if (files === undefined && !SkipTLSVerify) return { host: Host };
  return { host: Host, tls: { ...trustOf(files ?? {}), skipVerify: SkipTLSVerify } };
}

function trustOf(files: TlsFiles): Omit<Trust, "skipVerify"> {
  const { "ca.pem": ca, "cert.pem": cert, "key.pem": key } = files;
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  };
}

/** What the default context stands for: the command line's and the environment's. */
export function defaultEndpoint(globals: FlagValues, env: NodeJS.ProcessEnv): Endpoint {
  const hosts = globals.list("host");
  if (hosts.length > 1) throw new EngineError("invalid-argument", "Specify only one -H");
  const host = hosts[0] ?? env[hostVariable(env) ?? ""] ?? DEFAULT_HOST;
  const verify = globals.has("tlsverify")
    ? globals.bool("tlsverify")
    : (env["DOCKER_TLS_VERIFY"] ?? "") !== "" || host.startsWith("https://");
  const secure =
    verify ||
    globals.has("tlsverify") ||
    globals.bool("tls") ||
    (!globals.has("tls") && (env["DOCKER_TLS"] ?? "") !== "");
  if (!secure || host.startsWith("unix:") || host.startsWith("ssh:")) return { host };
  const folder = env["DOCKER_CERT_PATH"] || configFolder(env);
  const pem = (flag: string, file: string) => {
    const path = globals.string(flag) ?? join(folder, file);
    return globals.has(flag) || existsSync(path) ? { [file]: readFileSync(path) } : {};
  };
  const files = {
    ...pem("tlscacert", "ca.pem"),
    ...pem("tlscert", "cert.pem"),
    ...pem("tlskey", "key.pem"),
  };
  return { host, tls: { ...trustOf(files), skipVerify: !verify } };
}

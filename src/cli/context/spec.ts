/** What `--docker "host=…,ca=…"` says of a context's endpoint, checked as docker does. */

import { readFileSync } from "node:fs";
import { createSecureContext } from "node:tls";
import { EngineError, messageOf } from "#base/error.ts";
import { sshTarget } from "../connect/ssh.ts";
import { parseBool } from "../pflag.ts";
import { type ContextMeta, ENDPOINT, type EndpointMeta, type TlsFiles } from "./store.ts";

export interface EndpointSpec {
  readonly endpoint: EndpointMeta;
  readonly tls: Readonly<Record<string, TlsFiles>>;
}

/** A context with its files, to copy from. */
export interface Described {
  readonly meta: ContextMeta;
  readonly tls: Readonly<Record<string, TlsFiles>>;
}

const KEYS: ReadonlySet<string> = new Set(["from", "host", "ca", "cert", "key", "skip-tls-verify"]);
const SCHEMES = /^(unix|tcp|fd|npipe|ssh|http|https|[a-z]+):\/\/./;

/** "a=b,c=d", repeated; a value with commas is in double quotes as a whole, as in CSV. */
export function parsePairs(values: readonly string[]): Readonly<Record<string, string>> {
  const pairs: Record<string, string> = {};
  for (const value of values) {
    for (const [, quoted, plain] of value.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)) {
      const field = quoted?.replaceAll('""', '"') ?? plain ?? "";
      const equals = field.indexOf("=");
      if (equals < 0) {
        throw new EngineError(
          "invalid-argument",
          `invalid argument ${JSON.stringify(value)} for "--docker" flag: ${field} must be formatted as key=value`,
        );
      }
      pairs[field.slice(0, equals)] = field.slice(equals + 1);
    }
  }
  return pairs;
}

/** The endpoint that the pairs describe; `find` gives the context that they copy from. */
export function endpointFrom(
  pairs: Readonly<Record<string, string>>,
  find: (name: string) => Described,
): EndpointSpec {
  try {
    return checkedEndpoint(pairs, find);
  } catch (error) {
    throw new EngineError(
      EngineError.from(error, "invalid-argument").code,
      `unable to create docker endpoint config: ${messageOf(error)}`,
    );
  }
}

function checkedEndpoint(
  pairs: Readonly<Record<string, string>>,
  find: (name: string) => Described,
): EndpointSpec {
  const unknown = Object.keys(pairs).find((key) => !KEYS.has(key));
  if (unknown !== undefined) throw invalid(`unrecognized config key: ${unknown}`);
  if (pairs.from !== undefined) {
    const { meta, tls } = find(pairs.from);
    const endpoint = { ...meta.Endpoints[ENDPOINT] };
    const skip = pairs["skip-tls-verify"];
    const changed = skip === undefined ? {} : { SkipTLSVerify: boolFrom(skip) };
    return { endpoint: { ...endpoint, ...changed }, tls: pick(tls) };
  }
  const SkipTLSVerify = boolFrom(pairs["skip-tls-verify"] ?? "false");
  const files: TlsFiles = {
    ...pemFrom("ca.pem", pairs.ca),
    ...pemFrom("cert.pem", pairs.cert),
    ...pemFrom("key.pem", pairs.key),
  };
  const host = pairs.host ?? "";
  if (host !== "" && !SCHEMES.test(host)) {
    throw invalid(
      `unable to apply docker endpoint options: unable to parse docker host \`${host}\``,
    );
  }
  try {
    if (host.startsWith("ssh:")) sshTarget(host);
    if (files["key.pem"] !== undefined) checkPair(files);
  } catch (error) {
    throw invalid(`invalid docker endpoint options: ${messageOf(error)}`);
  }
  return {
    endpoint: { ...(host === "" ? {} : { Host: host }), SkipTLSVerify },
    tls: Object.keys(files).length === 0 ? {} : { [ENDPOINT]: files },
  };
}

function invalid(message: string): EngineError {
  return new EngineError("invalid-argument", message);
}

function pick(tls: Readonly<Record<string, TlsFiles>>): Readonly<Record<string, TlsFiles>> {
  const files = tls[ENDPOINT];
  return files === undefined ? {} : { [ENDPOINT]: files };
}

function boolFrom(text: string): boolean {
  const value = parseBool(text);
  if (value !== undefined) return value;
  throw invalid(`skip-tls-verify: parsing ${JSON.stringify(text)}: invalid syntax`);
}

function pemFrom(name: string, path: string | undefined): TlsFiles {
  if (path === undefined || path === "") return {};
  try {
    return { [name]: readFileSync(path) };
  } catch (error) {
    throw invalid(`open ${path}: ${reasonOf(error)}`);
  }
}

/** "no such file or directory" of "ENOENT: no such file or directory, open 'x'". */
export function reasonOf(error: unknown): string {
  return /^E\w+: (.*?), /.exec(messageOf(error))?.[1] ?? messageOf(error);
}

function checkPair(files: TlsFiles): void {
  try {
    createSecureContext({ cert: files["cert.pem"], key: files["key.pem"] });
  } catch (error) {
    throw invalid(`failed to retrieve context tls info: ${messageOf(error)}`);
  }
}

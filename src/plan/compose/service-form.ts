/**
 * One service of one file → its canonical form: long syntax everywhere, lists where one value may
 * stand alone, maps where a list of `KEY=VALUE` may, environment files read in, sources absolute.
 * Files are merged in this form, and `stack config` prints it.
 */

import { isList, isMapping, type Mapping, textOf, type Value } from "./document.ts";
import { parseEnvFile } from "./env-file.ts";
import type { Lookup } from "./interpolate.ts";
import { type Places, resolvePath } from "./paths.ts";
import { expandPort } from "./ports.ts";
import { type Path, Refusal } from "./refusal.ts";
import { deployOf, IN_DEPLOY } from "./today-form.ts";
import { expandVolume } from "./volumes.ts";
import { splitWords } from "./words.ts";

export interface ServiceSurroundings {
  readonly places: Places;
  readonly lookup: Lookup;
  /** Absolute name → text. */
  readonly envFiles: ReadonlyMap<string, string>;
  readonly warn: (message: string) => void;
}

type Form = (value: Value, path: Path, around: ServiceSurroundings) => Value;

const listed: Form = (value) => (isList(value) ? value : value === null ? [] : [textOf(value)]);
const words: Form = (value, path) => (typeof value === "string" ? splitWords(value, path) : value);
const mapped: Form = (value) => keyValues(value, "");
const references: Form = (value) =>
  (isList(value) ? value : []).map((item) => (isMapping(item) ? item : { source: item }));

const FORMS: Readonly<Record<string, Form>> = {
  command: words,
  entrypoint: words,
  configs: references,
  secrets: references,
  dns: listed,
  dns_search: listed,
  dns_opt: listed,
  group_add: listed,
  tmpfs: listed,
  labels: mapped,
  sysctls: mapped,
  extra_hosts: hosts,
  ports: (value, path, around) =>
    (isList(value) ? value : []).flatMap((item, index) => {
      const { ports, warnings } = expandPort(item, [...path, String(index)]);
      for (const warning of warnings) around.warn(warning);
      return ports;
    }),
  volumes: (value, path, { places }) =>
    (isList(value) ? value : []).map((item, index) =>
      expandVolume(item, places, [...path, String(index)]),
    ),
  networks: (value) =>
    isList(value) ? Object.fromEntries(value.map((name) => [textOf(name), null])) : value,
  healthcheck: (value) =>
    isMapping(value) && typeof value.test === "string"
      ? { ...value, test: ["CMD-SHELL", value.test] }
      : value,
  deploy: (value) =>
    isMapping(value) && value.labels !== undefined
      ? { ...value, labels: keyValues(value.labels, "") }
      : value,
};

const OWN_OF_TASKS = [
  "ipv4_address",
  "ipv6_address",
  "link_local_ips",
  "mac_address",
  "interface_name",
  "priority",
  "gw_priority",
];

/** docker's stacks say nothing of it; a fixed address that is not given is no detail. */
function warnOfAddresses(service: Mapping, name: string, { warn }: ServiceSurroundings): void {
  if (!isMapping(service.networks)) return;
  for (const [network, attachment] of Object.entries(service.networks)) {
    if (!isMapping(attachment)) continue;
    for (const key of OWN_OF_TASKS) {
      if (attachment[key] === undefined) continue;
      warn(
        `service ${name}: ${key} of network ${network} has no effect: the swarm gives ${key.includes("addr") || key.includes("ips") ? "addresses" : "interfaces"}`,
      );
    }
  }
}

function warnOfRestarts(service: Mapping, name: string, { warn }: ServiceSurroundings): void {
  if (!isMapping(service.depends_on)) return;
  for (const [other, dependency] of Object.entries(service.depends_on)) {
    if (!isMapping(dependency) || dependency.restart !== true) continue;
    warn(
      `service ${name}: restart of depends_on ${other} has no effect: a service is not restarted for another`,
    );
  }
}

export function canonicalService(
  service: Mapping,
  path: Path,
  around: ServiceSurroundings,
): Mapping {
  const form: Record<string, Value> = {};
  for (const [key, value] of Object.entries(service)) {
    if (key === "env_file" || key === "environment" || IN_DEPLOY.has(key)) continue;
    const change = Object.hasOwn(FORMS, key) ? FORMS[key] : undefined;
    form[key] = change === undefined ? value : change(value, [...path, key], around);
  }
  const deploy = deployOf(service, form.deploy, path);
  if (deploy !== undefined) form.deploy = deploy;
  warnOfRestarts(service, path.at(-1) ?? "", around);
  warnOfAddresses(service, path.at(-1) ?? "", around);
  const environment = environmentOf(service, path, around);
  if (environment !== undefined) form.environment = environment;
  return form;
}

/** Absolute names of the environment files that a service asks for. */
export function envFilesOf(service: Mapping, places: Places): readonly string[] {
  const { env_file: files } = service;
  if (files === undefined || files === null) return [];
  return (isList(files) ? files : [files]).map((file) => {
    const name = isMapping(file) ? file.path : file;
    return resolvePath(textOf(name ?? null), places);
  });
}

/** Of those, the ones that need not be there. */
export function optionalEnvFilesOf(service: Mapping, places: Places): readonly string[] {
  const { env_file: files } = service;
  if (!isList(files)) return [];
  return files.flatMap((file) =>
    isMapping(file) && file.required === false
      ? [resolvePath(textOf(file.path ?? null), places)]
      : [],
  );
}

function environmentOf(
  service: Mapping,
  path: Path,
  { places, lookup, envFiles }: ServiceSurroundings,
): Mapping | undefined {
  const files = envFilesOf(service, places);
  if (files.length === 0 && service.environment === undefined) return undefined;
  const found: Record<string, Value> = {};
  const optional = optionalEnvFilesOf(service, places);
  for (const file of files) {
    const text = envFiles.get(file);
    if (text === undefined && optional.includes(file)) continue;
    if (text === undefined) {
      throw new Refusal(`open ${file}: no such file or directory`, [...path, "env_file"]);
    }
    for (const [name, value] of parseEnvFile(text, file, lookup, [...path, "env_file"])) {
      found[name] = value;
    }
  }
  for (const [name, value] of Object.entries(keyValues(service.environment ?? {}, null))) {
    // A variable without a value takes the caller's, as docker does.
    const own = value === null || value === "" ? lookup(name) : undefined;
    found[name] = own ?? value;
  }
  return found;
}

/** A map with text values, of a map or of a list of `KEY=VALUE`; `missing` is for a key alone. */
export function keyValues(value: Value, missing: string | null): Mapping {
  if (isMapping(value)) {
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [key, item === null ? missing : textOf(item)]),
    );
  }
  if (!isList(value)) return {};
  return Object.fromEntries(
    value.map((item): [string, Value] => {
      const text = textOf(item);
      const equals = text.indexOf("=");
      return equals < 0 ? [text, missing] : [text.slice(0, equals), text.slice(equals + 1)];
    }),
  );
}

/** "name:address" each; entries without an address are left out, as docker does. */
function hosts(value: Value): Value {
  const pairs: readonly (readonly [string, string])[] = isMapping(value)
    ? Object.entries(value).map(([name, address]) => [name, textOf(address)] as const)
    : (isList(value) ? value : []).map((item) => {
        const text = textOf(item);
        const cut = /[=:]/.exec(text)?.index;
        return cut === undefined
          ? ([text, ""] as const)
          : ([text.slice(0, cut), text.slice(cut + 1)] as const);
      });
  return pairs
    .filter(([, address]) => address !== "")
    .map(([name, address]) => `${name}:${address.replace(/^\[(.*)\]$/, "$1")}`);
}

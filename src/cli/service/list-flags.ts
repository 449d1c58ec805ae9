/**
 * Flags of `service create` and `service update` whose fields are lists: at creation they fill a list,
 * at an update `--NAME-add` and `--NAME-rm` change the one that is there. One table for both; what has
 * to be looked up (secrets, configs, networks) is asked of the engine.
 */

import { EngineError, isErrorCode } from "#base/error.ts";
import type { CommandContext } from "../command.ts";
import { environment, parseUlimit } from "../container/run-flags.ts";
import type { FlagSpec, FlagValues } from "../pflag.ts";
import type { ServiceSpecJson } from "../swarm/types.ts";
import { type Edit, isRecord, type Json, listAt, setAt } from "./spec-paths.ts";

interface ListField {
  readonly flag: string;
  readonly usage: string;
  /** Where the list is, from the spec's root. */
  readonly at: readonly string[];
  /** What a value is in the list. */
  readonly item: (text: string, find: Find) => Promise<unknown>;
  /** By what an item is found again: that of a value given to `-rm`, and that of an item. */
  readonly keyOf: (item: unknown) => string;
  readonly keyOfText: (text: string, find: Find) => Promise<string>;
  /** A second way to name it. */
  readonly otherKeyOf?: (item: unknown) => string;
  /** Made by hand elsewhere for one of the two commands. */
  readonly only?: "update";
}

/** The id of an object by its name. */
type Find = (kind: "secrets" | "configs" | "networks", name: string) => Promise<string>;

const CONTAINER = ["TaskTemplate", "ContainerSpec"];
const plain = async (text: string) => text;
const same = (item: unknown) => String(item);
const field = (name: string) => (item: unknown) => (isRecord(item) ? String(item[name]) : "");
const beforeEquals = async (text: string) => text.split("=")[0] ?? text;

const texts = (flag: string, usage: string, at: readonly string[]): ListField => ({
  flag,
  usage,
  at,
  item: plain,
  keyOf: same,
  keyOfText: plain,
});

const FIELDS: readonly ListField[] = [
  { ...texts("dns", "DNS servers", [...CONTAINER, "DNSConfig", "Nameservers"]), only: "update" },
  texts("dns-option", "DNS options", [...CONTAINER, "DNSConfig", "Options"]),
  texts("dns-search", "DNS search domains", [...CONTAINER, "DNSConfig", "Search"]),
  texts("group", "Supplementary user groups", [...CONTAINER, "Groups"]),
  {
    ...texts("host", "Host-to-IP mappings (host:ip)", [...CONTAINER, "Hosts"]),
    item: async (text) => hostLine(text),
    // A name alone means all lines with it.
    keyOfText: async (text) => (text.includes(":") ? hostLine(text) : text),
    otherKeyOf: (item) => String(item).replace(/^\S+ /, ""),
    only: "update",
  },
  {
    ...texts("ulimit", "Ulimit options", [...CONTAINER, "Ulimits"]),
    item: async (text) => parseUlimit(text),
    keyOf: field("Name"),
    keyOfText: beforeEquals,
  },
  {
    ...texts("placement-pref", "Placement preferences", [
      "TaskTemplate",
      "Placement",
      "Preferences",
    ]),
    item: async (text) => preference(text),
    keyOf: (item) => JSON.stringify(item),
    keyOfText: async (text) => JSON.stringify(preference(text)),
    only: "update",
  },
  {
    ...texts("generic-resource", "User defined resources (KIND=VALUE)", [
      "TaskTemplate",
      "Resources",
      "Reservations",
      "GenericResources",
    ]),
    item: async (text) => genericResource(text),
    keyOf: (item) => kindOf(item),
    keyOfText: beforeEquals,
  },
  {
    ...texts("network", "Network attachments", ["TaskTemplate", "Networks"]),
    item: async (text, find) => network(text, find),
    keyOf: field("Target"),
    keyOfText: (text, find) => find("networks", text),
  },
  {
    ...texts("secret", "Secrets to expose to the service", [...CONTAINER, "Secrets"]),
    item: (text, find) => reference("Secret", text, find),
    keyOf: field("SecretName"),
    keyOfText: plain,
  },
  {
    ...texts("config", "Configurations to expose to the service", [...CONTAINER, "Configs"]),
    item: (text, find) => reference("Config", text, find),
    keyOf: field("ConfigName"),
    keyOfText: plain,
  },
];

export const CREATE_LIST_FLAGS: readonly FlagSpec[] = [
  ...FIELDS.filter(({ only }) => only === undefined).map(({ flag, usage }) =>
    listFlag(flag, usage),
  ),
  listFlag("sysctl", "Sysctl options"),
  listFlag("env-file", "Read in a file of environment variables"),
];

export const UPDATE_LIST_FLAGS: readonly FlagSpec[] = [
  ...FIELDS.flatMap(({ flag, usage }) => [
    listFlag(`${flag}-add`, `Add or update: ${usage}`),
    listFlag(`${flag}-rm`, `Remove: ${usage}`),
  ]),
  listFlag("sysctl-add", "Add or update: Sysctl options"),
  listFlag("sysctl-rm", "Remove: Sysctl options"),
  listFlag("cap-add", "Add Linux capabilities"),
  listFlag("cap-drop", "Drop Linux capabilities"),
];

function listFlag(name: string, usage: string): FlagSpec {
  return { name, kind: "list", usage };
}

/** The spec of a new service with its lists filled. */
export async function withLists(
  context: CommandContext,
  spec: ServiceSpecJson,
): Promise<ServiceSpecJson> {
  const { flags } = context;
  const edits: Edit[] = [];
  for (const one of FIELDS) {
    const given = one.only === undefined ? flags.list(one.flag) : [];
    if (given.length === 0) continue;
    edits.push([one.at, await items(context, one, given)]);
  }
  const sysctls = flags.list("sysctl");
  if (sysctls.length > 0) edits.push([[...CONTAINER, "Sysctls"], pairsOf(sysctls)]);
  if (flags.has("env-file")) edits.push([[...CONTAINER, "Env"], environment(flags, context.env)]);
  return changed(spec, [...edits, ...capabilities(flags, {})]);
}

/** The spec of a service with its lists changed. */
export async function withListChanges(
  context: CommandContext,
  spec: ServiceSpecJson,
): Promise<ServiceSpecJson> {
  const { flags } = context;
  const find = finder(context);
  const edits: Edit[] = [];
  for (const one of FIELDS) {
    const [added, removed] = [flags.list(`${one.flag}-add`), flags.list(`${one.flag}-rm`)];
    if (added.length + removed.length === 0) continue;
    const fresh = await items(context, one, added);
    const gone = new Set(await Promise.all(removed.map((text) => one.keyOfText(text, find))));
    for (const item of fresh) gone.add(one.keyOf(item));
    const kept = listAt(jsonOf(spec), one.at).filter(
      (item) => !gone.has(one.keyOf(item)) && !gone.has(one.otherKeyOf?.(item) ?? ""),
    );
    edits.push([one.at, [...kept, ...fresh]]);
  }
  const container = spec.TaskTemplate.ContainerSpec as Json;
  const [set, unset] = [flags.list("sysctl-add"), flags.list("sysctl-rm")];
  if (set.length + unset.length > 0) {
    const next = { ...(container.Sysctls as Record<string, string> | undefined), ...pairsOf(set) };
    for (const name of unset) delete next[name];
    edits.push([[...CONTAINER, "Sysctls"], next]);
  }
  return changed(spec, [...edits, ...capabilities(flags, container)]);
}

/** Without the types of its fields: places are named by their paths here. */
function jsonOf(spec: ServiceSpecJson): Json {
  return spec as unknown as Json;
}

function changed(spec: ServiceSpecJson, edits: readonly Edit[]): ServiceSpecJson {
  return edits.reduce(setAt, jsonOf(spec)) as unknown as ServiceSpecJson;
}

/** What is added is not dropped any more, and the other way round. */
function capabilities(flags: FlagValues, container: Json): readonly Edit[] {
  const [add, drop] = [flags.list("cap-add"), flags.list("cap-drop")].map((list) =>
    list.map((name) => name.toUpperCase().replace(/^(?!CAP_|ALL$|RESET$)/, "CAP_")),
  ) as [string[], string[]];
  if (add.length + drop.length === 0) return [];
  const listed = (name: string) => ((container[name] ?? []) as readonly string[]).map(String);
  const next = (own: readonly string[], before: readonly string[], other: readonly string[]) =>
    [...new Set([...before.filter((name) => !other.includes(name)), ...own])].filter(
      (name) => name !== "RESET",
    );
  const old = (own: readonly string[], name: string) => (own.includes("RESET") ? [] : listed(name));
  return [
    [[...CONTAINER, "CapabilityAdd"], next(add, old(add, "CapabilityAdd"), drop)],
    [[...CONTAINER, "CapabilityDrop"], next(drop, old(drop, "CapabilityDrop"), add)],
  ];
}

function items(
  context: CommandContext,
  { item }: ListField,
  given: readonly string[],
): Promise<readonly unknown[]> {
  const find = finder(context);
  return Promise.all(given.map((text) => item(text, find)));
}

function finder({ client }: CommandContext): Find {
  return async (kind, name) => {
    try {
      const found = await client.get<{ readonly ID?: string; readonly Id?: string }>(
        `/${kind}/${encodeURIComponent(name)}`,
      );
      return found.ID ?? found.Id ?? name;
    } catch (error) {
      if (kind === "networks" || !isErrorCode(error, "not-found")) throw error;
      throw new EngineError("not-found", `${kind.slice(0, -1)} not found: ${name}`);
    }
  };
}

/** "NAME", or "source=NAME,target=FILE,uid=0,gid=0,mode=0440". */
async function reference(kind: "Secret" | "Config", text: string, find: Find): Promise<Json> {
  const fields: Readonly<Record<string, string>> = text.includes("=")
    ? pairsOf(text.split(","))
    : { source: text };
  const name = fields.source ?? fields.src ?? "";
  if (name === "") {
    throw new EngineError("invalid-argument", `invalid ${kind.toLowerCase()}: source is required`);
  }
  const mode = fields.mode === undefined ? 0o444 : Number.parseInt(fields.mode, 8);
  if (!Number.isInteger(mode)) {
    throw new EngineError("invalid-argument", `invalid mode specified: ${fields.mode ?? ""}`);
  }
  const target = fields.target ?? name;
  return {
    File: { Name: target, UID: fields.uid ?? "0", GID: fields.gid ?? "0", Mode: mode },
    [`${kind}ID`]: await find(kind === "Secret" ? "secrets" : "configs", name),
    [`${kind}Name`]: name,
  };
}

/** "NAME", or "name=NAME,alias=A,driver-opt=K=V". */
async function network(text: string, find: Find): Promise<Json> {
  if (!text.includes("=")) return { Target: await find("networks", text) };
  let target = "";
  const aliases: string[] = [];
  const options: Record<string, string> = {};
  for (const part of text.split(",")) {
    const [key = "", ...rest] = part.split("=");
    const value = rest.join("=");
    if (key === "name") target = value;
    else if (key === "alias") aliases.push(value);
    else if (key === "driver-opt") Object.assign(options, pairsOf([value]));
    else throw new EngineError("invalid-argument", `invalid field key ${key}`);
  }
  return { Target: await find("networks", target), Aliases: aliases, DriverOpts: options };
}

function genericResource(text: string): Json {
  const [Kind = "", value = ""] = text.split("=");
  if (Kind === "" || value === "") {
    throw new EngineError("invalid-argument", `invalid generic-resource format \`${text}\``);
  }
  return /^\d+$/.test(value)
    ? { DiscreteResourceSpec: { Kind, Value: Number(value) } }
    : { NamedResourceSpec: { Kind, Value: value } };
}

function kindOf(item: unknown): string {
  if (!isRecord(item)) return "";
  const spec = item.DiscreteResourceSpec ?? item.NamedResourceSpec;
  return isRecord(spec) ? String(spec.Kind) : "";
}

function preference(text: string): Json {
  return { Spread: { SpreadDescriptor: text.replace(/^spread=/, "") } };
}

/** "name:ip" as a line of /etc/hosts. */
function hostLine(text: string): string {
  const colon = text.indexOf(":");
  if (colon < 1) {
    throw new EngineError("invalid-argument", `bad format for add-host: ${JSON.stringify(text)}`);
  }
  return `${text.slice(colon + 1)} ${text.slice(0, colon)}`;
}

function pairsOf(list: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    list.map((text) => {
      const at = text.indexOf("=");
      return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
    }),
  );
}

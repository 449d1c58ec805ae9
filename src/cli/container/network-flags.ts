/**
 * `--network` and the flags around it: the mode of a container and its endpoints. A network is a name,
 * or "name=NAME,alias=…,ip=…"; the flags without a network belong to the first. Pure.
 */

import { EngineError } from "#base/error.ts";
import type { EndpointSettings } from "#wire/docker/networks.ts";
import type { FlagSpec, FlagValues } from "../pflag.ts";

export const NETWORK_FLAGS: readonly FlagSpec[] = [
  { name: "ip", kind: "string", usage: "IPv4 address (e.g., 172.30.100.104)" },
  { name: "ip6", kind: "string", usage: "IPv6 address (e.g., 2001:db8::33)" },
  { name: "link", kind: "list", usage: "Another container, and a name for it (name:alias)" },
  { name: "link-local-ip", kind: "list", usage: "Link-local addresses of the container" },
  { name: "mac-address", kind: "string", usage: "MAC address (e.g., 92:d0:c6:0a:29:33)" },
  { name: "network", kind: "list", usage: "Connect the container to a network" },
  { name: "net", kind: "list", usage: "Connect the container to a network", hidden: true },
  { name: "network-alias", kind: "list", usage: "Another name of the container on the network" },
  { name: "net-alias", kind: "list", usage: "The same as --network-alias", hidden: true },
];

interface Wanted {
  readonly name: string;
  readonly settings: Settings;
}

type Settings = { -readonly [K in keyof EndpointSettings]: EndpointSettings[K] };

export interface NetworkChoice {
  readonly mode: string;
  readonly endpoints: Readonly<Record<string, EndpointSettings>>;
  readonly links: readonly string[];
  readonly mac: string | undefined;
}

export function networkChoice(flags: FlagValues): NetworkChoice {
  const wanted = [...flags.list("network"), ...flags.list("net")].map(parseNetwork);
  if (wanted.length === 0) wanted.push({ name: "default", settings: {} });
  if (wanted.length > 1 && wanted.some(({ name }) => !isUserDefined(name))) {
    throw refusal(
      "conflicting options: cannot attach both user-defined and non-user-defined network-modes",
    );
  }
  const [first] = wanted;
  if (first !== undefined) addFlags(first, flags);
  const endpoints: Record<string, EndpointSettings> = {};
  for (const { name, settings } of wanted) {
    if (name in endpoints) throw refusal(`network "${name}" is specified multiple times`);
    endpoints[name] = settings;
  }
  const plain = wanted.length === 1 && Object.keys(first?.settings ?? {}).length === 0;
  return {
    mode: first?.name ?? "default",
    endpoints: plain ? {} : endpoints,
    links: flags.list("link"),
    mac: flags.string("mac-address"),
  };
}

function isUserDefined(name: string): boolean {
  return !["default", "bridge", "host", "none"].includes(name) && !name.startsWith("container:");
}

function parseNetwork(text: string): Wanted {
  if (!text.includes("=")) return { name: text, settings: {} };
  let name = "";
  const settings: Settings = {};
  for (const field of text.split(",")) {
    const equals = field.indexOf("=");
    const key = (equals < 0 ? field : field.slice(0, equals)).trim().toLowerCase();
    const value = equals < 0 ? "" : field.slice(equals + 1).trim();
    if (equals < 0) throw refusal(`invalid field ${field}`);
    if (key === "name") name = value;
    else applyField(settings, key, value);
  }
  if (name === "") throw refusal("network name cannot be empty");
  return { name, settings };
}

function applyField(settings: Settings, key: string, value: string): void {
  switch (key) {
    case "alias":
      settings.Aliases = [...(settings.Aliases ?? []), value];
      return;
    case "ip":
      settings.IPAMConfig = { ...settings.IPAMConfig, IPv4Address: value };
      return;
    case "ip6":
      settings.IPAMConfig = { ...settings.IPAMConfig, IPv6Address: value };
      return;
    case "link-local-ip":
      settings.IPAMConfig = {
        ...settings.IPAMConfig,
        LinkLocalIPs: [...(settings.IPAMConfig?.LinkLocalIPs ?? []), value],
      };
      return;
    case "mac-address":
      settings.MacAddress = value;
      return;
    case "driver-opt": {
      const [option = "", ...rest] = value.split("=");
      settings.DriverOpts = { ...settings.DriverOpts, [option]: rest.join("=") };
      return;
    }
    case "gw-priority":
      if (!/^-?\d+$/.test(value)) throw refusal(`invalid gw-priority: ${value}`);
      settings.GwPriority = Number(value);
      return;
    default:
      throw refusal(`invalid field key ${key}`);
  }
}

/** The flags without a network; a field of the network's own and a flag for it are one too many. */
function addFlags({ name, settings }: Wanted, flags: FlagValues): void {
  const aliases = [...flags.list("network-alias"), ...flags.list("net-alias")];
  if (aliases.length > 0) {
    once("alias", settings.Aliases);
    settings.Aliases = aliases;
  }
  for (const [flag, field] of [
    ["ip", "IPv4Address"],
    ["ip6", "IPv6Address"],
  ] as const) {
    const value = flags.string(flag);
    if (value === undefined) continue;
    once(flag, settings.IPAMConfig?.[field]);
    settings.IPAMConfig = { ...settings.IPAMConfig, [field]: value };
  }
  const linkLocal = flags.list("link-local-ip");
  if (linkLocal.length > 0) {
    once("link-local-ip", settings.IPAMConfig?.LinkLocalIPs);
    settings.IPAMConfig = { ...settings.IPAMConfig, LinkLocalIPs: linkLocal };
  }
  const mac = flags.string("mac-address");
  if (mac !== undefined) {
    once("mac-address", settings.MacAddress);
    if (isUserDefined(name)) settings.MacAddress = mac;
  }
  const links = flags.list("link");
  if (links.length > 0 && isUserDefined(name)) settings.Links = links;
}

function once(what: string, given: unknown): void {
  if (given === undefined) return;
  const flag = what === "alias" ? "network-alias" : what;
  throw refusal(
    `conflicting options: cannot specify both --${flag} and per-network ${what.replace("ip", "IP")}`,
  );
}

function refusal(message: string): EngineError {
  return new EngineError("invalid-argument", message);
}

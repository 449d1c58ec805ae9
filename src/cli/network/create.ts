/** `skep network create`. */

import type { NetworkCreateBody, NetworkCreateResponse } from "#wire/docker/networks.ts";
import type { Command } from "../command.ts";
import { pairs } from "../container/run-flags.ts";
import type { FlagSpec, FlagValues } from "../pflag.ts";
import { ipamPools } from "./ipam.ts";

const FLAGS: readonly FlagSpec[] = [
  { name: "attachable", kind: "bool", usage: "Let containers that are no services attach" },
  {
    name: "aux-address",
    kind: "list",
    valueName: "map",
    usage: "Addresses that something else uses (name=address)",
  },
  { name: "config-from", kind: "string", usage: "Network to copy the configuration of" },
  { name: "config-only", kind: "bool", usage: "Only keep the configuration, for other networks" },
  {
    name: "driver",
    short: "d",
    kind: "string",
    usage: "Driver of the network",
    defaultText: '"bridge"',
  },
  { name: "gateway", kind: "list", valueName: "strings", usage: "Router of a subnet" },
  { name: "ingress", kind: "bool", usage: "Create the network of the swarm's routing mesh" },
  { name: "internal", kind: "bool", usage: "Keep the network apart from the outside" },
  {
    name: "ip-range",
    kind: "list",
    valueName: "strings",
    usage: "Part of a subnet that addresses are handed out of",
  },
  {
    name: "ipam-driver",
    kind: "string",
    usage: "Driver of the addresses",
    defaultText: '"default"',
  },
  { name: "ipam-opt", kind: "list", valueName: "map", usage: "Options of the addresses' driver" },
  { name: "ipv4", kind: "bool", usage: "Give IPv4 addresses", defaultText: "true" },
  { name: "ipv6", kind: "bool", usage: "Give IPv6 addresses" },
  { name: "label", kind: "list", usage: "Set metadata on the network" },
  { name: "opt", short: "o", kind: "list", valueName: "map", usage: "Options of the driver" },
  { name: "scope", kind: "string", usage: "Scope of the network: local or swarm" },
  { name: "subnet", kind: "list", valueName: "strings", usage: "Subnet in CIDR notation" },
];

export function networkBody(name: string, flags: FlagValues): NetworkCreateBody {
  return {
    Name: name,
    CheckDuplicate: true,
    Driver: flags.string("driver") ?? "bridge",
    Scope: flags.string("scope") ?? "",
    Internal: flags.bool("internal"),
    Attachable: flags.bool("attachable"),
    Ingress: flags.bool("ingress"),
    ConfigOnly: flags.bool("config-only"),
    ...(flags.has("config-from")
      ? { ConfigFrom: { Network: flags.string("config-from") ?? "" } }
      : {}),
    ...(flags.has("ipv4") ? { EnableIPv4: flags.bool("ipv4") } : {}),
    EnableIPv6: flags.bool("ipv6"),
    Labels: pairs(flags.list("label")),
    Options: pairs(flags.list("opt")),
    IPAM: {
      Driver: flags.string("ipam-driver") ?? "default",
      Options: pairs(flags.list("ipam-opt")),
      Config: ipamPools({
        subnets: commaSeparated(flags, "subnet"),
        ranges: commaSeparated(flags, "ip-range"),
        gateways: commaSeparated(flags, "gateway"),
        auxiliary: pairs(flags.list("aux-address")),
      }),
    },
  };
}

/** pflag's string slices: given several times, or once with commas. */
export function commaSeparated(flags: FlagValues, name: string): readonly string[] {
  return flags.list(name).flatMap((value) => value.split(",").map((part) => part.trim()));
}

export const CREATE: Command = {
  path: ["network", "create"],
  usage: "[OPTIONS] NETWORK",
  summary: "Create a network",
  flags: FLAGS,
  minArgs: 1,
  maxArgs: 1,
  run: async ({ args, client, flags, stdout, stderr }) => {
    const body = networkBody(args[0] ?? "", flags);
    const { Id, Warning } = await client.post<NetworkCreateResponse>("/networks/create", body);
    if (Warning !== "") stderr.write(`WARNING: ${Warning}\n`);
    stdout.write(`${Id}\n`);
    return 0;
  },
};

/** `skep network connect` and `disconnect`. */

import type { EndpointSettings } from "#wire/docker/networks.ts";
import type { Command } from "../command.ts";
import { pairs } from "../container/run-flags.ts";
import type { FlagValues } from "../pflag.ts";
import { commaSeparated } from "./create.ts";

function endpointOf(flags: FlagValues): EndpointSettings {
  const linkLocal = commaSeparated(flags, "link-local-ip");
  const options = commaSeparated(flags, "driver-opt");
  return {
    IPAMConfig: {
      ...(flags.has("ip") ? { IPv4Address: flags.string("ip") ?? "" } : {}),
      ...(flags.has("ip6") ? { IPv6Address: flags.string("ip6") ?? "" } : {}),
      ...(linkLocal.length > 0 ? { LinkLocalIPs: linkLocal } : {}),
    },
    Links: flags.list("link"),
    Aliases: commaSeparated(flags, "alias"),
    ...(options.length > 0 ? { DriverOpts: pairs(options) } : {}),
    ...(flags.has("gw-priority") ? { GwPriority: flags.number("gw-priority") ?? 0 } : {}),
  };
}

export const MEMBERSHIP: readonly Command[] = [
  {
    path: ["network", "connect"],
    usage: "[OPTIONS] NETWORK CONTAINER",
    summary: "Connect a container to a network",
    flags: [
      {
        name: "alias",
        kind: "list",
        valueName: "strings",
        usage: "Another name of the container on the network",
      },
      { name: "driver-opt", kind: "list", valueName: "strings", usage: "Options of the driver" },
      {
        name: "gw-priority",
        kind: "int",
        usage: "The network with the highest gives the default route",
      },
      { name: "ip", kind: "string", usage: "IPv4 address" },
      { name: "ip6", kind: "string", usage: "IPv6 address" },
      { name: "link", kind: "list", usage: "Another container, and a name for it (name:alias)" },
      {
        name: "link-local-ip",
        kind: "list",
        valueName: "strings",
        usage: "Link-local address of the container",
      },
    ],
    minArgs: 2,
    maxArgs: 2,
    run: async ({ args, client, flags }) => {
      const [network = "", container = ""] = args;
      await client.post(`/networks/${encodeURIComponent(network)}/connect`, {
        Container: container,
        EndpointConfig: endpointOf(flags),
      });
      return 0;
    },
  },
  {
    path: ["network", "disconnect"],
    usage: "[OPTIONS] NETWORK CONTAINER",
    summary: "Disconnect a container from a network",
    flags: [{ name: "force", short: "f", kind: "bool", usage: "Disconnect in any case" }],
    minArgs: 2,
    maxArgs: 2,
    run: async ({ args, client, flags }) => {
      const [network = "", container = ""] = args;
      await client.post(`/networks/${encodeURIComponent(network)}/disconnect`, {
        Container: container,
        Force: flags.bool("force"),
      });
      return 0;
    },
  },
];

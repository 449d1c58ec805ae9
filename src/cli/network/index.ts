/** `skep network …`. */

import type { NetworkInspect } from "#wire/docker/networks.ts";
import {
  type Command,
  FILTER_FLAG,
  FORMAT_FLAG,
  filtersQuery,
  forEachArg,
  QUIET_FLAG,
} from "../command.ts";
import { pairs } from "../container/run-flags.ts";
import { inspectAll } from "../inspect.ts";
import { formatListing } from "../output/table.ts";

export const COMMANDS: readonly Command[] = [
  {
    path: ["network", "ls"],
    aliases: ["list"],
    usage: "[OPTIONS]",
    summary: "List networks",
    flags: [FILTER_FLAG, FORMAT_FLAG, QUIET_FLAG],
    minArgs: 0,
    maxArgs: 0,
    run: async ({ client, flags, stdout }) => {
      const networks = await client.get<readonly NetworkInspect[]>("/networks", {
        filters: filtersQuery(flags.list("filter")),
      });
      stdout.write(
        formatListing(
          {
            table: "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
            headings: { ID: "NETWORK ID", Name: "NAME", Driver: "DRIVER", Scope: "SCOPE" },
            rows: networks.map((network) => ({
              ID: network.Id.slice(0, 12),
              Name: network.Name,
              Driver: network.Driver,
              Scope: network.Scope,
            })),
            quietField: "ID",
          },
          { format: flags.string("format"), quiet: flags.bool("quiet") },
        ),
      );
      return 0;
    },
  },
  {
    path: ["network", "create"],
    usage: "[OPTIONS] NETWORK",
    summary: "Create a network",
    flags: [
      {
        name: "driver",
        short: "d",
        kind: "string",
        usage: "Driver to manage the network",
        defaultText: '"bridge"',
      },
      { name: "subnet", kind: "list", usage: "Subnet in CIDR format" },
      { name: "gateway", kind: "list", usage: "Gateway for the subnet" },
      { name: "ip-range", kind: "list", usage: "Allocate container addresses from a sub-range" },
      { name: "internal", kind: "bool", usage: "Restrict external access to the network" },
      { name: "attachable", kind: "bool", usage: "Enable manual container attachment" },
      { name: "label", kind: "list", usage: "Set metadata on a network" },
      { name: "opt", short: "o", kind: "list", usage: "Set driver specific options" },
    ],
    minArgs: 1,
    maxArgs: 1,
    run: async ({ args, client, flags, stdout }) => {
      const gateways = flags.list("gateway");
      const ranges = flags.list("ip-range");
      const { Id } = await client.post<{ Id: string }>("/networks/create", {
        Name: args[0],
        CheckDuplicate: true,
        Driver: flags.string("driver") ?? "bridge",
        Internal: flags.bool("internal"),
        Attachable: flags.bool("attachable"),
        Labels: pairs(flags.list("label")),
        Options: pairs(flags.list("opt")),
        IPAM: {
          Config: flags.list("subnet").map((subnet, index) => ({
            Subnet: subnet,
            ...(gateways[index] === undefined ? {} : { Gateway: gateways[index] }),
            ...(ranges[index] === undefined ? {} : { IPRange: ranges[index] }),
          })),
        },
      });
      stdout.write(`${Id}\n`);
      return 0;
    },
  },
  {
    path: ["network", "rm"],
    aliases: ["remove"],
    usage: "NETWORK [NETWORK...]",
    summary: "Remove one or more networks",
    flags: [],
    minArgs: 1,
    maxArgs: undefined,
    run: (context) =>
      forEachArg(context, async (name) => {
        await context.client.delete(`/networks/${name}`);
        return name;
      }),
  },
  {
    path: ["network", "inspect"],
    usage: "[OPTIONS] NETWORK [NETWORK...]",
    summary: "Show a network in full",
    flags: [{ ...FORMAT_FLAG, short: "f" }],
    minArgs: 1,
    maxArgs: undefined,
    run: (context) => inspectAll(context, "network", ["/networks/{}"]),
  },
];

/** `skep network …`: list, inspect, remove, prune; the others have files of their own. */

import { isErrorCode } from "#base/error.ts";
import type { NetworkInspect, NetworksPruneReport } from "#wire/docker/networks.ts";
import {
  type Command,
  type CommandContext,
  FILTER_FLAG,
  FORMAT_FLAG,
  filtersQuery,
  forEachArg,
  NO_TRUNC_FLAG,
  PRUNE_FLAGS,
  QUIET_FLAG,
} from "../command.ts";
import { confirm } from "../confirm.ts";
import { inspectAll } from "../inspect.ts";
import { formatListing, type Row } from "../output/table.ts";
import { shownLabels, utcTime } from "../output/units.ts";
import { listingOptions, pruneFilters } from "../settings.ts";
import { CREATE } from "./create.ts";
import { MEMBERSHIP } from "./membership.ts";

const HEADINGS = {
  ID: "NETWORK ID",
  Name: "NAME",
  Driver: "DRIVER",
  Scope: "SCOPE",
  IPv4: "IPV4",
  IPv6: "IPV6",
  Internal: "INTERNAL",
  Labels: "LABELS",
  CreatedAt: "CREATED AT",
  Label: (name: string) => name,
};

function rowOf(network: NetworkInspect, full: boolean): Row {
  const labels = network.Labels;
  return {
    ID: full ? network.Id : network.Id.slice(0, 12),
    Name: network.Name,
    Driver: network.Driver,
    Scope: network.Scope,
    IPv4: String(network.EnableIPv4 ?? true),
    IPv6: String(network.EnableIPv6),
    Internal: String(network.Internal),
    Labels: shownLabels(labels),
    Label: (name: string) => labels[name] ?? "",
    CreatedAt: utcTime(network.Created),
  };
}

async function list({ client, env, flags, stdout }: CommandContext): Promise<number> {
  const networks = await client.get<readonly NetworkInspect[]>("/networks", {
    filters: filtersQuery(flags.list("filter")),
  });
  const natural = new Intl.Collator("en", { numeric: true });
  const sorted = [...networks].sort((a, b) => natural.compare(a.Name, b.Name));
  stdout.write(
    formatListing(
      {
        table: "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
        headings: HEADINGS,
        rows: sorted.map((network) => rowOf(network, flags.bool("no-trunc"))),
        quietField: "ID",
      },
      listingOptions({ env, flags }, "networksFormat"),
    ),
  );
  return 0;
}

const INGRESS_WARNING =
  "WARNING! Without its network, the routing mesh answers on no published port until another is made.";

async function remove(context: CommandContext): Promise<number> {
  const { client, flags, stderr } = context;
  return await forEachArg(context, async (name) => {
    const path = `/networks/${encodeURIComponent(name)}`;
    try {
      const { Ingress } = await client.get<NetworkInspect>(path);
      if (Ingress && !(await confirm(context, INGRESS_WARNING))) return undefined;
      await client.delete(path);
      return name;
    } catch (error) {
      if (!flags.bool("force") || !isErrorCode(error, "not-found")) throw error;
      stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
      return undefined;
    }
  });
}

async function prune(context: CommandContext): Promise<number> {
  const { client, flags, stdout } = context;
  const warning =
    "WARNING! This will remove all custom networks not used by at least one container.";
  if (!flags.bool("force") && !(await confirm(context, warning))) return 0;
  const query = { filters: filtersQuery(pruneFilters(context)) };
  const { NetworksDeleted } = await client.post<NetworksPruneReport>("/networks/prune", undefined, {
    query,
  });
  const deleted = NetworksDeleted ?? [];
  if (deleted.length > 0) stdout.write(`Deleted Networks:\n${deleted.join("\n")}\n\n`);
  return 0;
}

export const COMMANDS: readonly Command[] = [
  {
    path: ["network", "ls"],
    aliases: ["list"],
    usage: "[OPTIONS]",
    summary: "List networks",
    flags: [FILTER_FLAG, FORMAT_FLAG, NO_TRUNC_FLAG, QUIET_FLAG],
    minArgs: 0,
    maxArgs: 0,
    run: list,
  },
  CREATE,
  ...MEMBERSHIP,
  {
    path: ["network", "rm"],
    aliases: ["remove"],
    usage: "[OPTIONS] NETWORK [NETWORK...]",
    summary: "Remove one or more networks",
    flags: [
      {
        name: "force",
        short: "f",
        kind: "bool",
        usage: "Do not fail for networks that do not exist",
      },
    ],
    minArgs: 1,
    maxArgs: undefined,
    run: remove,
  },
  {
    path: ["network", "prune"],
    usage: "[OPTIONS]",
    summary: "Remove all unused networks",
    flags: [...PRUNE_FLAGS],
    minArgs: 0,
    maxArgs: 0,
    run: prune,
  },
  {
    path: ["network", "inspect"],
    usage: "[OPTIONS] NETWORK [NETWORK...]",
    summary: "Show networks in full",
    flags: [
      { ...FORMAT_FLAG, short: "f" },
      {
        name: "verbose",
        short: "v",
        kind: "bool",
        usage: "Show the services and tasks of a swarm network, too",
      },
    ],
    minArgs: 1,
    maxArgs: undefined,
    run: (context) =>
      inspectAll(context, "network", ["/networks/{}"], { verbose: context.flags.bool("verbose") }),
  },
];

/** `skep volume …`. */

import type { VolumeInspect } from "#wire/docker/volumes.ts";
import {
  type Command,
  type CommandContext,
  FILTER_FLAG,
  FORMAT_FLAG,
  filtersQuery,
  forEachArg,
  PRUNE_FLAGS,
  QUIET_FLAG,
} from "../command.ts";
import { confirm } from "../confirm.ts";
import { pairs } from "../container/run-flags.ts";
import { inspectAll } from "../inspect.ts";
import { formatListing, type Row } from "../output/table.ts";
import { humanSize, SUM_DIGITS, shownLabels } from "../output/units.ts";
import { listingOptions, pruneFilters } from "../settings.ts";

function rowOf({ Driver, Name, Mountpoint, Scope, Labels }: VolumeInspect): Row {
  return {
    Driver,
    Name,
    Mountpoint,
    Scope,
    Labels: shownLabels(Labels),
    Label: (label: string) => Labels?.[label] ?? "",
    // Known to `system df` only, and to cluster volumes.
    Links: "N/A",
    Size: "N/A",
    Status: "N/A",
    Availability: "N/A",
    Group: "N/A",
  };
}

interface Pruned {
  readonly VolumesDeleted: readonly string[] | null;
  readonly SpaceReclaimed: number;
}

async function prune(context: CommandContext): Promise<number> {
  const { client, flags, stdout } = context;
  const all = flags.bool("all");
  const warning = `WARNING! This will remove ${all ? "all local" : "anonymous local"} volumes not used by at least one container.`;
  if (!flags.bool("force") && !(await confirm(context, warning))) return 0;
  const filters = [...(all ? ["all=1"] : []), ...pruneFilters(context)];
  const answer = await client.post<Pruned>("/volumes/prune", undefined, {
    query: { filters: filtersQuery(filters) },
  });
  const deleted = answer.VolumesDeleted ?? [];
  if (deleted.length > 0) stdout.write(`Deleted Volumes:\n${deleted.join("\n")}\n\n`);
  stdout.write(`Total reclaimed space: ${humanSize(answer.SpaceReclaimed, SUM_DIGITS)}\n`);
  return 0;
}

export const COMMANDS: readonly Command[] = [
  {
    path: ["volume", "ls"],
    aliases: ["list"],
    usage: "[OPTIONS]",
    summary: "List volumes",
    flags: [FILTER_FLAG, FORMAT_FLAG, QUIET_FLAG],
    minArgs: 0,
    maxArgs: 0,
    run: async ({ client, env, flags, stdout }) => {
      const { Volumes } = await client.get<{ Volumes: readonly VolumeInspect[] | null }>(
        "/volumes",
        {
          filters: filtersQuery(flags.list("filter")),
        },
      );
      stdout.write(
        formatListing(
          {
            table: "{{.Driver}}\t{{.Name}}",
            headings: {
              Driver: "DRIVER",
              Name: "VOLUME NAME",
              Mountpoint: "MOUNTPOINT",
              Scope: "SCOPE",
              Labels: "LABELS",
              Label: (label: string) => label,
              Links: "LINKS",
              Size: "SIZE",
              Status: "STATUS",
              Availability: "AVAILABILITY",
              Group: "GROUP",
            },
            rows: (Volumes ?? []).map(rowOf),
            quietField: "Name",
          },
          listingOptions({ env, flags }, "volumesFormat"),
        ),
      );
      return 0;
    },
  },
  {
    path: ["volume", "create"],
    usage: "[OPTIONS] [VOLUME]",
    summary: "Create a volume",
    flags: [
      {
        name: "driver",
        short: "d",
        kind: "string",
        usage: "Volume driver name",
        defaultText: '"local"',
      },
      { name: "label", kind: "list", usage: "Set metadata for a volume" },
      { name: "name", kind: "string", usage: "Name of the volume", hidden: true },
      { name: "opt", short: "o", kind: "list", usage: "Set driver specific options" },
    ],
    minArgs: 0,
    maxArgs: 1,
    run: async ({ args, client, flags, stdout }) => {
      const { Name } = await client.post<VolumeInspect>("/volumes/create", {
        Name: args[0] ?? flags.string("name") ?? "",
        Driver: flags.string("driver") ?? "local",
        DriverOpts: pairs(flags.list("opt")),
        Labels: pairs(flags.list("label")),
      });
      stdout.write(`${Name}\n`);
      return 0;
    },
  },
  {
    path: ["volume", "rm"],
    aliases: ["remove"],
    usage: "[OPTIONS] VOLUME [VOLUME...]",
    summary: "Remove one or more volumes",
    flags: [{ name: "force", short: "f", kind: "bool", usage: "Force the removal" }],
    minArgs: 1,
    maxArgs: undefined,
    run: (context) =>
      forEachArg(context, async (name) => {
        await context.client.delete(`/volumes/${name}`, { force: context.flags.bool("force") });
        return name;
      }),
  },
  {
    path: ["volume", "inspect"],
    usage: "[OPTIONS] VOLUME [VOLUME...]",
    summary: "Show a volume in full",
    flags: [{ ...FORMAT_FLAG, short: "f" }],
    minArgs: 1,
    maxArgs: undefined,
    run: (context) => inspectAll(context, "volume", ["/volumes/{}"]),
  },
  {
    path: ["volume", "prune"],
    usage: "[OPTIONS]",
    summary: "Remove volumes that no container uses",
    flags: [
      { name: "all", short: "a", kind: "bool", usage: "Those with names, too" },
      ...PRUNE_FLAGS,
    ],
    minArgs: 0,
    maxArgs: 0,
    run: prune,
  },
];

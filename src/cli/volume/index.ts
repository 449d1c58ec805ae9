/** `skep volume …`. */

import type { VolumeInspect } from "#wire/docker/volumes.ts";
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
    path: ["volume", "ls"],
    aliases: ["list"],
    usage: "[OPTIONS]",
    summary: "List volumes",
    flags: [FILTER_FLAG, FORMAT_FLAG, QUIET_FLAG],
    minArgs: 0,
    maxArgs: 0,
    run: async ({ client, flags, stdout }) => {
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
            headings: { Driver: "DRIVER", Name: "VOLUME NAME", Mountpoint: "MOUNTPOINT" },
            rows: (Volumes ?? []).map(({ Driver, Name, Mountpoint }) => ({
              Driver,
              Name,
              Mountpoint,
            })),
            quietField: "Name",
          },
          { format: flags.string("format"), quiet: flags.bool("quiet") },
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
      { name: "opt", short: "o", kind: "list", usage: "Set driver specific options" },
    ],
    minArgs: 0,
    maxArgs: 1,
    run: async ({ args, client, flags, stdout }) => {
      const { Name } = await client.post<VolumeInspect>("/volumes/create", {
        Name: args[0] ?? "",
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
];

/** `skep build`, `skep builder …`: images from Dockerfiles, and the cache of their layers. */

import { parseBytes } from "#base/bytes.ts";
import { type Command, type CommandContext, filtersQuery } from "../command.ts";
import { confirm } from "../confirm.ts";
import { humanSize } from "../output/units.ts";
import { buildCommand } from "./command.ts";

const WARNING = "WARNING! This will remove all build cache.";

async function prune(context: CommandContext): Promise<number> {
  const { client, flags, stdout } = context;
  if (!flags.bool("force") && !(await confirm(context, WARNING))) return 0;
  const keep = parseBytes(flags.string("keep-storage") ?? "0");
  const report = await client.post<{
    readonly CachesDeleted?: readonly string[] | null;
    readonly SpaceReclaimed?: number;
  }>("/build/prune", undefined, {
    query: {
      all: flags.bool("all"),
      filters: filtersQuery(flags.list("filter")),
      "keep-storage": keep.ok && keep.value > 0 ? keep.value : undefined,
    },
  });
  const deleted = report.CachesDeleted ?? [];
  if (deleted.length > 0) {
    stdout.write(`Deleted build cache objects:\n${deleted.join("\n")}\n\n`);
  }
  stdout.write(`Total reclaimed space: ${humanSize(report.SpaceReclaimed ?? 0)}\n`);
  return 0;
}

export const COMMANDS: readonly Command[] = [
  { ...buildCommand(["builder", "build"]), shortcuts: [["build"]] },
  {
    path: ["builder", "prune"],
    usage: "[OPTIONS]",
    summary: "Remove the build cache",
    flags: [
      { name: "all", short: "a", kind: "bool", usage: "Accepted; all of it always goes" },
      {
        name: "filter",
        kind: "list",
        valueName: "filter",
        usage: "Only what is older (until=24h)",
      },
      { name: "force", short: "f", kind: "bool", usage: "Do not ask for confirmation" },
      { name: "keep-storage", kind: "bytes", usage: "Keep the newest, up to this size" },
    ],
    minArgs: 0,
    maxArgs: 0,
    run: prune,
  },
];

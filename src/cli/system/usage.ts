/** `system df` and `system prune`: what lies on the disk, and what of it nobody needs. */

import type { ContainerSummary } from "#wire/docker/containers.ts";
import type { ImageSummary } from "#wire/docker/images.ts";
import type { VolumeInspect } from "#wire/docker/volumes.ts";
import { type Command, type CommandContext, filtersQuery, PRUNE_FLAGS } from "../command.ts";
import { confirm } from "../confirm.ts";
import { compileTemplate } from "../output/go-template.ts";
import { alignColumns, formatListing } from "../output/table.ts";
import { ago, ellipsis, humanSize, SUM_DIGITS } from "../output/units.ts";
import { pruneFilters } from "../settings.ts";

interface Usage {
  readonly LayersSize: number;
  readonly Images: readonly (ImageSummary & {
    readonly SharedSize?: number;
    readonly Containers?: number;
  })[];
  readonly Containers: readonly ContainerSummary[];
  readonly Volumes: readonly (VolumeInspect & {
    readonly UsageData?: { readonly Size: number; readonly RefCount: number };
  })[];
}

function sum<T>(items: readonly T[], size: (item: T) => number): number {
  return items.reduce((total, item) => total + Math.max(0, size(item)), 0);
}

function isLive({ State }: ContainerSummary): boolean {
  return ["running", "paused", "restarting"].includes(State);
}

function summary(usage: Usage) {
  const users = new Set(usage.Containers.map(({ ImageID }) => ImageID));
  const idle = usage.Images.filter(({ Id }) => !users.has(Id));
  const stopped = usage.Containers.filter((container) => !isLive(container));
  const unused = usage.Volumes.filter(({ UsageData }) => (UsageData?.RefCount ?? 0) === 0);
  const sizeOf = (volume: Usage["Volumes"][number]) => volume.UsageData?.Size ?? 0;
  const row = (Type: string, total: number, active: number, size: number, free: number) => ({
    Type,
    TotalCount: String(total),
    Active: String(active),
    Size: humanSize(size, SUM_DIGITS),
    Reclaimable: `${humanSize(free, SUM_DIGITS)}${size > 0 ? ` (${Math.floor((free / size) * 100)}%)` : ""}`,
  });
  const { Images, Containers, Volumes, LayersSize } = usage;
  // Layers that a used image shares are not freed.
  const kept = sum(
    Images.filter(({ Id }) => users.has(Id)),
    ({ Size }) => Size,
  );
  const images = Math.max(0, LayersSize - kept);
  const written = (container: ContainerSummary) => container.SizeRw ?? 0;
  return [
    row("Images", Images.length, Images.length - idle.length, LayersSize, images),
    row(
      "Containers",
      Containers.length,
      Containers.length - stopped.length,
      sum(Containers, written),
      sum(stopped, written),
    ),
    row(
      "Local Volumes",
      Volumes.length,
      Volumes.length - unused.length,
      sum(Volumes, sizeOf),
      sum(unused, sizeOf),
    ),
    { ...row("Build Cache", 0, 0, 0, 0), Reclaimable: "0B" },
  ];
}

async function df({ client, flags, stdout }: CommandContext): Promise<number> {
  const usage = await client.get<Usage>("/system/df");
  const format = flags.string("format") ?? "";
  if (flags.bool("verbose")) {
    stdout.write(format === "" ? verbose(usage) : verboseWith(usage, format));
    return 0;
  }
  stdout.write(
    formatListing(
      {
        table: "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
        headings: {
          Type: "TYPE",
          TotalCount: "TOTAL",
          Active: "ACTIVE",
          Size: "SIZE",
          Reclaimable: "RECLAIMABLE",
        },
        rows: summary(usage),
        quietField: "Type",
      },
      { format: flags.string("format"), quiet: false },
    ),
  );
  return 0;
}

/** The objects themselves, by a template of the user's. */
function verboseWith({ Images, Containers, Volumes }: Usage, format: string): string {
  const template = compileTemplate(format === "json" ? "{{json .}}" : format);
  return template({ Images, Containers, Volumes, BuildCache: [] });
}

function verbose({ Images, Containers, Volumes }: Usage): string {
  const images = Images.map((image) => {
    const name = image.RepoTags[0] ?? "<none>:<none>";
    const colon = name.lastIndexOf(":");
    const shared = Math.max(0, image.SharedSize ?? 0);
    return [
      name.slice(0, colon),
      name.slice(colon + 1),
      image.Id.replace("sha256:", "").slice(0, 12),
      ago(image.Created * 1000, Date.now()),
      humanSize(image.Size),
      humanSize(shared),
      humanSize(image.Size - shared, SUM_DIGITS),
      String(Math.max(0, image.Containers ?? 0)),
    ];
  });
  const containers = Containers.map((container) => [
    container.Id.slice(0, 12),
    container.Image,
    JSON.stringify(ellipsis(container.Command, 20)),
    String(container.Mounts.filter(({ Type }) => Type === "volume").length),
    humanSize(container.SizeRw ?? 0),
    ago(container.Created * 1000, Date.now()),
    container.Status,
    container.Names.map((name) => name.replace(/^\//, "")).join(","),
  ]);
  const volumes = Volumes.map(({ Name, UsageData }) => [
    Name,
    String(Math.max(0, UsageData?.RefCount ?? 0)),
    humanSize(Math.max(0, UsageData?.Size ?? 0)),
  ]);
  const table = (title: string, head: string, rows: readonly (readonly string[])[]) =>
    `${title} space usage:\n\n${alignColumns([head, ...rows.map((row) => row.join("\t"))])}\n`;
  return [
    table(
      "Images",
      "REPOSITORY\tTAG\tIMAGE ID\tCREATED\tSIZE\tSHARED SIZE\tUNIQUE SIZE\tCONTAINERS",
      images,
    ),
    table(
      "Containers",
      "CONTAINER ID\tIMAGE\tCOMMAND\tLOCAL VOLUMES\tSIZE\tCREATED\tSTATUS\tNAMES",
      containers,
    ),
    table("Local Volumes", "VOLUME NAME\tLINKS\tSIZE", volumes),
    "Build cache usage: 0B\n\n",
    alignColumns(["CACHE ID\tCACHE TYPE\tSIZE\tCREATED\tLAST USED\tUSAGE\tSHARED"]),
  ].join("");
}

interface Deletion {
  readonly ContainersDeleted?: readonly string[] | null;
  readonly NetworksDeleted?: readonly string[] | null;
  readonly VolumesDeleted?: readonly string[] | null;
  readonly ImagesDeleted?: readonly { Untagged?: string; Deleted?: string }[] | null;
  readonly SpaceReclaimed?: number;
}

async function prune(context: CommandContext): Promise<number> {
  const { client, flags, stdout } = context;
  const all = flags.bool("all");
  const volumes = flags.bool("volumes");
  const warning = [
    "WARNING! This will remove:",
    "  - all stopped containers",
    "  - all networks not used by at least one container",
    ...(volumes ? ["  - all anonymous volumes not used by at least one container"] : []),
    all
      ? "  - all images without at least one container associated to them"
      : "  - all dangling images",
    all ? "  - all build cache" : "  - unused build cache",
    "",
  ].join("\n");
  if (!flags.bool("force") && !(await confirm(context, warning))) return 0;
  const given = pruneFilters(context);
  const run = (path: string, filters: readonly string[]) =>
    client.post<Deletion>(path, undefined, { query: { filters: filtersQuery(filters) } });
  let reclaimed = 0;
  const tell = (title: string, names: readonly string[] | null | undefined, bytes = 0) => {
    reclaimed += bytes;
    if (names && names.length > 0) stdout.write(`${title}:\n${names.join("\n")}\n\n`);
  };
  const containers = await run("/containers/prune", given);
  tell("Deleted Containers", containers.ContainersDeleted, containers.SpaceReclaimed);
  tell("Deleted Networks", (await run("/networks/prune", given)).NetworksDeleted);
  if (volumes) {
    const found = await run("/volumes/prune", given);
    tell("Deleted Volumes", found.VolumesDeleted, found.SpaceReclaimed);
  }
  const images = await run("/images/prune", [`dangling=${String(!all)}`, ...given]);
  const lines = (images.ImagesDeleted ?? []).map(({ Untagged, Deleted }) =>
    Untagged === undefined ? `deleted: ${Deleted ?? ""}` : `untagged: ${Untagged}`,
  );
  tell("Deleted Images", lines, images.SpaceReclaimed);
  stdout.write(`Total reclaimed space: ${humanSize(reclaimed, SUM_DIGITS)}\n`);
  return 0;
}

export const USAGE_COMMANDS: readonly Command[] = [
  {
    path: ["system", "df"],
    usage: "[OPTIONS]",
    summary: "Show how much of the disk is used",
    flags: [
      { name: "format", kind: "string", usage: "Format the output with a Go template" },
      { name: "verbose", short: "v", kind: "bool", usage: "Every object on a line of its own" },
    ],
    minArgs: 0,
    maxArgs: 0,
    run: df,
  },
  {
    path: ["system", "prune"],
    usage: "[OPTIONS]",
    summary: "Remove what nothing uses",
    flags: [
      { name: "all", short: "a", kind: "bool", usage: "Images with names, too" },
      ...PRUNE_FLAGS,
      { name: "volumes", kind: "bool", usage: "Anonymous volumes, too" },
    ],
    minArgs: 0,
    maxArgs: 0,
    run: prune,
  },
];

/** `history`, `push` and `prune` of images. */

import { parseReference } from "#wire/reference.ts";
import { type Command, type CommandContext, filtersQuery, PRUNE_FLAGS } from "../command.ts";
import { confirm } from "../confirm.ts";
import { formatListing } from "../output/table.ts";
import { ago, ellipsis, humanSize, SUM_DIGITS } from "../output/units.ts";
import { listingOptions, pruneFilters } from "../settings.ts";
import { authHeader, registryAuth } from "../stack/registry.ts";
import { platformFlag, platformQuery } from "./platform.ts";
import { showProgress } from "./pull.ts";

interface Layer {
  readonly Id: string;
  /** Seconds since the epoch. */
  readonly Created: number;
  readonly CreatedBy: string;
  readonly Size: number;
  readonly Comment: string;
}

async function history(context: CommandContext): Promise<number> {
  const { args, client, env, flags, stdout } = context;
  const path = `/images/${args[0] ?? ""}/history`;
  const platform = await platformQuery(context, "1.48");
  const layers = await client.get<readonly Layer[]>(path, { platform });
  const full = flags.bool("no-trunc");
  const human = !flags.has("human") || flags.bool("human");
  const rows = layers.map((layer) => {
    const at = new Date(layer.Created * 1000).toISOString().replace(/\.\d+Z$/, "Z");
    const by = layer.CreatedBy.replaceAll("\t", " ");
    return {
      ID: full ? layer.Id : layer.Id.replace("sha256:", "").slice(0, 12),
      CreatedAt: at,
      CreatedSince: human ? ago(layer.Created * 1000, Date.now()) : at,
      CreatedBy: full ? by : ellipsis(by, 45),
      Size: human ? humanSize(layer.Size) : String(layer.Size),
      Comment: layer.Comment,
    };
  });
  stdout.write(
    formatListing(
      {
        table: "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
        headings: {
          ID: "IMAGE",
          CreatedAt: "CREATED AT",
          CreatedSince: human ? "CREATED" : "CREATED AT",
          CreatedBy: "CREATED BY",
          Size: "SIZE",
          Comment: "COMMENT",
        },
        rows,
        quietField: "ID",
      },
      listingOptions({ env, flags }),
    ),
  );
  return 0;
}

/** A push must bring credentials, if only empty ones. */
const NO_AUTH = Buffer.from("{}").toString("base64url");

async function push(context: CommandContext): Promise<number> {
  const { args, client, flags, stdout } = context;
  const image = args[0] ?? "";
  const parsed = parseReference(image);
  const reference = parsed.ok ? parsed.value : undefined;
  const tag = flags.bool("all-tags") ? undefined : (reference?.tag ?? "latest");
  const name = reference?.tag === undefined ? image : image.slice(0, image.lastIndexOf(":"));
  const quiet = flags.bool("quiet");
  const body = await client.stream("POST", `/images/${name}/push`, {
    query: { tag, platform: await platformQuery(context, "1.46") },
    headers: authHeader((await registryAuth(context, image)) ?? NO_AUTH),
  });
  await showProgress(context, body, quiet);
  if (quiet) stdout.write(`${image}\n`);
  return 0;
}

interface Pruned {
  readonly ImagesDeleted: readonly { Untagged?: string; Deleted?: string }[] | null;
  readonly SpaceReclaimed: number;
}

async function prune(context: CommandContext): Promise<number> {
  const { client, flags, stdout } = context;
  const all = flags.bool("all");
  const warning = all
    ? "WARNING! This will remove all images without at least one container associated to them."
    : "WARNING! This will remove all dangling images.";
  if (!flags.bool("force") && !(await confirm(context, warning))) return 0;
  const filters = [`dangling=${String(!all)}`, ...pruneFilters(context)];
  const { ImagesDeleted, SpaceReclaimed } = await client.post<Pruned>("/images/prune", undefined, {
    query: { filters: filtersQuery(filters) },
  });
  const deleted = (ImagesDeleted ?? []).map(({ Untagged, Deleted }) =>
    Untagged === undefined ? `deleted: ${Deleted ?? ""}` : `untagged: ${Untagged}`,
  );
  if (deleted.length > 0) stdout.write(`Deleted Images:\n${deleted.join("\n")}\n\n`);
  stdout.write(`Total reclaimed space: ${humanSize(SpaceReclaimed, SUM_DIGITS)}\n`);
  return 0;
}

export const MORE_COMMANDS: readonly Command[] = [
  {
    path: ["image", "history"],
    shortcuts: [["history"]],
    usage: "[OPTIONS] IMAGE",
    summary: "Show the layers of an image and what made them",
    flags: [
      { name: "format", kind: "string", usage: "Format the output with a Go template" },
      { name: "human", short: "H", kind: "bool", usage: "Sizes and times for people" },
      { name: "no-trunc", kind: "bool", usage: "Show values in full" },
      platformFlag("Only where the image is of this platform"),
      { name: "quiet", short: "q", kind: "bool", usage: "Show only IDs" },
    ],
    minArgs: 1,
    maxArgs: 1,
    run: history,
  },
  {
    path: ["image", "push"],
    shortcuts: [["push"]],
    usage: "[OPTIONS] NAME[:TAG]",
    summary: "Upload an image to a registry",
    flags: [
      { name: "all-tags", short: "a", kind: "bool", usage: "Push all tags of the repository" },
      { name: "disable-content-trust", kind: "bool", usage: "Accepted", hidden: true },
      platformFlag("Push the image of this platform only"),
      { name: "quiet", short: "q", kind: "bool", usage: "Suppress the progress" },
    ],
    minArgs: 1,
    maxArgs: 1,
    run: push,
  },
  {
    path: ["image", "prune"],
    usage: "[OPTIONS]",
    summary: "Remove images that nothing uses",
    flags: [
      { name: "all", short: "a", kind: "bool", usage: "Those with names, too" },
      ...PRUNE_FLAGS,
    ],
    minArgs: 0,
    maxArgs: 0,
    run: prune,
  },
];

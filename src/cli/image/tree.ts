/** `image ls --tree`: each image once, with all its names, what it takes, and whether it is used. */

import { EngineError } from "#base/error.ts";
import type { ImageSummary } from "#wire/docker/images.ts";
import { type CommandContext, filtersQuery } from "../command.ts";
import { alignColumns } from "../output/table.ts";
import { humanSize, SUM_DIGITS } from "../output/units.ts";

/** What docker does not offer together with it. */
const CONFLICTING = ["no-trunc", "quiet", "digests", "format"];

export async function tree({ args, client, flags, stdout }: CommandContext): Promise<number> {
  const conflict = CONFLICTING.find((name) => flags.has(name));
  if (conflict !== undefined) {
    throw new EngineError("invalid-argument", `--${conflict} is not yet supported with --tree`);
  }
  const filters = [...flags.list("filter"), ...args.map((name) => `reference=${name}`)];
  const images = await client.get<readonly ImageSummary[]>("/images/json", {
    all: flags.bool("all"),
    manifests: true,
    filters: filtersQuery(filters),
  });
  // Packed content is not kept: an image takes what its unpacked layers take.
  const lines = images.flatMap(({ Id, RepoTags, Size, Containers }) => {
    const names = RepoTags.length > 0 ? RepoTags : ["<untagged>"];
    const last = names.at(-1) ?? "";
    const id = Id.replace("sha256:", "").slice(0, 12);
    const size = humanSize(Size, SUM_DIGITS);
    const used = (Containers ?? 0) > 0 ? "U" : "";
    return [...names.slice(0, -1), `${last}\t${id}\t${size}\t0B\t${used}`];
  });
  const legend = "Info ->  U In Use";
  stdout.write(`${legend}\n\n`);
  stdout.write(alignColumns(["IMAGE\tID\tDISK USAGE\tCONTENT SIZE\tEXTRA", ...lines]));
  return 0;
}

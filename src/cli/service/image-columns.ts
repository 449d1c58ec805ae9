/**
 * Which image a service or task is of, in parts: tag, digest, and how old the image is. Asked for by
 * `--format` or `--no-trunc`; docker's own columns stay as they are.
 */

import { isErrorCode } from "#base/error.ts";
import { parseReference } from "#wire/reference.ts";
import type { CommandContext } from "../command.ts";
import { ago } from "../output/units.ts";

export interface ImageColumns {
  readonly Tag: string;
  /** "sha256:…", shortened unless values are to be shown in full. */
  readonly Digest: string;
  /** "3 weeks ago"; empty where this engine does not have the image. */
  readonly ImageAge: string;
}

export const IMAGE_HEADINGS = { Tag: "TAG", Digest: "DIGEST", ImageAge: "IMAGE AGE" } as const;

const NONE: ImageColumns = { Tag: "", Digest: "", ImageAge: "" };
const SHORT_DIGEST = "sha256:".length + 12;

/**
 * Of each image, once. Nothing is asked, and the columns are absent, unless the format names them or
 * the table has them (`inTable`).
 */
export async function imageColumns(
  { client, flags }: CommandContext,
  images: readonly string[],
  inTable: boolean,
): Promise<(image: string) => Partial<ImageColumns>> {
  const format = flags.string("format") ?? "";
  const full = flags.bool("no-trunc");
  const named = Object.keys(IMAGE_HEADINGS).filter((key) => format.includes(`.${key}`));
  if (named.length === 0 && !inTable) return () => ({});
  const aged = inTable || named.includes("ImageAge");
  const columns = new Map<string, ImageColumns>();
  for (const image of new Set(images)) {
    const parsed = parseReference(image);
    if (!parsed.ok) continue;
    const { tag = "", digest = "" } = parsed.value;
    columns.set(image, {
      Tag: tag === "" && digest === "" ? "latest" : tag,
      Digest: full ? digest : digest.slice(0, SHORT_DIGEST),
      ImageAge: aged ? await ageOf(client, image) : "",
    });
  }
  return (image) => columns.get(image) ?? NONE;
}

async function ageOf(client: CommandContext["client"], image: string): Promise<string> {
  try {
    const { Created } = await client.get<{ readonly Created?: string }>(`/images/${image}/json`);
    const at = Date.parse(Created ?? "");
    // Builds that are the same byte by byte are dated to the beginning of time.
    return at > 0 ? ago(at, Date.now()) : "";
  } catch (error) {
    if (isErrorCode(error, "not-found")) return "";
    throw error;
  }
}

/** `docker images`: every image once, with the names that pass the filters. */

import type { ImageSummary } from "#wire/docker/images.ts";
import { familiarName, familiarReference } from "#wire/oci.ts";
import type { Filters } from "../ports.ts";
import { collectImages, findImage, type ImageContext, type NamedImage } from "./context.ts";
import {
  checkFilters,
  lacksLabels,
  matchesLabels,
  pathMatch,
  readFlag,
  readUntil,
} from "./filters.ts";
import type { StoredImage } from "./stored-image.ts";

const KNOWN_FILTERS = ["dangling", "label", "label!", "before", "since", "reference", "until"];

export async function listImages(
  context: ImageContext,
  filters: Filters,
): Promise<readonly ImageSummary[]> {
  checkFilters(filters, KNOWN_FILTERS);
  const dangling = readFlag(filters, "dangling");
  const bounds = await readBounds(context, filters);
  const rows: ImageSummary[] = [];
  for (const image of (await collectImages(context)).values()) {
    const created = createdMs(image.stored);
    const { labels } = labelsOf(image.stored);
    if (created >= bounds.beforeMs || created <= bounds.sinceMs) continue;
    if (!matchesLabels(filters.get("label"), labels)) continue;
    if (!lacksLabels(filters.get("label!"), labels)) continue;
    const names = namesOf(image, filters.get("reference"));
    if (names === undefined) continue;
    if (dangling === true && names.tags.length > 0) continue;
    if (dangling === false && names.tags.length + names.digests.length === 0) continue;
    rows.push({
      Id: image.stored.id,
      ParentId: "",
      RepoTags: names.tags,
      RepoDigests: names.digests,
      Created: Math.floor(created / 1000),
      Size: await imageSize(context, image.stored),
      SharedSize: -1,
      Labels: labels,
      Containers: -1,
    });
  }
  return rows.sort((a, b) => b.Created - a.Created || (a.Id < b.Id ? -1 : 1));
}

interface Names {
  readonly tags: readonly string[];
  readonly digests: readonly string[];
}

/** Undefined when patterns are given and no name matches. */
function namesOf(image: NamedImage, patterns: readonly string[] | undefined): Names | undefined {
  const named = image.records.flatMap(({ reference }) => reference ?? []);
  const chosen =
    patterns === undefined
      ? named
      : named.filter((reference) =>
          patterns.some(
            (pattern) =>
              pathMatch(pattern, familiarReference(reference)) ||
              pathMatch(pattern, familiarName(reference)),
          ),
        );
  if (patterns !== undefined && chosen.length === 0) return undefined;
  const texts = (wanted: "tag" | "digest") =>
    chosen.filter((reference) => reference[wanted] !== undefined).map(familiarReference);
  return { tags: texts("tag"), digests: texts("digest") };
}

interface Bounds {
  readonly beforeMs: number;
  readonly sinceMs: number;
}

async function readBounds(context: ImageContext, filters: Filters): Promise<Bounds> {
  const moments = async (key: string) =>
    Promise.all(
      (filters.get(key) ?? []).map(async (name) => createdMs(await findImage(context, name))),
    );
  const until = readUntil(filters, context.clock.nowMs());
  const before = [...(await moments("before")), until ?? Number.POSITIVE_INFINITY];
  const since = [...(await moments("since")), Number.NEGATIVE_INFINITY];
  return { beforeMs: Math.min(...before), sinceMs: Math.max(...since) };
}

/** 0 for an image that does not say. */
export function createdMs(stored: StoredImage): number {
  const parsed = Date.parse(stored.image.created ?? "");
  return Number.isNaN(parsed) ? 0 : parsed;
}

export function labelsOf(stored: StoredImage): {
  readonly labels: Readonly<Record<string, string>> | null;
} {
  return { labels: stored.config.Labels ?? null };
}

/** The rows with how many containers were made from each. */
export async function withContainers(
  context: ImageContext,
  rows: readonly ImageSummary[],
): Promise<readonly ImageSummary[]> {
  const counts = new Map<string, number>();
  for (const { imageId } of await context.users()) {
    counts.set(imageId, (counts.get(imageId) ?? 0) + 1);
  }
  return rows.map((row) => ({ ...row, Containers: counts.get(row.Id) ?? 0 }));
}

export interface ImageUsage {
  readonly images: readonly ImageSummary[];
  /** Bytes of all layers, each counted once. */
  readonly layersSize: number;
}

/** Every image with what it shares with others, and how many containers use it. */
export async function imageUsage(context: ImageContext): Promise<ImageUsage> {
  const images = await collectImages(context);
  const sharers = new Map<string, number>();
  for (const { stored } of images.values()) {
    for (const id of new Set(stored.chainIds)) sharers.set(id, (sharers.get(id) ?? 0) + 1);
  }
  const rows = await withContainers(context, await listImages(context, new Map()));
  const withUsage = rows.map(async (row): Promise<ImageSummary> => {
    const shared = images.get(row.Id)?.stored.chainIds.filter((id) => (sharers.get(id) ?? 0) > 1);
    return {
      ...row,
      SharedSize: await layersSize(context, shared ?? []),
    };
  });
  return {
    images: await Promise.all(withUsage),
    layersSize: await layersSize(context, [...sharers.keys()]),
  };
}

/** Bytes of all layers as they lie unpacked. */
export async function imageSize(context: ImageContext, stored: StoredImage): Promise<number> {
  return layersSize(context, stored.chainIds);
}

async function layersSize(context: ImageContext, chainIds: readonly string[]): Promise<number> {
  const sizes = await Promise.all(chainIds.map((id) => context.unpacker.size(id)));
  return sizes.reduce((sum, size) => sum + size, 0);
}

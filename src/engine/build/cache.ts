/**
 * What builds leave behind to be fast the next time: layers and images in the builder's storage, read
 * from its listings. Images are given up oldest first; a layer goes with the last image that has it.
 */

import { readFile } from "node:fs/promises";
import { EngineError } from "#base/error.ts";
import { isMissing } from "#platform/missing.ts";

export interface CachedLayer {
  readonly id: string;
  readonly parent: string;
  readonly size: number;
  /** RFC 3339 */
  readonly created: string;
}

export interface CachedImage {
  readonly id: string;
  /** Its top layer; "" = it has none. */
  readonly layer: string;
  readonly createdMs: number;
}

export async function readLayers(path: string): Promise<readonly CachedLayer[]> {
  return (await readListing(path)).flatMap((entry) => {
    const { id, parent, created } = entry;
    if (typeof id !== "string") return [];
    const size = Number(entry["diff-size"] ?? 0);
    return [{ id, parent: text(parent), size: Math.max(0, size), created: text(created) }];
  });
}

export async function readImages(path: string): Promise<readonly CachedImage[]> {
  return (await readListing(path)).flatMap(({ id, layer, created }) =>
    typeof id === "string"
      ? [{ id, layer: text(layer), createdMs: Date.parse(text(created)) || 0 }]
      : [],
  );
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

async function readListing(path: string): Promise<readonly Readonly<Record<string, unknown>>[]> {
  const content = await readFile(path, "utf8").catch((error: unknown) => {
    if (isMissing(error)) return "[]";
    throw error;
  });
  try {
    const value: unknown = JSON.parse(content === "" ? "[]" : content);
    if (Array.isArray(value)) return value.filter((entry) => typeof entry === "object" && entry);
  } catch {
    // Said below.
  }
  throw new EngineError("data-loss", `${path} cannot be read: prune the build cache`);
}

export function totalSize(layers: readonly CachedLayer[]): number {
  return layers.reduce((total, { size }) => total + size, 0);
}

export interface PruneChoice {
  /** Bytes that may stay; 0 = nothing has to go on account of its size. */
  readonly keepBytes: number | undefined;
  /** Only what was made before; undefined = whenever. */
  readonly beforeMs: number | undefined;
}

/** Images to give up: everything unless the choice says less. */
export function chooseImages(
  images: readonly CachedImage[],
  layers: readonly CachedLayer[],
  { keepBytes, beforeMs }: PruneChoice,
): readonly CachedImage[] {
  const byId = new Map(layers.map((layer) => [layer.id, layer]));
  const kept = new Set<string>();
  let size = 0;
  const gone: CachedImage[] = [];
  for (const image of images.toSorted((a, b) => b.createdMs - a.createdMs)) {
    const fresh = chain(image.layer, byId).filter(({ id }) => !kept.has(id));
    const young = beforeMs !== undefined && image.createdMs >= beforeMs;
    const fits = keepBytes !== undefined && size + totalSize(fresh) <= keepBytes;
    if (!young && !fits) {
      gone.push(image);
      continue;
    }
    for (const { id } of fresh) kept.add(id);
    size += totalSize(fresh);
  }
  return gone;
}

function chain(top: string, byId: ReadonlyMap<string, CachedLayer>): readonly CachedLayer[] {
  const found: CachedLayer[] = [];
  for (let layer = byId.get(top); layer !== undefined; layer = byId.get(layer.parent)) {
    if (found.length > byId.size) break;
    found.push(layer);
  }
  return found;
}

/**
 * `docker rmi` and `docker image prune`: a name is taken away; with the last one the image goes,
 * unless a container needs it. What nothing names any more is containerd's to collect.
 */

import { EngineError } from "#base/error.ts";
import type { ImageDeleteItem, ImagesPruneReport } from "#wire/docker/images.ts";
import {
  familiarReference,
  parseReference,
  type Reference,
  repositoryOf,
  withDefaultTag,
} from "#wire/oci.ts";
import type { Filters } from "../ports.ts";
import {
  collectImages,
  findById,
  type ImageContext,
  type ImageUser,
  NAMES,
  type NamedImage,
  noSuchImage,
  publish,
} from "./context.ts";
import { checkFilters, lacksLabels, matchesLabels, readFlag, readUntil } from "./filters.ts";
import { createdMs, labelsOf } from "./list.ts";
import { shortDigest } from "./progress.ts";
import { danglingName, type ImageRecord, recordName, sameRepository } from "./records.ts";

export interface RemoveOptions {
  readonly force: boolean;
}

export function removeImage(
  context: ImageContext,
  name: string,
  options: RemoveOptions,
): Promise<readonly ImageDeleteItem[]> {
  return context.names.run(NAMES, async () => {
    const images = await collectImages(context);
    const byName = await namedRecord(context, name);
    if (byName === undefined) {
      const image = await findById(context, name);
      if (image === undefined) throw noSuchImage(name);
      return removeById(context, image, images, options);
    }
    const image = [...images.values()].find(({ records }) =>
      records.some((record) => record.name === byName.name),
    );
    if (image === undefined) return removeBroken(context, byName);
    return removeByName(context, { image, images, record: byName }, options);
  });
}

async function namedRecord(context: ImageContext, name: string): Promise<ImageRecord | undefined> {
  const parsed = parseReference(name);
  if (!parsed.ok) return undefined;
  return context.records.get(recordName(withDefaultTag(parsed.value)));
}

/** A name whose blobs are gone: all that can be done is to forget it. */
async function removeBroken(
  context: ImageContext,
  record: ImageRecord,
): Promise<readonly ImageDeleteItem[]> {
  await context.records.delete(record.name, { sync: true });
  const { reference } = record;
  return reference === undefined ? [] : [{ Untagged: familiarReference(reference) }];
}

interface ByName {
  readonly image: NamedImage;
  readonly images: ReadonlyMap<string, NamedImage>;
  readonly record: ImageRecord;
}

async function removeByName(
  context: ImageContext,
  { image, images, record }: ByName,
  options: RemoveOptions,
): Promise<readonly ImageDeleteItem[]> {
  const users = await usersOf(context, image);
  const isLast = isSingleReference(image.records);
  if (isLast && !options.force) refuseReference(record, image, users);
  const gone = isLast ? image.records : withStrayDigests(record, image.records);
  // A forced loss of the last name leaves a running container its image, nameless.
  const stays = isLast && users.some(({ running }) => running);
  const { target } = image.stored;
  if (stays) await context.records.put(danglingName(target.digest), target);
  const untagged = await untag(context, image, gone, isLast);
  return isLast && !stays ? [...untagged, ...deleted(context, image, images)] : untagged;
}

async function removeById(
  context: ImageContext,
  image: NamedImage,
  images: ReadonlyMap<string, NamedImage>,
  options: RemoveOptions,
): Promise<readonly ImageDeleteItem[]> {
  const users = await usersOf(context, image);
  refuseRunning(image, users);
  const id = shortDigest(image.stored.id);
  if (!options.force) {
    if (!isSingleReference(image.records)) {
      throw new EngineError(
        "conflict",
        `conflict: unable to delete ${id} (must be forced) - image is referenced in multiple repositories`,
      );
    }
    const [user] = users;
    if (user !== undefined) {
      throw new EngineError(
        "conflict",
        `conflict: unable to delete ${id} (must be forced) - image is being used by stopped container ${user.containerId.slice(0, 12)}`,
      );
    }
  }
  const untagged = await untag(context, image, image.records, true);
  return [...untagged, ...deleted(context, image, images)];
}

async function usersOf(context: ImageContext, image: NamedImage): Promise<readonly ImageUser[]> {
  return (await context.users()).filter(({ imageId }) => imageId === image.stored.id);
}

function refuseReference(
  record: ImageRecord,
  image: NamedImage,
  users: readonly ImageUser[],
): void {
  const [user] = users;
  if (user === undefined || record.reference === undefined) return;
  const name = JSON.stringify(familiarReference(record.reference));
  throw new EngineError(
    "conflict",
    `conflict: unable to remove repository reference ${name} (must force) - container ${user.containerId.slice(0, 12)} is using its referenced image ${shortDigest(image.stored.id)}`,
  );
}

/** Not even force takes the image of a running container. */
function refuseRunning(image: NamedImage, users: readonly ImageUser[]): void {
  const running = users.find((user) => user.running);
  if (running === undefined) return;
  throw new EngineError(
    "conflict",
    `conflict: unable to delete ${shortDigest(image.stored.id)} (cannot be forced) - image is being used by running container ${running.containerId.slice(0, 12)}`,
  );
}

/** One tag with the digests of its repository, one digest alone, or no name at all. */
function isSingleReference(records: readonly ImageRecord[]): boolean {
  const references = records.flatMap(({ reference }) => reference ?? []);
  const tags = references.filter(({ tag }) => tag !== undefined);
  const [first] = references;
  return (
    first === undefined ||
    (tags.length <= 1 && references.every((reference) => sameRepository(reference, first)))
  );
}

/** With the last tag of a repository its digests go too; they would name what nobody sees. */
function withStrayDigests(
  record: ImageRecord,
  records: readonly ImageRecord[],
): readonly ImageRecord[] {
  const gone = record.reference;
  if (gone?.tag === undefined) return [record];
  const ofRepository = (reference: Reference | undefined) =>
    reference !== undefined && repositoryOf(reference) === repositoryOf(gone);
  const rest = records.filter(
    (other) => other.name !== record.name && ofRepository(other.reference),
  );
  return rest.some(({ reference }) => reference?.tag !== undefined) ? [record] : [record, ...rest];
}

async function untag(
  context: ImageContext,
  image: NamedImage,
  records: readonly ImageRecord[],
  sync: boolean,
): Promise<readonly ImageDeleteItem[]> {
  const items: ImageDeleteItem[] = [];
  for (const [index, { name, reference }] of records.entries()) {
    await context.records.delete(name, { sync: sync && index === records.length - 1 });
    if (reference === undefined) continue;
    items.push({ Untagged: familiarReference(reference) });
    const { id } = image.stored;
    publish(context, "untag", id, id, image.stored.config.Labels ?? {});
  }
  return items;
}

/** The image, and its layers that no other image has, as docker lists them. */
function deleted(
  context: ImageContext,
  image: NamedImage,
  images: ReadonlyMap<string, NamedImage>,
): readonly ImageDeleteItem[] {
  const { id, config } = image.stored;
  context.forget(id);
  publish(context, "delete", id, id, config.Labels ?? {});
  const layers = ownLayers(image, images).toReversed();
  return [{ Deleted: id }, ...layers.map((chainId) => ({ Deleted: chainId }))];
}

function ownLayers(image: NamedImage, images: ReadonlyMap<string, NamedImage>): readonly string[] {
  const others = new Set<string>();
  for (const other of images.values()) {
    if (other.stored.id === image.stored.id) continue;
    for (const chainId of other.stored.chainIds) others.add(chainId);
  }
  return image.stored.chainIds.filter((chainId) => !others.has(chainId));
}

const PRUNE_FILTERS = ["dangling", "until", "label", "label!"];

export async function pruneImages(
  context: ImageContext,
  filters: Filters,
): Promise<ImagesPruneReport> {
  checkFilters(filters, PRUNE_FILTERS);
  const danglingOnly = readFlag(filters, "dangling") ?? true;
  const until = readUntil(filters, context.clock.nowMs());
  return context.names.run(NAMES, async () => {
    const images = await collectImages(context);
    const used = new Set((await context.users()).map(({ imageId }) => imageId));
    const items: ImageDeleteItem[] = [];
    let space = 0;
    for (const [id, image] of images) {
      const { labels } = labelsOf(image.stored);
      const hasTag = image.records.some(({ reference }) => reference?.tag !== undefined);
      if (used.has(id) || (danglingOnly && hasTag)) continue;
      if (until !== undefined && createdMs(image.stored) >= until) continue;
      if (!matchesLabels(filters.get("label"), labels)) continue;
      if (!lacksLabels(filters.get("label!"), labels)) continue;
      for (const chainId of ownLayers(image, images)) space += await context.unpacker.size(chainId);
      items.push(...(await untag(context, image, image.records, true)));
      items.push(...deleted(context, image, images));
      images.delete(id);
    }
    context.events?.publish({
      Type: "image",
      Action: "prune",
      Actor: { ID: "", Attributes: { reclaimed: String(space) } },
    });
    return { ImagesDeleted: items.length === 0 ? null : items, SpaceReclaimed: space };
  });
}

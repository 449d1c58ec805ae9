/** What the parts of the image store share: its stores, its ports, and how names are given. */

import { EngineError } from "#base/error.ts";
import type { Clock, Log, Random } from "#base/ports.ts";
import type { KeyedLock, Semaphore } from "#platform/async.ts";
import type { Containerd } from "#platform/containerd/client.ts";
import type { ContentStore } from "#platform/containerd/content.ts";
import { type Lease, withLease } from "#platform/containerd/leases.ts";
import type { Registry } from "#platform/registry/registry.ts";
import {
  type Descriptor,
  familiarReference,
  isDigest,
  type Platform,
  parseReference,
  type Reference,
  repositoryOf,
  withDefaultTag,
} from "#wire/oci.ts";
import type { EventBus } from "../ports.ts";
import { danglingName, type ImageRecord, type ImageRecords, recordName } from "./records.ts";
import type { ImageReader, StoredImage } from "./stored-image.ts";
import type { Unpacker } from "./unpack.ts";

/** A container that was made from an image. */
export interface ImageUser {
  readonly containerId: string;
  readonly imageId: string;
  readonly running: boolean;
}

export interface ImageContext {
  readonly containerd: Containerd;
  readonly content: ContentStore;
  readonly records: ImageRecords;
  readonly reader: ImageReader;
  readonly unpacker: Unpacker;
  readonly registry: Registry;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly host: Platform;
  readonly events: Pick<EventBus, "publish"> | undefined;
  /** Containers that exist now, so that their images are not taken from under them. */
  readonly users: () => Promise<readonly ImageUser[]>;
  /** Called when an image is deleted. */
  readonly forget: (imageId: string) => void;
  /** Held while names are moved: what is seen of all names stays true until it is acted on. */
  readonly names: KeyedLock;
  /** One download of a layer at a time, by its digest. */
  readonly layers: KeyedLock;
  readonly downloads: Semaphore;
  readonly uploads: Semaphore;
}

/** All that is known under one image id. */
export interface NamedImage {
  readonly stored: StoredImage;
  readonly records: readonly ImageRecord[];
}

export const NAMES = "names";

export function leased<T>(
  context: ImageContext,
  purpose: string,
  work: (lease: Lease) => Promise<T>,
): Promise<T> {
  const { random, clock } = context;
  return withLease(context.containerd, { purpose, random, nowMs: clock.nowMs() }, work);
}

/** Every image by its id; records whose blobs are missing are left out. */
export async function collectImages(context: ImageContext): Promise<Map<string, NamedImage>> {
  const images = new Map<string, { stored: StoredImage; records: ImageRecord[] }>();
  for (const record of await context.records.list()) {
    const stored = await context.reader.tryRead(record.target);
    if (stored === undefined) continue;
    const known = images.get(stored.id);
    if (known === undefined) images.set(stored.id, { stored, records: [record] });
    else known.records.push(record);
  }
  return images;
}

/** What a user wrote, as a reference with its tag; `invalid-argument` with docker's words. */
export function readReference(text: string): Reference {
  const parsed = parseReference(text);
  if (!parsed.ok) throw new EngineError("invalid-argument", parsed.error);
  return withDefaultTag(parsed.value);
}

/** Finds an image by name, name@digest, id or unique beginning of an id. */
export async function findImage(context: ImageContext, text: string): Promise<StoredImage> {
  const byName = await findByName(context, text);
  if (byName !== undefined) return byName;
  const found = await findById(context, text);
  if (found === undefined) throw noSuchImage(text);
  return found.stored;
}

async function findByName(context: ImageContext, text: string): Promise<StoredImage | undefined> {
  const parsed = parseReference(text);
  if (!parsed.ok) return undefined;
  const reference = withDefaultTag(parsed.value);
  const record = await context.records.get(recordName(reference));
  if (record !== undefined) return context.reader.read(record.target);
  if (reference.digest === undefined) return undefined;
  // The digest may also be the image's own, or its manifest's, in the same repository.
  for (const { stored, records } of (await collectImages(context)).values()) {
    const named = stored.id === reference.digest || stored.target.digest === reference.digest;
    const repository = repositoryOf(reference);
    const inRepository = (record: ImageRecord) =>
      record.reference !== undefined && repositoryOf(record.reference) === repository;
    if (named && records.some(inRepository)) return stored;
  }
  return undefined;
}

/** By the whole id or a beginning that only one image has. */
export async function findById(
  context: ImageContext,
  text: string,
): Promise<NamedImage | undefined> {
  const hex = text.replace(/^sha256:/, "");
  if (!/^[0-9a-f]{1,64}$/.test(hex)) return undefined;
  const images = await collectImages(context);
  const exact = images.get(`sha256:${hex}`);
  if (exact !== undefined) return exact;
  const matching = [...images.values()].filter(({ stored }) =>
    stored.id.startsWith(`sha256:${hex}`),
  );
  return matching.length === 1 ? matching[0] : undefined;
}

export function noSuchImage(text: string): EngineError {
  const parsed = parseReference(text);
  if (!parsed.ok && !isDigest(text)) return new EngineError("invalid-argument", parsed.error);
  const name = !parsed.ok ? text : familiarReference(withDefaultTag(parsed.value));
  return new EngineError("not-found", `No such image: ${name}`);
}

/**
 * Gives names to an image. A name taken from another image leaves that one dangling when it was its
 * last; returns the image that lost its last name so, if one did.
 */
export function assignNames(
  context: ImageContext,
  names: readonly string[],
  target: Descriptor,
): Promise<StoredImage | undefined> {
  return context.names.run(NAMES, async () => {
    const before = await collectImages(context);
    const stored = await context.reader.read(target);
    let orphan: StoredImage | undefined;
    for (const { stored: other, records } of before.values()) {
      const losesAll = records.every(({ name }) => names.includes(name));
      if (other.id === stored.id || !losesAll || records.length === 0) continue;
      await context.records.put(danglingName(other.target.digest), other.target);
      orphan = other;
    }
    for (const name of names) await context.records.put(name, target);
    const old = before.get(stored.id)?.records ?? [];
    for (const { name, reference } of old) {
      if (reference === undefined && !names.includes(name)) await context.records.delete(name);
    }
    return orphan;
  });
}

/** Keeps an image that has no name, unless it has one. */
export function assignDangling(context: ImageContext, target: Descriptor): Promise<void> {
  return context.names.run(NAMES, async () => {
    const stored = await context.reader.read(target);
    if ((await collectImages(context)).has(stored.id)) return;
    await context.records.put(danglingName(target.digest), target);
  });
}

export function publish(
  context: ImageContext,
  action: string,
  id: string,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): void {
  context.events?.publish({
    Type: "image",
    Action: action,
    Actor: { ID: id, Attributes: { ...labels, name } },
    status: action,
    id,
  });
}

/** "busybox:1.36" of a record; undefined for the nameless one. */
export function familiarOf(record: ImageRecord): string | undefined {
  return record.reference === undefined ? undefined : familiarReference(record.reference);
}

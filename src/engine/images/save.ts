/**
 * `docker save`: one archive that is both docker's (manifest.json) and an OCI layout (index.json).
 * Layers go as they are stored; every reader unpacks them by their first bytes or media type.
 */

import type { Readable, Writable } from "node:stream";
import { type Pack, pack } from "tar-stream";
import { EngineError } from "#base/error.ts";
import { canonicalReference, familiarReference, MEDIA, parseReference } from "#wire/oci.ts";
import { drained } from "../containers/output-hub.ts";
import {
  collectImages,
  findImage,
  type ImageContext,
  leased,
  publish,
  readReference,
} from "./context.ts";
import type { StoredImage } from "./stored-image.ts";

interface SavedImage {
  readonly stored: StoredImage;
  /** Familiar "name:tag" of what is to be named in the archive. */
  readonly tags: Set<string>;
}

/** Streams an archive of the named images; every name is looked up before the first byte. */
export async function saveImages(
  context: ImageContext,
  names: readonly string[],
): Promise<Readable> {
  const images = await findAll(context, names);
  const archive = pack();
  void leased(context, "save", async (lease) => {
    for (const { stored } of images) await lease.hold("content", stored.target.digest);
    await writeArchive(context, archive, images);
  }).catch((error: unknown) => {
    archive.destroy(error instanceof Error ? error : new Error(String(error)));
  });
  return archive as unknown as Readable;
}

async function findAll(
  context: ImageContext,
  names: readonly string[],
): Promise<readonly SavedImage[]> {
  const images = new Map<string, SavedImage>();
  for (const name of names) {
    for (const { stored, tag } of await findOne(context, name)) {
      const known = images.get(stored.id) ?? { stored, tags: new Set() };
      if (tag !== undefined) known.tags.add(tag);
      images.set(stored.id, known);
    }
  }
  for (const { stored } of images.values()) {
    for (const { digest } of stored.manifest.layers) {
      if ((await context.content.info(digest)) !== undefined) continue;
      throw new EngineError(
        "not-found",
        `layer ${digest} is not in the content store: pull the image again`,
      );
    }
  }
  return [...images.values()];
}

/** A bare repository means all its tags, as docker has it. */
async function findOne(
  context: ImageContext,
  name: string,
): Promise<readonly { stored: StoredImage; tag: string | undefined }[]> {
  const parsed = parseReference(name);
  if (parsed.ok && parsed.value.tag === undefined && parsed.value.digest === undefined) {
    const { domain, path } = parsed.value;
    const all = [...(await collectImages(context)).values()].flatMap(({ stored, records }) =>
      records.flatMap(({ reference }) =>
        reference?.tag !== undefined && reference.domain === domain && reference.path === path
          ? [{ stored, tag: familiarReference(reference) }]
          : [],
      ),
    );
    if (all.length > 0) return all;
  }
  const stored = await findImage(context, name);
  const byTag =
    parsed.ok &&
    parsed.value.tag !== undefined &&
    !stored.id.startsWith(`sha256:${name.replace(/^sha256:/, "")}`);
  return [{ stored, tag: byTag ? familiarReference(readReference(name)) : undefined }];
}

async function writeArchive(
  context: ImageContext,
  archive: Pack,
  images: readonly SavedImage[],
): Promise<void> {
  const written = new Set<string>();
  const blob = async (digest: string) => {
    if (written.has(digest)) return;
    written.add(digest);
    const info = await context.content.info(digest);
    if (info === undefined) throw new EngineError("not-found", `${digest} is gone`);
    await writeBlob(context, archive, digest, info.size);
  };
  for (const { stored } of images) {
    for (const { digest } of stored.manifest.layers) await blob(digest);
    await blob(stored.id);
    await blob(stored.target.digest);
  }
  await writeText(archive, "index.json", JSON.stringify(layoutIndex(images)));
  await writeText(archive, "manifest.json", JSON.stringify(dockerManifest(images)));
  await writeText(archive, "oci-layout", '{"imageLayoutVersion":"1.0.0"}');
  archive.finalize();
  for (const { stored, tags } of images) {
    publish(context, "save", stored.id, [...tags][0] ?? stored.id, stored.config.Labels ?? {});
  }
}

function blobPath(digest: string): string {
  return `blobs/${digest.replace(":", "/")}`;
}

function layoutIndex(images: readonly SavedImage[]) {
  const manifests = images.flatMap(({ stored, tags }) => {
    const descriptor = {
      mediaType: stored.manifest.mediaType,
      digest: stored.target.digest,
      size: stored.target.size,
      platform: { os: stored.image.os, architecture: stored.image.architecture },
    };
    if (tags.size === 0) return [descriptor];
    return [...tags].map((tag) => {
      const reference = readReference(tag);
      const annotations = {
        "io.containerd.image.name": canonicalReference(reference),
        "org.opencontainers.image.ref.name": reference.tag ?? "latest",
      };
      return { ...descriptor, annotations };
    });
  });
  return { schemaVersion: 2, mediaType: MEDIA.ociIndex, manifests };
}

function dockerManifest(images: readonly SavedImage[]) {
  return images.map(({ stored, tags }) => ({
    Config: blobPath(stored.id),
    RepoTags: tags.size === 0 ? null : [...tags],
    Layers: stored.manifest.layers.map(({ digest }) => blobPath(digest)),
  }));
}

async function writeBlob(
  context: ImageContext,
  archive: Pack,
  digest: string,
  size: number,
): Promise<void> {
  const entry = archive.entry({ name: blobPath(digest), size, mode: 0o644 }) as unknown as Writable;
  const closed = new Promise<void>((resolve, reject) => {
    entry.on("close", resolve);
    entry.on("error", reject);
  });
  closed.catch(() => undefined);
  for await (const chunk of context.content.read(digest)) {
    if (archive.destroyed) throw new EngineError("cancelled", "the reader of the archive is gone");
    if (!entry.write(chunk)) await drained(entry);
  }
  entry.end();
  await closed;
}

function writeText(archive: Pack, name: string, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    archive.entry({ name, mode: 0o644 }, text, (error) => (error ? reject(error) : resolve()));
  });
}

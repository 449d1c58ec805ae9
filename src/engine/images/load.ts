/**
 * `docker load`: archives that `docker save` wrote (manifest.json at the root) and OCI image
 * layouts (index.json). Nothing is named before it is unpacked, so a load that fails leaves nothing.
 */

import type { Readable } from "node:stream";
import { EngineError, isErrorCode } from "#base/error.ts";
import type { Lease } from "#platform/containerd/leases.ts";
import { choosePlatform, fitsPlatform, formatPlatform } from "#wire/image-platform.ts";
import {
  type Descriptor,
  familiarReference,
  type ImageManifest,
  layerCompression,
  type OciImage,
  type Platform,
  parseImage,
  parseManifest,
  parseReference,
  type Reference,
} from "#wire/oci.ts";
import { addImage, composeManifest } from "./add-image.ts";
import { type ArchiveFiles, documentText, readArchive } from "./archive.ts";
import { assignDangling, assignNames, type ImageContext, leased, publish } from "./context.ts";
import { type Report, shortDigest, stateMessage } from "./progress.ts";
import { recordName } from "./records.ts";
import { sha256Digest } from "./stored-image.ts";

/** An image of the archive, before it is unpacked. */
interface FoundImage {
  readonly manifestText: string;
  readonly manifestType: string;
  readonly configText: string;
  readonly image: OciImage;
  readonly layers: readonly Descriptor[];
  readonly tags: readonly Reference[];
}

export function loadImages(
  context: ImageContext,
  archive: Readable,
  report: Report,
  platform?: Platform,
): Promise<void> {
  return leased(context, "load", async (lease) => {
    const files = await readArchive(context, archive, lease);
    const manifestJson = files.text("manifest.json");
    const found =
      manifestJson === undefined
        ? await imagesOfLayout(context, files, platform ?? context.host)
        : await imagesOfDockerArchive(context, files, manifestJson);
    const wanted = found.filter(
      ({ image }) => platform === undefined || fitsPlatform(image, platform),
    );
    if (platform !== undefined && wanted.length === 0) {
      throw new EngineError(
        "not-found",
        `the archive does not provide the specified platform (${formatPlatform(platform)})`,
      );
    }
    for (const image of wanted) await installImage(context, image, lease, report);
  });
}

function bad(reason: string): EngineError {
  return new EngineError("invalid-argument", `invalid image archive: ${reason}`);
}

async function imagesOfDockerArchive(
  context: ImageContext,
  files: ArchiveFiles,
  manifestJson: string,
): Promise<readonly FoundImage[]> {
  const images: FoundImage[] = [];
  for (const { config, layers: paths, tags } of parseDockerManifest(manifestJson)) {
    const configText = await configOf(context, files, config);
    const image = parseImage(configText);
    if (!image.ok) throw bad(image.error);
    const layers = paths.map((path) => {
      const layer = files.layer(path);
      if (layer === undefined) throw bad(`the layer ${path} is missing`);
      if (layer.mediaType === "") throw bad(`the packing of layer ${path} is not supported`);
      return layer;
    });
    const composed = composeManifest(configText, layers);
    images.push({ ...composed, configText, image: image.value, layers, tags: readTags(tags) });
  }
  return images;
}

/** The config lies at the root as text, or in blobs/ like any other blob. */
async function configOf(context: ImageContext, files: ArchiveFiles, path: string): Promise<string> {
  const text = files.text(path);
  if (text !== undefined) return text;
  const blob = files.layer(path);
  if (blob === undefined) throw bad(`the image config ${path} is missing`);
  return documentText(context, blob.digest);
}

interface DockerManifestEntry {
  readonly config: string;
  readonly layers: readonly string[];
  readonly tags: readonly string[];
}

function parseDockerManifest(text: string): readonly DockerManifestEntry[] {
  const value = parseJson(text);
  if (!Array.isArray(value)) throw bad("manifest.json is not a list");
  return value.map((entry: unknown) => {
    const fields = (entry ?? {}) as Record<string, unknown>;
    if (typeof fields["Config"] !== "string") throw bad("manifest.json names no config");
    return {
      config: fields["Config"],
      layers: stringList(fields["Layers"]),
      tags: stringList(fields["RepoTags"]),
    };
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw bad("a document is not JSON");
  }
}

function stringList(value: unknown): readonly string[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value) || !value.every((item) => typeof item === "string")) {
    throw bad("manifest.json is malformed");
  }
  return value;
}

/** Only whole names with a tag are names; what a layout calls just "v1" is not. */
function readTags(texts: readonly string[]): readonly Reference[] {
  return texts.flatMap((text) => {
    const parsed = parseReference(text);
    return parsed.ok && parsed.value.tag !== undefined && parsed.value.digest === undefined
      ? [parsed.value]
      : [];
  });
}

async function imagesOfLayout(
  context: ImageContext,
  files: ArchiveFiles,
  platform: Platform,
): Promise<readonly FoundImage[]> {
  const indexText = files.text("index.json");
  if (indexText === undefined) throw bad("neither manifest.json nor index.json is in it");
  const index = parseManifest(indexText, "");
  if (!index.ok || index.value.kind !== "index") throw bad("index.json is not an image index");
  const images: FoundImage[] = [];
  for (const entry of index.value.manifests) {
    const found = await layoutManifest(context, entry, platform, 0);
    if (found === undefined) continue;
    const name =
      entry.annotations?.["io.containerd.image.name"] ??
      entry.annotations?.["org.opencontainers.image.ref.name"];
    const { manifestText, manifest } = found;
    const configText = await documentText(context, manifest.config.digest);
    const image = parseImage(configText);
    if (!image.ok) throw bad(image.error);
    images.push({
      manifestText,
      manifestType: manifest.mediaType,
      configText,
      image: image.value,
      layers: manifest.layers,
      tags: readTags(name === undefined ? [] : [name]),
    });
  }
  if (images.length === 0) throw bad("it holds no image for this platform");
  return images;
}

async function layoutManifest(
  context: ImageContext,
  entry: Descriptor,
  platform: Platform,
  depth: number,
): Promise<{ manifestText: string; manifest: ImageManifest } | undefined> {
  const manifestText = await documentText(context, entry.digest).catch((error: unknown) => {
    // An index may name platforms that the archive leaves out.
    if (isErrorCode(error, "not-found")) return undefined;
    throw error;
  });
  if (manifestText === undefined) return undefined;
  const parsed = parseManifest(manifestText, entry.mediaType);
  if (!parsed.ok) throw bad(parsed.error);
  if (parsed.value.kind === "manifest") return { manifestText, manifest: parsed.value };
  const chosen = choosePlatform(parsed.value.manifests, platform);
  if (chosen === undefined || depth > 2) return undefined;
  return layoutManifest(context, chosen, platform, depth + 1);
}

async function installImage(
  context: ImageContext,
  found: FoundImage,
  lease: Lease,
  report: Report,
): Promise<void> {
  const { image, layers } = found;
  const diffIds = image.rootfs.diff_ids;
  if (diffIds.length !== layers.length) {
    throw bad(`the config has ${diffIds.length} layers, the manifest ${layers.length}`);
  }
  let parent = "";
  for (const [index, descriptor] of layers.entries()) {
    if (layerCompression(descriptor.mediaType) === undefined) {
      throw bad(`a layer of type ${descriptor.mediaType} is not supported`);
    }
    const diffId = diffIds[index];
    report(stateMessage("Loading layer", shortDigest(diffId ?? "")));
    parent = (await context.unpacker.unpack({ descriptor, diffId, parent }, lease)).chainId;
  }
  const target = await addImage(context, { ...found, diffIds }, lease);
  const id = sha256Digest(found.configText);
  if (found.tags.length === 0) {
    await assignDangling(context, target);
    report({ stream: `Loaded image ID: ${id}\n` });
    publish(context, "load", id, id);
  }
  for (const tag of found.tags) {
    const orphan = await assignNames(context, [recordName(tag)], target);
    const name = familiarReference(tag);
    if (orphan !== undefined) {
      report({
        stream: `The image ${name} already exists, renaming the old one with ID ${orphan.id} to empty string\n`,
      });
    }
    report({ stream: `Loaded image: ${name}\n` });
    publish(context, "load", id, name);
  }
}

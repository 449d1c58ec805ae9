/**
 * An image as it lies in the content store: its manifest, its config, and the ids that follow from
 * them. Blobs never change, so what was read once is kept (bounded) by the manifest's digest.
 */

import { createHash } from "node:crypto";
import { EngineError } from "#base/error.ts";
import type { ContentStore } from "#platform/containerd/content.ts";
import type { ImageConfig } from "#wire/docker/images.ts";
import { choosePlatform } from "#wire/image-platform.ts";
import {
  type Descriptor,
  type ImageManifest,
  MANIFEST_MAX_BYTES,
  type OciImage,
  type Platform,
  parseImage,
  parseManifest,
} from "#wire/oci.ts";

export interface StoredImage {
  /** Digest of the config: docker's image id. */
  readonly id: string;
  readonly target: Descriptor;
  readonly manifest: ImageManifest;
  readonly image: OciImage;
  readonly config: ImageConfig;
  /** Chain id of every layer, the lowest first. */
  readonly chainIds: readonly string[];
}

const CACHE_ENTRIES_MAX = 512;

export class ImageReader {
  readonly #content: ContentStore;
  readonly #host: Platform;
  readonly #cache = new Map<string, StoredImage>();

  constructor(content: ContentStore, host: Platform) {
    this.#content = content;
    this.#host = host;
  }

  /** Throws `not-found` when a blob that it needs is not in the store. */
  async read(target: Descriptor): Promise<StoredImage> {
    const cached = this.#cache.get(target.digest);
    if (cached !== undefined) return cached;
    const stored = await this.#load(target);
    if (this.#cache.size >= CACHE_ENTRIES_MAX) {
      const oldest = this.#cache.keys().next();
      if (!oldest.done) this.#cache.delete(oldest.value);
    }
    this.#cache.set(target.digest, stored);
    return stored;
  }

  /** Undefined instead of an error for an image that is not whole. */
  async tryRead(target: Descriptor): Promise<StoredImage | undefined> {
    try {
      return await this.read(target);
    } catch {
      return undefined;
    }
  }

  async #load(target: Descriptor): Promise<StoredImage> {
    const manifest = parseManifest(await this.#text(target.digest), target.mediaType);
    if (!manifest.ok) throw damaged(target.digest, manifest.error);
    if (manifest.value.kind === "index") {
      // Only other tools write such records; of an index we hold one platform.
      const chosen = choosePlatform(manifest.value.manifests, this.#host);
      if (chosen === undefined) throw damaged(target.digest, "no image for this platform");
      return this.#load(chosen);
    }
    const { config } = manifest.value;
    const image = parseImage(await this.#text(config.digest));
    if (!image.ok) throw damaged(config.digest, image.error);
    if (image.value.rootfs.diff_ids.length !== manifest.value.layers.length) {
      throw damaged(target.digest, "the config and the manifest disagree on the layers");
    }
    return {
      id: config.digest,
      target,
      manifest: manifest.value,
      image: image.value,
      config: image.value.config ?? {},
      chainIds: chainIdsOf(image.value.rootfs.diff_ids),
    };
  }

  async #text(digest: string): Promise<string> {
    return new TextDecoder().decode(await this.#content.readAll(digest, MANIFEST_MAX_BYTES));
  }
}

function damaged(digest: string, reason: string): EngineError {
  return new EngineError("data-loss", `${digest}: ${reason}`);
}

/** The name of every layer together with all below it, the lowest first. */
export function chainIdsOf(diffIds: readonly string[]): readonly string[] {
  const chain: string[] = [];
  for (const diffId of diffIds) {
    const below = chain.at(-1);
    chain.push(below === undefined ? diffId : sha256Digest(`${below} ${diffId}`));
  }
  return chain;
}

export function sha256Digest(data: string | Uint8Array): string {
  return `sha256:${createHash("sha256").update(data).digest("hex")}`;
}

/** "amd64" for Node's "x64". */
export function hostPlatform(): Platform {
  const names: Readonly<Record<string, string>> = { x64: "amd64", ia32: "386", arm: "arm" };
  return { os: "linux", architecture: names[process.arch] ?? process.arch };
}

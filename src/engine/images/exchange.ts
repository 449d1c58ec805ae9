/**
 * The image store as a builder needs it: base images out, blob by blob, and the finished image in.
 * Everything that is touched is held by one lease until the work is over, so that neither a removal
 * of the base image nor garbage collection comes between. Layers that the store has are named by what
 * they unpack to, and need not be sent.
 */

import { EngineError, isErrorCode } from "#base/error.ts";
import { newHexId } from "#base/ids.ts";
import type { Lease } from "#platform/containerd/leases.ts";
import { pullError } from "#platform/registry/errors.ts";
import type { AuthConfig } from "#wire/docker/images.ts";
import {
  type Descriptor,
  familiarName,
  familiarReference,
  isDigest,
  layerCompression,
  MANIFEST_MAX_BYTES,
  MEDIA,
  parseImage,
  parseManifest,
  type Reference,
} from "#wire/oci.ts";
import { addImage, composeManifest } from "./add-image.ts";
import { layerTypeOf, sniff } from "./compression.ts";
import { assignDangling, assignNames, findImage, type ImageContext, publish } from "./context.ts";
import { recordName } from "./records.ts";
import { type StoredImage, sha256Digest } from "./stored-image.ts";

export interface ServedManifest {
  readonly mediaType: string;
  readonly digest: string;
  readonly bytes: Uint8Array;
}

export interface ServedBlob {
  readonly digest: string;
  readonly size: number;
}

export interface BuiltImage {
  readonly configText: string;
  /** Digests of the layers as they were handed over, the lowest first. */
  readonly layers: readonly string[];
  readonly names: readonly Reference[];
}

export interface ImageExchange {
  /**
   * The manifest of an image of the store, by whatever names one; undefined = it has none such. Only
   * by its digest it is the one that is stored: see `dockerManifest`.
   */
  manifest(name: string): Promise<ServedManifest | undefined>;
  /** A manifest or an index as its registry has it, without its layers. */
  remoteManifest(reference: Reference, auth: AuthConfig | undefined): Promise<ServedManifest>;
  /** A blob by its digest, or a layer by the digest of what it unpacks to. */
  blob(digest: string): Promise<ServedBlob | undefined>;
  read(digest: string): AsyncIterable<Uint8Array>;
  /** Takes a layer or a config in; returns its digest. */
  write(source: AsyncIterable<Uint8Array>): Promise<ServedBlob>;
  /** Unpacks and names the image; returns its id. */
  add(image: BuiltImage): Promise<string>;
}

export function createImageExchange(context: ImageContext, lease: Lease): ImageExchange {
  return new LeasedExchange(context, lease);
}

class LeasedExchange implements ImageExchange {
  readonly #context: ImageContext;
  readonly #lease: Lease;
  /** Stored layers by their own digest and by the digest of what they unpack to. */
  readonly #layers = new Map<string, Descriptor>();

  constructor(context: ImageContext, lease: Lease) {
    this.#context = context;
    this.#lease = lease;
  }

  async manifest(name: string): Promise<ServedManifest | undefined> {
    const stored = await this.#find(name);
    if (stored === undefined) return undefined;
    await this.#lease.hold("content", stored.target.digest);
    stored.manifest.layers.forEach((layer, index) => {
      this.#layers.set(layer.digest, layer);
      const diffId = stored.image.rootfs.diff_ids[index];
      if (diffId !== undefined) this.#layers.set(diffId, layer);
    });
    const { digest } = stored.target;
    if (name.endsWith(`@${digest}`)) {
      const bytes = await this.#context.content.readAll(digest, MANIFEST_MAX_BYTES);
      return { mediaType: stored.manifest.mediaType, digest, bytes };
    }
    return dockerManifest(stored);
  }

  async remoteManifest(
    reference: Reference,
    auth: AuthConfig | undefined,
  ): Promise<ServedManifest> {
    const wanted = reference.digest ?? reference.tag ?? "latest";
    try {
      return await this.#context.registry.use(
        reference,
        { purpose: "pull", auth },
        async (from) => {
          const { text, mediaType, digest } = await from.manifest(wanted);
          const bytes = new TextEncoder().encode(text);
          const parsed = parseManifest(text, mediaType);
          return { mediaType: parsed.ok ? parsed.value.mediaType : mediaType, digest, bytes };
        },
      );
    } catch (error) {
      throw pullError(error, familiarName(reference), familiarReference(reference));
    }
  }

  async blob(digest: string): Promise<ServedBlob | undefined> {
    if (!isDigest(digest)) return undefined;
    const known = this.#layers.get(digest);
    const info = await this.#context.content.info(known?.digest ?? digest);
    if (info === undefined) return undefined;
    await this.#lease.hold("content", info.digest);
    return { digest: info.digest, size: info.size };
  }

  read(digest: string): AsyncIterable<Uint8Array> {
    return this.#context.content.read(digest);
  }

  async write(source: AsyncIterable<Uint8Array>): Promise<ServedBlob> {
    const { compression, bytes } = await sniff(source);
    const ref = `skep-build-${newHexId(this.#context.random, 8)}`;
    try {
      const { digest, size } = await this.#context.content.write({
        ref,
        lease: this.#lease,
        source: () => bytes,
      });
      this.#layers.set(digest, { mediaType: layerTypeOf(compression), digest, size });
      return { digest, size };
    } catch (error) {
      await this.#context.content.abort(ref).catch(() => undefined);
      throw error;
    }
  }

  async add({ configText, layers: digests, names }: BuiltImage): Promise<string> {
    const image = parseImage(configText);
    if (!image.ok) throw new EngineError("internal", `the builder's image: ${image.error}`);
    const diffIds = image.value.rootfs.diff_ids;
    const layers: Descriptor[] = [];
    let parent = "";
    for (const [index, diffId] of diffIds.entries()) {
      const descriptor = await this.#layer(diffId, digests[index]);
      layers.push(descriptor);
      const { unpacker } = this.#context;
      parent = (await unpacker.unpack({ descriptor, diffId, parent }, this.#lease)).chainId;
    }
    const documents = { ...composeManifest(configText, layers), configText, diffIds };
    const target = await addImage(this.#context, documents, this.#lease);
    const id = sha256Digest(configText);
    if (names.length === 0) await assignDangling(this.#context, target);
    for (const name of names) {
      await assignNames(this.#context, [recordName(name)], target);
      publish(this.#context, "tag", id, familiarReference(name));
    }
    return id;
  }

  /** What the store already has of a layer comes first: images then share it. */
  async #layer(diffId: string, digest: string | undefined): Promise<Descriptor> {
    const known = this.#layers.get(diffId) ?? this.#layers.get(digest ?? "");
    if (known !== undefined) return known;
    const info = await this.#context.content.info(diffId);
    if (info !== undefined) return { mediaType: MEDIA.ociLayer, digest: diffId, size: info.size };
    throw new EngineError("internal", `the builder did not hand over layer ${diffId}`);
  }

  async #find(name: string): Promise<StoredImage | undefined> {
    try {
      return await findImage(this.#context, name);
    } catch (error) {
      if (isErrorCode(error, "not-found", "invalid-argument")) return undefined;
      throw error;
    }
  }
}

/**
 * An image's parts under docker's media types, where those have a name for them all. Tools that are
 * given an OCI manifest take its config for one of OCI's, which knows no health check, no shell and no
 * triggers; and some refuse a manifest that mixes both kinds, as ours may.
 */
function dockerManifest({ id, manifest }: StoredImage): ServedManifest {
  const plain = new Map<string, string>([
    ["none", MEDIA.dockerLayer],
    ["gzip", MEDIA.dockerLayerGzip],
  ]);
  const compressions = manifest.layers.map(({ mediaType }) => layerCompression(mediaType) ?? "");
  const all = compressions.every((compression) => plain.has(compression));
  const layers = manifest.layers.map(({ mediaType, digest, size }, index) => ({
    mediaType: plain.get(compressions[index] ?? "") ?? mediaType,
    digest,
    size,
  }));
  const document = {
    schemaVersion: 2,
    mediaType: all ? MEDIA.dockerManifest : MEDIA.ociManifest,
    config: {
      mediaType: all ? MEDIA.dockerConfig : MEDIA.ociConfig,
      digest: id,
      size: manifest.config.size,
    },
    layers: all ? layers : manifest.layers.map(ociLayer),
  };
  const bytes = new TextEncoder().encode(JSON.stringify(document));
  return { mediaType: document.mediaType, digest: sha256Digest(bytes), bytes };
}

function ociLayer({ mediaType, digest, size }: Descriptor): Descriptor {
  const types = { none: MEDIA.ociLayer, gzip: MEDIA.ociLayerGzip, zstd: MEDIA.ociLayerZstd };
  const compression = layerCompression(mediaType);
  return { mediaType: compression === undefined ? mediaType : types[compression], digest, size };
}

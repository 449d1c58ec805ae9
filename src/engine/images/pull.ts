/**
 * `docker pull`: the manifest for the platform, layers side by side, each unpacked in order as soon
 * as it is there, and the name last. What is there already is not fetched; what broke off is taken
 * up where it ended.
 */

import { EngineError, isErrorCode } from "#base/error.ts";
import { must } from "#base/invariant.ts";
import type { Lease } from "#platform/containerd/leases.ts";
import type { RemoteManifest, Repository } from "#platform/registry/client.ts";
import { pullError } from "#platform/registry/errors.ts";
import type { AuthConfig } from "#wire/docker/images.ts";
import { choosePlatform, formatPlatform, parsePlatform } from "#wire/image-platform.ts";
import {
  type Descriptor,
  familiarName,
  familiarReference,
  type ImageManifest,
  layerCompression,
  MANIFEST_MAX_BYTES,
  type OciImage,
  type Platform,
  parseImage,
  parseManifest,
  type Reference,
} from "#wire/oci.ts";
import { addImage } from "./add-image.ts";
import { assignNames, type ImageContext, leased, publish } from "./context.ts";
import { counted, type Report, shortDigest, stateMessage, transferMessage } from "./progress.ts";
import { recordName } from "./records.ts";
import { chainIdsOf, sha256Digest } from "./stored-image.ts";

export interface PullOptions {
  readonly auth?: AuthConfig | undefined;
  readonly platform?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

export async function pullImage(
  context: ImageContext,
  reference: Reference,
  options: PullOptions,
  report: Report,
): Promise<void> {
  const wanted =
    options.platform === undefined || options.platform === ""
      ? { ok: true as const, value: context.host }
      : parsePlatform(options.platform, context.host);
  if (!wanted.ok) throw new EngineError("invalid-argument", wanted.error);
  const { auth, signal } = options;
  const name = familiarReference(reference);
  try {
    await context.registry.use(reference, { purpose: "pull", auth, signal }, (repository) =>
      leased(context, "pull", (lease) =>
        new Pull(context, reference, repository, { lease, report, signal }).run(wanted.value),
      ),
    );
  } catch (error) {
    throw pullError(error, familiarName(reference), name);
  }
}

interface PullPorts {
  readonly lease: Lease;
  readonly report: Report;
  readonly signal: AbortSignal | undefined;
}

interface ResolvedImage {
  readonly manifestText: string;
  readonly manifest: ImageManifest;
  readonly configText: string;
  readonly image: OciImage;
}

class Pull {
  readonly #context: ImageContext;
  readonly #reference: Reference;
  readonly #repository: Repository;
  readonly #ports: PullPorts;

  constructor(
    context: ImageContext,
    reference: Reference,
    repository: Repository,
    ports: PullPorts,
  ) {
    this.#context = context;
    this.#reference = reference;
    this.#repository = repository;
    this.#ports = ports;
  }

  async run(platform: Platform): Promise<void> {
    const { report, signal } = this.#ports;
    const reference = this.#reference;
    const wanted = reference.digest ?? must(reference.tag, "a tag or digest to pull");
    const root = await this.#repository.manifest(wanted, signal);
    report({ status: `Pulling from ${reference.path}`, id: wanted });
    const resolved = await this.#resolve(root, platform);
    const before = await this.#context.records.get(recordName(reference));
    await this.#fetchLayers(resolved);
    const { manifestText, manifest, configText, image } = resolved;
    const documents = { manifestText, manifestType: manifest.mediaType, configText };
    const diffIds = image.rootfs.diff_ids;
    const target = await addImage(this.#context, { ...documents, diffIds }, this.#ports.lease);
    await this.#name(target, root.digest);
    report({ status: `Digest: ${root.digest}` });
    const verb =
      before?.target.digest === target.digest ? "Image is up to date" : "Downloaded newer image";
    report({ status: `Status: ${verb} for ${familiarReference(reference)}` });
  }

  async #name(target: Descriptor, rootDigest: string): Promise<void> {
    const reference = this.#reference;
    const byDigest = recordName({ ...reference, digest: rootDigest });
    const names =
      reference.tag === undefined || reference.digest !== undefined
        ? [byDigest]
        : [recordName(reference), byDigest];
    await assignNames(this.#context, names, target);
    const name = familiarReference(reference);
    publish(this.#context, "pull", name, familiarName(reference));
  }

  async #resolve(root: RemoteManifest, platform: Platform): Promise<ResolvedImage> {
    const { signal } = this.#ports;
    let document = root;
    let parsed = this.#parse(document);
    if (parsed.kind === "index") {
      const chosen = choosePlatform(parsed.manifests, platform);
      if (chosen === undefined) throw noPlatform(platform);
      document = await this.#repository.manifest(chosen.digest, signal);
      parsed = this.#parse({ ...document, mediaType: document.mediaType || chosen.mediaType });
    }
    if (parsed.kind === "index") {
      throw new EngineError("invalid-argument", "an index inside an index is not supported");
    }
    for (const { mediaType } of parsed.layers) {
      if (layerCompression(mediaType) !== undefined) continue;
      throw new EngineError(
        "invalid-argument",
        `${familiarReference(this.#reference)} is not a container image: unsupported layer type ${mediaType}`,
      );
    }
    const configText = await this.#config(parsed.config);
    const image = parseImage(configText);
    if (!image.ok) throw new EngineError("data-loss", image.error);
    if (image.value.rootfs.diff_ids.length !== parsed.layers.length) {
      throw new EngineError(
        "data-loss",
        "the image config and its manifest disagree on the layers",
      );
    }
    return { manifestText: document.text, manifest: parsed, configText, image: image.value };
  }

  #parse(document: RemoteManifest) {
    const parsed = parseManifest(document.text, document.mediaType);
    if (!parsed.ok) throw new EngineError("invalid-argument", parsed.error);
    return parsed.value;
  }

  async #config(config: Descriptor): Promise<string> {
    if (config.size > MANIFEST_MAX_BYTES) {
      throw new EngineError("resource-exhausted", "the image config is too large");
    }
    const stored = await this.#context.content.info(config.digest);
    if (stored !== undefined) {
      const bytes = await this.#context.content.readAll(config.digest, MANIFEST_MAX_BYTES);
      return new TextDecoder().decode(bytes);
    }
    const chunks: Uint8Array[] = [];
    for await (const chunk of this.#repository.blob(config, 0, this.#ports.signal)) {
      chunks.push(chunk);
    }
    const bytes = Buffer.concat(chunks);
    if (sha256Digest(bytes) !== config.digest) {
      throw new EngineError("data-loss", `image config verification failed for ${config.digest}`);
    }
    return bytes.toString("utf8");
  }

  /** Downloads run side by side; unpacking follows in order, from the bottom. */
  async #fetchLayers({ manifest, image }: ResolvedImage): Promise<void> {
    const { report, lease } = this.#ports;
    const diffIds = image.rootfs.diff_ids;
    const chainIds = chainIdsOf(diffIds);
    const present = await this.#present(manifest.layers, chainIds);
    for (const [index, { digest }] of manifest.layers.entries()) {
      report(
        stateMessage(index < present ? "Already exists" : "Pulling fs layer", shortDigest(digest)),
      );
    }
    const gone = new AbortController();
    const signal = joinSignals(this.#ports.signal, gone.signal);
    const downloads = manifest.layers
      .slice(present)
      .map((layer) => this.#context.downloads.run(() => this.#download(layer, signal)));
    // Whoever waits for one reports its failure; the others must not count as unhandled.
    for (const download of downloads) download.catch(() => gone.abort());
    try {
      for (const [offset, download] of downloads.entries()) {
        const index = present + offset;
        const descriptor = must(manifest.layers[index], "a layer");
        await firstFailure(download, downloads);
        const id = shortDigest(descriptor.digest);
        report(transferMessage("Extracting", id, descriptor.size, descriptor.size));
        const parent = chainIds[index - 1] ?? "";
        const diffId = diffIds[index];
        await this.#context.unpacker.unpack({ descriptor, diffId, parent }, lease, signal);
        report(stateMessage("Pull complete", id));
      }
    } finally {
      gone.abort();
      await Promise.allSettled(downloads);
    }
  }

  /** How many layers from the bottom are both unpacked and kept as blobs. */
  async #present(layers: readonly Descriptor[], chainIds: readonly string[]): Promise<number> {
    const { content, unpacker } = this.#context;
    const { lease } = this.#ports;
    for (const [index, { digest }] of layers.entries()) {
      if ((await content.info(digest)) === undefined) return index;
      if (!(await unpacker.hold(must(chainIds[index], "a chain id"), lease))) return index;
      await lease.hold("content", digest);
      if ((await content.info(digest)) === undefined) return index;
    }
    return layers.length;
  }

  async #download(layer: Descriptor, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { content, clock } = this.#context;
    const { report, lease } = this.#ports;
    const id = shortDigest(layer.digest);
    const ref = `skep-layer-${layer.digest}`;
    const { domain, path } = this.#reference;
    const write = () =>
      content.write({
        ref,
        digest: layer.digest,
        size: layer.size,
        labels: { [`containerd.io/distribution.source.${domain}`]: path },
        lease,
        signal,
        source: (offset) =>
          counted(this.#repository.blob(layer, offset, signal), {
            clock,
            start: offset,
            onCount: (bytes) => report(transferMessage("Downloading", id, bytes, layer.size)),
          }),
      });
    await this.#context.layers.run(layer.digest, async () => {
      try {
        await write();
      } catch (error) {
        if (signal.aborted || !isErrorCode(error, "failed-precondition")) throw error;
        // What an earlier attempt left may be the wrong part: once more from the start.
        await content.abort(ref);
        await write().catch((again: unknown) => {
          throw isErrorCode(again, "failed-precondition") ? unverified(layer.digest, again) : again;
        });
      }
    });
    report(stateMessage("Verifying Checksum", id));
    report(stateMessage("Download complete", id));
  }
}

/** Waits for one, but not on while another has already failed. */
async function firstFailure(one: Promise<void>, all: readonly Promise<void>[]): Promise<void> {
  await Promise.race([one, ...all.map((other) => other.then(() => one))]);
}

function joinSignals(outer: AbortSignal | undefined, inner: AbortSignal): AbortSignal {
  return outer === undefined ? inner : AbortSignal.any([outer, inner]);
}

function unverified(digest: string, cause: unknown): EngineError {
  const message = `filesystem layer verification failed for digest ${digest}`;
  return new EngineError("data-loss", message, { cause });
}

function noPlatform(platform: Platform): EngineError {
  return new EngineError(
    "not-found",
    `no matching manifest for ${formatPlatform(platform)} in the manifest list entries`,
  );
}

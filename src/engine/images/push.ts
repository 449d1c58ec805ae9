/**
 * `docker push`: layers that the registry lacks, then config and manifest. A layer that is stored
 * plain (from `docker load`) is packed first, once: registries and other engines expect gzip.
 */

import { Readable } from "node:stream";
import { createGzip } from "node:zlib";
import { EngineError } from "#base/error.ts";
import type { Lease } from "#platform/containerd/leases.ts";
import type { Repository } from "#platform/registry/client.ts";
import type { AuthConfig } from "#wire/docker/images.ts";
import {
  type Descriptor,
  familiarName,
  layerCompression,
  MEDIA,
  type Reference,
  repositoryOf,
} from "#wire/oci.ts";
import { addImage, composeManifest } from "./add-image.ts";
import { assignNames, type ImageContext, leased, NAMES, publish } from "./context.ts";
import { counted, type Report, shortDigest, stateMessage, transferMessage } from "./progress.ts";
import { recordName } from "./records.ts";
import type { StoredImage } from "./stored-image.ts";

export interface PushOptions {
  readonly auth?: AuthConfig | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Pushes one tag, or every tag of the repository when the reference has none. */
export async function pushImage(
  context: ImageContext,
  reference: Reference,
  options: PushOptions,
  report: Report,
): Promise<void> {
  const records = (await context.records.list()).filter(
    ({ reference: named }) =>
      named?.tag !== undefined &&
      repositoryOf(named) === repositoryOf(reference) &&
      (reference.tag === undefined || named.tag === reference.tag),
  );
  if (records.length === 0) {
    throw new EngineError(
      "not-found",
      `An image does not exist locally with the tag: ${familiarName(reference)}`,
    );
  }
  report({ status: `The push refers to repository [${repositoryOf(reference)}]` });
  const { auth, signal } = options;
  await context.registry.use(reference, { purpose: "push", auth, signal }, async (repository) => {
    for (const { reference: named, target } of records) {
      if (named === undefined) continue;
      const stored = await context.reader.read(target);
      await leased(context, "push", (lease) =>
        pushOne({ context, repository, lease, report, signal }, named, stored),
      );
    }
  });
}

interface PushPorts {
  readonly context: ImageContext;
  readonly repository: Repository;
  readonly lease: Lease;
  readonly report: Report;
  readonly signal: AbortSignal | undefined;
}

async function pushOne(ports: PushPorts, reference: Reference, stored: StoredImage): Promise<void> {
  const { context, repository, report, lease, signal } = ports;
  const ids = stored.image.rootfs.diff_ids.map(shortDigest);
  for (const id of ids.toReversed()) report(stateMessage("Preparing", id));
  const layers = await Promise.all(
    stored.manifest.layers.map((layer, index) =>
      context.uploads.run(() => pushLayer(ports, reference, layer, ids[index] ?? "")),
    ),
  );
  const target = await finalManifest(ports, stored, layers);
  const { config } = stored.manifest;
  if (!(await repository.hasBlob(config.digest, signal))) {
    await repository.uploadBlob(config, () => context.content.read(config.digest), signal);
  }
  const manifestBytes = await context.content.readAll(target.digest, config.size + 4 * 1024 * 1024);
  const tag = reference.tag ?? "latest";
  const text = new TextDecoder().decode(manifestBytes);
  await repository.putManifest(tag, target.mediaType, text, signal);
  await lease.hold("content", target.digest);
  await nameByDigest(context, reference, stored, target);
  report({ status: `${tag}: digest: ${target.digest} size: ${target.size}` });
  report({ progressDetail: {}, aux: { Tag: tag, Digest: target.digest, Size: target.size } });
  publish(context, "push", familiarName(reference), familiarName(reference));
}

/** The name by digest, and the tag, unless it was moved to another image meanwhile. */
async function nameByDigest(
  context: ImageContext,
  reference: Reference,
  stored: StoredImage,
  target: Descriptor,
): Promise<void> {
  const byDigest = recordName({ ...reference, digest: target.digest });
  const now = await context.names.run(NAMES, () => context.records.get(recordName(reference)));
  const unmoved = now !== undefined && now.target.digest === stored.target.digest;
  await assignNames(context, unmoved ? [recordName(reference), byDigest] : [byDigest], target);
}

/** Sees one layer into the registry; returns it as it lies there. */
async function pushLayer(
  ports: PushPorts,
  reference: Reference,
  stored: Descriptor,
  id: string,
): Promise<Descriptor> {
  const { context, repository, report, signal } = ports;
  const layer = await packed(ports, stored);
  if (await repository.hasBlob(layer.digest, signal)) {
    report(stateMessage("Layer already exists", id));
    return layer;
  }
  const info = await context.content.info(layer.digest);
  if (info === undefined) {
    throw new EngineError(
      "not-found",
      `layer ${layer.digest} is not in the content store: pull the image again`,
    );
  }
  const sourceLabel = `containerd.io/distribution.source.${reference.domain}`;
  const from = info.labels[sourceLabel];
  if (from !== undefined && from !== reference.path) {
    if (await repository.mountBlob(layer.digest, from, signal)) {
      report(stateMessage(`Mounted from ${from}`, id));
      return layer;
    }
  }
  const source = () =>
    counted(context.content.read(layer.digest, signal === undefined ? {} : { signal }), {
      clock: context.clock,
      start: 0,
      onCount: (bytes) => report(transferMessage("Pushing", id, bytes, layer.size)),
    });
  await repository.uploadBlob(layer, source, signal);
  await context.content.label(layer.digest, { [sourceLabel]: reference.path });
  report(stateMessage("Pushed", id));
  return layer;
}

const PACKED_LABEL = "skep.packed";

/** The layer as gzip; the plain blob remembers what it packs to. */
async function packed({ context, lease }: PushPorts, layer: Descriptor): Promise<Descriptor> {
  if (layerCompression(layer.mediaType) !== "none") return layer;
  const info = await context.content.info(layer.digest);
  const known = info?.labels[PACKED_LABEL];
  if (known !== undefined) {
    const existing = await context.content.info(known);
    if (existing !== undefined) {
      await lease.hold("content", known);
      return { mediaType: MEDIA.dockerLayerGzip, digest: known, size: existing.size };
    }
  }
  const ref = `skep-pack-${layer.digest}`;
  await context.content.abort(ref);
  const plain = Readable.from(context.content.read(layer.digest), { objectMode: false });
  const gzip = createGzip();
  plain.on("error", (error) => gzip.destroy(error));
  const written = await context.content.write({ ref, lease, source: () => plain.pipe(gzip) });
  await context.content.label(layer.digest, { [PACKED_LABEL]: written.digest });
  return { mediaType: MEDIA.dockerLayerGzip, digest: written.digest, size: written.size };
}

/** The stored manifest when its layers went as they are, else one that names the packed ones. */
async function finalManifest(
  { context, lease }: PushPorts,
  stored: StoredImage,
  layers: readonly Descriptor[],
): Promise<Descriptor> {
  const same = layers.every(
    ({ digest }, index) => digest === stored.manifest.layers[index]?.digest,
  );
  if (same) return { ...stored.target, mediaType: stored.manifest.mediaType };
  const { config } = stored.manifest;
  const configBytes = await context.content.readAll(config.digest, config.size);
  const configText = new TextDecoder().decode(configBytes);
  const composed = composeManifest(configText, layers);
  const diffIds = stored.image.rootfs.diff_ids;
  return addImage(context, { ...composed, configText, diffIds }, lease);
}

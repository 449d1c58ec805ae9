/**
 * Images made here: `docker import` of a file system as one layer, and `docker commit` of what a
 * container changed as one more layer on its image.
 */

import type { Readable } from "node:stream";
import { EngineError } from "#base/error.ts";
import { newHexId } from "#base/ids.ts";
import type { Lease } from "#platform/containerd/leases.ts";
import type { ImageConfig } from "#wire/docker/images.ts";
import { parsePlatform } from "#wire/image-platform.ts";
import {
  type Descriptor,
  familiarReference,
  MEDIA,
  type OciImage,
  type Reference,
} from "#wire/oci.ts";
import { addImage, composeManifest } from "./add-image.ts";
import { applyChanges } from "./changes.ts";
import { layerTypeOf, sniff } from "./compression.ts";
import {
  assignDangling,
  assignNames,
  findImage,
  type ImageContext,
  leased,
  publish,
} from "./context.ts";
import { recordName } from "./records.ts";
import { sha256Digest } from "./stored-image.ts";

export interface ImportOptions {
  /** Name for the image; undefined = none. */
  readonly reference: Reference | undefined;
  readonly changes: readonly string[];
  readonly message: string;
  /** "linux/arm64"; undefined = this host's. */
  readonly platform: string | undefined;
  /** Where the archive came from, for the history. */
  readonly source: string;
}

/** Returns the new image's id. */
export async function importImage(
  context: ImageContext,
  archive: Readable,
  options: ImportOptions,
): Promise<string> {
  const platform =
    options.platform === undefined || options.platform === ""
      ? { ok: true as const, value: context.host }
      : parsePlatform(options.platform, context.host);
  if (!platform.ok) throw new EngineError("invalid-argument", platform.error);
  const config = applyChanges({}, options.changes);
  return leased(context, "import", async (lease) => {
    const { compression, bytes } = await sniff(archive);
    const mediaType = layerTypeOf(compression);
    const ref = `skep-import-${newHexId(context.random, 8)}`;
    const blob = await context.content.write({ ref, lease, source: () => bytes });
    const descriptor = { mediaType, digest: blob.digest, size: blob.size };
    const layer = await context.unpacker.unpack(
      { descriptor, diffId: undefined, parent: "" },
      lease,
    );
    const created = new Date(context.clock.nowMs()).toISOString();
    const comment = options.message || `Imported from ${options.source}`;
    const image: OciImage = {
      ...platform.value,
      created,
      comment,
      config: { ...config },
      rootfs: { type: "layers", diff_ids: [layer.diffId] },
      history: [{ created, comment }],
    };
    const id = await install(context, image, [descriptor], options.reference, lease);
    publish(context, "import", id, options.source);
    return id;
  });
}

export interface CommitOptions {
  /** Image that the container was made from; "" for none. */
  readonly parent: string;
  /** Key of the container's snapshot. */
  readonly snapshotKey: string;
  readonly containerId: string;
  /** The container's configuration, the base of the image's. */
  readonly config: ImageConfig;
  readonly changes: readonly string[];
  readonly author: string;
  readonly comment: string;
  readonly reference: Reference | undefined;
}

/** Makes an image of a container's file system; returns its id. */
export async function commitImage(context: ImageContext, options: CommitOptions): Promise<string> {
  const parent = options.parent === "" ? undefined : await findImage(context, options.parent);
  const config = applyChanges(options.config, options.changes);
  return leased(context, "commit", async (lease) => {
    const top = parent?.chainIds.at(-1) ?? "";
    const { descriptor, diffId } = await diffLayer(context, options.snapshotKey, top, lease);
    await context.unpacker.unpack({ descriptor, diffId, parent: top }, lease);
    const created = new Date(context.clock.nowMs()).toISOString();
    const { author, comment } = options;
    const image: OciImage = {
      architecture: parent?.image.architecture ?? context.host.architecture,
      os: parent?.image.os ?? context.host.os,
      created,
      author,
      comment,
      container: options.containerId,
      config: { ...config },
      rootfs: { type: "layers", diff_ids: [...(parent?.image.rootfs.diff_ids ?? []), diffId] },
      history: [
        ...(parent?.image.history ?? []),
        { created, created_by: (options.config.Cmd ?? []).join(" "), author, comment },
      ],
    };
    const layers = [...(parent?.manifest.layers ?? []), descriptor];
    return install(context, image, layers, options.reference, lease);
  });
}

/** What a snapshot changed against the chain below it, as a gzip layer. */
async function diffLayer(
  context: ImageContext,
  snapshotKey: string,
  below: string,
  lease: Lease,
): Promise<{ descriptor: Descriptor; diffId: string }> {
  const { snapshots, diff } = context.containerd;
  const { snapshotter } = context.unpacker;
  const key = `commit-${newHexId(context.random, 8)}`;
  const { metadata } = lease;
  const left = await snapshots.view({ snapshotter, key, parent: below }, { metadata });
  try {
    const right = await snapshots.mounts({ snapshotter, key: snapshotKey });
    const answer = await diff.diff(
      { left: left.mounts, right: right.mounts, mediaType: MEDIA.ociLayerGzip, ref: key },
      { metadata },
    );
    const made = answer.diff;
    const info = made === undefined ? undefined : await context.content.info(made.digest);
    const diffId = info?.labels["containerd.io/uncompressed"];
    if (made === undefined || diffId === undefined) {
      throw new EngineError("internal", "containerd made no layer of the container's changes");
    }
    const { mediaType, digest, size } = made;
    return { descriptor: { mediaType, digest, size: Number(size) }, diffId };
  } finally {
    await snapshots.remove({ snapshotter, key }).catch(() => undefined);
  }
}

async function install(
  context: ImageContext,
  image: OciImage,
  layers: readonly Descriptor[],
  reference: Reference | undefined,
  lease: Lease,
): Promise<string> {
  const configText = JSON.stringify(image);
  const composed = composeManifest(configText, layers);
  const diffIds = image.rootfs.diff_ids;
  const target = await addImage(context, { ...composed, configText, diffIds }, lease);
  const id = sha256Digest(configText);
  if (reference === undefined) await assignDangling(context, target);
  else {
    await assignNames(context, [recordName(reference)], target);
    publish(context, "tag", id, familiarReference(reference));
  }
  return id;
}

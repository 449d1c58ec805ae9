/**
 * Writing an image's documents into the content store, with the labels that keep its parts: the
 * manifest keeps config and layers, the config keeps the unpacked snapshot. Under the caller's lease
 * until a name is given.
 */

import { must } from "#base/invariant.ts";
import type { Lease } from "#platform/containerd/leases.ts";
import { type Descriptor, MEDIA, parseManifest } from "#wire/oci.ts";
import type { ImageContext } from "./context.ts";
import { chainIdsOf, sha256Digest } from "./stored-image.ts";

export interface ImageDocuments {
  readonly manifestText: string;
  readonly manifestType: string;
  readonly configText: string;
  readonly diffIds: readonly string[];
}

/** Writes manifest and config; the layers are there already. Returns the manifest's descriptor. */
export async function addImage(
  context: ImageContext,
  documents: ImageDocuments,
  lease: Lease,
): Promise<Descriptor> {
  const { manifestText, manifestType, configText } = documents;
  const parsed = parseManifest(manifestText, manifestType);
  const manifest = parsed.ok && parsed.value.kind === "manifest" ? parsed.value : undefined;
  const { config, layers } = must(manifest, "a manifest that was checked before");
  const top = chainIdsOf(documents.diffIds).at(-1);
  const snapshotLabel = `containerd.io/gc.ref.snapshot.${context.unpacker.snapshotter}`;
  const configLabels = top === undefined ? {} : { [snapshotLabel]: top };
  await addDocument(context, config.mediaType, configText, lease, configLabels);
  return addDocument(context, manifestType, manifestText, lease, {
    "containerd.io/gc.ref.content.config": config.digest,
    ...Object.fromEntries(
      layers.map(({ digest }, index) => [`containerd.io/gc.ref.content.l.${index}`, digest]),
    ),
  });
}

async function addDocument(
  context: ImageContext,
  mediaType: string,
  text: string,
  lease: Lease,
  labels: Readonly<Record<string, string>>,
): Promise<Descriptor> {
  const bytes = new TextEncoder().encode(text);
  const digest = sha256Digest(bytes);
  const existing = await context.content.write({
    ref: `skep-document-${digest}`,
    digest,
    size: bytes.length,
    labels,
    lease,
    source: (offset) => once(bytes.subarray(offset)),
  });
  // One that another image brought may lack the labels of this one.
  if (Object.entries(labels).some(([key, value]) => existing.labels[key] !== value)) {
    await context.content.label(digest, labels);
  }
  return { mediaType, digest, size: bytes.length };
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  if (bytes.length > 0) yield bytes;
}

/** The manifest of an image that was made here. */
export function composeManifest(
  configText: string,
  layers: readonly Descriptor[],
): { readonly manifestText: string; readonly manifestType: string } {
  const bytes = new TextEncoder().encode(configText);
  const manifest = {
    schemaVersion: 2,
    mediaType: MEDIA.dockerManifest,
    config: { mediaType: MEDIA.dockerConfig, size: bytes.length, digest: sha256Digest(bytes) },
    layers: layers.map(({ mediaType, size, digest }) => ({ mediaType, size, digest })),
  };
  return { manifestText: JSON.stringify(manifest, null, 3), manifestType: MEDIA.dockerManifest };
}

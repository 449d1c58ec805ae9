/**
 * What a registry and an image archive hold: descriptors, manifests, indexes and image configs, in
 * Docker's and OCI's dialects, read leniently and checked where we rely on them: digests are
 * well-formed (they name files), sizes are whole numbers, lists are bounded.
 */

import { err, ok, type Result } from "#base/result.ts";
import { isDigest } from "./reference.ts";

export {
  canonicalReference,
  DEFAULT_DOMAIN,
  familiarName,
  familiarReference,
  isDigest,
  isTag,
  parseReference,
  type Reference,
  repositoryOf,
  withDefaultTag,
} from "./reference.ts";

export const MEDIA = {
  dockerManifest: "application/vnd.docker.distribution.manifest.v2+json",
  dockerIndex: "application/vnd.docker.distribution.manifest.list.v2+json",
  dockerConfig: "application/vnd.docker.container.image.v1+json",
  dockerLayer: "application/vnd.docker.image.rootfs.diff.tar",
  dockerLayerGzip: "application/vnd.docker.image.rootfs.diff.tar.gzip",
  dockerForeignLayer: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
  dockerSchema1: "application/vnd.docker.distribution.manifest.v1+prettyjws",
  dockerSchema1Plain: "application/vnd.docker.distribution.manifest.v1+json",
  ociManifest: "application/vnd.oci.image.manifest.v1+json",
  ociIndex: "application/vnd.oci.image.index.v1+json",
  ociConfig: "application/vnd.oci.image.config.v1+json",
  ociLayer: "application/vnd.oci.image.layer.v1.tar",
  ociLayerGzip: "application/vnd.oci.image.layer.v1.tar+gzip",
  ociLayerZstd: "application/vnd.oci.image.layer.v1.tar+zstd",
} as const;

/** What we ask a registry for, the preferred first. */
export const ACCEPTED_MANIFESTS = [
  MEDIA.ociIndex,
  MEDIA.dockerIndex,
  MEDIA.ociManifest,
  MEDIA.dockerManifest,
] as const;

/** Largest manifest, index or image config, bytes (the registries' own bound is 4 MiB). */
export const MANIFEST_MAX_BYTES = 4 * 1024 * 1024;
const LAYERS_MAX = 1024;
const MANIFESTS_MAX = 4096;

export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
  readonly "os.version"?: string;
  readonly "os.features"?: readonly string[];
}

export interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  /** Bytes. */
  readonly size: number;
  readonly urls?: readonly string[];
  readonly annotations?: Readonly<Record<string, string>>;
  readonly platform?: Platform;
}

export interface ImageManifest {
  readonly kind: "manifest";
  readonly mediaType: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}

export interface ImageIndex {
  readonly kind: "index";
  readonly mediaType: string;
  readonly manifests: readonly Descriptor[];
}

/** One line of an image's history. */
export interface ImageHistory {
  readonly created?: string;
  readonly created_by?: string;
  readonly author?: string;
  readonly comment?: string;
  readonly empty_layer?: boolean;
}

/** An image config: what `config` says of the process is Docker's own structure, kept as it is. */
export interface OciImage {
  readonly architecture: string;
  readonly os: string;
  readonly variant?: string;
  readonly "os.version"?: string;
  readonly created?: string;
  readonly author?: string;
  readonly comment?: string;
  readonly container?: string;
  readonly docker_version?: string;
  readonly config?: Readonly<Record<string, unknown>>;
  readonly container_config?: Readonly<Record<string, unknown>>;
  readonly rootfs: { readonly type: string; readonly diff_ids: readonly string[] };
  readonly history?: readonly ImageHistory[];
}

type Fields = Readonly<Record<string, unknown>>;

/** Reads a manifest or an index; `mediaType` is what the server said, the text may say it too. */
export function parseManifest(text: string, mediaType: string): Result<ImageManifest | ImageIndex> {
  const fields = parseObject(text);
  if (fields === undefined) return err("the manifest is not a JSON object");
  const declared = typeof fields["mediaType"] === "string" ? fields["mediaType"] : mediaType;
  if (fields["schemaVersion"] === 1) {
    return err(
      "Docker Image Format v1 and Docker Image manifest version 2, schema 1 are not supported: push the image again with a newer client",
    );
  }
  // A document that could be read both ways could be two images under one digest.
  if ("manifests" in fields && ("layers" in fields || "config" in fields)) {
    return err("the manifest is both an image and an index");
  }
  if (Array.isArray(fields["manifests"])) {
    const manifests = descriptors(fields["manifests"], MANIFESTS_MAX);
    if (!manifests.ok) return manifests;
    const type = declared === "" ? MEDIA.ociIndex : declared;
    return ok({ kind: "index", mediaType: type, manifests: manifests.value });
  }
  const config = descriptor(fields["config"]);
  if (!config.ok) return err(`the manifest's config: ${config.error}`);
  const layers = descriptors(fields["layers"] ?? [], LAYERS_MAX);
  if (!layers.ok) return layers;
  const type = declared === "" ? MEDIA.ociManifest : declared;
  return ok({ kind: "manifest", mediaType: type, config: config.value, layers: layers.value });
}

/** Reads an image config. */
export function parseImage(text: string): Result<OciImage> {
  const fields = parseObject(text);
  if (fields === undefined) return err("the image config is not a JSON object");
  const rootfs = asObject(fields["rootfs"]);
  const diffIds = rootfs?.["diff_ids"] ?? [];
  if (rootfs === undefined) return err("the image config has no rootfs");
  if (!Array.isArray(diffIds) || diffIds.length > LAYERS_MAX || !diffIds.every(isDigestValue)) {
    return err("the image config's layers are malformed");
  }
  const history = fields["history"] ?? [];
  if (!Array.isArray(history) || !history.every((item) => asObject(item) !== undefined)) {
    return err("the image config's history is malformed");
  }
  const texts = textsOf(fields, [
    "variant",
    "os.version",
    "created",
    "author",
    "comment",
    "container",
    "docker_version",
  ]);
  const config = asObject(fields["config"]);
  const containerConfig = asObject(fields["container_config"]);
  return ok({
    ...texts,
    architecture: textOf(fields["architecture"]),
    os: textOf(fields["os"]) || "linux",
    rootfs: { type: textOf(rootfs["type"]) || "layers", diff_ids: diffIds },
    history: history.map(parseHistory),
    ...(config === undefined ? {} : { config }),
    ...(containerConfig === undefined ? {} : { container_config: containerConfig }),
  });
}

function parseHistory(item: Fields): ImageHistory {
  return {
    ...textsOf(item, ["created", "created_by", "author", "comment"]),
    ...(item["empty_layer"] === true ? { empty_layer: true } : {}),
  };
}

/** How a layer's bytes are packed, from its media type; undefined when we cannot unpack them. */
export function layerCompression(mediaType: string): "none" | "gzip" | "zstd" | undefined {
  if (/[.+]gzip$/.test(mediaType)) return "gzip";
  if (/[.+]zstd$/.test(mediaType)) return "zstd";
  return mediaType.endsWith(".tar") ? "none" : undefined;
}

function descriptors(value: unknown, max: number): Result<readonly Descriptor[]> {
  if (!Array.isArray(value)) return err("the manifest's list is malformed");
  if (value.length > max) return err(`the manifest lists more than ${max} entries`);
  const parsed: Descriptor[] = [];
  for (const item of value) {
    const one = descriptor(item);
    if (!one.ok) return one;
    parsed.push(one.value);
  }
  return ok(parsed);
}

function descriptor(value: unknown): Result<Descriptor> {
  const fields = asObject(value);
  if (fields === undefined) return err("a descriptor is not an object");
  const { digest, size } = fields;
  if (typeof digest !== "string" || !isDigest(digest)) {
    return err(`invalid digest ${JSON.stringify(digest)?.slice(0, 100) ?? "(none)"}`);
  }
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) {
    return err(`invalid size of ${digest}`);
  }
  const platform = platformOf(asObject(fields["platform"]));
  const annotations = stringMap(fields["annotations"]);
  const urls = stringsOf(fields["urls"]);
  return ok({
    mediaType: textOf(fields["mediaType"]),
    digest,
    size,
    ...(urls.length > 0 ? { urls } : {}),
    ...(annotations === undefined ? {} : { annotations }),
    ...(platform === undefined ? {} : { platform }),
  });
}

function platformOf(fields: Fields | undefined): Platform | undefined {
  if (fields === undefined) return undefined;
  const features = stringsOf(fields["os.features"]);
  return {
    os: textOf(fields["os"]),
    architecture: textOf(fields["architecture"]),
    ...textsOf(fields, ["variant", "os.version"]),
    ...(features.length > 0 ? { "os.features": features } : {}),
  };
}

function parseObject(text: string): Fields | undefined {
  try {
    return asObject(JSON.parse(text));
  } catch {
    return undefined;
  }
}

function asObject(value: unknown): Fields | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Fields)
    : undefined;
}

function isDigestValue(value: unknown): value is string {
  return typeof value === "string" && isDigest(value);
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

/** The named fields that are non-empty text. */
function textsOf<K extends string>(fields: Fields, keys: readonly K[]): { [P in K]?: string } {
  const texts: { [P in K]?: string } = {};
  for (const key of keys) {
    const value = textOf(fields[key]);
    if (value !== "") texts[key] = value;
  }
  return texts;
}

function stringsOf(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === "string") : [];
}

function stringMap(value: unknown): Readonly<Record<string, string>> | undefined {
  const fields = asObject(value);
  if (fields === undefined) return undefined;
  return Object.fromEntries(
    Object.entries(fields).filter(
      (entry): entry is [string, string] => typeof entry[1] === "string",
    ),
  );
}

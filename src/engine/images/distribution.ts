/** `GET /distribution/NAME/json`: what a registry holds under a name, without pulling it. */

import { EngineError } from "#base/error.ts";
import { must } from "#base/invariant.ts";
import type { Repository } from "#platform/registry/client.ts";
import { pullError } from "#platform/registry/errors.ts";
import type { AuthConfig, DistributionInspect } from "#wire/docker/images.ts";
import {
  type Descriptor,
  familiarName,
  familiarReference,
  MANIFEST_MAX_BYTES,
  type Platform,
  parseImage,
  parseManifest,
  type Reference,
} from "#wire/oci.ts";
import type { ImageContext } from "./context.ts";

export async function inspectRemote(
  context: ImageContext,
  reference: Reference,
  auth: AuthConfig | undefined,
): Promise<DistributionInspect> {
  const wanted = reference.digest ?? must(reference.tag, "a tag or digest");
  try {
    return await context.registry.use(reference, { purpose: "pull", auth }, (repository) =>
      inspectIn(repository, wanted),
    );
  } catch (error) {
    throw pullError(error, familiarName(reference), familiarReference(reference));
  }
}

async function inspectIn(repository: Repository, wanted: string): Promise<DistributionInspect> {
  const document = await repository.manifest(wanted);
  const parsed = parseManifest(document.text, document.mediaType);
  if (!parsed.ok) throw new EngineError("invalid-argument", parsed.error);
  const { digest, size } = document;
  const platforms =
    parsed.value.kind === "index"
      ? parsed.value.manifests.flatMap(({ platform }) => platform ?? [])
      : [await configPlatform(repository, parsed.value.config)];
  return {
    Descriptor: { mediaType: parsed.value.mediaType, digest, size },
    Platforms: platforms.map(({ os, architecture, ...rest }) => ({ architecture, os, ...rest })),
  };
}

async function configPlatform(repository: Repository, config: Descriptor): Promise<Platform> {
  if (config.size > MANIFEST_MAX_BYTES) {
    throw new EngineError("resource-exhausted", "the image config is too large");
  }
  const chunks: Uint8Array[] = [];
  for await (const chunk of repository.blob(config)) chunks.push(chunk);
  const image = parseImage(Buffer.concat(chunks).toString("utf8"));
  if (!image.ok) throw new EngineError("data-loss", image.error);
  const { os, architecture, variant } = image.value;
  return { os, architecture, ...(variant === undefined ? {} : { variant }) };
}

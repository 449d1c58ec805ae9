/** How a stream is packed, told by its first bytes; and the stream unpacked where we can. */

import { Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { EngineError } from "#base/error.ts";
import { peek } from "#platform/peek.ts";
import { type Compression, compressionOf, MAGIC_BYTES } from "#wire/compression.ts";
import { MEDIA } from "#wire/oci.ts";

/** Reads the first bytes without losing them. */
export async function sniff(
  source: AsyncIterable<Uint8Array>,
): Promise<{ readonly compression: Compression; readonly bytes: AsyncIterable<Uint8Array> }> {
  const { head, body } = await peek(source, MAGIC_BYTES);
  return { compression: compressionOf(head), bytes: body };
}

/** The media type of a layer that is stored as it came. */
export function layerTypeOf(compression: Compression): string {
  switch (compression) {
    case "none":
      return MEDIA.ociLayer;
    case "gzip":
      return MEDIA.dockerLayerGzip;
    case "zstd":
      return MEDIA.ociLayerZstd;
    case "xz":
    case "bzip2":
      throw new EngineError(
        "invalid-argument",
        `a layer packed with ${compression} is not supported: unpack it first`,
      );
  }
}

/** The plain bytes of an archive; only gzip is undone here. */
export async function plainArchive(archive: Readable): Promise<Readable> {
  const { compression, bytes } = await sniff(archive);
  if (compression !== "none" && compression !== "gzip") {
    throw new EngineError(
      "invalid-argument",
      `an archive packed with ${compression} is not supported: unpack it first`,
    );
  }
  const source = Readable.from(bytes, { objectMode: false });
  if (compression === "none") return source;
  const gunzip = createGunzip();
  source.on("error", (error) => gunzip.destroy(error));
  gunzip.on("close", () => source.destroy());
  return source.pipe(gunzip);
}

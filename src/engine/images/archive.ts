/**
 * Reading an image archive as it streams by: every regular file goes into the content store, since
 * what it is may be said only at the end; small ones are also kept as text. Paths are only names
 * here, nothing is written under them.
 */

import { posix } from "node:path";
import { pipeline, type Readable } from "node:stream";
import { extract, type Header } from "tar-stream";
import { EngineError } from "#base/error.ts";
import { newHexId } from "#base/ids.ts";
import type { Lease } from "#platform/containerd/leases.ts";
import { type Descriptor, isDigest, MANIFEST_MAX_BYTES } from "#wire/oci.ts";
import { tarProblem } from "../files/pax.ts";
import { layerTypeOf, plainArchive, sniff } from "./compression.ts";
import type { ImageContext } from "./context.ts";
import { sha256Digest } from "./stored-image.ts";

export interface ArchiveFiles {
  /** Text of small files by path. */
  text(path: string): string | undefined;
  /** What a layer's path holds, through links. */
  layer(path: string): Descriptor | undefined;
}

const ENTRIES_MAX = 100_000;
const TEXT_TOTAL_MAX_BYTES = 64 * 1024 * 1024;
const LINKS_MAX = 16;

/** Stores the archive's files under the lease. */
export async function readArchive(
  context: ImageContext,
  archive: Readable,
  lease: Lease,
): Promise<ArchiveFiles> {
  const files = new FileTable();
  const plain = await plainArchive(archive);
  const tar = extract();
  // Reading the entries throws what breaks the pipeline.
  pipeline(plain, tar, () => undefined);
  const prefix = `skep-load-${newHexId(context.random, 8)}`;
  let entries = 0;
  try {
    for await (const entry of tar) {
      entries += 1;
      if (entries > ENTRIES_MAX) throw malformed(`more than ${ENTRIES_MAX} files`);
      const path = normalPath(entry.header.name);
      const body = entry as unknown as AsyncIterable<Uint8Array>;
      if (isLink(entry.header)) files.addLink(path, linkTarget(path, entry.header));
      else if (entry.header.type === "file" && isJson(entry.header)) {
        files.addText(path, await readText(body));
      } else if (entry.header.type === "file") {
        files.addLayer(path, await storeFile(context, path, body, `${prefix}-${entries}`, lease));
      }
      entry.resume();
    }
  } catch (error) {
    throw error instanceof EngineError ? error : malformed(tarProblem(error));
  } finally {
    tar.destroy();
    archive.destroy();
  }
  return files;
}

function malformed(reason: string): EngineError {
  return new EngineError("invalid-argument", `invalid image archive: ${reason}`);
}

class FileTable implements ArchiveFiles {
  readonly #texts = new Map<string, string>();
  readonly #layers = new Map<string, Descriptor>();
  readonly #links = new Map<string, string>();
  #textBytes = 0;

  addText(path: string, text: string): void {
    this.#textBytes += text.length;
    if (this.#textBytes > TEXT_TOTAL_MAX_BYTES) throw malformed("too much metadata");
    this.#texts.set(path, text);
  }

  addLayer(path: string, descriptor: Descriptor): void {
    this.#layers.set(path, descriptor);
  }

  addLink(path: string, target: string): void {
    this.#links.set(path, target);
  }

  text(path: string): string | undefined {
    return this.#texts.get(this.#follow(path));
  }

  layer(path: string): Descriptor | undefined {
    const target = this.#follow(path);
    return this.#layers.get(target);
  }

  #follow(path: string): string {
    let current = normalPath(path);
    for (let hops = 0; hops < LINKS_MAX; hops += 1) {
      const next = this.#links.get(current);
      if (next === undefined) return current;
      current = next;
    }
    return current;
  }
}

/** "./a//b" and "/a/b" are "a/b". */
function normalPath(path: string): string {
  return posix.normalize(`/${path}`).replace(/^\//, "").replace(/\/$/, "");
}

function isLink(header: Header): boolean {
  return header.type === "symlink" || header.type === "link";
}

/** A symlink counts from its folder, a hard link from the archive's root. */
function linkTarget(path: string, header: Header): string {
  const target = header.linkname ?? "";
  return normalPath(
    header.type === "symlink" && !target.startsWith("/")
      ? posix.join(posix.dirname(path), target)
      : target,
  );
}

/** Documents are small; a layer may be small too, then it is neither named nor shaped like one. */
function isJson(header: Header): boolean {
  const name = normalPath(header.name);
  if ((header.size ?? 0) > MANIFEST_MAX_BYTES) return false;
  return name.endsWith(".json") || name === "oci-layout" || name === "repositories";
}

async function readText(entry: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of entry) chunks.push(chunk);
  return Buffer.concat(chunks).toString("utf8");
}

/** A file of an OCI layout is checked against the digest that is its name. */
async function storeFile(
  context: ImageContext,
  path: string,
  entry: AsyncIterable<Uint8Array>,
  ref: string,
  lease: Lease,
): Promise<Descriptor> {
  const named = /^blobs\/sha256\/([0-9a-f]{64})$/.exec(path)?.[1];
  const { compression, bytes } = await sniff(entry);
  const digest = named === undefined ? undefined : `sha256:${named}`;
  const written = await context.content.write({ ref, digest, lease, source: () => bytes });
  // Who knows it by a type says so itself; this is for layers of docker's archives.
  const mediaType = compression === "xz" || compression === "bzip2" ? "" : layerTypeOf(compression);
  return { mediaType, digest: written.digest, size: written.size };
}

/** The bytes of a document of an OCI layout, by digest. */
export async function documentText(context: ImageContext, digest: string): Promise<string> {
  if (!isDigest(digest)) throw malformed(`bad digest ${digest}`);
  const bytes = await context.content.readAll(digest, MANIFEST_MAX_BYTES);
  if (sha256Digest(bytes) !== digest) throw malformed(`damaged ${digest}`);
  return new TextDecoder().decode(bytes);
}

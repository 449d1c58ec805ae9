/**
 * Docker's reference store, kept as containerd's image records: one record per reference, named by
 * its canonical form, whose target is the manifest of the one platform that we hold. A record named
 * `repo@digest` remembers under which digest (often of an index) a registry gave the image. An image
 * that lost its last name gets a `dangling@` record, so that garbage collection leaves it alone.
 */

import { isErrorCode } from "#base/error.ts";
import { invariant } from "#base/invariant.ts";
import type { Containerd } from "#platform/containerd/client.ts";
import type { Image } from "#wire/gen/containerd/images_pb.js";
import {
  canonicalReference,
  type Descriptor,
  parseReference,
  type Reference,
  repositoryOf,
} from "#wire/oci.ts";

export interface ImageRecord {
  readonly name: string;
  /** Undefined for a dangling record. */
  readonly reference: Reference | undefined;
  readonly target: Descriptor;
  /** When the name was last given, milliseconds since the epoch. */
  readonly updatedAtMs: number;
}

const DANGLING_PREFIX = "dangling@";

/** `name:tag` and `name@digest` are records; `name:tag@digest` is the one of its digest. */
export function recordName(reference: Reference): string {
  return canonicalReference(
    reference.digest === undefined ? reference : { ...reference, tag: undefined },
  );
}

export function danglingName(manifestDigest: string): string {
  return `${DANGLING_PREFIX}${manifestDigest}`;
}

export class ImageRecords {
  readonly #images: Containerd["images"];

  constructor(containerd: Pick<Containerd, "images">) {
    this.#images = containerd.images;
  }

  async get(name: string): Promise<ImageRecord | undefined> {
    try {
      const { image } = await this.#images.get({ name });
      return image === undefined ? undefined : toRecord(image);
    } catch (error) {
      if (isErrorCode(error, "not-found")) return undefined;
      throw error;
    }
  }

  async list(): Promise<readonly ImageRecord[]> {
    const { images } = await this.#images.list({});
    return images.map(toRecord).filter((record) => record !== undefined);
  }

  /** Points the name at the target, whatever it pointed at before. */
  async put(name: string, target: Descriptor): Promise<void> {
    const image = {
      name,
      target: { mediaType: target.mediaType, digest: target.digest, size: BigInt(target.size) },
    };
    try {
      await this.#images.create({ image });
    } catch (error) {
      if (!isErrorCode(error, "already-exists")) throw error;
      await this.#images.update({ image, updateMask: { paths: ["target"] } });
    }
  }

  /** `sync` also waits until what nothing names any more is gone from the disk. */
  async delete(name: string, options: { sync?: boolean } = {}): Promise<void> {
    try {
      await this.#images.delete({ name, sync: options.sync ?? false });
    } catch (error) {
      if (!isErrorCode(error, "not-found")) throw error;
    }
  }
}

function toRecord(image: Image): ImageRecord | undefined {
  const { name, target, updatedAt } = image;
  invariant(target !== undefined, "an image record without a target");
  const parsed = name.startsWith(DANGLING_PREFIX) ? undefined : parseReference(name);
  // Names that other tools wrote and docker cannot say are not ours to show.
  if (parsed !== undefined && (!parsed.ok || recordName(parsed.value) !== name)) return undefined;
  return {
    name,
    reference: parsed?.value,
    target: { mediaType: target.mediaType, digest: target.digest, size: Number(target.size) },
    updatedAtMs: updatedAt === undefined ? 0 : Number(updatedAt.seconds) * 1000,
  };
}

/** True when both are of one repository. */
export function sameRepository(a: Reference, b: Reference): boolean {
  return repositoryOf(a) === repositoryOf(b);
}

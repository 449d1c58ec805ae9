/**
 * Layers to snapshots: containerd applies each layer on the one below and names the result by its
 * chain id. JavaScript sees none of the bytes. A layer is unpacked once, whoever asks for it.
 */

import { EngineError, isErrorCode } from "#base/error.ts";
import { newHexId } from "#base/ids.ts";
import type { Random } from "#base/ports.ts";
import { KeyedLock } from "#platform/async.ts";
import type { Containerd } from "#platform/containerd/client.ts";
import type { Lease } from "#platform/containerd/leases.ts";
import type { Descriptor } from "#wire/oci.ts";
import { chainIdsOf } from "./stored-image.ts";

export interface LayerToUnpack {
  readonly descriptor: Descriptor;
  /** Digest of the unpacked tar as the config promises; undefined = not known yet. */
  readonly diffId: string | undefined;
  /** Chain id of the layer below; "" for the lowest. */
  readonly parent: string;
}

export interface UnpackedLayer {
  readonly diffId: string;
  readonly chainId: string;
}

export class Unpacker {
  readonly snapshotter: string;
  readonly #containerd: Pick<Containerd, "snapshots" | "diff">;
  readonly #random: Random;
  readonly #lock = new KeyedLock();
  /** Bytes of a committed layer by its chain id; they never change. */
  readonly #sizes = new Map<string, number>();

  constructor(
    containerd: Pick<Containerd, "snapshots" | "diff">,
    options: { snapshotter: string; random: Random },
  ) {
    this.#containerd = containerd;
    this.snapshotter = options.snapshotter;
    this.#random = options.random;
  }

  /** Unpacks one layer on its parent, which must be there; held by the lease when it returns. */
  async unpack(layer: LayerToUnpack, lease: Lease, signal?: AbortSignal): Promise<UnpackedLayer> {
    if (layer.diffId === undefined) return this.#apply(layer, lease, signal);
    const { diffId } = layer;
    const chainId = chainIdOn(layer.parent, diffId);
    return this.#lock.run(chainId, async () => {
      if (await this.hold(chainId, lease)) return { diffId, chainId };
      return this.#apply(layer, lease, signal);
    });
  }

  /** True when the snapshot is there; the lease then keeps it. */
  async hold(chainId: string, lease: Lease): Promise<boolean> {
    if (!(await this.has(chainId))) return false;
    await lease.hold(`snapshots/${this.snapshotter}`, chainId);
    // It may have gone between the look and the hold.
    return this.has(chainId);
  }

  async has(chainId: string): Promise<boolean> {
    try {
      await this.#containerd.snapshots.stat({ snapshotter: this.snapshotter, key: chainId });
      return true;
    } catch (error) {
      if (isErrorCode(error, "not-found")) return false;
      throw error;
    }
  }

  /** Bytes on disk of one committed layer; 0 when it is not unpacked. */
  async size(chainId: string): Promise<number> {
    const known = this.#sizes.get(chainId);
    if (known !== undefined) return known;
    try {
      const usage = await this.#containerd.snapshots.usage({
        snapshotter: this.snapshotter,
        key: chainId,
      });
      if (this.#sizes.size > 10_000) this.#sizes.clear();
      this.#sizes.set(chainId, Number(usage.size));
      return Number(usage.size);
    } catch (error) {
      if (isErrorCode(error, "not-found")) return 0;
      throw error;
    }
  }

  async #apply(layer: LayerToUnpack, lease: Lease, signal?: AbortSignal): Promise<UnpackedLayer> {
    const { snapshots, diff } = this.#containerd;
    const { snapshotter } = this;
    const key = `extract-${newHexId(this.#random, 8)}`;
    const options = { metadata: lease.metadata, signal };
    const { parent, descriptor } = layer;
    const { mounts } = await snapshots.prepare({ snapshotter, key, parent }, options);
    try {
      const { mediaType, digest, size } = descriptor;
      const applied = await diff.apply(
        { diff: { mediaType, digest, size: BigInt(size) }, mounts },
        options,
      );
      const diffId = applied.applied?.digest ?? "";
      if (layer.diffId !== undefined && diffId !== layer.diffId) {
        throw new EngineError(
          "data-loss",
          `wrong diff id calculated on extraction: layer ${digest} unpacks to ${diffId}, the image says ${layer.diffId}`,
        );
      }
      const chainId = chainIdOn(parent, diffId);
      await this.#commit(key, chainId, lease);
      return { diffId, chainId };
    } catch (error) {
      await snapshots.remove({ snapshotter, key }).catch(() => undefined);
      throw error;
    }
  }

  async #commit(key: string, chainId: string, lease: Lease): Promise<void> {
    const { snapshots } = this.#containerd;
    const { snapshotter } = this;
    try {
      const options = { metadata: lease.metadata };
      await snapshots.commit({ snapshotter, key, name: chainId }, options);
    } catch (error) {
      // The same tar, imported a second time.
      if (!isErrorCode(error, "already-exists")) throw error;
      await snapshots.remove({ snapshotter, key });
      await lease.hold(`snapshots/${snapshotter}`, chainId);
    }
  }
}

function chainIdOn(parent: string, diffId: string): string {
  const chain = chainIdsOf(parent === "" ? [diffId] : [parent, diffId]);
  return chain.at(-1) ?? diffId;
}

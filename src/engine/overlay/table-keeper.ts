/**
 * One nftables table in one namespace, kept as it should be. What is right already is adopted
 * untouched; a change is one cheap transaction; what somebody else altered is written anew, whole.
 */

import { isErrorCode } from "#base/error.ts";
import {
  compareTable,
  type NftListing,
  type NftTable,
  renderChange,
  renderTable,
} from "#plan/dataplane/ruleset.ts";
import { type Nft, openNft } from "#platform/net/nft.ts";
import { NftGeneration } from "#platform/net/nft-generation.ts";

export class TableKeeper {
  readonly #nft: Nft;
  /** What the kernel has, as far as we know; undefined = look first. */
  #current: NftTable | undefined;

  readonly #generation: NftGeneration;
  /** The state of the namespace's nftables in which the table was last seen to be right. */
  #seen: number | undefined;

  constructor(netns?: string) {
    this.#generation = new NftGeneration(netns);
    this.#nft = openNft(netns === undefined ? {} : { netns });
  }

  /** Brings the table to `wanted`. */
  async set(wanted: NftTable): Promise<void> {
    const before = this.#current ?? (await this.#adopt(wanted));
    if (before === wanted) return;
    const change = before === undefined ? undefined : renderChange(before, wanted);
    if (change === "") {
      this.#current = wanted;
      return;
    }
    this.#current = this.#seen = undefined;
    if (change === undefined) await this.#nft.run(renderTable(wanted));
    else await this.#change(change, wanted);
    this.#current = wanted;
  }

  /** A change that does not fit means that the table is not what we think. */
  async #change(change: string, wanted: NftTable): Promise<void> {
    try {
      await this.#nft.run(change);
    } catch {
      await this.#nft.run(renderTable(wanted));
    }
  }

  /** Compares with the kernel and repairs; what was wrong. */
  async audit(): Promise<readonly string[]> {
    const wanted = this.#current;
    const generation = this.#generation.read();
    if (wanted === undefined || generation === this.#seen) return [];
    const differences = compareTable(wanted, await this.#list(wanted.name));
    if (differences.length > 0) await this.#nft.run(renderTable(wanted));
    else this.#seen = generation;
    return differences;
  }

  async #adopt(wanted: NftTable): Promise<NftTable | undefined> {
    const generation = this.#generation.read();
    const listing = await this.#list(wanted.name);
    if (compareTable(wanted, listing).length > 0) return undefined;
    this.#current = wanted;
    this.#seen = generation;
    return wanted;
  }

  /** The value of one of its counters. */
  async packets(table: string, counter: string): Promise<number> {
    for (const { counter: found } of await this.#list(table)) {
      if (found?.["name"] === counter) return Number(found["packets"]);
    }
    return 0;
  }

  async #list(name: string): Promise<NftListing> {
    try {
      return await this.#nft.list(`list table inet ${name}`);
    } catch (error) {
      if (isErrorCode(error, "not-found")) return [];
      throw error;
    }
  }

  async remove(name: string): Promise<void> {
    this.#current = this.#seen = undefined;
    await this.#nft.run(`add table inet ${name}\ndelete table inet ${name}`);
  }

  close(): void {
    this.#generation.close();
    this.#nft.close();
  }
}

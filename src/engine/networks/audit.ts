/**
 * Watches over the engine's nftables table: a firewall that is reloaded flushes everybody's rules,
 * and published ports would lead nowhere until the next change. The generation of the namespace's
 * nftables tells cheaply that somebody changed something; then the table's parts are counted, and others'
 * chains are looked through for what cuts containers off.
 */

import { isErrorCode, messageOf } from "#base/error.ts";
import type { Timer } from "#base/ports.ts";
import { sleep } from "#platform/async.ts";
import type { NftObject } from "#platform/net/nft.ts";
import { NftGeneration } from "#platform/net/nft-generation.ts";
import { forwardDrops, remedyFor } from "./forward-drops.ts";
import { countParts, type PartCounts } from "./ruleset.ts";
import { type NetworkState, renderWhole, writeTable } from "./state.ts";

const INTERVAL_MS = 3_000;
const SETTLE_MS = 250;

export class RulesAudit {
  readonly #state: NetworkState;
  readonly #generation = new NftGeneration();
  #seen: number | undefined;
  #dropping: readonly string[] = [];
  #timer: Timer | undefined;
  #closed = false;

  constructor(state: NetworkState) {
    this.#state = state;
    this.#next();
  }

  /** Looks now; what was wrong, and is repaired. */
  async check(): Promise<readonly string[]> {
    const generation = this.#generation.read();
    if (generation === this.#seen) return [];
    const { options, log } = this.#state;
    await this.#lookAtOthers();
    if ((await this.#differences()).length === 0) {
      this.#seen = generation;
      return [];
    }
    // It may have been a change of ours that was under way.
    await sleep(options.clock, SETTLE_MS);
    const differences = await this.#differences();
    if (differences.length === 0) return [];
    log.warn("the nftables table was changed by somebody, it is written anew", {
      table: options.table,
      differences,
    });
    await writeTable(this.#state);
    return differences;
  }

  /** Warnings for the operator of this host. */
  warnings(): readonly string[] {
    if (this.#dropping.length === 0) return [];
    return [
      `WARNING: another firewall drops what containers send and receive (${this.#dropping.join(", ")}): ${this.#remedy()}`,
    ];
  }

  async #lookAtOthers(): Promise<void> {
    let dropping: readonly string[];
    try {
      dropping = await forwardDrops(this.#state.nft);
    } catch (error) {
      // Our own table is looked after whether or not others' can be read.
      this.#state.log.debug("other firewalls could not be looked at", { reason: messageOf(error) });
      return;
    }
    const known = this.#dropping.join();
    this.#dropping = dropping;
    if (dropping.length === 0 || dropping.join() === known) return;
    this.#state.log.warn(
      "another program's firewall drops what it does not know where packets are forwarded: containers reach nothing, and their published ports do not answer, until it lets them pass",
      { chains: dropping, remedy: this.#remedy() },
    );
  }

  #remedy(): string {
    return remedyFor(this.#dropping, [this.#state.options.bridge.name, "br-+"]);
  }

  async #differences(): Promise<readonly string[]> {
    const found = countListing(await this.#list(this.#state.options.table));
    return compare(countParts(renderWhole(this.#state)), found);
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#generation.close();
  }

  #next(): void {
    if (this.#closed) return;
    this.#timer = this.#state.options.clock.setTimer(INTERVAL_MS, () => void this.#run());
  }

  async #run(): Promise<void> {
    try {
      await this.check();
    } catch (error) {
      // The engine may have closed in between.
      if (!this.#closed) {
        this.#state.log.error("the nftables table could not be looked after", {
          reason: messageOf(error),
        });
      }
    }
    this.#next();
  }

  async #list(table: string): Promise<readonly NftObject[]> {
    try {
      return await this.#state.nft.list(`list table inet ${table}`);
    } catch (error) {
      if (isErrorCode(error, "not-found")) return [];
      throw error;
    }
  }
}

/** Rules of each chain, elements of each set and map. */
function countListing(listing: readonly NftObject[]): PartCounts {
  const counts = new Map<string, number>();
  const add = (name: unknown, count: number) => {
    if (typeof name === "string") counts.set(name, (counts.get(name) ?? 0) + count);
  };
  for (const { chain, rule, set, map } of listing) {
    if (chain !== undefined) add(chain["name"], 0);
    if (rule !== undefined) add(rule["chain"], 1);
    const holder = set ?? map;
    const elements = holder?.["elem"];
    if (holder !== undefined) add(holder["name"], Array.isArray(elements) ? elements.length : 0);
  }
  return counts;
}

function compare(wanted: PartCounts, found: PartCounts): readonly string[] {
  return [...wanted].flatMap(([name, count]) => {
    const there = found.get(name);
    return there === count ? [] : [`${name}: ${count} wanted, ${there ?? "none"} there`];
  });
}

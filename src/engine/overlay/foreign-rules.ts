/**
 * Rules of others on this host that swallow what ours let through: a policy of "drop" where packets
 * are forwarded, as dockerd sets it. A packet passes only if every table lets it, so that ours cannot
 * help it; and others' tables are not ours to change. What can be done is done (bridged packets need
 * not go through those tables), and the rest is said with the words that mend it.
 */

import { messageOf } from "#base/error.ts";
import type { Log } from "#base/ports.ts";
import { readSysctl, setSysctl } from "#platform/net/ip.ts";
import { type Nft, openNft } from "#platform/net/nft.ts";
import { NftGeneration } from "#platform/net/nft-generation.ts";
import { forwardDrops } from "../networks/forward-drops.ts";

const BRIDGED = ["net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"];

export class ForeignRules {
  readonly #log: Log;
  readonly #nft: Nft = openNft();
  readonly #generation = new NftGeneration();
  #seen: number | undefined;
  #dropping: readonly string[] = [];

  constructor(log: Log) {
    this.#log = log;
  }

  /** Chains that drop: "ip filter FORWARD". */
  get dropping(): readonly string[] {
    return this.#dropping;
  }

  /** Cheap while nftables stay as they were. */
  async look(): Promise<void> {
    const generation = this.#generation.read();
    if (generation === this.#seen) return;
    const dropping = await forwardDrops(this.#nft);
    this.#seen = generation;
    const known = this.#dropping.join();
    this.#dropping = dropping;
    if (dropping.join() === known) return;
    if (dropping.length === 0) return;
    this.#letBridgedPass();
    this.#log.warn(
      "another program's firewall drops what it does not know where packets are forwarded: published ports of the swarm do not answer here until it lets them pass",
      {
        chains: dropping,
        remedy:
          'for dockerd: iptables -I DOCKER-USER -i "ov-+" -j ACCEPT; iptables -I DOCKER-USER -o "ov-+" -j ACCEPT; the same with ip6tables',
      },
    );
  }

  /** What stays on a bridge is no business of rules for routed packets. */
  #letBridgedPass(): void {
    for (const path of BRIDGED) {
      if (readSysctl(path) !== "1") continue;
      try {
        setSysctl(path, "0");
        this.#log.warn("bridged packets do not pass the host's firewall any more", { path });
      } catch (error) {
        this.#log.warn("sysctl not set", { path, reason: messageOf(error) });
      }
    }
  }

  close(): void {
    this.#generation.close();
    this.#nft.close();
  }
}

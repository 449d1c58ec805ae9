/**
 * How full the kernel's table of connections is in the host's namespace. When it is full the kernel drops
 * what is new, on published ports and between networks alike, and nothing but a line in its own log
 * says why; so it is told before: in the engine's log, in `docker info` and as a figure.
 */

import { type Family, gauge } from "#base/metrics.ts";
import type { Clock, Log, Timer } from "#base/ports.ts";
import { readSysctl } from "#platform/net/ip.ts";

const LOOK_MS = 10_000;
/** Shares of the table: told of from the first on, and over below the second. */
const NEAR_FULL = 0.9;
const RELAXED = 0.8;

export interface TableFill {
  readonly count: number;
  readonly max: number;
}

export interface ConnectionTableOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** Undefined where the kernel has no such table (yet). */
  readonly read?: () => TableFill | undefined;
}

export class ConnectionTable {
  readonly #options: ConnectionTableOptions;
  #nearFull = false;
  #timer: Timer | undefined;

  constructor(options: ConnectionTableOptions) {
    this.#options = options;
    this.#schedule();
  }

  /** Sentences for `docker info`; none while there is room. */
  warnings(): readonly string[] {
    const fill = this.look();
    return fill !== undefined && this.#nearFull ? [`WARNING: ${sentence(fill)}`] : [];
  }

  families(): readonly Family[] {
    const fill = this.look();
    if (fill === undefined) return [];
    return [
      gauge(
        "skep_conntrack_entries",
        "Connections in the kernel's table, of the host's namespace.",
        fill.count,
      ),
      gauge(
        "skep_conntrack_entries_limit",
        "How many connections that table holds; beyond, new ones are dropped.",
        fill.max,
      ),
    ];
  }

  /** How it is now; logs when it comes near its end, and when there is room again. */
  look(): TableFill | undefined {
    const { log, read = readKernel } = this.#options;
    const fill = read();
    if (fill === undefined || fill.max <= 0) return undefined;
    const share = fill.count / fill.max;
    if (!this.#nearFull && share >= NEAR_FULL) {
      this.#nearFull = true;
      log.warn(sentence(fill), { count: fill.count, max: fill.max });
    } else if (this.#nearFull && share < RELAXED) {
      this.#nearFull = false;
      log.info("the kernel's connection table has room again", { ...fill });
    }
    return fill;
  }

  close(): void {
    this.#timer?.cancel();
  }

  #schedule(): void {
    this.#timer = this.#options.clock.setTimer(LOOK_MS, () => {
      this.look();
      this.#schedule();
    });
  }
}

function sentence({ count, max }: TableFill): string {
  return `the kernel's connection table is nearly full (${count} of ${max}): when it is full, new connections are dropped; raise net.netfilter.nf_conntrack_max`;
}

function readKernel(): TableFill | undefined {
  const [count, max] = ["count", "max"].map((what) =>
    readSysctl(`net/netfilter/nf_conntrack_${what}`),
  );
  if (count === undefined || max === undefined) return undefined;
  return { count: Number(count), max: Number(max) };
}

/**
 * Asks the other nodes whether they are there, once a second each: a connection to a port of their own
 * address on a network that nobody listens on. Their kernels refuse it at once, whether or not an engine
 * runs; so the question takes the way that traffic takes, and finds hosts, not processes. What the
 * answers mean is `plan/dataplane/reachability.ts`.
 */

import { connect } from "node:net";
import type { Clock, Log, Timer } from "#base/ports.ts";
import { Reachability } from "#plan/dataplane/reachability.ts";

const PERIOD_MS = 1_000;
/** Questions in a period at most; with more nodes than this, each is asked less often. */
const QUESTIONS_MAX = 64;
/** "tcpmux": assigned, and not in use anywhere. */
const PORT = 1;

export interface PeerProbeOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** Who is silent has changed. */
  readonly onChange: () => void;
}

export class PeerProbe {
  readonly #options: PeerProbeOptions;
  readonly #nodes = new Reachability();
  /** Where to ask, by node. */
  #peers: ReadonlyMap<string, string> = new Map();
  /** Nodes still to be asked in this round. */
  #round: string[] = [];
  readonly #asking = new Set<string>();
  #timer: Timer | undefined;

  constructor(options: PeerProbeOptions) {
    this.#options = options;
  }

  get silent(): ReadonlySet<string> {
    return this.#nodes.silent;
  }

  /** From now on these. */
  setPeers(peers: ReadonlyMap<string, string>): void {
    this.#peers = peers;
    if (this.#nodes.keep(new Set(peers.keys()))) this.#options.onChange();
    if (peers.size === 0) this.close();
    else this.#timer ??= this.#options.clock.setTimer(PERIOD_MS, () => this.#ask());
  }

  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #ask(): void {
    this.#timer = this.#options.clock.setTimer(PERIOD_MS, () => this.#ask());
    if (this.#round.length === 0) this.#round = [...this.#peers.keys()];
    for (const nodeId of this.#round.splice(0, QUESTIONS_MAX)) {
      const address = this.#peers.get(nodeId);
      if (address !== undefined && !this.#asking.has(nodeId)) this.#askOne(nodeId, address);
    }
  }

  #askOne(nodeId: string, host: string): void {
    this.#asking.add(nodeId);
    const socket = connect({ host, port: PORT });
    let over = false;
    const end = (answered: boolean) => {
      if (over) return;
      over = true;
      timer.cancel();
      socket.destroy();
      this.#asking.delete(nodeId);
      this.#heard(nodeId, host, answered);
    };
    // An answer that came while this process had no turn is read before the wait is given up.
    const late = () => setImmediate(() => setImmediate(() => end(false)));
    const timer = this.#options.clock.setTimer(PERIOD_MS, late);
    socket.on("connect", () => end(true));
    socket.on("error", ({ code }: NodeJS.ErrnoException) => {
      end(code === "ECONNREFUSED" || code === "ECONNRESET");
    });
  }

  #heard(nodeId: string, address: string, answered: boolean): void {
    if (this.#timer === undefined || !this.#peers.has(nodeId)) return;
    if (!this.#nodes.observe(nodeId, answered)) return;
    const { log, onChange } = this.#options;
    if (answered) log.info("a node answers again", { node: nodeId, address });
    else {
      log.warn("a node does not answer: connections go to others, where a service has others", {
        node: nodeId,
        address,
      });
    }
    onChange();
  }
}

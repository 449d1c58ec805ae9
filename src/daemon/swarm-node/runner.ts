/**
 * Keeps a node of a swarm running: starts it, and starts it again with growing pauses when it failed.
 * A first attempt to found or join a swarm that fails is not repeated: whoever asked is told.
 */

import type { LocalNodeState } from "#api/cluster-port.ts";
import { messageOf } from "#base/error.ts";
import type { Clock, Log } from "#base/ports.ts";
import { deferred, sleep } from "#platform/async.ts";
import { RejectedError } from "./enrol.ts";
import { LockedKeyError } from "./key-file.ts";
import type { Origin, SwarmNode } from "./node.ts";
import type { StartState } from "./start-state.ts";

const BACKOFF_FIRST_MS = 100;
const BACKOFF_MAX_MS = 30_000;

export interface RunnerOptions {
  readonly start: StartState;
  readonly origin: Origin;
  readonly createNode: (origin: Origin, onChange: () => void) => SwarmNode;
  readonly onChange: () => void;
  readonly clock: Clock;
  readonly log: Log;
}

export class NodeRunner {
  readonly start: StartState;
  readonly #options: RunnerOptions;
  readonly #stopping = new AbortController();
  readonly #ready = deferred();
  readonly #loop: Promise<void>;
  #node: SwarmNode | undefined;
  #nodeReady = false;
  #error: unknown;
  #told: string | undefined;

  constructor(options: RunnerOptions) {
    this.#options = options;
    this.start = options.start;
    this.#ready.promise.catch(() => undefined);
    this.#loop = this.#run();
  }

  /** How the first attempt ended. From disk, it resolves when some attempt succeeded. */
  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  /** The running node; undefined between attempts. */
  get node(): SwarmNode | undefined {
    return this.#node;
  }

  get state(): LocalNodeState {
    if (this.#node !== undefined) return this.#nodeReady ? "active" : "pending";
    if (this.#error instanceof LockedKeyError) return "locked";
    return this.#error === undefined ? "pending" : "error";
  }

  get error(): string {
    return this.#error === undefined || this.#nodeReady ? "" : messageOf(this.#error);
  }

  /** A manager is at that address; told to the node of this attempt and of those to come. */
  reconnect(address: string): void {
    this.#told = address;
    this.#node?.reconnect(address);
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#node?.stop();
    await this.#loop;
  }

  async #run(): Promise<void> {
    const { clock, log, onChange } = this.#options;
    const signal = this.#stopping.signal;
    let origin = this.#options.origin;
    let backoffMs = BACKOFF_FIRST_MS;
    let repeat = origin.kind === "disk";
    while (!signal.aborted) {
      const node = this.#options.createNode(origin, onChange);
      this.#node = node;
      if (this.#told !== undefined) node.reconnect(this.#told);
      onChange();
      try {
        await node.ready;
        this.#nodeReady = true;
        this.#error = undefined;
        backoffMs = BACKOFF_FIRST_MS;
        repeat = true;
        this.#ready.resolve();
        onChange();
      } catch {
        // `done` tells why.
      }
      const error = await node.done.then(
        () => undefined,
        (reason: unknown) => reason,
      );
      this.#node = undefined;
      this.#nodeReady = false;
      this.#error = error;
      onChange();
      if (signal.aborted) break;
      log.error("the node's part in the swarm ended", { reason: messageOf(error), backoffMs });
      if (!repeat || error instanceof LockedKeyError || error instanceof RejectedError) {
        this.#ready.reject(error);
        return;
      }
      // Whatever an earlier attempt was asked to do, it has done or left on the disk.
      origin = { kind: "disk", address: this.start.remoteAddr };
      await sleep(clock, backoffMs, signal).catch(() => undefined);
      backoffMs = Math.min(backoffMs * 2, BACKOFF_MAX_MS);
    }
    this.#ready.reject(new Error("stopped"));
  }
}

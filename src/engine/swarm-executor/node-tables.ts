/**
 * The tables of this node's networks as managers sent them: merged, handed to the data path, and kept
 * on disk for a start without managers. Knows also which tasks may be stopped, because managers say
 * so in the same messages.
 *
 * The disk is written behind, and may lag by a moment with what is new: that serves only until the
 * first manager is met. What takes a task out of the balance is on disk before it is acknowledged. An
 * engine that starts over brings about what the disk has, and the task may have been stopped by then.
 */

import { create } from "@bufbuild/protobuf";
import type { TablesSource } from "#agent/executor.ts";
import { messageOf } from "#base/error.ts";
import type { Clock, Log, Timer } from "#base/ports.ts";
import { applyMessage, type NetworkTables } from "#plan/dataplane/merge.ts";
import { type Deferred, deferred, sleep } from "#platform/async.ts";
import {
  type TablesMessage,
  TablesMessageSchema,
  TablesMessage_Type as Type,
} from "#wire/gen/skep/dataplane_pb.js";
import type { DataPath, Release, ReleasedTasks, TablesFile } from "./ports.ts";

export interface NodeTablesOptions {
  /** Where they are kept. */
  readonly file: TablesFile;
  readonly dataPath: DataPath;
  readonly clock: Clock;
  readonly log: Log;
}

/** How long the disk may lag. */
const STORE_DELAY_MS = 2_000;
/** How long a task waits while no manager is in reach, and at all. */
const LOST_WAIT_MS = 10_000;
const LATE_WAIT_MS = 60_000;
/** Tasks that were released and may still ask; older ones are over. */
const RELEASED_MAX = 10_000;

/** What this node knows of the networks that it serves. */
export interface NodeTablesStatus {
  /** Of the newest tables that the kernel was brought to. */
  readonly appliedRevision: number;
  readonly source: TablesSource;
  readonly networks: number;
}

export class NodeTables implements ReleasedTasks {
  readonly #options: NodeTablesOptions;
  #tables: NetworkTables = new Map();
  #revision = 0n;
  #appliedRevision = 0n;
  #port = 0;
  #source: TablesSource = "lost";
  /** When the source was lost, monotonic milliseconds. */
  #lostMs: number;
  readonly #released = new Set<string>();
  #changed: Deferred<void> = deferred();
  #timer: Timer | undefined;
  #writing: Promise<void> = Promise.resolve();

  private constructor(options: NodeTablesOptions) {
    this.#options = options;
    this.#lostMs = options.clock.monotonicMs();
  }

  /** Takes up what is on disk, if anything is; the data path begins with it at once. */
  static async open(options: NodeTablesOptions): Promise<NodeTables> {
    const tables = new NodeTables(options);
    const stored = await options.file.load();
    if (stored !== undefined) {
      tables.#merge(stored);
      tables.#hand().catch((error: unknown) => {
        options.log.warn("the tables on disk could not be brought about", {
          reason: messageOf(error),
        });
      });
    }
    return tables;
  }

  status(): NodeTablesStatus {
    return {
      appliedRevision: Number(this.#appliedRevision),
      source: this.#source,
      networks: this.#tables.size,
    };
  }

  /** Resolves when the kernel is what the message says, and will not go back behind what it took out. */
  async apply(message: TablesMessage): Promise<void> {
    this.#merge(message);
    const kept = takesOut(message) ? this.#store() : undefined;
    await this.#hand();
    await kept;
    this.#forgetReady(message);
    for (const taskId of message.releasedTasks) this.#release(taskId);
    if (message.releasedTasks.length > 0) this.#tell();
    if (kept !== undefined) return;
    this.#timer ??= this.#options.clock.setTimer(STORE_DELAY_MS, () => void this.#store());
  }

  source(source: TablesSource): void {
    if (source === "lost" && this.#source !== "lost") {
      this.#lostMs = this.#options.clock.monotonicMs();
    }
    this.#source = source;
    this.#tell();
  }

  async released(taskId: string, signal: AbortSignal, limitMs = LATE_WAIT_MS): Promise<Release> {
    const { clock } = this.#options;
    const startMs = clock.monotonicMs();
    for (;;) {
      signal.throwIfAborted();
      if (this.#released.has(taskId)) return "released";
      if (this.#source === "unsupported") return "unsupported";
      const lost = this.#source === "lost";
      const lateMs = startMs + limitMs;
      const lostMs = Math.max(this.#lostMs, startMs) + LOST_WAIT_MS;
      const leftMs = (lost ? Math.min(lostMs, lateMs) : lateMs) - clock.monotonicMs();
      if (leftMs <= 0) return lost ? "lost" : "late";
      const over = new AbortController();
      const both = AbortSignal.any([signal, over.signal]);
      await Promise.race([
        this.#changed.promise,
        sleep(clock, leftMs, both).catch(() => undefined),
      ]);
      over.abort();
    }
  }

  /** The node has left its swarm. */
  async forget(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = undefined;
    await this.#writing;
    await this.#options.file.remove();
    this.#tables = new Map();
    this.#released.clear();
    this.#revision = this.#appliedRevision = 0n;
    this.#source = "lost";
    this.#lostMs = this.#options.clock.monotonicMs();
  }

  /** Writes what is not on disk yet. */
  async close(): Promise<void> {
    if (this.#timer !== undefined) await this.#store();
    await this.#writing;
  }

  #merge(message: TablesMessage): void {
    this.#tables = applyMessage(this.#tables, message);
    this.#revision = message.revision;
    this.#port = message.dataPathPort;
  }

  async #hand(): Promise<void> {
    const revision = this.#revision;
    await this.#options.dataPath.setTables(this.#tables, this.#port);
    if (revision > this.#appliedRevision) this.#appliedRevision = revision;
  }

  #release(taskId: string): void {
    this.#released.add(taskId);
    if (this.#released.size <= RELEASED_MAX) return;
    for (const oldest of this.#released) {
      this.#released.delete(oldest);
      return;
    }
  }

  /** What takes part in the balance again has to be let go anew. */
  #forgetReady({ networks, changes }: TablesMessage): void {
    if (this.#released.size === 0) return;
    for (const { endpoints } of [...networks, ...changes]) {
      for (const { taskId, ready } of endpoints) if (ready) this.#released.delete(taskId);
    }
  }

  #tell(): void {
    this.#changed.resolve();
    this.#changed = deferred();
  }

  #store(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = undefined;
    const message = create(TablesMessageSchema, {
      type: Type.COMPLETE,
      revision: this.#revision,
      dataPathPort: this.#port,
      networks: [...this.#tables.values()],
    });
    this.#writing = this.#writing.then(() => this.#options.file.store(message));
    return this.#writing;
  }
}

/** Whether some task may have had traffic before the message that it has not after it. */
function takesOut({ type, networks, changes }: TablesMessage): boolean {
  if (type === Type.COMPLETE || networks.length > 0) return true;
  return changes.some(
    ({ endpoints, removedEndpoints }) =>
      removedEndpoints.length > 0 || endpoints.some(({ withdrawn }) => withdrawn),
  );
}

/**
 * The agent of a node: keeps the tasks that managers assign to it running, and keeps a session with
 * some manager as long as one can be reached. The two do not wait for each other: tasks on disk are
 * taken up before the first session, and a lost session changes nothing for what runs.
 *
 * Where managers are and how to prove one's identity to them is not known here: a `Connector` picks
 * a manager and opens the channel.
 */

import { join } from "node:path";
import { equals } from "@bufbuild/protobuf";
import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import type { Clock, Log, Random } from "#base/ports.ts";
import { FEATURE_LEVEL } from "#model/feature-level.ts";
import { type Deferred, deferred, sleep } from "#platform/async.ts";
import type { RpcChannel } from "#platform/grpc/client.ts";
import type { TablesMessage } from "#wire/gen/skep/dataplane_pb.js";
import type { SessionMessage } from "#wire/gen/swarmkit/dispatcher_pb.js";
import { type Node, NodeSchema } from "#wire/gen/swarmkit/objects_pb.js";
import type { NodeDescription, NodeTLSInfo, TaskStatus } from "#wire/gen/swarmkit/types_pb.js";
import type { Executor, TablesSource } from "./executor.ts";
import { createLogSubscriptions } from "./log-subscriptions.ts";
import { createReporter, type Reporter } from "./reporter.ts";
import { runSession } from "./session.ts";
import type { TaskKeys } from "./task-file.ts";
import { openTaskStore, type TaskStore } from "./task-store.ts";
import { createWorker, type Worker } from "./worker.ts";

/** A manager that was picked, and a channel that has proven both identities. */
export interface ManagerConnection {
  readonly nodeId: string;
  /** "host:port", for the log. */
  readonly addr: string;
  readonly channel: RpcChannel;
}

export interface Connector {
  /** Picks by weight; rejects when no manager is known. The agent closes the channel. */
  pick(signal: AbortSignal): Promise<ManagerConnection>;
  /** How it went with a connection: true once a session began, false when one failed. */
  observe(connection: ManagerConnection, success: boolean): void;
  /**
   * Whether the cluster, asked by a way that needs no certificate of this node, does not know this
   * node any more. False in every case of doubt.
   */
  isRemoved(signal: AbortSignal): Promise<boolean>;
}

export interface AgentOptions {
  readonly executor: Executor;
  readonly connector: Connector;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** `<data root>/swarm`; the agent writes below `worker/tasks`. */
  readonly dataDir: string;
  /** What seals the files of the tasks; by default they lie open. */
  readonly taskKeys?: TaskKeys;
  /** Where tasks are kept instead of files in `dataDir`. */
  readonly store?: TaskStore;
  /** What the node's certificate says, as the cluster's root rotation needs to know it. */
  readonly tlsInfo?: () => NodeTLSInfo | undefined;
  /** Managers, root certificate, keys and this node's record, whenever a manager sends them. */
  readonly onSessionMessage?: (message: SessionMessage) => void | Promise<void>;
  /** Tasks that may pull and create at once; default 8. */
  readonly prepareLimit?: number;
  /** Milliseconds between looks at the node description; default 20 s. */
  readonly describePeriodMs?: number;
}

export interface Agent {
  /** Resolves with the first session. */
  readonly ready: Promise<void>;
  /**
   * Resolves when a manager refused this node and the cluster does not know it any more: its tasks are
   * removed, and no session is tried again.
   */
  readonly dismissed: Promise<EngineError>;
  /** Newest status per task of this node. */
  statuses(): ReadonlyMap<string, TaskStatus>;
  /** Looks at the node description now, e.g. after the certificate was renewed. */
  refresh(): void;
  /** Resolves when nothing of the tasks is on disk under another key than the current one. */
  reseal(): Promise<void>;
  /** Removes all tasks of this node, then resolves; no assignment is taken any more. */
  leave(signal?: AbortSignal): Promise<void>;
  /** Ends session and loops; containers go on. */
  close(): Promise<void>;
}

const BACKOFF_FIRST_MS = 100;
const BACKOFF_MAX_MS = 8_000;
const DESCRIBE_PERIOD_MS = 20_000;
const PREPARE_LIMIT = 8;

export async function startAgent(options: AgentOptions): Promise<Agent> {
  const { dataDir, taskKeys: keys, random, log } = options;
  const directory = join(dataDir, "worker", "tasks");
  const store = options.store ?? (await openTaskStore({ directory, keys, random, log }));
  const reporter = createReporter(options.log);
  const worker = createWorker({
    executor: options.executor,
    store,
    clock: options.clock,
    log: options.log,
    prepareLimit: options.prepareLimit ?? PREPARE_LIMIT,
    onStatus: (taskId, status) => reporter.report(taskId, status),
  });
  await worker.start();
  const agent = new SessionKeeper(options, worker, reporter, store);
  agent.start();
  return agent;
}

class SessionKeeper implements Agent {
  readonly #options: AgentOptions;
  readonly #worker: Worker;
  readonly #reporter: Reporter;
  readonly #store: TaskStore;
  readonly #closing = new AbortController();
  readonly #ready = deferred();
  readonly #dismissed = deferred<EngineError>();
  #loop: Promise<void> = Promise.resolve();
  #sessionId = "";
  #backoffMs = 0;
  #leaving = false;
  #node: Node | undefined;
  #keysSeen = "";
  /** How often `refresh` was called, now and when the node was last described. */
  #refreshes = 0;
  #refreshesSeen = 0;
  /** What was last told, besides that there was no manager. */
  #tablesSource: Exclude<TablesSource, "lost"> = "following";
  #describeNow: Deferred<void> = deferred();

  constructor(options: AgentOptions, worker: Worker, reporter: Reporter, store: TaskStore) {
    this.#options = options;
    this.#worker = worker;
    this.#reporter = reporter;
    this.#store = store;
  }

  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  get dismissed(): Promise<EngineError> {
    return this.#dismissed.promise;
  }

  start(): void {
    this.#loop = this.#run();
  }

  statuses(): ReadonlyMap<string, TaskStatus> {
    return this.#worker.statuses();
  }

  refresh(): void {
    this.#refreshes += 1;
    const earlier = this.#describeNow;
    this.#describeNow = deferred();
    earlier.resolve();
  }

  reseal(): Promise<void> {
    return this.#store.reseal();
  }

  async leave(signal?: AbortSignal): Promise<void> {
    this.#leaving = true;
    this.#worker.apply([], true);
    await Promise.race([this.#worker.settled(), ...(signal === undefined ? [] : [ended(signal)])]);
  }

  async close(): Promise<void> {
    this.#closing.abort(new EngineError("cancelled", "the agent is closing"));
    await this.#loop;
    await this.#worker.close();
  }

  async #run(): Promise<void> {
    const signal = this.#closing.signal;
    while (!signal.aborted) {
      try {
        const delayMs = this.#backoffMs === 0 ? 0 : this.#options.random.int(this.#backoffMs);
        if (delayMs > 0) await sleep(this.#options.clock, delayMs, signal);
        await this.#session(signal);
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof EngineError && (await this.#isDismissal(error, signal))) {
          this.#options.log.error("dismissed by the cluster; the tasks of this node are removed", {
            reason: messageOf(error),
          });
          await this.leave(signal);
          this.#dismissed.resolve(error);
          return;
        }
        this.#backoffMs = Math.min(BACKOFF_FIRST_MS + 2 * this.#backoffMs, BACKOFF_MAX_MS);
        this.#options.log.warn("session with a manager failed; tasks go on without it", {
          reason: messageOf(error),
          backoffMs: this.#backoffMs,
        });
      }
    }
  }

  /**
   * A refusal alone proves nothing: an expired certificate is refused, and so is everybody by a manager
   * that does not know its cluster yet.
   */
  async #isDismissal(error: EngineError, signal: AbortSignal): Promise<boolean> {
    if (!isErrorCode(error, "permission-denied")) return false;
    return this.#options.connector.isRemoved(signal).catch(() => false);
  }

  async #session(signal: AbortSignal): Promise<void> {
    const { connector, clock, log } = this.#options;
    const connection = await connector.pick(signal);
    const logs = createLogSubscriptions(this.#worker, connection.channel, log);
    try {
      await runSession(
        {
          channel: connection.channel,
          sessionId: this.#sessionId,
          clock,
          log,
          describePeriodMs: this.#options.describePeriodMs ?? DESCRIBE_PERIOD_MS,
          describe: () => this.#describe(),
          describeEarlier: async () => {
            if (this.#refreshesSeen === this.#refreshes) await this.#describeNow.promise;
          },
          onRegistered: (sessionId, send) => {
            this.#sessionId = sessionId;
            this.#backoffMs = 0;
            connector.observe(connection, true);
            log.info("session with a manager", { manager: connection.addr, session: sessionId });
            this.#reporter.bind(send);
            this.#reporter.reportAll(this.#worker.statuses());
            this.#ready.resolve();
          },
          onMessage: (message) => this.#onMessage(message),
          onAssignments: (changes, complete) => {
            if (!this.#leaving) this.#worker.apply(changes, complete);
          },
          onSubscription: (message) => logs.handle(message),
          tables: this.#tables(),
        },
        signal,
      );
    } catch (error) {
      if (!signal.aborted) connector.observe(connection, false);
      throw error;
    } finally {
      this.#reporter.bind(undefined);
      logs.close();
      connection.channel.close();
    }
  }

  /** What follows the tables of the data path, if the executor has one. */
  #tables() {
    const { executor } = this.#options;
    if (executor.applyTables === undefined) return undefined;
    return {
      apply: async (message: TablesMessage) => executor.applyTables?.(message),
      onSource: (source: TablesSource) => this.#onTablesSource(source),
    };
  }

  /** What this node can do depends on it: the managers are told when it changes. */
  #onTablesSource(source: TablesSource): void {
    this.#options.executor.tablesSource?.(source);
    if (source === "lost" || source === this.#tablesSource) return;
    this.#tablesSource = source;
    this.refresh();
  }

  async #describe(): Promise<NodeDescription> {
    this.#refreshesSeen = this.#refreshes;
    const description = await this.#options.executor.describe();
    const known = { ...description, featureLevel: FEATURE_LEVEL };
    const tlsInfo = this.#options.tlsInfo?.();
    return tlsInfo === undefined ? known : { ...known, tlsInfo };
  }

  async #onMessage(message: SessionMessage): Promise<void> {
    const { executor, log } = this.#options;
    const node = message.node;
    if (node !== undefined && !(this.#node && equals(NodeSchema, node, this.#node))) {
      this.#node = node;
      await executor.configure(node).catch((error: unknown) => {
        log.error("configuring the node failed", { reason: messageOf(error) });
      });
    }
    const keys = message.networkBootstrapKeys;
    const seen = keys.map((key) => `${key.subsystem}/${key.lamportTime}`).join();
    if (keys.length > 0 && seen !== this.#keysSeen) {
      this.#keysSeen = seen;
      await executor.setNetworkBootstrapKeys?.(keys).catch((error: unknown) => {
        log.error("configuring network keys failed", { reason: messageOf(error) });
      });
    }
    try {
      await this.#options.onSessionMessage?.(message);
    } catch (error) {
      log.error("taking in what the manager says failed", { reason: messageOf(error) });
    }
  }
}

function ended(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const stop = () => reject(signal.reason as Error);
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
  });
}

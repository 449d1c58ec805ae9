/**
 * The containers of this host behind one interface: the port of the agent (`ContainerService`) and
 * what the Engine API needs besides. Each method finds the container, and hands over to the part
 * that knows how. Opening adopts what runs; closing leaves it running.
 */

import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import type { Clock, Log, Random } from "#base/ports.ts";
import { KeyedLock, sleep } from "#platform/async.ts";
import type { Containerd } from "#platform/containerd/client.ts";
import type {
  ContainerInspect,
  ContainerStats,
  ContainerSummary,
  ContainersPruneReport,
  ContainerTop,
  ContainerUpdateBody,
} from "#wire/docker/containers.ts";
import type { EndpointSettings } from "#wire/docker/networks.ts";
import { createExecService, type ExecService, type TerminalSize } from "../exec/exec-service.ts";
import { createFileService, type FileService } from "../files/service.ts";
import { readLog } from "../logs/log-reader.ts";
import { createNsClock } from "../logs/timestamps.ts";
import type {
  ContainerService,
  EventBus,
  Filters,
  ImageService,
  LogEntry,
  LogOptions,
  NetworkSandbox,
  VolumeService,
  WaitResult,
} from "../ports.ts";
import { adoptAll, auditTasks, runningSandboxes, startByPolicy } from "./adopt.ts";
import { type ClientStreams, openSession, type Session } from "./attach.ts";
import type { Container } from "./container.ts";
import { type ContainerContext, type ContainerNetworks, publishEvent } from "./context.ts";
import {
  commitContainer,
  endForRemoval,
  killContainer,
  pauseContainer,
  restartContainer,
  type StopOptions,
  startContainer,
  stopContainer,
  unpauseContainer,
} from "./control.ts";
import { createContainer } from "./create.ts";
import { CONTAINER_DEFAULTS, type ContainerDefaults } from "./create-request.ts";
import { finishRun } from "./finish.ts";
import { readHostFacts } from "./host.ts";
import type { DnsDefaults } from "./host-files.ts";
import { connectNetwork, disconnectNetwork, refreshNetworks } from "./networks.ts";
import { inspectContainer, listContainers, pruneContainers } from "./query.ts";
import { ContainerRegistry } from "./registry.ts";
import { removeLocked } from "./remove.ts";
import { isAlive } from "./state.ts";
import { readStats, type StatsOptions } from "./stats.ts";
import { ContainerStore } from "./store.ts";
import { TaskRuntime } from "./task-runtime.ts";
import { topContainer } from "./top.ts";
import { renameContainer, updateContainer } from "./update.ts";
import { waitForContainer } from "./wait.ts";

export interface ContainerEngineOptions {
  readonly containerd: Containerd;
  readonly snapshotter: string;
  readonly dataRoot: string;
  readonly execRoot: string;
  readonly images: Pick<ImageService, "resolve" | "inspect">;
  readonly networks: ContainerNetworks;
  readonly volumes: VolumeService;
  readonly events: EventBus;
  /** For containers that have no such settings; absent = the host's. */
  readonly dns?: DnsDefaults;
  /** What containers get that say nothing else; docker's defaults unless given. */
  readonly defaults?: ContainerDefaults | undefined;
  /** Told of each health probe that has ended. */
  readonly onProbe?: ((failed: boolean) => void) | undefined;
  /** A static init for `--init`; looked for unless given. */
  readonly initPath?: string | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** What a client of attach has to know before it takes the connection over. */
export interface AttachInfo {
  readonly id: string;
  readonly terminal: boolean;
  readonly openStdin: boolean;
}

export interface ContainerEngine extends ContainerService {
  readonly execs: ExecService;
  readonly files: FileService;
  restart(reference: string, options: StopOptions): Promise<void>;
  pause(reference: string): Promise<void>;
  unpause(reference: string): Promise<void>;
  rename(reference: string, name: string): Promise<void>;
  update(reference: string, body: ContainerUpdateBody): Promise<readonly string[]>;
  /** `docker network connect`, also of a container that does not run. */
  connectNetwork(reference: string, network: string, settings: EndpointSettings): Promise<void>;
  disconnectNetwork(reference: string, network: string): Promise<void>;
  resize(reference: string, size: TerminalSize): Promise<void>;
  top(reference: string, psArguments: string): Promise<ContainerTop>;
  stats(reference: string, options: StatsOptions): AsyncIterable<ContainerStats>;
  prune(filters: Filters): Promise<ContainersPruneReport>;
  /** Runs `make` while the container, if it runs, is frozen (with `pause`) and not removed. */
  commit(reference: string, pause: boolean, make: () => Promise<string>): Promise<string>;
  /** What attach needs to know; refuses containers that cannot be attached to. */
  attachInfo(reference: string): AttachInfo;
  attach(reference: string, client: ClientStreams): Session;
  /** Whether the process writes to a terminal: its output is one raw stream. */
  hasTerminal(reference: string): boolean;
  /** Sandboxes of what runs, for `NetworkService.reconcile`. */
  runningSandboxes(): ReadonlyMap<string, NetworkSandbox>;
  /** Shows what the networks say that running containers hold; once, after their reconciliation. */
  refreshNetworks(): Promise<void>;
  /** Starts what its restart policy wants running; once, when networks and volumes are ready. */
  startByPolicy(): void;
  /** Stops watching; everything that runs goes on. */
  close(): Promise<void>;
}

/** Opens the containers under `dataRoot` and takes up what runs. */
export async function openContainerEngine(
  options: ContainerEngineOptions,
): Promise<ContainerEngine> {
  const context: ContainerContext = {
    ...options,
    dns: options.dns ?? { servers: [], search: [], options: [] },
    runtime: new TaskRuntime({
      containerd: options.containerd,
      owner: options.dataRoot,
      runcRoot: `${options.execRoot}/runc`,
      ioRoot: `${options.execRoot}/io`,
      snapshotter: options.snapshotter,
      clock: options.clock,
    }),
    store: new ContainerStore(options.dataRoot),
    registry: new ContainerRegistry(),
    locks: new KeyedLock(),
    host: await readHostFacts(options.initPath),
    defaults: options.defaults ?? CONTAINER_DEFAULTS,
    nowNs: createNsClock(options.clock),
    ioRoot: `${options.execRoot}/io`,
    mountRoot: `${options.execRoot}/mounts`,
    runEnded: (container, exit, watch) => finishRun(context, container, exit, watch),
    closing: false,
  };
  await adoptAll(context);
  const audit = startAudit(context);
  return createEngine(context, audit);
}

const AUDIT_INTERVAL_MS = 15_000;
const FIRST_AUDIT_MS = 2_000;
/** Reading every process of the host is not cheap: at first, when it is likely to find something… */
const FULL_AUDITS = 3;
/** …and every ten minutes. */
const FULL_AUDIT_EVERY = 40;

/** Audits soon after the start, then now and then; returns how to stop. */
function startAudit(context: ContainerContext): () => void {
  const stop = new AbortController();
  void (async () => {
    for (let count = 0; ; count += 1) {
      await sleep(context.clock, count === 0 ? FIRST_AUDIT_MS : AUDIT_INTERVAL_MS, stop.signal);
      const full = count < FULL_AUDITS || count % FULL_AUDIT_EVERY === 0;
      await auditTasks(context, full).catch((error: unknown) =>
        context.log.warn("containers could not be audited", { reason: messageOf(error) }),
      );
      await context.store.writeRest().catch(() => undefined);
    }
  })().catch(() => undefined);
  return () => stop.abort(new EngineError("cancelled", "the engine closes"));
}

function createEngine(context: ContainerContext, stopAudit: () => void): ContainerEngine {
  const find = (reference: string) => context.registry.find(reference);
  return {
    execs: createExecService(context),
    files: createFileService(context),
    create: (name, body, create) => createContainer(context, name, body, create),
    start: (reference) => act(() => startContainer(context, find(reference))),
    stop: (reference, stop) => act(() => stopContainer(context, find(reference), stop)),
    kill: (reference, signal) => act(() => killContainer(context, find(reference), signal)),
    restart: (reference, stop) => act(() => restartContainer(context, find(reference), stop)),
    pause: (reference) => act(() => pauseContainer(context, find(reference))),
    unpause: (reference) => act(() => unpauseContainer(context, find(reference))),
    rename: (reference, name) => act(() => renameContainer(context, find(reference), name)),
    connectNetwork: (reference, network, settings) =>
      act(() => connectNetwork(context, find(reference), network, settings)),
    disconnectNetwork: (reference, network) =>
      act(() => disconnectNetwork(context, find(reference), network)),
    update: (reference, body) => act(() => updateContainer(context, find(reference), body)),
    remove: (reference, remove) => act(() => removeContainer(context, find(reference), remove)),
    inspect: (reference, inspect) =>
      act<ContainerInspect>(() =>
        inspectContainer(context, find(reference), inspect?.size ?? false),
      ),
    list: (list) => act<readonly ContainerSummary[]>(() => listContainers(context, list)),
    prune: (filters) => act(() => pruneContainers(context, filters)),
    wait: (reference, condition, signal) =>
      act<WaitResult>(() => waitForContainer(find(reference), condition, signal)),
    logs: (reference, logs) => containerLogs(context, find(reference), logs),
    stats: (reference, stats) => readStats(context, find(reference), stats),
    top: (reference, args) => act(() => topContainer(context, find(reference), args)),
    resize: (reference, size) => act(() => resizeContainer(context, find(reference), size)),
    commit: (reference, pause, make) =>
      act(() => commitContainer(context, find(reference), pause, make)),
    attachInfo: (reference) => attachInfo(find(reference)),
    attach: (reference, client) => attachContainer(context, find(reference), client),
    hasTerminal: (reference) => find(reference).record.config.Tty ?? false,
    runningSandboxes: () => runningSandboxes(context),
    refreshNetworks: () => refreshNetworks(context),
    startByPolicy: () => startByPolicy(context),
    close: () => {
      stopAudit();
      return closeEngine(context);
    },
  };
}

/** A refusal by lookup is a rejection, like any other. */
async function act<T>(work: () => Promise<T>): Promise<T> {
  return await work();
}

async function removeContainer(
  context: ContainerContext,
  container: Container,
  options: { readonly force?: boolean; readonly volumes?: boolean },
): Promise<void> {
  const { phase } = container.state;
  if (phase === "removing") {
    throw new EngineError(
      "conflict",
      `removal of container ${container.name} is already in progress`,
    );
  }
  if (options.force) await endForRemoval(context, container);
  try {
    await context.locks.run(container.id, () => removeLocked(context, container, options));
  } catch (error) {
    // Its own --rm was faster: what was asked for is so.
    if (options.force && isErrorCode(error, "not-found")) return;
    throw error;
  }
}

async function* containerLogs(
  context: ContainerContext,
  container: Container,
  options: LogOptions,
): AsyncGenerator<LogEntry> {
  if (container.log === undefined) {
    throw new EngineError("unimplemented", "configured logging driver does not support reading");
  }
  const until = options.until ?? 0n;
  if (until <= 0n || !options.follow) {
    yield* readLog(container.log, options);
    return;
  }
  // A quiet container must not keep the reader beyond the time it asked for.
  const leftMs = Number(until / 1_000_000n) - context.clock.nowMs();
  const stop = new AbortController();
  const abort = () => stop.abort();
  const timer = context.clock.setTimer(Math.min(Math.max(leftMs, 0), 2 ** 31 - 1), abort);
  options.signal?.addEventListener("abort", abort, { once: true });
  try {
    yield* readLog(container.log, { ...options, signal: stop.signal });
  } finally {
    timer.cancel();
    options.signal?.removeEventListener("abort", abort);
  }
}

async function resizeContainer(
  context: ContainerContext,
  container: Container,
  { width, height }: TerminalSize,
): Promise<void> {
  if (!isAlive(container.state.phase)) {
    throw new EngineError("conflict", `container ${container.id} is not running`);
  }
  await context.runtime.resize(container.id, "", width, height);
  publishEvent(context, container, "resize", { height: String(height), width: String(width) });
}

function attachInfo({ record, state }: Container): AttachInfo {
  if (state.phase === "paused") {
    throw new EngineError(
      "conflict",
      `container ${record.id} is paused, unpause the container before attach`,
    );
  }
  if (state.phase === "restarting") {
    throw new EngineError(
      "conflict",
      `container ${record.id} is restarting, wait until the container is running`,
    );
  }
  return {
    id: record.id,
    terminal: record.config.Tty ?? false,
    openStdin: record.config.OpenStdin ?? false,
  };
}

function attachContainer(
  context: ContainerContext,
  container: Container,
  client: ClientStreams,
): Session {
  const { config } = container.record;
  publishEvent(context, container, "attach");
  const session = openSession(
    {
      hub: container.hub,
      terminal: config.Tty ?? false,
      stdinOnce: config.StdinOnce ?? false,
      ready: () => container.started,
      io: () => container.io,
    },
    client,
  );
  const ended = session.ended.then((end) => {
    if (end === "detached") publishEvent(context, container, "detach");
    return end;
  });
  return { ended };
}

async function closeEngine(context: ContainerContext): Promise<void> {
  context.closing = true;
  await Promise.all(
    context.registry.all().map(async (container) => {
      container.watch?.abort();
      container.stopHealthChecks?.();
      container.restartTimer?.cancel();
      // What is being done to it is finished first.
      await context.locks.run(container.id, () => Promise.resolve());
      container.io?.close();
      container.hub.end();
      await container.log?.endRun();
    }),
  );
  await context.store
    .writeRest()
    .catch((error: unknown) =>
      context.log.error("states of containers are not written", { reason: messageOf(error) }),
    );
}

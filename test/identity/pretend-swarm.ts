/** A node of a swarm with real certificates, sockets and store, whose tasks only pretend. */

import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import type { Executor } from "#agent/executor.ts";
import type { Clock, Log } from "#base/ports.ts";
import { ManagerMetrics } from "#daemon/metrics/manager-metrics.ts";
import { composeManager } from "#daemon/swarm-node/compose.ts";
import { createSwarm, type Swarm } from "#daemon/swarm-node/swarm.ts";
import { deferred } from "#platform/async.ts";
import { realClock, realRandom } from "#platform/real-ports.ts";
import { ContainerStatusSchema, NodeDescriptionSchema } from "#wire/gen/swarmkit/types_pb.js";

export interface PretendOptions {
  readonly name: string;
  readonly dataRoot: string;
  /** The address of this host that the others reach. */
  readonly host: string;
  /** By default the node runs no tasks. */
  readonly createExecutor?: (name: string) => Executor;
  readonly onFatal: (error: unknown) => void;
  /** How far the host's wall clock is ahead of this one, milliseconds. */
  readonly clockOffsetMs?: number;
  /** What its clocks are made of, by default the real ones. */
  readonly clock?: Clock;
  readonly log: Log;
}

export function pretendSwarm(options: PretendOptions): Swarm {
  const { name, dataRoot, host, createExecutor = idleExecutor, onFatal, log } = options;
  const { clockOffsetMs = 0, clock: base = realClock } = options;
  const clock = { ...base, nowMs: () => base.nowMs() + clockOffsetMs };
  return createSwarm({
    dataRoot,
    hostAddresses: () => ({
      interfaces: { eth0: [{ address: host, internal: host.startsWith("127.") }] },
      devices: new Set(),
      ownSubnets: [],
      defaultAdvertiseAddr: "",
    }),
    createExecutor: () => createExecutor(name),
    startManager: composeManager({
      dataRoot,
      onFatal,
      networkDrivers: {
        scope: async () => "",
        allocate: async () => ({}),
        free: async () => undefined,
      },
      addressDrivers: {
        check: async () => undefined,
        forgets: async () => false,
        replay: async () => undefined,
        requestPools: async () => [],
        requestAddress: async () => ({ refused: "there is no plug-in" }),
        releaseAddress: async () => undefined,
        releasePool: async () => undefined,
      },
      images: { digest: async () => "", tags: async () => [] },
      controlSocket: controlSocketOf(dataRoot),
      metrics: new ManagerMetrics(() => realClock.monotonicMs()),
      clock,
      random: realRandom,
      log,
    }),
    joinTimeoutMs: 20_000,
    clock,
    random: realRandom,
    log,
  });
}

/** Where the manager of such a node answers local callers. */
export function controlSocketOf(dataRoot: string): string {
  return join(dataRoot, "run", "control.sock");
}

/** A host whose tasks run until they are told to stop. */
export function runningExecutor(hostname: string): Executor {
  return {
    describe: async () =>
      create(NodeDescriptionSchema, {
        hostname,
        platform: { os: "linux", architecture: "x86_64" },
        resources: { nanoCpus: 8_000_000_000n, memoryBytes: 8n << 30n },
      }),
    configure: async () => undefined,
    controller: () => {
      const over = deferred();
      return {
        update: async () => undefined,
        prepare: async () => undefined,
        start: async () => undefined,
        wait: async (signal) => {
          signal.addEventListener("abort", () => over.resolve(), { once: true });
          await over.promise;
          signal.throwIfAborted();
        },
        shutdown: async () => over.resolve(),
        terminate: async () => over.resolve(),
        remove: async () => over.resolve(),
        close: async () => over.resolve(),
        containerStatus: async () => create(ContainerStatusSchema, { containerId: "c" }),
        portStatus: async () => undefined,
        async *logs() {
          // Nothing to say.
        },
      };
    },
  };
}

export function idleExecutor(hostname: string): Executor {
  return {
    describe: async () =>
      create(NodeDescriptionSchema, {
        hostname,
        platform: { os: "linux", architecture: "x86_64" },
      }),
    configure: async () => undefined,
    controller: () => {
      throw new Error("this node runs no tasks");
    },
  };
}

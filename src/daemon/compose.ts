/**
 * The composition root of the engine: the one place that makes the real things and hands them to
 * each other. Order is the order of need; `close` undoes it backwards. containerd is started if the
 * host has none to share, and is left running when we end.
 */

import { join } from "node:path";
import type { Routes } from "#api/route.ts";
import { helloRoutes } from "#api/system.ts";
import type { Clock, Log, Random } from "#base/ports.ts";
import { type Containerd, connectContainerd } from "#platform/containerd/client.ts";
import { type ContainerdServer, startContainerd } from "#platform/containerd/server.ts";
import type { DaemonConfig } from "./config.ts";
import { readHostFacts } from "./host-facts.ts";

export interface EngineContext {
  readonly config: DaemonConfig;
  readonly log: Log;
  readonly clock: Clock;
  readonly random: Random;
  /** Aborted when the engine shall end, also while it still starts. */
  readonly signal: AbortSignal;
}

export interface ComposedEngine {
  readonly routes: Routes;
  close(): Promise<void>;
}

export async function composeEngine(context: EngineContext): Promise<ComposedEngine> {
  const { config, random } = context;
  const { containerd, own } = await openContainerd(context);
  const { version } = await containerd.version.version({});
  const facts = await readHostFacts(config, random, version);
  return {
    routes: helloRoutes(facts, () => "inactive"),
    close: async () => {
      containerd.close();
      own?.close();
    },
  };
}

async function openContainerd(
  context: EngineContext,
): Promise<{ readonly containerd: Containerd; readonly own: ContainerdServer | undefined }> {
  const { config, clock, log, signal } = context;
  const own =
    config.containerdAddress === undefined
      ? await startContainerd({
          root: join(config.dataRoot, "containerd"),
          state: join(config.execRoot, "containerd"),
          clock,
          log: log.child({ part: "containerd" }),
          signal,
        })
      : undefined;
  const containerd = await connectContainerd({
    address: own?.address ?? config.containerdAddress ?? "",
    namespace: config.containerdNamespace,
    clock,
    signal,
  });
  return { containerd, own };
}

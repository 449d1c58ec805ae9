/**
 * The composition root of the engine: the one place that makes the real things and hands them to
 * each other. Order is the order of need; `close` undoes it backwards. containerd is started if the
 * host has none to share, and is left running when we end.
 */

import { join } from "node:path";
import { distributionRoutes } from "#api/distribution.ts";
import { imageRoutes } from "#api/images.ts";
import type { Routes } from "#api/route.ts";
import { helloRoutes } from "#api/system.ts";
import { volumeRoutes } from "#api/volumes.ts";
import type { Clock, Log, Random } from "#base/ports.ts";
import { VERSION } from "#cli/version.ts";
import { openImageStore } from "#engine/images/store.ts";
import { openVolumes } from "#engine/volumes/volumes.ts";
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
  const { config, clock, random, log } = context;
  const { containerd, own } = await openContainerd(context);
  const { version } = await containerd.version.version({});
  const facts = await readHostFacts(config, random, version);
  const images = await openImageStore({
    containerd,
    snapshotter: config.snapshotter,
    registry: config.registry,
    certFolders: ["/etc/skep/certs.d", "/etc/docker/certs.d"],
    userAgent: `skep/${VERSION}`,
    clock,
    random,
    log: log.child({ part: "images" }),
  });
  const volumes = await openVolumes({
    root: join(config.dataRoot, "volumes"),
    events: undefined,
    clock,
    random,
    log: log.child({ part: "volumes" }),
  });
  return {
    routes: [
      ...helloRoutes(facts, () => "inactive"),
      ...imageRoutes(images),
      ...distributionRoutes(images),
      ...volumeRoutes(volumes),
    ],
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

/**
 * The container service with its routes over a containerd that is there, composed the way the engine
 * composes it, with local networks left out. In a test's own process (`openHost`), or as a process
 * of its own that tests can kill: `node --import tsx engine-host.ts FOLDER`.
 */

import { join } from "node:path";
import { absentRoutes } from "#api/absent.ts";
import { commitRoutes } from "#api/commit.ts";
import { containerRoutes } from "#api/containers.ts";
import { eventRoutes } from "#api/events.ts";
import { execRoutes } from "#api/exec.ts";
import { imageRoutes } from "#api/images.ts";
import type { Route } from "#api/route.ts";
import { createApiServer } from "#api/server.ts";
import { volumeRoutes } from "#api/volumes.ts";
import { EngineError } from "#base/error.ts";
import type { ContainerNetworks } from "#engine/containers/context.ts";
import { type ContainerEngine, openContainerEngine } from "#engine/containers/service.ts";
import { createEventBus } from "#engine/events/event-bus.ts";
import { type ImageStore, openImageStore } from "#engine/images/store.ts";
import { createPluginRegistry } from "#engine/plugins/registry.ts";
import type { EventBus } from "#engine/ports.ts";
import { type HostVolumes, openVolumes } from "#engine/volumes/volumes.ts";
import { connectContainerd } from "#platform/containerd/client.ts";
import { createLog } from "#platform/log.ts";
import { realClock as clock, realRandom as random } from "#platform/real-ports.ts";

export interface Host {
  readonly containers: ContainerEngine;
  readonly images: ImageStore;
  readonly volumes: HostVolumes;
  readonly events: EventBus;
  readonly socket: string;
  close(): Promise<void>;
}

/** `folder` holds containerd's state and socket, and gets the engine's data. */
export async function openHost(folder: string): Promise<Host> {
  const log = createLog(process.env["SKEP_TEST_LOG"] === undefined ? "error" : "debug");
  const address = join(folder, "state/containerd.sock");
  const containerd = await connectContainerd({ address, namespace: "skep-test", clock });
  const events = createEventBus(clock);
  const images = await openImageStore({
    containerd,
    snapshotter: "overlayfs",
    registry: { insecure: [], mirrors: [], maxDownloads: 3, maxUploads: 3 },
    certFolders: [],
    userAgent: "skep-test",
    clock,
    random,
    log,
  });
  const plugins = createPluginRegistry({
    folders: { sockets: join(folder, "plugins"), specs: [] },
    clock,
    log,
  });
  const root = join(folder, "volumes");
  const volumes = await openVolumes({ root, plugins, events, clock, random, log });
  const containers = await openContainerEngine({
    containerd,
    snapshotter: images.snapshotter,
    dataRoot: join(folder, "data"),
    execRoot: join(folder, "run"),
    images,
    networks: noNetworks,
    volumes,
    events,
    clock,
    random,
    log,
  });
  containers.startByPolicy();
  const socket = join(folder, "engine.sock");
  const routes = [
    ...helloRoutes,
    ...containerRoutes(containers),
    ...commitRoutes(containers, images),
    ...absentRoutes(),
    ...execRoutes(containers),
    ...eventRoutes(events),
    ...imageRoutes(images),
    ...volumeRoutes(volumes),
  ];
  const server = createApiServer({ routes, log });
  await server.listenUnix(socket);
  return {
    containers,
    images,
    volumes,
    events,
    socket,
    close: async () => {
      await server.close(100);
      await containers.close();
      containerd.close();
    },
  };
}

/** The modes without a network of their own; everything else is not there. */
const noNetworks: ContainerNetworks = {
  inspect: (name) => Promise.reject(new EngineError("not-found", `network ${name} not found`)),
  idOf: () => undefined,
  resolve: (endpoints) => {
    const other = Object.keys(endpoints).find((name) => name !== "none" && name !== "host");
    if (other === undefined) return Promise.resolve(endpoints);
    return Promise.reject(new EngineError("not-found", `network ${other} not found`));
  },
  attach: () => Promise.resolve({ networks: [], ports: {}, hosts: [], nameservers: [] }),
  attached: () => Promise.resolve(undefined),
  detach: () => Promise.resolve(),
  connect: () => Promise.reject(new EngineError("internal", "no networks here")),
  disconnect: () => Promise.reject(new EngineError("internal", "no networks here")),
  announceDisconnect: () => undefined,
  rename: () => Promise.resolve(),
};

const helloRoutes: readonly Route[] = [
  {
    method: "GET",
    path: "/_ping",
    handler: (_request, response) => response.text(200, "OK"),
  },
  {
    method: "HEAD",
    path: "/_ping",
    handler: (_request, response) => response.text(200, ""),
  },
  {
    method: "GET",
    path: "/version",
    handler: (_request, response) => response.json(200, { Version: "test", ApiVersion: "1.47" }),
  },
  {
    method: "GET",
    path: "/info",
    handler: (_request, response) => response.json(200, { ID: "test", OSType: "linux" }),
  },
];

const folder = process.argv[2];
if (process.argv[1] === import.meta.filename && folder !== undefined) {
  const host = await openHost(folder);
  process.once("SIGTERM", () => {
    void host.close().then(() => process.exit(0));
  });
  // Only now: who hears this may send the signal at once.
  process.stdout.write("ready\n");
}

/** The Engine API of this host: which part of the engine answers which of its routes. */

import { absentRoutes } from "#api/absent.ts";
import { buildRoutes } from "#api/build.ts";
import { commitRoutes } from "#api/commit.ts";
import { containerRoutes } from "#api/containers.ts";
import { distributionRoutes } from "#api/distribution.ts";
import { eventRoutes } from "#api/events.ts";
import { execRoutes } from "#api/exec.ts";
import { imageRoutes } from "#api/images.ts";
import { networkRoutes } from "#api/networks.ts";
import { nodeRoutes } from "#api/nodes.ts";
import { configRoutes, secretRoutes } from "#api/payloads.ts";
import { decodeAuth } from "#api/registry-auth.ts";
import type { Routes } from "#api/route.ts";
import { serviceDeployRoutes } from "#api/service-deploy.ts";
import { serviceRoutes } from "#api/services.ts";
import { stackRoutes } from "#api/stacks.ts";
import { readClusterSummary, swarmRoutes } from "#api/swarm.ts";
import { swarmNetworks } from "#api/swarm-networks.ts";
import { type HostFacts, systemRoutes } from "#api/system.ts";
import { taskRoutes } from "#api/tasks.ts";
import { volumeRoutes } from "#api/volumes.ts";
import type { Random } from "#base/ports.ts";
import type { Builder } from "#engine/build/builder.ts";
import type { ContainerEngine } from "#engine/containers/service.ts";
import type { ImageStore } from "#engine/images/store.ts";
import type { ConnectionTable } from "#engine/networks/connection-table.ts";
import type { NetworkStore } from "#engine/networks/service.ts";
import type { EventBus } from "#engine/ports.ts";
import type { HostVolumes } from "#engine/volumes/volumes.ts";
import type { Swarm } from "./swarm-node/swarm.ts";

/** What of the engine is seen through its API. */
export interface ApiHost {
  readonly events: EventBus;
  readonly images: ImageStore;
  readonly volumes: HostVolumes;
  readonly networks: NetworkStore;
  readonly containers: ContainerEngine;
  readonly connections: ConnectionTable;
  readonly builder: Builder;
}

export interface EngineRoutesOptions {
  readonly host: ApiHost;
  /** Asked anew for each answer. */
  readonly facts: () => HostFacts;
  readonly cluster: Swarm;
  readonly random: Random;
}

export function engineRoutes({ host, facts, cluster, random }: EngineRoutesOptions): Routes {
  const { containers, images, networks, volumes, events, builder } = host;
  const nameOf = async (input: string) => {
    const all = await networks.list(new Map());
    const ours = all.filter(({ Scope }) => Scope === "local");
    return ours.find(({ Name, Id }) => Name === input || Id === input)?.Name;
  };
  return [
    ...systemRoutes({
      get facts() {
        return facts();
      },
      containers,
      images,
      networks,
      volumes,
      buildCache: () => builder.cache(),
      cluster,
      warnings: () => [...host.connections.warnings(), ...networks.warnings()],
      clusterInfo: () => readClusterSummary(cluster),
      login: (auth) => images.login(auth),
    }),
    ...containerRoutes(containers),
    ...commitRoutes(containers, images),
    ...absentRoutes(),
    ...buildRoutes(builder),
    ...execRoutes(containers),
    ...eventRoutes(events, cluster),
    ...imageRoutes(images),
    ...distributionRoutes(images),
    ...volumeRoutes(volumes),
    ...networkRoutes({
      networks,
      containers,
      swarm: swarmNetworks(cluster),
      isManager: () => cluster.info().controlAvailable,
    }),
    ...swarmRoutes(cluster),
    ...nodeRoutes(cluster),
    ...serviceDeployRoutes(cluster),
    ...stackRoutes(cluster, { networks: { nameOf } }),
    ...serviceRoutes(cluster, {
      random,
      networks: { nameOf },
      resolveImage: async (image, auth) => {
        const { Descriptor, Platforms } = await images.distribution(image, decodeAuth(auth));
        return { digest: Descriptor.digest, platforms: Platforms };
      },
    }),
    ...taskRoutes(cluster),
    ...secretRoutes(cluster),
    ...configRoutes(cluster),
  ];
}

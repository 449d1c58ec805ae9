/** What the parts of the container service share: the host's other services, and the bookkeeping. */

import type { Clock, Log, Random } from "#base/ports.ts";
import type { KeyedLock } from "#platform/async.ts";
import type { EventBus, ImageService, NetworkService, VolumeService } from "../ports.ts";
import type { Container } from "./container.ts";
import type { ContainerDefaults } from "./create-request.ts";
import type { HostFacts } from "./host.ts";
import type { DnsDefaults } from "./host-files.ts";
import type { ContainerRegistry } from "./registry.ts";
import type { ContainerStore } from "./store.ts";
import type { TaskExit, TaskRuntime } from "./task-runtime.ts";

/** What containers need of the networks. */
export type ContainerNetworks = Pick<
  NetworkService,
  | "inspect"
  | "idOf"
  | "resolve"
  | "attach"
  | "attached"
  | "detach"
  | "connect"
  | "disconnect"
  | "announceDisconnect"
  | "rename"
>;

export interface ContainerContext {
  readonly runtime: TaskRuntime;
  readonly store: ContainerStore;
  readonly registry: ContainerRegistry;
  /** One holder per container id: create, start, end and removal exclude each other. */
  readonly locks: KeyedLock;
  readonly images: Pick<ImageService, "resolve" | "inspect">;
  readonly networks: ContainerNetworks;
  readonly volumes: VolumeService;
  readonly events: EventBus;
  readonly dns: DnsDefaults;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly host: HostFacts;
  readonly defaults: ContainerDefaults;
  /** Told of each health probe that has ended. */
  readonly onProbe?: ((failed: boolean) => void) | undefined;
  /** Nanoseconds since the epoch, increasing. */
  readonly nowNs: () => bigint;
  /** Folder of FIFOs, below the run root. */
  readonly ioRoot: string;
  /** Folder in which file systems are mounted for a moment, below the run root. */
  readonly mountRoot: string;
  /** Deals with the end of a run; called under the container's lock (`finish.ts`). */
  readonly runEnded: (
    container: Container,
    exit: TaskExit,
    watch: AbortController,
  ) => Promise<void>;
  /** True once the engine closes: containers that end are left for the next one. */
  closing: boolean;
}

/** Tells the event bus what happened to a container, with docker's attributes. */
export function publishEvent(
  context: ContainerContext,
  container: Container,
  action: string,
  attributes: Readonly<Record<string, string>> = {},
): void {
  const { record } = container;
  context.events.publish({
    Type: "container",
    Action: action,
    Actor: {
      ID: record.id,
      Attributes: {
        ...record.config.Labels,
        image: record.config.Image ?? "",
        name: record.name,
        ...attributes,
      },
    },
  });
}

/** Tells that a run has taken up its volumes, or let go of them. */
export function publishVolumeEvents(
  context: ContainerContext,
  { record }: Container,
  action: "mount" | "unmount",
): void {
  for (const mount of record.mounts) {
    if (mount.type !== "volume") continue;
    const place = {
      destination: mount.destination,
      "read/write": String(!mount.readOnly),
      propagation: mount.propagation,
    };
    context.events.publish({
      Type: "volume",
      Action: action,
      Actor: {
        ID: mount.source,
        Attributes: {
          driver: mount.driver,
          container: record.id,
          ...(action === "mount" ? place : {}),
        },
      },
    });
  }
}

/** Reads of the containers: list with filters, inspect, and prune, which lists and removes. */

import { isErrorCode, messageOf } from "#base/error.ts";
import type {
  ContainerInspect,
  ContainerSummary,
  ContainersPruneReport,
} from "#wire/docker/containers.ts";
import { treeSize } from "../files/tree-size.ts";
import { rootfsOf } from "../files/view.ts";
import type { Filters } from "../ports.ts";
import type { Container } from "./container.ts";
import type { ContainerContext } from "./context.ts";
import { type FilePaths, type Lookup, type SizeFields, toInspect, toSummary } from "./inspect.ts";
import {
  checkListFilters,
  checkPruneFilters,
  matchesListFilters,
  matchesPruneFilters,
} from "./list-filter.ts";
import { removeLocked } from "./remove.ts";
import { layersOf } from "./rootfs-view.ts";
import { isAlive } from "./state.ts";

export interface ListOptions {
  readonly all?: boolean;
  readonly limit?: number;
  readonly filters: Filters;
  readonly size?: boolean;
}

export async function listContainers(
  context: ContainerContext,
  options: ListOptions,
): Promise<readonly ContainerSummary[]> {
  const { filters } = options;
  checkListFilters(filters);
  const imageIds = await resolveImages(context, filters.get("ancestor") ?? []);
  const scope = { find: (text: string) => context.registry.find(text), imageIds };
  const limit = options.limit ?? 0;
  // These ask about what does not run, so that running alone would be nothing.
  const every =
    (options.all ?? false) || limit > 0 || filters.has("status") || filters.has("exited");
  const newestFirst = (a: Container, b: Container) =>
    a.record.createdAt < b.record.createdAt ? 1 : -1;
  const found = context.registry
    .all()
    .filter(({ state }) => every || isAlive(state.phase) || state.phase === "restarting")
    .filter((container) => matchesListFilters(container, filters, scope))
    .sort(newestFirst)
    .slice(0, limit > 0 ? limit : undefined);
  const lookup = await lookupFor(context, found);
  const nowMs = context.clock.nowMs();
  return await Promise.all(
    found.map(async (container) =>
      toSummary(container, lookup, nowMs, options.size ? await sizes(context, container) : {}),
    ),
  );
}

export async function inspectContainer(
  context: ContainerContext,
  container: Container,
  size: boolean,
): Promise<ContainerInspect> {
  const { id } = container;
  const files: FilePaths = {
    resolvConf: context.store.filePath(id, "resolv.conf"),
    hostname: context.store.filePath(id, "hostname"),
    hosts: context.store.filePath(id, "hosts"),
  };
  const lookup = await lookupFor(context, [container]);
  return toInspect(container, files, lookup, size ? await sizes(context, container) : {});
}

export async function pruneContainers(
  context: ContainerContext,
  filters: Filters,
): Promise<ContainersPruneReport> {
  const nowMs = context.clock.nowMs();
  checkPruneFilters(filters, nowMs);
  const deleted: string[] = [];
  let reclaimed = 0;
  for (const container of context.registry.all()) {
    const { phase } = container.state;
    if (phase !== "created" && phase !== "exited" && phase !== "dead") continue;
    const { config, createdAt } = container.record;
    if (!matchesPruneFilters({ labels: config.Labels ?? {}, createdAt }, filters, nowMs)) continue;
    const { SizeRw = 0 } = await sizes(context, container);
    try {
      await context.locks.run(container.id, () => removeLocked(context, container, {}));
      deleted.push(container.id);
      reclaimed += SizeRw;
    } catch (error) {
      // Started or removed meanwhile by somebody else.
      if (isErrorCode(error, "not-found", "conflict")) continue;
      context.log.warn("a container cannot be pruned", {
        id: container.id,
        reason: messageOf(error),
      });
    }
  }
  context.events.publish({
    Type: "container",
    Action: "prune",
    Actor: { ID: "", Attributes: { reclaimed: String(reclaimed) } },
  });
  return { ContainersDeleted: deleted.length === 0 ? null : deleted, SpaceReclaimed: reclaimed };
}

async function resolveImages(
  context: ContainerContext,
  references: readonly string[],
): Promise<Map<string, string>> {
  const ids = new Map<string, string>();
  for (const reference of references) {
    const image = await context.images.resolve(reference).catch(() => undefined);
    if (image !== undefined) ids.set(reference, image.id);
  }
  return ids;
}

async function lookupFor(
  context: ContainerContext,
  containers: readonly Container[],
): Promise<Lookup> {
  const paths = new Map<string, string>();
  for (const { record } of containers) {
    for (const { type, source } of record.mounts) {
      if (type !== "volume" || paths.has(source)) continue;
      const volume = await context.volumes.inspect(source).catch(() => undefined);
      paths.set(source, volume?.Mountpoint ?? "");
    }
  }
  return {
    volumePath: (name) => paths.get(name) ?? "",
    networkId: (name) => context.networks.idOf(name) ?? "",
  };
}

/** What the container wrote, and that together with its image. */
async function sizes(context: ContainerContext, container: Container): Promise<SizeFields> {
  const { record } = container;
  const [rootfs, image] = await Promise.all([
    rootfsOf(context, container).catch(() => []),
    context.images.inspect(record.imageId).catch(() => undefined),
  ]);
  const layers = layersOf(rootfs);
  const own =
    layers?.[0] === undefined || layers.length < 2
      ? await context.runtime.snapshotSize(record.snapshotter, record.id).catch(() => 0)
      : await treeSize(layers[0]);
  return { SizeRw: own, SizeRootFs: own + (image?.Size ?? 0) };
}

/** Removes a container and everything that is its own. Under the container's lock. */

import { rm } from "node:fs/promises";
import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import { unmountSync } from "#platform/libc.ts";
import type { Container } from "./container.ts";
import { type ContainerContext, publishEvent } from "./context.ts";
import { shmFolder } from "./prepare-spec.ts";
import { imageSnapshot } from "./record.ts";
import { mayMeet, nextState } from "./state.ts";

export interface RemoveOptions {
  /** Also the anonymous volumes. */
  readonly volumes?: boolean;
}

export async function removeLocked(
  context: ContainerContext,
  container: Container,
  options: RemoveOptions,
): Promise<void> {
  const { runtime, store, registry } = context;
  const { id, record } = container;
  if (registry.get(id) !== container) {
    throw new EngineError("not-found", `No such container: ${id}`);
  }
  if (!mayMeet(container.state.phase, "removing")) {
    throw new EngineError(
      "conflict",
      `cannot remove container "/${record.name}": container is ${container.state.phase}${
        container.state.phase === "paused"
          ? " and must be unpaused first"
          : ": stop the container before removing or force remove"
      }`,
    );
  }
  container.state = nextState(container.state, {
    kind: "removing",
    volumes: options.volumes ?? false,
  });
  try {
    // On a full disk, removing is what makes room.
    await store.keepState(id, container.state, context.log);
    unmountSync(shmFolder(context, id));
    // The container first: containerd's record of it holds the snapshot.
    await runtime.deleteContainer(id);
    await Promise.all([
      runtime.removeSnapshot(record.snapshotter, id),
      ...record.mounts
        .filter(({ type }) => type === "image")
        .map((mount) => runtime.removeSnapshot(record.snapshotter, imageSnapshot(record, mount))),
      releaseVolumes(context, container, options.volumes ?? false),
      container.log?.remove(),
      rm(`${context.ioRoot}/${id}`, { recursive: true, force: true }),
    ]);
    await store.remove(id);
  } catch (error) {
    const message = messageOf(error);
    container.state = nextState(container.state, { kind: "remove-failed", error: message });
    await store.keepState(id, container.state, context.log);
    throw error;
  }
  registry.delete(container);
  container.hub.end();
  publishEvent(context, container, "destroy");
  container.announceRemoved();
}

async function releaseVolumes(
  context: ContainerContext,
  container: Container,
  removeAnonymous: boolean,
): Promise<void> {
  const { volumes, log } = context;
  for (const mount of container.record.mounts) {
    if (mount.type !== "volume") continue;
    await volumes.release(mount.source, container.id);
    if (!removeAnonymous || !mount.anonymous) continue;
    try {
      await volumes.remove(mount.source, {});
    } catch (error) {
      // Another container uses it too (--volumes-from), or somebody was faster.
      if (!isErrorCode(error, "conflict", "not-found")) throw error;
      log.debug("an anonymous volume stays", { volume: mount.source, reason: messageOf(error) });
    }
  }
}

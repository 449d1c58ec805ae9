/**
 * Tells this engine's listeners what changes in the swarm, while this node is a manager. After a break
 * it goes on after the last change that was told, as far as the store still knows it.
 */

import type { ClusterPort } from "#api/cluster-port.ts";
import { EVENT_KINDS, swarmEventOf } from "#api/convert/swarm-events.ts";
import { isErrorCode } from "#base/error.ts";
import type { Clock, Log } from "#base/ports.ts";
import type { EventBus } from "#engine/ports.ts";
import { deferred, sleep } from "#platform/async.ts";

const RETRY_MS = 1_000;

/** Follows until the returned function is called. */
export function tellSwarmEvents(
  cluster: ClusterPort,
  events: Pick<EventBus, "publish">,
  clock: Clock,
  log: Log,
): () => Promise<void> {
  const ending = new AbortController();
  const { signal } = ending;
  const done = follow(cluster, events, clock, log, signal).catch((error: unknown) => {
    if (!signal.aborted) log.error("events of the swarm are told no more", { error });
  });
  return async () => {
    ending.abort();
    await done;
  };
}

async function follow(
  cluster: ClusterPort,
  events: Pick<EventBus, "publish">,
  clock: Clock,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  let last: bigint | undefined;
  let swarm = "";
  while (!signal.aborted) {
    const { controlAvailable, nodeId } = cluster.info();
    // Versions of another swarm say nothing of this one.
    if (nodeId !== swarm) last = undefined;
    swarm = nodeId;
    if (controlAvailable) {
      try {
        const request = {
          entries: EVENT_KINDS.map((kind) => ({ kind })),
          includeOldObject: true,
          ...(last === undefined ? {} : { resumeFrom: { index: last } }),
        };
        for await (const message of cluster.watch().watch(request, { signal })) {
          for (const change of message.events) {
            const event = swarmEventOf(change);
            const version = Number(message.version?.index ?? 0n);
            if (event !== undefined) events.publish({ ...event, version });
          }
          last = message.version?.index ?? last;
        }
      } catch (error) {
        if (signal.aborted) return;
        log.debug("the swarm's changes are followed anew", { error });
        // What cannot be resumed is begun again from now.
        if (!isErrorCode(error, "unavailable", "cancelled")) last = undefined;
      }
    }
    await changed(cluster, signal, controlAvailable ? sleep(clock, RETRY_MS, signal) : undefined);
  }
}

/** Until something about this node's part in the swarm changed, or the time is over. */
async function changed(
  cluster: ClusterPort,
  signal: AbortSignal,
  time: Promise<void> | undefined,
): Promise<void> {
  const wake = deferred();
  const stop = cluster.onChange(() => wake.resolve());
  const end = () => wake.resolve();
  signal.addEventListener("abort", end, { once: true });
  time?.then(end, end);
  if (signal.aborted) end();
  await wake.promise;
  signal.removeEventListener("abort", end);
  stop();
}

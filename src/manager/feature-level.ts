/**
 * Raises the level of the swarm's features (`model/feature-level.ts`) when every manager knows more,
 * and tells a manager that the swarm uses more than it knows itself.
 */

import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import type { Clock, Log } from "#base/ports.ts";
import { FEATURE_LEVEL, levelRefusal, nextLevel } from "#model/feature-level.ts";
import { sleep } from "#platform/async.ts";
import type { ReadView } from "#store/types.ts";
import { findCluster } from "./ca/cluster.ts";
import type { ManagerPart, Membership } from "./manager-ports.ts";
import type { ClusterState } from "./state.ts";

/** Pause before a level that could not be raised is raised. */
const RETRY_MS = 1_000;

/** Throws `failed-precondition` unless a program that knows `known` may manage the swarm. */
export function assertKnown(view: ReadView, known: number = FEATURE_LEVEL): void {
  const refusal = levelRefusal(findCluster(view)?.featureLevel ?? 0, known);
  if (refusal !== undefined) throw new EngineError("failed-precondition", refusal);
}

/** Resolves with why, when the swarm begins to use what this manager does not know. */
export async function outgrown(state: ClusterState, signal: AbortSignal): Promise<EngineError> {
  while (!signal.aborted) {
    const { view, batches } = state.viewAndWatch({ signal });
    try {
      assertKnown(view);
      for await (const batch of batches) {
        if (batch.changes.some(({ kind }) => kind === "cluster")) assertKnown(state.view());
      }
    } catch (error) {
      if (error instanceof EngineError && error.code === "failed-precondition") return error;
      // Only one that came too late for what it was to be told begins anew.
      if (!isErrorCode(error, "out-of-range")) throw error;
    }
  }
  throw signal.reason;
}

export interface FeatureLevelOptions {
  readonly state: ClusterState;
  readonly membership: Membership;
  readonly clock: Clock;
  readonly log: Log;
}

/** While this manager leads: what the managers say of themselves decides, as their agents report it. */
export function featureLevelPart(options: FeatureLevelOptions): ManagerPart {
  const { state, membership, clock, log } = options;
  const settle = async (signal: AbortSignal) => {
    while (!signal.aborted) {
      try {
        await raiseLevel(options);
        return;
      } catch (error) {
        if (signal.aborted) return;
        log.warn("the level of features not raised yet", { reason: messageOf(error) });
      }
      await sleep(clock, RETRY_MS, signal).catch(() => undefined);
    }
  };
  return {
    name: "feature-level",
    lead: async (signal) => {
      const stopListening = membership.onChange(() => void settle(signal));
      try {
        const { batches } = state.viewAndWatch({ signal });
        await settle(signal);
        for await (const { changes } of batches) {
          if (changes.some(({ kind }) => kind === "node")) await settle(signal);
        }
      } finally {
        stopListening();
      }
    },
  };
}

async function raiseLevel({ state, membership, log }: FeatureLevelOptions): Promise<void> {
  const wanted = (view: ReadView) => {
    const cluster = findCluster(view);
    if (cluster === undefined) return undefined;
    const known = membership
      .list()
      .map(({ nodeId }) => view.get("node", nodeId)?.description?.featureLevel ?? 0);
    const featureLevel = nextLevel(cluster.featureLevel, known);
    return featureLevel === undefined ? undefined : { ...cluster, featureLevel };
  };
  if (wanted(state.view()) === undefined) return;
  const raised = await state.update("leader", (tx) => {
    const cluster = wanted(tx);
    if (cluster !== undefined) tx.update("cluster", cluster);
    return cluster;
  });
  if (raised === undefined) return;
  log.info("all managers know newer features now", { level: raised.featureLevel });
}

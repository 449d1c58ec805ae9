/**
 * What holds where a spec says nothing: docker's defaults, each in one place. Specs are stored as
 * they were given; who reads one asks here.
 */

import type { ServiceSpec, TaskSpec } from "#wire/gen/swarmkit/specs_pb.js";
import {
  RestartPolicy_RestartCondition as Condition,
  UpdateConfig_FailureAction as FailureAction,
  type UpdateConfig,
  UpdateConfig_UpdateOrder as UpdateOrder,
} from "#wire/gen/swarmkit/types_pb.js";
import { msOfDuration } from "./time.ts";

/** Tasks kept per slot, the live one included. */
export const TASK_HISTORY_LIMIT = 5;
export const RESTART_DELAY_MS = 5_000;
export const UPDATE_MONITOR_MS = 5_000;
/** Pool that networks without a subnet of their own are cut from, and the size of a cut. */
export const DEFAULT_ADDRESS_POOL: readonly string[] = ["10.0.0.0/8"];
export const DEFAULT_SUBNET_SIZE = 24;
/** Ports given to those who ask for any: first and last. */
export const DYNAMIC_PORT_FIRST = 30_000;
export const DYNAMIC_PORT_LAST = 32_767;
/** VXLAN network identifiers: first and last. */
export const VNI_FIRST = 4_096;
export const VNI_LAST = 2 ** 24 - 1;

export interface RestartRules {
  readonly condition: Condition;
  readonly delayMs: number;
  /** 0 means any number. */
  readonly maxAttempts: number;
  /** 0 means that attempts count for ever. */
  readonly windowMs: number;
}

export function restartRulesOf(spec: TaskSpec | undefined): RestartRules {
  const restart = spec?.restart;
  return {
    condition: restart?.condition ?? Condition.ANY,
    delayMs: msOfDuration(restart?.delay) ?? RESTART_DELAY_MS,
    maxAttempts: Number(restart?.maxAttempts ?? 0n),
    windowMs: msOfDuration(restart?.window) ?? 0,
  };
}

export interface UpdateRules {
  /** Slots changed at a time; Infinity for all at once. */
  readonly parallelism: number;
  readonly delayMs: number;
  readonly monitorMs: number;
  readonly maxFailureRatio: number;
  readonly failureAction: FailureAction;
  readonly order: UpdateOrder;
}

/** The rules of a rolling update, or of rolling back, which has its own. */
export function updateRulesOf(spec: ServiceSpec | undefined, rollingBack: boolean): UpdateRules {
  const config: UpdateConfig | undefined = rollingBack ? spec?.rollback : spec?.update;
  // A config that is given means what it says: parallelism 0 is "all", not the default of 1.
  const parallelism = config === undefined ? 1 : Number(config.parallelism);
  return {
    parallelism: parallelism === 0 ? Number.POSITIVE_INFINITY : parallelism,
    delayMs: msOfDuration(config?.delay) ?? 0,
    monitorMs: msOfDuration(config?.monitor) ?? UPDATE_MONITOR_MS,
    maxFailureRatio: config?.maxFailureRatio ?? 0,
    failureAction: config?.failureAction ?? FailureAction.PAUSE,
    order: config?.order ?? UpdateOrder.STOP_FIRST,
  };
}

/** How many tasks a replicated service shall have. */
export function replicasOf(spec: ServiceSpec | undefined): number {
  return spec?.mode.case === "replicated" ? Number(spec.mode.value.replicas) : 0;
}

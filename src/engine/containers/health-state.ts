/** How a container's health follows from its probes. Pure: probes and times are given. */

import { MILLISECOND, SECOND } from "#base/duration.ts";
import type { ContainerHealth, HealthConfig } from "#wire/docker/containers.ts";

export interface HealthPlan {
  /** What to run; a shell's command line or a program with arguments. */
  readonly test:
    | { readonly kind: "shell"; readonly command: string }
    | { readonly kind: "program"; readonly args: readonly string[] };
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** Failures in this time after the start do not count. */
  readonly startPeriodMs: number;
  /** Between probes during the start period. */
  readonly startIntervalMs: number;
  readonly retries: number;
}

export type HealthState = ContainerHealth;

export interface ProbeResult {
  readonly startedAt: string;
  readonly endedAt: string;
  /** 0 = healthy; -1 = it could not be run, or took too long. */
  readonly exitCode: number;
  readonly output: string;
}

const LOG_ENTRIES_MAX = 5;
export const PROBE_OUTPUT_MAX_BYTES = 4096;

export const STARTING: HealthState = { Status: "starting", FailingStreak: 0, Log: [] };

/** Undefined when the container has no health check, or one that is switched off. */
export function planHealth(config: HealthConfig | null | undefined): HealthPlan | undefined {
  const [kind, ...args] = config?.Test ?? [];
  if (kind === undefined || kind === "NONE" || kind === "") return undefined;
  const ms = (ns: number | undefined, fallbackNs: number) => (ns || fallbackNs) / MILLISECOND;
  const common = {
    intervalMs: ms(config?.Interval, 30 * SECOND),
    timeoutMs: ms(config?.Timeout, 30 * SECOND),
    startPeriodMs: ms(config?.StartPeriod, 0),
    startIntervalMs: ms(config?.StartInterval, 5 * SECOND),
    retries: config?.Retries || 3,
  };
  if (kind === "CMD-SHELL") {
    return { ...common, test: { kind: "shell", command: args.join(" ") } };
  }
  return { ...common, test: { kind: "program", args: kind === "CMD" ? args : [kind, ...args] } };
}

export function nextHealth(
  health: HealthState,
  result: ProbeResult,
  plan: HealthPlan,
  sinceStartMs: number,
): HealthState {
  const entry = {
    Start: result.startedAt,
    End: result.endedAt,
    ExitCode: result.exitCode,
    Output: result.output,
  };
  const Log = [...health.Log, entry].slice(-LOG_ENTRIES_MAX);
  if (result.exitCode === 0) return { Status: "healthy", FailingStreak: 0, Log };
  const excused = health.Status === "starting" && sinceStartMs < plan.startPeriodMs;
  const FailingStreak = excused ? health.FailingStreak : health.FailingStreak + 1;
  const Status = FailingStreak >= plan.retries ? "unhealthy" : health.Status;
  return { Status, FailingStreak, Log };
}

/** Milliseconds until the next probe. */
export function nextProbeDelay(
  health: HealthState,
  plan: HealthPlan,
  sinceStartMs: number,
): number {
  const starting = health.Status === "starting" && sinceStartMs < plan.startPeriodMs;
  return starting ? Math.min(plan.startIntervalMs, plan.intervalMs) : plan.intervalMs;
}

/**
 * Updates that do more than roll: what a service's labels ask for, and which of its tasks take part
 * in the balance meanwhile. Labels, because every docker client can set them and a swarm of other
 * engines leaves them alone.
 */

import { MILLISECOND, parseDuration } from "#base/duration.ts";
import { err, ok, type Result } from "#base/result.ts";
import {
  Rollout_Phase as Phase,
  type Rollout,
  type Service,
  Rollout_Strategy as Strategy,
  type Task,
} from "#wire/gen/swarmkit/objects_pb.js";
import type { ServiceSpec } from "#wire/gen/swarmkit/specs_pb.js";
import { ROLLOUT_LABELS } from "./service-labels.ts";

const KEEP_MS = 5 * 60_000;
const DEADLINE_MS = 10 * 60_000;

export interface RolloutRules {
  readonly strategy: Strategy;
  /** How many tasks try the new version: a number, or a share of all. */
  readonly canary: { readonly tasks: number } | { readonly percent: number };
  /** Per cent of new connections that the canary gets; 0: as many as any other task. */
  readonly canaryShare: number;
  /** How long the new version is watched; undefined: the update's monitor time. */
  readonly analysisMs: number | undefined;
  /** Goes on only when somebody says so. */
  readonly manual: boolean;
  /** How long the old set of a blue/green update is kept. */
  readonly keepMs: number;
  /** An update that has not moved for so long has failed; Infinity: it may stand still. */
  readonly deadlineMs: number;
}

const STRATEGIES: ReadonlyMap<string, Strategy> = new Map([
  ["", Strategy.ROLLING],
  ["rolling", Strategy.ROLLING],
  ["canary", Strategy.CANARY],
  ["blue-green", Strategy.BLUE_GREEN],
]);

/** The rules that the labels of a spec state; the error names the label. */
export function readRolloutRules(spec: ServiceSpec | undefined): Result<RolloutRules> {
  const labels = spec?.annotations?.labels ?? {};
  const text = (label: string) => labels[label] ?? "";
  const strategy = STRATEGIES.get(text(ROLLOUT_LABELS.strategy));
  if (strategy === undefined) return bad(ROLLOUT_LABELS.strategy, "rolling, canary or blue-green");
  const canary = amountOf(text(ROLLOUT_LABELS.canary));
  if (canary === undefined) return bad(ROLLOUT_LABELS.canary, "a number of tasks or 1% to 100%");
  const share = shareOf(text(ROLLOUT_LABELS.weight));
  if (share === undefined) return bad(ROLLOUT_LABELS.weight, "1% to 99%");
  const promotion = text(ROLLOUT_LABELS.promotion);
  if (!["", "auto", "manual"].includes(promotion)) {
    return bad(ROLLOUT_LABELS.promotion, "auto or manual");
  }
  const times: (number | undefined)[] = [];
  for (const label of [ROLLOUT_LABELS.analysis, ROLLOUT_LABELS.keep, ROLLOUT_LABELS.deadline]) {
    const time = timeOf(text(label));
    if (!time.ok) return bad(label, "a duration such as 30s or 5m");
    times.push(time.value);
  }
  const [analysisMs, keepMs = KEEP_MS, deadlineMs = DEADLINE_MS] = times;
  return ok({
    strategy,
    canary,
    canaryShare: share,
    analysisMs,
    manual: promotion === "manual",
    keepMs,
    deadlineMs: deadlineMs === 0 ? Number.POSITIVE_INFINITY : deadlineMs,
  });
}

const DEFAULTS: RolloutRules = {
  strategy: Strategy.ROLLING,
  canary: { tasks: 1 },
  canaryShare: 0,
  analysisMs: undefined,
  manual: false,
  keepMs: KEEP_MS,
  deadlineMs: DEADLINE_MS,
};

/** As `readRolloutRules`; what cannot be read (another manager took it) asks for nothing. */
export function rolloutRulesOf(spec: ServiceSpec | undefined): RolloutRules {
  const rules = readRolloutRules(spec);
  return rules.ok ? rules.value : DEFAULTS;
}

/** How many of so many tasks are canaries: at least one. */
export function canaryCount({ canary }: RolloutRules, all: number): number {
  const wanted = "tasks" in canary ? canary.tasks : Math.ceil((all * canary.percent) / 100);
  return Math.min(Math.max(wanted, 1), all);
}

/** The new version is being tried: what is of the old one stays so. */
export function isTrial(service: Service): boolean {
  return service.rollout?.phase === Phase.TRIAL;
}

/** Two whole sets stand beside each other, of which one serves. */
export function hasTwoSets({ rollout }: Service): boolean {
  if (rollout?.strategy !== Strategy.BLUE_GREEN) return false;
  return rollout.phase === Phase.TRIAL || rollout.phase === Phase.KEPT;
}

/** The old set has been replaced and is kept for a while. */
export function isKept({ rollout }: Service): boolean {
  return rollout?.phase === Phase.KEPT;
}

/** The task runs, and takes no part in the balance. */
export function isSetAside(rollout: Rollout | undefined, task: Task): boolean {
  if (rollout === undefined || rollout.setAside.length === 0) return false;
  return rollout.setAside.includes(versionOf(task));
}

/** The task tries out the version that the service may get. */
export function isCanary(service: Service | undefined, task: Task): boolean {
  const rollout = service?.rollout;
  if (rollout?.strategy !== Strategy.CANARY || rollout.phase !== Phase.TRIAL) return false;
  return versionOf(task) === (service?.specVersion?.index ?? 0n);
}

export function versionOf(task: Task): bigint {
  return task.specVersion?.index ?? 0n;
}

function bad(label: string, wanted: string): Result<never> {
  return err(`label ${label} must be ${wanted}`);
}

function amountOf(text: string): RolloutRules["canary"] | undefined {
  if (text === "") return { tasks: 1 };
  const match = /^([1-9]\d{0,6})(%?)$/.exec(text);
  if (match === null) return undefined;
  const value = Number(match[1]);
  if (match[2] === "") return { tasks: value };
  return value <= 100 ? { percent: value } : undefined;
}

function shareOf(text: string): number | undefined {
  if (text === "") return 0;
  const match = /^([1-9]\d?)%?$/.exec(text);
  return match === null ? undefined : Number(match[1]);
}

function timeOf(text: string): Result<number | undefined> {
  if (text === "") return ok(undefined);
  const parsed = parseDuration(text);
  if (!parsed.ok || parsed.value < 0) return err("not a duration");
  return ok(parsed.value / MILLISECOND);
}

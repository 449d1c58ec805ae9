/**
 * What a service waits for before a new version of it is started: other services that must be healthy
 * or complete. Asked for by a label, so that every docker client can; noted with the service when it is
 * made or changed, and done with once each condition has been true.
 */

import { err, ok, type Result } from "#base/result.ts";
import {
  StartCondition_Kind as Kind,
  type Service,
  type StartCondition,
  type Task,
} from "#wire/gen/swarmkit/objects_pb.js";
import type { ServiceSpec } from "#wire/gen/swarmkit/specs_pb.js";
import { versionOf } from "./rollout.ts";
import { START_LABEL } from "./service-labels.ts";

export interface StartRule {
  /** Name of the service that is waited for. */
  readonly service: string;
  readonly kind: Kind;
}

const KINDS: ReadonlyMap<string, Kind> = new Map([
  ["healthy", Kind.HEALTHY],
  ["completed", Kind.COMPLETED],
]);
const RULES_MAX = 100;
/** Each text matches in one way only: what does not match must not be tried in exponentially many. */
const NAME = /^[a-zA-Z0-9](?:[-_]*[A-Za-z0-9])*$/;

/** The conditions that the label of a spec states; the error names the label. */
export function readStartRules(spec: ServiceSpec | undefined): Result<readonly StartRule[]> {
  const text = spec?.annotations?.labels[START_LABEL] ?? "";
  const rules = new Map<string, StartRule>();
  for (const part of text.split(",").map((word) => word.trim())) {
    if (part === "") continue;
    const [service = "", condition = "", ...more] = part.split("=");
    const kind = KINDS.get(condition);
    if (kind === undefined || more.length > 0 || !NAME.test(service)) {
      return err(
        `label ${START_LABEL} must be a list of SERVICE=healthy and SERVICE=completed: ${JSON.stringify(part)} is neither`,
      );
    }
    if (service === spec?.annotations?.name) {
      return err(`label ${START_LABEL}: a service cannot wait for itself`);
    }
    rules.set(`${service}=${condition}`, { service, kind });
  }
  if (rules.size > RULES_MAX) {
    return err(`label ${START_LABEL} may name at most ${RULES_MAX} conditions`);
  }
  return ok([...rules.values()]);
}

/** The present spec is not to be started yet. */
export function isHeldBack({ startAfter }: Service): boolean {
  return startAfter.length > 0;
}

/**
 * The task is of a version that is not to be started yet. So is one that was changed (or scaled) while
 * it waited: its tasks are there, and waiting for the same.
 */
export function isTaskHeldBack(service: Service | undefined, task: Task): boolean {
  if (service === undefined || !isHeldBack(service)) return false;
  return versionOf(task) >= service.heldFrom;
}

/** "waits for db to be healthy and migrate to be complete". */
export function waitText({ startAfter }: Service): string {
  return `waits for ${startAfter.map(conditionText).join(" and ")}`;
}

export function conditionText({ service, kind }: StartCondition): string {
  return `${service} to be ${kind === Kind.COMPLETED ? "complete" : "healthy"}`;
}

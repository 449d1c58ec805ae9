/**
 * The newest image for a service that asks to be kept at it: which tag its labels follow, and whether
 * what the registry has now is to be rolled out. A version that was rolled back is not tried again
 * until the registry has another one.
 */

import { MILLISECOND, parseDuration } from "#base/duration.ts";
import { err, ok, type Result } from "#base/result.ts";
import { isKept, isTrial } from "#model/rollout.ts";
import { IMAGE_LABELS } from "#model/service-labels.ts";
import type { Service } from "#wire/gen/swarmkit/objects_pb.js";
import type { ServiceSpec } from "#wire/gen/swarmkit/specs_pb.js";
import { familiarReference, parseReference, type Reference } from "#wire/reference.ts";
import { isPaused, isUpdating } from "./orchestrator/respec.ts";
import { newestMatch, parseRange, type Range } from "./semver.ts";

/** A registry is not asked more often for one service. */
const INTERVAL_MIN_MS = 1_000;

export interface ImageRules {
  readonly intervalMs: number;
  readonly versions: Range | undefined;
}

/** Undefined for a service that does not ask; the error names the label. */
export function readImageRules(spec: ServiceSpec | undefined): Result<ImageRules | undefined> {
  const labels = spec?.annotations?.labels ?? {};
  const interval = labels[IMAGE_LABELS.watch] ?? "";
  const versions = labels[IMAGE_LABELS.versions] ?? "";
  const range = versions === "" ? undefined : parseRange(versions);
  if (range !== undefined && !range.ok) {
    return err(`label ${IMAGE_LABELS.versions} must be a range of versions such as 1.4.x or ^2.1`);
  }
  if (interval === "") return ok(undefined);
  const parsed = parseDuration(interval);
  const intervalMs = parsed.ok ? parsed.value / MILLISECOND : 0;
  if (intervalMs < INTERVAL_MIN_MS) {
    return err(`label ${IMAGE_LABELS.watch} must be a duration of at least 1s`);
  }
  return ok({ intervalMs, versions: range?.value });
}

/** What a service's registry is to be asked for: its image without digest. */
export function followedImage(service: Service): Reference | undefined {
  const runtime = service.spec?.task?.runtime;
  if (runtime?.case !== "container") return undefined;
  const parsed = parseReference(runtime.value.image);
  if (!parsed.ok) return undefined;
  return { ...parsed.value, tag: parsed.value.tag ?? "latest", digest: undefined };
}

/** The tag to follow, of those that there are; undefined if none is in the range. */
export function followedTag(
  reference: Reference,
  range: Range | undefined,
  tags: readonly string[],
): string | undefined {
  return range === undefined ? reference.tag : newestMatch(tags, range);
}

export type ImageStep =
  | { readonly kind: "roll"; readonly spec: ServiceSpec; readonly image: string }
  | { readonly kind: "none"; readonly reason: "current" | "busy" | "held" | "changed" };

/** What to do now that the registry has said what the newest image is. */
export function nextImage(service: Service, asked: Reference, newest: Reference): ImageStep {
  const now = followedImage(service);
  if (now === undefined || !isSame(now, asked)) return { kind: "none", reason: "changed" };
  const image = familiarReference(newest);
  const { spec } = service;
  const task = spec?.task;
  if (spec === undefined || task?.runtime.case !== "container") {
    return { kind: "none", reason: "changed" };
  }
  if (task.runtime.value.image === image) return { kind: "none", reason: "current" };
  const busy = isUpdating(service) || isPaused(service) || isTrial(service) || isKept(service);
  if (busy) return { kind: "none", reason: "busy" };
  // It was rolled out once and is not there any more: somebody, or a failure, took it back.
  if (service.imageRolled === image) return { kind: "none", reason: "held" };
  const value = { ...task.runtime.value, image };
  const next = { ...spec, task: { ...task, runtime: { case: "container" as const, value } } };
  return { kind: "roll", spec: next, image };
}

function isSame(a: Reference, b: Reference): boolean {
  return a.domain === b.domain && a.path === b.path && a.tag === b.tag;
}

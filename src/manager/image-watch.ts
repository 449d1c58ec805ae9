/**
 * Keeps services at the newest image that they ask for (`plan/image-watch.ts`): the leader asks each
 * one's registry at its interval, with the service's own credentials, and rolls it to what is there
 * by its own update settings. Nothing of the asking is stored; a new leader asks anew. Why nothing
 * came of the last question is kept for who asks.
 */

import { create } from "@bufbuild/protobuf";
import { messageOf } from "#base/error.ts";
import type { Clock, Log, Random } from "#base/ports.ts";
import {
  followedImage,
  followedTag,
  type ImageRules,
  nextImage,
  readImageRules,
} from "#plan/image-watch.ts";
import { respecified } from "#plan/orchestrator/respec.ts";
import { Semaphore, sleep } from "#platform/async.ts";
import type { Service } from "#wire/gen/swarmkit/objects_pb.js";
import { VersionSchema } from "#wire/gen/swarmkit/types_pb.js";
import { familiarName, familiarReference } from "#wire/reference.ts";
import type { ManagerPart } from "./manager-ports.ts";
import type { ClusterState } from "./state.ts";

/** How often services are looked at for whether their time has come. */
const LOOK_MS = 1_000;
const AT_ONCE = 4;
const ASK_TIMEOUT_MS = 60_000;
/** A registry that does not answer is asked this much later the next time, at most. */
const BACKOFF_MAX = 8;

/** What registries have; `auth` is a service's X-Registry-Auth, maybe empty. */
export interface RemoteImages {
  digest(image: string, auth: string, signal: AbortSignal): Promise<string>;
  tags(repository: string, auth: string, signal: AbortSignal): Promise<readonly string[]>;
}

export interface ImageWatchOptions {
  readonly state: ClusterState;
  readonly images: RemoteImages;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Filled here: by service id why its newest image is not known. */
  readonly troubles: Map<string, string>;
}

interface Watched {
  atMs: number;
  failures: number;
  asking: boolean;
}

export function imageWatchPart(options: ImageWatchOptions): ManagerPart {
  return { name: "image-watch", lead: (signal) => watchImages(options, signal) };
}

async function watchImages(options: ImageWatchOptions, signal: AbortSignal): Promise<void> {
  const { state, clock, random, troubles } = options;
  const watched = new Map<string, Watched>();
  signal.addEventListener("abort", () => troubles.clear(), { once: true });
  const slots = new Semaphore(AT_ONCE);
  while (!signal.aborted) {
    const seen = new Set<string>();
    for (const service of state.view().all("service")) {
      const rules = readImageRules(service.spec);
      if (!rules.ok || rules.value === undefined) continue;
      seen.add(service.id);
      const { intervalMs } = rules.value;
      // Not all at once after an election.
      const known = watched.get(service.id) ?? {
        atMs: clock.nowMs() + random.int(Math.min(intervalMs, 10_000)),
        failures: 0,
        asking: false,
      };
      watched.set(service.id, known);
      known.atMs = Math.min(known.atMs, clock.nowMs() + intervalMs * BACKOFF_MAX);
      if (known.asking || known.atMs > clock.nowMs()) continue;
      known.asking = true;
      void slots.run(() => ask(options, service, rules.value as ImageRules, known, signal));
    }
    for (const id of watched.keys()) if (!seen.has(id)) watched.delete(id);
    // An answer may have come after the service was left alone.
    for (const id of troubles.keys()) if (!seen.has(id)) troubles.delete(id);
    await sleep(clock, LOOK_MS, signal).catch(() => undefined);
  }
}

/** Never rejects: what went wrong is logged and tried again. */
async function ask(
  options: ImageWatchOptions,
  service: Service,
  rules: ImageRules,
  watched: Watched,
  signal: AbortSignal,
): Promise<void> {
  const { clock, log, troubles } = options;
  try {
    const trouble = signal.aborted ? undefined : await renew(options, service, rules, signal);
    if (trouble === undefined) troubles.delete(service.id);
    else if (!signal.aborted) troubles.set(service.id, trouble);
    watched.failures = 0;
  } catch (error) {
    watched.failures += 1;
    const name = service.spec?.annotations?.name ?? service.id;
    if (!signal.aborted) {
      troubles.set(service.id, messageOf(error));
      log.warn("the newest image of a service is not known", {
        service: name,
        error: messageOf(error),
      });
    }
  }
  const factor = Math.min(2 ** watched.failures, BACKOFF_MAX);
  watched.atMs = clock.nowMs() + rules.intervalMs * (watched.failures === 0 ? 1 : factor);
  watched.asking = false;
}

/** Answers why there is no newest image, if there is none; throws when the registry does not answer. */
async function renew(
  { state, images, clock, log }: ImageWatchOptions,
  service: Service,
  rules: ImageRules,
  ended: AbortSignal,
): Promise<string | undefined> {
  const asked = followedImage(service);
  if (asked === undefined) return undefined;
  const signal = AbortSignal.any([ended, AbortSignal.timeout(ASK_TIMEOUT_MS)]);
  const auth = authOf(service);
  const tags =
    rules.versions === undefined ? [] : await images.tags(familiarName(asked), auth, signal);
  const tag = followedTag(asked, rules.versions, tags);
  const name = service.spec?.annotations?.name ?? service.id;
  if (tag === undefined) {
    log.info("no version of the image is in the range that a service follows", { service: name });
    return `none of the ${tags.length} tags of ${familiarName(asked)} is in the range that it follows`;
  }
  const digest = await images.digest(familiarReference({ ...asked, tag }), auth, signal);
  const newest = { ...asked, tag, digest };
  const current = state.view().get("service", service.id);
  if (current === undefined || nextImage(current, asked, newest).kind === "none") return undefined;
  const rolled = await state.update("api", (tx) => {
    const now = tx.get("service", service.id);
    const step = now === undefined ? undefined : nextImage(now, asked, newest);
    if (now === undefined || step?.kind !== "roll") return undefined;
    const version = now.meta?.version ?? create(VersionSchema);
    const tasks = [...tx.find("task", "service", now.id)];
    const next = respecified(now, step.spec, version, tasks, clock.nowMs());
    tx.update("service", { ...next, imageRolled: step.image });
    return step.image;
  });
  if (rolled !== undefined)
    log.info("a service goes to a newer image", { service: name, image: rolled });
  return undefined;
}

function authOf({ spec }: Service): string {
  const runtime = spec?.task?.runtime;
  return runtime?.case === "container" ? (runtime.value.pullOptions?.registryAuth ?? "") : "";
}

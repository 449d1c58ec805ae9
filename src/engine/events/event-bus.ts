/**
 * Events of this engine, and of the swarm as far as this node hears of them: kept in a ring each for
 * who asks about the past, so that busy containers do not push out what happened in the swarm; passed
 * on to who listens. A listener that does not read is cut off rather than followed without bound.
 */

import { EngineError } from "#base/error.ts";
import type { Clock } from "#base/ports.ts";
import { AsyncQueue } from "#platform/async.ts";
import type { EngineEvent, EventFilters } from "#wire/docker/events.ts";
import { createNsClock } from "../logs/timestamps.ts";
import type { EventBus } from "../ports.ts";
import { checkEventFilters, matchesFilters } from "./event-filter.ts";

/** Of either scope. */
const KEPT = { local: 1_000, swarm: 4_000 } as const;
const KEPT_ALL = KEPT.local + KEPT.swarm;
const LISTENER_MAX = 4_096;

type Published = Parameters<EventBus["publish"]>[0];

/** The bus, and what it has seen. */
export interface CountingEventBus extends EventBus {
  counts(): { readonly published: number; readonly subscribers: number };
}

export function createEventBus(clock: Clock): CountingEventBus {
  const nowNs = createNsClock(clock);
  const kept: Record<EngineEvent["scope"], EngineEvent[]> = { local: [], swarm: [] };
  const listeners = new Set<(event: EngineEvent) => void>();
  let published = 0;
  return {
    counts: () => ({ published, subscribers: listeners.size }),
    publish: (event) => {
      published += 1;
      const complete = completed(event, nowNs());
      const ring = kept[complete.scope];
      ring.push(complete);
      if (ring.length > KEPT[complete.scope]) ring.shift();
      for (const listener of listeners) listener(complete);
    },
    matcher: (filters) => {
      checkEventFilters(filters);
      return (event) => matchesFilters(event, filters);
    },
    subscribe: (options) => subscribe(options, kept, listeners, clock),
  };
}

function completed(published: Published, ns: bigint): EngineEvent {
  const { Type, Action, Actor } = published;
  const legacy = Type === "container" || Type === "image";
  const from = Type === "container" ? Actor.Attributes["image"] : undefined;
  return {
    ...(legacy ? { status: Action, id: Actor.ID } : {}),
    ...(from === undefined ? {} : { from }),
    ...published,
    scope: published.scope ?? "local",
    time: Number(ns / 1_000_000_000n),
    timeNano: Number(ns),
  };
}

interface SubscribeOptions {
  readonly filters: EventFilters;
  /** Both, if absent. */
  readonly scope?: EngineEvent["scope"];
  /** Seconds since the epoch, with a fraction. */
  readonly since?: number;
  readonly until?: number;
  readonly signal: AbortSignal;
}

/** Listens from the moment of the call, not of the first read. */
function subscribe(
  options: SubscribeOptions,
  kept: Readonly<Record<EngineEvent["scope"], readonly EngineEvent[]>>,
  listeners: Set<(event: EngineEvent) => void>,
  clock: Clock,
): AsyncIterable<EngineEvent> {
  const { filters, scope, since, until, signal } = options;
  checkEventFilters(filters);
  const queue = new AsyncQueue<EngineEvent>(LISTENER_MAX + KEPT_ALL);
  const inTime = (event: EngineEvent) =>
    (since === undefined || event.timeNano >= since * 1e9) &&
    (until === undefined || event.timeNano <= until * 1e9);
  const listener = (event: EngineEvent) => {
    if (scope !== undefined && event.scope !== scope) return;
    if (!inTime(event) || !matchesFilters(event, filters)) return;
    if (queue.push(event)) return;
    queue.end(new EngineError("resource-exhausted", "the reader of events is too slow"));
  };
  // The past is told only when it is asked for.
  if (since !== undefined) for (const event of inOrder(kept)) listener(event);
  const leftMs = until === undefined ? undefined : until * 1000 - clock.nowMs();
  if (signal.aborted || (leftMs !== undefined && leftMs <= 0)) {
    queue.end();
    return queue;
  }
  const release = () => {
    listeners.delete(listener);
    timer?.cancel();
    signal.removeEventListener("abort", stop);
  };
  // Released here too: who never begins to read does not end reading either.
  const stop = () => {
    queue.end();
    release();
  };
  listeners.add(listener);
  const timer =
    leftMs === undefined ? undefined : clock.setTimer(Math.min(leftMs, 2 ** 31 - 1), stop);
  signal.addEventListener("abort", stop, { once: true });
  return untilEnd(queue, release);
}

function inOrder(kept: Parameters<typeof subscribe>[1]): readonly EngineEvent[] {
  return [...kept.local, ...kept.swarm].sort((a, b) => a.timeNano - b.timeNano);
}

async function* untilEnd(
  queue: AsyncIterable<EngineEvent>,
  release: () => void,
): AsyncGenerator<EngineEvent> {
  try {
    yield* queue;
  } finally {
    release();
  }
}

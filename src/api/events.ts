/**
 * `GET /events`: what happens on this engine and in the swarm, one JSON object per line. Past events
 * are those that this engine remembers. Who follows the swarm across engines says which of its changes
 * he saw last (`version`, as in the events): any manager goes on after it, or says that it is too long ago.
 */

import { EngineError, isErrorCode } from "#base/error.ts";
import type { EventBus } from "#engine/ports.ts";
import { msOfTimestamp } from "#model/time.ts";
import type { EngineEvent } from "#wire/docker/events.ts";
import type { WatchMessage } from "#wire/gen/swarmkit/watch_pb.js";
import type { ClusterPort } from "./cluster-port.ts";
import { EVENT_KINDS, swarmEventOf } from "./convert/swarm-events.ts";
import { writable } from "./hijack-streams.ts";
import type { ApiRequest, ApiResponse, Routes } from "./route.ts";

type Watching = Pick<ClusterPort, "watch">;

/** `cluster` is absent on engines that cannot be in a swarm. */
export function eventRoutes(events: EventBus, cluster?: Watching): Routes {
  return [
    {
      method: "GET",
      path: "/events",
      handler: (request, response) => streamEvents(events, cluster, request, response),
    },
  ];
}

async function streamEvents(
  events: EventBus,
  cluster: Watching | undefined,
  request: ApiRequest,
  response: ApiResponse,
): Promise<void> {
  const since = parseSeconds(request.query.get("since"));
  const until = parseSeconds(request.query.get("until"));
  if (since !== undefined && until !== undefined && until < since) {
    throw new EngineError(
      "invalid-argument",
      `\`since\` time (${since}) cannot be after \`until\` time (${until})`,
    );
  }
  const version = parseVersion(request.query.get("version"));
  const filters = request.filters();
  const ending = new AbortController();
  const signal = AbortSignal.any([request.signal, ending.signal]);
  const own = events.subscribe({
    filters,
    signal,
    ...(version === undefined ? {} : { scope: "local" }),
    ...(since === undefined ? {} : { since }),
    ...(until === undefined ? {} : { until }),
  });
  const accepts = events.matcher(filters);
  const swarm =
    version === undefined || cluster === undefined
      ? undefined
      : await changesAfter(cluster, version, signal);
  const out = response.stream(200, "application/json");
  const tell = async (event: EngineEvent) => {
    if (!out.write(`${JSON.stringify(event)}\n`)) await writable(out);
  };
  const telling = swarm === undefined ? undefined : tellSwarm(swarm, accepts, tell);
  // A swarm that cannot be followed any more ends the stream: the client asks again with its version.
  telling?.finally(() => ending.abort()).catch(() => undefined);
  for await (const event of own) await tell(event);
  ending.abort();
  await telling?.catch(() => undefined);
  out.end();
}

async function tellSwarm(
  changes: AsyncIterator<WatchMessage>,
  accepts: (event: EngineEvent) => boolean,
  tell: (event: EngineEvent) => Promise<void>,
): Promise<void> {
  // A removal has no time of its own: it comes after what came before.
  let ms = 0;
  for (;;) {
    const next = await changes.next();
    if (next.done === true) return;
    const { events, version } = next.value;
    for (const change of events) {
      const told = swarmEventOf(change);
      if (told === undefined) continue;
      const written = msOfTimestamp(change.object?.Object.value?.meta?.updatedAt);
      ms = Math.max(ms, Math.floor(written ?? 0));
      const event: EngineEvent = {
        ...told,
        scope: "swarm",
        time: Math.floor(ms / 1000),
        timeNano: ms * 1e6,
        version: Number(version?.index ?? 0n),
      };
      if (accepts(event)) await tell(event);
    }
  }
}

/** Resolves when nothing is missed any more. */
async function changesAfter(
  cluster: Watching,
  version: bigint,
  signal: AbortSignal,
): Promise<AsyncIterator<WatchMessage>> {
  const request = {
    entries: EVENT_KINDS.map((kind) => ({ kind })),
    includeOldObject: true,
    resumeFrom: { index: version },
  };
  const changes = cluster.watch().watch(request, { signal })[Symbol.asyncIterator]();
  try {
    await changes.next();
  } catch (error) {
    if (!isErrorCode(error, "out-of-range")) throw error;
    throw new EngineError(
      "out-of-range",
      `version ${version} is too old: this manager does not know all changes since then any more. List the objects anew, and follow events from now`,
      { cause: error },
    );
  }
  return changes;
}

function parseSeconds(text: string | null): number | undefined {
  if (text === null || text === "") return undefined;
  if (/^\d{1,12}(\.\d+)?$/.test(text)) return Number(text);
  throw new EngineError("invalid-argument", `strconv.ParseInt: parsing "${text}": invalid syntax`);
}

function parseVersion(text: string | null): bigint | undefined {
  if (text === null || text === "") return undefined;
  if (/^\d{1,15}$/.test(text)) return BigInt(text);
  throw new EngineError("invalid-argument", `invalid value for "version": ${text}`);
}

/** `GET /events`: what happens on this engine, one JSON object per line. */

import { EngineError } from "#base/error.ts";
import type { EventBus } from "#engine/ports.ts";
import { writable } from "./hijack-streams.ts";
import type { ApiRequest, ApiResponse, Routes } from "./route.ts";

export function eventRoutes(events: EventBus): Routes {
  return [
    {
      method: "GET",
      path: "/events",
      handler: (request, response) => streamEvents(events, request, response),
    },
  ];
}

async function streamEvents(
  events: EventBus,
  request: ApiRequest,
  response: ApiResponse,
): Promise<void> {
  const since = parseSeconds(request.query.get("since"), "since");
  const until = parseSeconds(request.query.get("until"), "until");
  if (since !== undefined && until !== undefined && until < since) {
    throw new EngineError(
      "invalid-argument",
      `\`since\` time (${since}) cannot be after \`until\` time (${until})`,
    );
  }
  const stream = events.subscribe({
    filters: request.filters(),
    signal: request.signal,
    ...(since === undefined ? {} : { since }),
    ...(until === undefined ? {} : { until }),
  });
  const out = response.stream(200, "application/json");
  for await (const event of stream) {
    if (!out.write(`${JSON.stringify(event)}\n`)) await writable(out);
  }
  out.end();
}

function parseSeconds(text: string | null, name: string): number | undefined {
  if (text === null || text === "") return undefined;
  if (/^\d{1,12}(\.\d+)?$/.test(text)) return Number(text);
  throw new EngineError("invalid-argument", `invalid value for "${name}": ${text}`);
}

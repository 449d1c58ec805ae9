/** The answer of a route on an HTTP response: whole, streamed, or the connection taken over. */

import type { IncomingMessage, ServerResponse } from "node:http";
import { invariant } from "#base/invariant.ts";
import { type HijackHeaders, hijackConnection } from "./hijack.ts";
import type { ApiResponse } from "./route.ts";

export interface ResponseTracker {
  readonly response: ApiResponse;
  /** True once the route has answered, in whatever way. */
  answered(): boolean;
  hijacked(): boolean;
}

export function createApiResponse(
  request: IncomingMessage,
  raw: ServerResponse,
  common: Readonly<Record<string, string>>,
  onHijack: () => void,
): ResponseTracker {
  let answered = false;
  let hijacked = false;
  const begin = (status: number, headers: Readonly<Record<string, string>>) => {
    invariant(!answered, "a route answered twice");
    answered = true;
    raw.writeHead(status, { ...common, ...headers });
  };
  const whole = (
    status: number,
    contentType: string,
    text: string,
    headers: Readonly<Record<string, string>> = {},
  ) => {
    const body = Buffer.from(text);
    begin(status, {
      "Content-Type": contentType,
      "Content-Length": String(body.length),
      ...headers,
    });
    raw.end(request.method === "HEAD" ? undefined : body);
  };
  const take = (head: HijackHeaders) => {
    invariant(!answered, "a route answered twice");
    answered = true;
    hijacked = true;
    onHijack();
    return { socket: hijackConnection(request, raw, head) };
  };
  const response: ApiResponse = {
    json: (status, value, headers) =>
      whole(status, "application/json", `${JSON.stringify(value)}\n`, headers),
    text: (status, value, headers) => whole(status, "text/plain; charset=utf-8", value, headers),
    empty: (status, headers = {}) => {
      const noLength = status === 204 || status === 304;
      begin(status, noLength ? headers : { "Content-Length": "0", ...headers });
      raw.end();
    },
    stream: (status, contentType, headers = {}) => {
      begin(status, { "Content-Type": contentType, ...headers });
      raw.flushHeaders();
      return raw;
    },
    hijack: (contentType) => take({ contentType, headers: common }),
    upgrade: (upgrade) => take({ contentType: "", upgrade, headers: common }),
  };
  return { response, answered: () => answered, hijacked: () => hijacked };
}

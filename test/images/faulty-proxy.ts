/** A proxy before a registry that breaks, redirects and counts, as the network does. */

import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type ServerResponse,
} from "node:http";
import type { AddressInfo } from "node:net";

export interface FaultyProxy {
  readonly host: string;
  /** "GET /v2/… Range" lines in order. */
  readonly seen: string[];
  /** Answers a request itself (true), or leaves it to the registry. */
  intercept: (request: IncomingMessage, response: ServerResponse) => boolean;
  /** Bodies of GETs of blobs are cut after so many bytes, this many times. */
  cut: { bytes: number; times: number };
  stop(): Promise<void>;
}

export async function startProxy(upstream: string): Promise<FaultyProxy> {
  const seen: string[] = [];
  const server = createServer((request, response) => {
    seen.push(`${request.method ?? ""} ${request.url ?? ""} ${request.headers.range ?? ""}`.trim());
    if (proxy.intercept(request, response)) return;
    forward(request, response, upstream, proxy);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const proxy: FaultyProxy = {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    intercept: () => false,
    cut: { bytes: 0, times: 0 },
    stop: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
  return proxy;
}

function forward(
  request: IncomingMessage,
  response: ServerResponse,
  upstream: string,
  proxy: FaultyProxy,
): void {
  const [host, port] = upstream.split(":");
  const { method, url, headers } = request;
  const outgoing = httpRequest({ host, port, method, path: url, headers }, (incoming) => {
    response.writeHead(incoming.statusCode ?? 500, incoming.headers);
    const isBlob = method === "GET" && (url ?? "").includes("/blobs/");
    const isLong = Number(incoming.headers["content-length"]) > proxy.cut.bytes;
    if (!isBlob || !isLong || proxy.cut.times === 0) {
      incoming.pipe(response);
      return;
    }
    proxy.cut.times -= 1;
    let left = proxy.cut.bytes;
    incoming.on("data", (chunk: Buffer) => {
      if (left <= 0) return;
      const isLast = chunk.length >= left;
      response.write(chunk.subarray(0, left), () => isLast && response.destroy());
      left -= chunk.length;
    });
  });
  outgoing.on("error", () => response.destroy());
  request.pipe(outgoing);
}

/**
 * Serves `GET /metrics` where the operator said, to whoever asks: figures, no secrets, and no way to
 * change anything. A scrape that comes while another is answered gets the same answer.
 */

import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { EngineError, messageOf } from "#base/error.ts";
import { exposition, type Family } from "#base/metrics.ts";
import type { Log } from "#base/ports.ts";

export interface MetricsServer {
  readonly port: number;
  close(): Promise<void>;
}

const CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";
const CONNECTIONS_MAX = 64;
const REQUEST_TIMEOUT_MS = 30_000;

export async function serveMetrics(
  address: { readonly host: string; readonly port: number },
  gather: () => Promise<readonly Family[]>,
  log: Log,
): Promise<MetricsServer> {
  let running: Promise<string> | undefined;
  const scrape = () =>
    (running ??= gather()
      .then(exposition)
      .finally(() => {
        running = undefined;
      }));
  const server = createServer((request, response) => void answer(request, response, scrape, log));
  server.maxConnections = CONNECTIONS_MAX;
  server.requestTimeout = REQUEST_TIMEOUT_MS;
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) => reject(cannotListen(address, error)));
    const listening = () => resolve();
    if (address.host === "") server.listen(address.port, listening);
    else server.listen(address.port, address.host, listening);
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  scrape: () => Promise<string>,
  log: Log,
): Promise<void> {
  const path = request.url?.split("?", 1)[0];
  const isRead = request.method === "GET" || request.method === "HEAD";
  if (path !== "/metrics" || !isRead) {
    response.writeHead(isRead ? 404 : 405, { "Content-Type": "text/plain" });
    response.end("only GET /metrics is served here\n");
    return;
  }
  try {
    const text = await scrape();
    response.writeHead(200, { "Content-Type": CONTENT_TYPE });
    response.end(request.method === "HEAD" ? undefined : text);
  } catch (error) {
    log.error("metrics could not be gathered", { reason: messageOf(error), error });
    response.writeHead(500, { "Content-Type": "text/plain" });
    response.end("metrics could not be gathered; the engine's log says why\n");
  }
}

function cannotListen({ host, port }: { host: string; port: number }, error: Error): EngineError {
  return new EngineError(
    "failed-precondition",
    `cannot serve metrics on ${host}:${port}: ${messageOf(error)}; choose another --metrics-addr`,
  );
}

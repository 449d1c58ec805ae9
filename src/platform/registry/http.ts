/**
 * One HTTP exchange with a registry: streamed bodies, redirects that drop the credentials when they
 * lead to another host, timeouts for what stalls. No retries and no authorization here.
 */

import { type ClientRequest, Agent as HttpAgent, type IncomingMessage, request } from "node:http";
import { Agent as HttpsAgent, request as secureRequest } from "node:https";
import type { Readable } from "node:stream";
import { EngineError } from "#base/error.ts";

export interface HttpRequest {
  readonly method: "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Text is sent whole; a stream is sent chunked, or with the Content-Length of `headers`. */
  readonly body?: string | Uint8Array | Readable;
  readonly signal?: AbortSignal | undefined;
}

export interface HttpResponse {
  readonly status: number;
  /** The URL that answered, after redirects. */
  readonly url: string;
  header(name: string): string | undefined;
  /** Must be read to its end or destroyed; `readText` does. */
  readonly body: Readable;
}

export interface HttpTransport {
  send(request: HttpRequest): Promise<HttpResponse>;
  close(): void;
}

export interface TransportOptions {
  /** False for a registry that is configured as insecure. */
  readonly verifyTls: boolean;
  /** PEM of more roots to trust (a registry's own certs folder). */
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  readonly userAgent: string;
}

const REDIRECTS_MAX = 10;
/** Without a byte for this long, an exchange has failed. */
const IDLE_TIMEOUT_MS = 60_000;

export function createTransport(options: TransportOptions): HttpTransport {
  const pool = { keepAlive: true, keepAliveMsecs: 10_000, maxSockets: 16, maxFreeSockets: 4 };
  const plain = new HttpAgent(pool);
  const secure = new HttpsAgent({
    ...pool,
    rejectUnauthorized: options.verifyTls,
    ca: options.ca,
    cert: options.cert,
    key: options.key,
  });
  return {
    send: (message) => follow(message, { plain, secure, userAgent: options.userAgent }),
    close: () => {
      plain.destroy();
      secure.destroy();
    },
  };
}

interface Agents {
  readonly plain: HttpAgent;
  readonly secure: HttpsAgent;
  readonly userAgent: string;
}

async function follow(message: HttpRequest, agents: Agents): Promise<HttpResponse> {
  let current = message;
  for (let hops = 0; ; hops += 1) {
    const response = await exchange(current, agents);
    const location = response.headers.location;
    const status = response.statusCode ?? 0;
    const redirects = [301, 302, 303, 307, 308].includes(status) && location !== undefined;
    // Only what has no body of its own can be sent a second time.
    if (!redirects || (current.method !== "GET" && current.method !== "HEAD")) {
      return {
        status,
        url: current.url,
        header: (name) => single(response.headers[name.toLowerCase()]),
        body: response,
      };
    }
    response.resume();
    if (hops >= REDIRECTS_MAX) {
      throw new EngineError("unavailable", `stopped after ${REDIRECTS_MAX} redirects`);
    }
    current = { ...current, url: new URL(location, current.url).href, ...kept(current, location) };
  }
}

/** Credentials belong to one host; a blob's storage behind a redirect must not see them. */
function kept(current: HttpRequest, location: string): Pick<HttpRequest, "headers"> {
  const [from, to] = [new URL(current.url), new URL(location, current.url)];
  if (from.protocol === "https:" && to.protocol === "http:") {
    throw new EngineError(
      "permission-denied",
      `refused: redirect from ${from.origin} to plain http`,
    );
  }
  const headers = { ...current.headers };
  if (from.host !== to.host) delete headers["Authorization"];
  return { headers };
}

function exchange(message: HttpRequest, agents: Agents): Promise<IncomingMessage> {
  const url = new URL(message.url);
  const isSecure = url.protocol === "https:";
  return new Promise((resolve, reject) => {
    const outgoing = (isSecure ? secureRequest : request)(url, {
      method: message.method,
      agent: isSecure ? agents.secure : agents.plain,
      headers: { "User-Agent": agents.userAgent, ...message.headers },
      ...(message.signal === undefined ? {} : { signal: message.signal }),
    });
    outgoing.setTimeout(IDLE_TIMEOUT_MS, () =>
      outgoing.destroy(new Error(`no answer from ${url.host} for ${IDLE_TIMEOUT_MS / 1000} s`)),
    );
    outgoing.on("response", resolve);
    outgoing.on("error", (error) => reject(transportError(message, error)));
    sendBody(outgoing, message.body);
  });
}

function sendBody(outgoing: ClientRequest, body: HttpRequest["body"]): void {
  if (body === undefined || typeof body === "string" || body instanceof Uint8Array) {
    outgoing.end(body);
    return;
  }
  body.on("error", (error) => outgoing.destroy(error));
  outgoing.on("close", () => body.destroy());
  body.pipe(outgoing);
}

/** Go's words, which docker's users and tools know: `Get "https://…": dial tcp …: connection refused`. */
function transportError(message: HttpRequest, error: Error): EngineError {
  if (message.signal?.aborted === true) {
    return new EngineError("cancelled", "context canceled", { cause: error });
  }
  if (error instanceof EngineError) return error;
  const verb = message.method.charAt(0) + message.method.slice(1).toLowerCase();
  return new EngineError("unavailable", `${verb} "${message.url}": ${describe(error)}`, {
    cause: error,
  });
}

function describe(error: Error): string {
  const failure = error as NodeJS.ErrnoException & {
    address?: string;
    port?: number;
    hostname?: string;
    errors?: readonly Error[];
  };
  const first = failure.errors?.[0];
  if (first !== undefined) return describe(first);
  const peer = `${failure.address ?? ""}:${failure.port ?? ""}`;
  switch (failure.code ?? "") {
    case "ECONNREFUSED":
      return `dial tcp ${peer}: connect: connection refused`;
    case "EHOSTUNREACH":
      return `dial tcp ${peer}: connect: no route to host`;
    case "ENETUNREACH":
      return `dial tcp ${peer}: connect: network is unreachable`;
    case "ETIMEDOUT":
      return `dial tcp ${peer}: i/o timeout`;
    case "ENOTFOUND":
      return `dial tcp: lookup ${failure.hostname ?? ""}: no such host`;
    case "EAI_AGAIN":
      return `dial tcp: lookup ${failure.hostname ?? ""}: Temporary failure in name resolution`;
    case "EPROTO":
      return "http: server gave HTTP response to HTTPS client";
    case "ECONNRESET":
      return "read: connection reset by peer";
    default:
      return isWrongProtocol(failure)
        ? "http: server gave HTTP response to HTTPS client"
        : error.message;
  }
}

function isWrongProtocol(error: NodeJS.ErrnoException): boolean {
  return error.code?.startsWith("ERR_SSL_WRONG_VERSION") ?? false;
}

function single(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}

/** A body of at most `maxBytes`. */
export async function readBody(body: Readable, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxBytes) {
      body.destroy();
      throw new EngineError(
        "resource-exhausted",
        `the registry's answer is over ${maxBytes} bytes`,
      );
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

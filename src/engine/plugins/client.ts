/**
 * Calls of a plug-in: JSON over HTTP POST. A plug-in that cannot be reached is tried again for a
 * while, because it may be starting beside us; once a request has gone out it is not repeated.
 */

import { readFile } from "node:fs/promises";
import { type ClientRequest, request as httpRequest, type IncomingMessage } from "node:http";
import { request as httpsRequest } from "node:https";
import { EngineError, type ErrorCode, messageOf } from "#base/error.ts";
import type { Clock } from "#base/ports.ts";
import { sleep } from "#platform/async.ts";
import type { PluginAddress } from "./discovery.ts";

const ACCEPT = "application/vnd.docker.plugins.v1.2+json";
/** The name that plug-ins on sockets are called by. */
const SOCKET_HOST = "plugin.moby.localhost";
/** For how long a plug-in that cannot be reached is tried, and the first pause. */
const CONNECT_WITHIN_MS = 30_000;
const FIRST_PAUSE_MS = 1_000;
const ANSWER_MAX_BYTES = 4 * 1024 * 1024;

export interface PluginCallOptions {
  /** From when the request goes out, milliseconds. */
  readonly timeoutMs: number;
  /** How long a plug-in that cannot be reached is tried; default 30 s. */
  readonly connectWithinMs?: number;
  readonly signal?: AbortSignal;
}

/** The plug-in has answered, and the answer is that it did not do it. */
export class PluginRefusal extends EngineError {
  /** HTTP's; 200 when the error stands in the answer. */
  readonly status: number;

  constructor(code: ErrorCode, message: string, status: number) {
    super(code, message);
    this.status = status;
  }
}

/** A plug-in of which no request was received. */
class Unreached extends Error {}

export class PluginClient {
  readonly #address: PluginAddress;
  readonly #clock: Clock;

  constructor(address: PluginAddress, clock: Clock) {
    this.#address = address;
    this.#clock = clock;
  }

  get name(): string {
    return this.#address.name;
  }

  /** The answer's JSON object; an error of the plug-in is thrown with its text. */
  async call(
    method: string,
    body: unknown,
    options: PluginCallOptions,
  ): Promise<Readonly<Record<string, unknown>>> {
    const { connectWithinMs = CONNECT_WITHIN_MS, signal } = options;
    const text = body === undefined ? "" : JSON.stringify(body);
    const giveUpMs = this.#clock.monotonicMs() + connectWithinMs;
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs *= 2) {
      try {
        return await this.#once(method, text, options);
      } catch (error) {
        if (!(error instanceof Unreached)) throw error;
        if (this.#clock.monotonicMs() + pauseMs > giveUpMs) {
          throw new EngineError("unavailable", `${method}: ${error.message}`, { cause: error });
        }
      }
      await sleep(this.#clock, pauseMs, signal);
    }
  }

  async #once(
    method: string,
    body: string,
    { timeoutMs, signal }: PluginCallOptions,
  ): Promise<Readonly<Record<string, unknown>>> {
    const timeout = AbortSignal.timeout(timeoutMs);
    const ending = signal === undefined ? timeout : AbortSignal.any([timeout, signal]);
    const send = await this.#sender(method, ending);
    try {
      const { status, text } = await exchange(send, body);
      return readAnswer(method, status, text);
    } catch (error) {
      if (timeout.aborted) {
        const seconds = Math.round(timeoutMs / 1000);
        throw new EngineError(
          "deadline-exceeded",
          `${method}: the plugin ${this.name} did not answer within ${seconds} s`,
        );
      }
      throw error;
    }
  }

  async #sender(method: string, signal: AbortSignal): Promise<() => ClientRequest> {
    const { target, tls } = this.#address;
    const headers = { Accept: ACCEPT, "Content-Type": "application/json" };
    const common = { method: "POST", path: `/${method}`, signal } as const;
    if ("socket" in target) {
      const socketPath = target.socket;
      return () =>
        httpRequest({ ...common, headers: { ...headers, Host: SOCKET_HOST }, socketPath });
    }
    const url = new URL(`/${method}`, target.url);
    if (tls === undefined) return () => httpRequest(url, { ...common, headers });
    const read = (path: string | undefined) => (path === undefined ? undefined : readFile(path));
    const [ca, cert, key] = await Promise.all([read(tls.ca), read(tls.cert), read(tls.key)]);
    const rejectUnauthorized = !tls.skipVerify;
    return () => httpsRequest(url, { ...common, headers, ca, cert, key, rejectUnauthorized });
  }
}

function exchange(
  send: () => ClientRequest,
  body: string,
): Promise<{ readonly status: number; readonly text: string }> {
  return new Promise((resolve, reject) => {
    const request = send();
    let connected = false;
    request.on("socket", (socket) => {
      if (!socket.connecting) connected = true;
      socket.once("connect", () => {
        connected = true;
      });
    });
    request.on("error", (error) => reject(connected ? error : new Unreached(messageOf(error))));
    request.on("response", (response) => {
      readBounded(response).then(
        (text) => resolve({ status: response.statusCode ?? 0, text }),
        reject,
      );
    });
    request.end(body);
  });
}

async function readBounded(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > ANSWER_MAX_BYTES)
      throw new EngineError("internal", "a plugin's answer is too long");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

/** The answer's object. Errors stand in `Err`, those of address drivers in `Error`. */
export function readAnswer(
  method: string,
  status: number,
  text: string,
): Readonly<Record<string, unknown>> {
  let answer: Readonly<Record<string, unknown>> | undefined;
  try {
    const parsed: unknown = text.trim() === "" ? {} : JSON.parse(text);
    if (typeof parsed === "object" && parsed !== null && !Array.isArray(parsed)) {
      answer = parsed as Readonly<Record<string, unknown>>;
    }
  } catch {
    // Not JSON: shown as it is if it is an error.
  }
  const told = [answer?.["Err"], answer?.["Error"]].find(
    (value): value is string => typeof value === "string" && value !== "",
  );
  if (status !== 200) {
    const code = status === 404 && told === undefined ? "unimplemented" : "internal";
    const reason = told ?? (text.trim().slice(0, 1000) || status);
    throw new PluginRefusal(code, `${method}: ${reason}`, status);
  }
  if (told !== undefined) throw new PluginRefusal("internal", told, status);
  if (answer === undefined) {
    throw new EngineError("internal", `${method}: the plugin's answer is not a JSON object`);
  }
  return answer;
}

/**
 * What a route of the Engine API is. One file per resource exports a function from the services it
 * needs to a list of routes; `server.ts` mounts them with and without the `/v1.NN` prefix, maps
 * errors to statuses and owns the socket.
 */

import type { Duplex, Readable, Writable } from "node:stream";

/** An Engine API version, "1.41" as 141-comparable parts. */
export interface ApiVersion {
  readonly major: number;
  readonly minor: number;
}

export interface ApiRequest {
  readonly method: string;
  /** Path without the version prefix. */
  readonly path: string;
  readonly version: ApiVersion;
  /** True when the negotiated version is at least 1.`minor`. */
  atLeast(minor: number): boolean;
  /** Path parameters, percent-decoded. `{name:.*}` parameters may contain slashes. */
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  /** A boolean query value as Docker reads it: "", "0", "no", "false", "none" are false. */
  flag(name: string): boolean;
  /** The `filters` query, both forms; unknown keys are the route's to refuse. */
  filters(): ReadonlyMap<string, readonly string[]>;
  header(name: string): string | undefined;
  /**
   * The JSON body with Go's leniency (names without regard to case where `known` lists them, null
   * as absent); `invalid-argument` on malformed JSON, undefined for an empty body.
   */
  json<T>(): Promise<T | undefined>;
  /** The raw body, for archives. */
  readonly body: Readable;
  /** Aborted when the client goes away. */
  readonly signal: AbortSignal;
}

export interface HijackedStream {
  /** The connection itself; bytes that the client sent early are replayed on it. */
  readonly socket: Duplex;
}

export interface ApiResponse {
  json(status: number, value: unknown, headers?: Readonly<Record<string, string>>): void;
  empty(status: number, headers?: Readonly<Record<string, string>>): void;
  text(status: number, value: string, headers?: Readonly<Record<string, string>>): void;
  /** Starts a streamed body; headers are flushed at once. */
  stream(status: number, contentType: string, headers?: Readonly<Record<string, string>>): Writable;
  /** Takes the connection over: 101 when the client asked for an upgrade, else 200 raw. */
  hijack(contentType: string): HijackedStream;
  /** Takes it over for another protocol, with the headers that agree to it. */
  upgrade(headers: Readonly<Record<string, string>>): HijackedStream;
}

export type Handler = (request: ApiRequest, response: ApiResponse) => Promise<void> | void;

export interface Route {
  readonly method: "GET" | "HEAD" | "POST" | "PUT" | "DELETE";
  /** "/containers/{id}/json", "/images/{name:.*}/json". */
  readonly path: string;
  readonly handler: Handler;
}

export type Routes = readonly Route[];

/**
 * The connection of attach and exec as the engine's `ClientStreams`: output framed per stream or raw
 * for a terminal, input as it comes, a slow client slowing the process down.
 */

import { once } from "node:events";
import type { Duplex, Writable } from "node:stream";
import type { ClientStreams } from "#engine/containers/attach.ts";
import type { ApiRequest, ApiResponse } from "./route.ts";
import { encodeFrame, STDERR, STDOUT } from "./stdcopy.ts";
import { websocketAnswer, websocketStream } from "./websocket.ts";

export const RAW_STREAM = "application/vnd.docker.raw-stream";
export const FRAMED_STREAM = "application/vnd.docker.multiplexed-stream";

export interface StreamChoice {
  readonly terminal: boolean;
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly detachKeys: string;
}

/** The content type that says how the output is framed; older clients know one only. */
export function streamType(request: ApiRequest, terminal: boolean): string {
  return terminal || !request.atLeast(42) ? RAW_STREAM : FRAMED_STREAM;
}

export interface HijackedClient {
  readonly socket: Duplex;
  /** Nothing is framed per stream. */
  readonly raw: boolean;
  readonly streams: ClientStreams;
}

export function takeClient(
  request: ApiRequest,
  response: ApiResponse,
  choice: StreamChoice,
): HijackedClient {
  return clientOf(request, response.hijack(streamType(request, choice.terminal)).socket, choice);
}

/** The same over a WebSocket, whose messages are never framed per stream. */
export function takeWebsocketClient(
  request: ApiRequest,
  response: ApiResponse,
  choice: StreamChoice,
): HijackedClient {
  const { socket } = response.upgrade(websocketAnswer(request));
  return clientOf(request, websocketStream(socket), { ...choice, terminal: true });
}

function clientOf(request: ApiRequest, socket: Duplex, choice: StreamChoice): HijackedClient {
  // Read even without input, or the end of the connection would go unnoticed.
  if (!choice.stdin) socket.resume();
  const streams: ClientStreams = {
    stdin: choice.stdin ? socket : undefined,
    stdout: choice.stdout,
    stderr: choice.stderr,
    detachKeys: choice.detachKeys,
    signal: request.signal,
    write: (stream, chunk) => {
      if (!socket.writable) return undefined;
      const frame = choice.terminal
        ? chunk
        : encodeFrame(stream === "stdout" ? STDOUT : STDERR, chunk);
      return socket.write(frame) ? undefined : writable(socket);
    },
  };
  return { socket, raw: choice.terminal, streams };
}

/** Resolves when the stream takes more, or is gone. */
export async function writable(stream: Writable): Promise<void> {
  if (stream.destroyed || !stream.writableNeedDrain) return;
  const stop = new AbortController();
  const { signal } = stop;
  await Promise.race([once(stream, "drain", { signal }), once(stream, "close", { signal })]).catch(
    () => undefined,
  );
  stop.abort();
}

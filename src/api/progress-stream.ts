/**
 * A stream of JSON progress messages. Until the first one is sent, a failure is an HTTP status;
 * after that it is the last message of the stream.
 */

import { messageOf } from "#base/error.ts";
import type { ProgressMessage } from "#engine/ports.ts";
import { writable } from "./hijack-streams.ts";
import type { ApiResponse } from "./route.ts";

export interface ProgressOptions {
  /** The stream begins before the work: a failure is always a message, never a status. */
  readonly openFirst?: boolean;
}

export async function streamProgress(
  response: ApiResponse,
  work: (
    report: (message: ProgressMessage) => void,
    /** Resolves when the client has read what it was told; undefined = it has. */
    caughtUp: () => Promise<void> | undefined,
  ) => Promise<void>,
  { openFirst = false }: ProgressOptions = {},
): Promise<void> {
  const open = () => response.stream(200, "application/json");
  let stream = openFirst ? open() : undefined;
  const report = (message: ProgressMessage) => {
    stream ??= open();
    if (!stream.destroyed) stream.write(`${JSON.stringify(message)}\r\n`);
  };
  const caughtUp = () =>
    stream?.writableNeedDrain === true && !stream.destroyed ? writable(stream) : undefined;
  try {
    await work(report, caughtUp);
  } catch (error) {
    if (stream === undefined) throw error;
    const message = messageOf(error);
    report({ errorDetail: { ...exitCodeOf(error), message }, error: message });
  }
  stream ??= open();
  stream.end();
}

/** What the client shall exit with, where the failure says so. */
function exitCodeOf(error: unknown): { readonly code?: number } {
  const { exitCode } = error as { readonly exitCode?: unknown };
  return typeof exitCode === "number" ? { code: exitCode } : {};
}

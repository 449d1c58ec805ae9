/**
 * A stream of JSON progress messages. Until the first one is sent, a failure is an HTTP status;
 * after that it is the last message of the stream.
 */

import { messageOf } from "#base/error.ts";
import type { ProgressMessage } from "#engine/ports.ts";
import type { ApiResponse } from "./route.ts";

export interface ProgressOptions {
  /** The stream begins before the work: a failure is always a message, never a status. */
  readonly openFirst?: boolean;
}

export async function streamProgress(
  response: ApiResponse,
  work: (report: (message: ProgressMessage) => void) => Promise<void>,
  { openFirst = false }: ProgressOptions = {},
): Promise<void> {
  const open = () => response.stream(200, "application/json");
  let stream = openFirst ? open() : undefined;
  const report = (message: ProgressMessage) => {
    stream ??= open();
    if (!stream.destroyed) stream.write(`${JSON.stringify(message)}\r\n`);
  };
  try {
    await work(report);
  } catch (error) {
    if (stream === undefined) throw error;
    const message = messageOf(error);
    report({ errorDetail: { message }, error: message });
  }
  stream ??= open();
  stream.end();
}

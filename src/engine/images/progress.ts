/** The JSON progress messages of pull, push, load and import, with docker's words and bar. */

import type { Clock } from "#base/ports.ts";
import type { ProgressMessage } from "../ports.ts";

export type Report = (message: ProgressMessage) => void;

const BAR_CHARACTERS = 50;
/** Between two messages about one layer: a fast disk must not flood the client. */
const INTERVAL_MS = 100;

/** "Pulling fs layer", "Pull complete": a state without numbers. */
export function stateMessage(status: string, id: string): ProgressMessage {
  return { status, progressDetail: {}, id };
}

export function transferMessage(
  status: string,
  id: string,
  current: number,
  total: number,
): ProgressMessage {
  return { status, progressDetail: { current, total }, progress: bar(current, total), id };
}

function bar(current: number, total: number): string {
  const size = formatSize(current).padStart(8);
  if (total <= 0 || current > total) return size;
  const done = Math.floor((current * BAR_CHARACTERS) / total);
  const arrow = "=".repeat(done) + ">" + " ".repeat(BAR_CHARACTERS - done);
  return `[${arrow}] ${size}/${formatSize(total)}`;
}

/** Decimal units and four digits: "1.234MB". */
export function formatSize(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let [value, unit] = [bytes, 0];
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${Number(value.toPrecision(4))}${units[unit] ?? ""}`;
}

/** The same bytes, reported on the way. */
export async function* counted(
  source: AsyncIterable<Uint8Array>,
  options: {
    readonly clock: Clock;
    readonly start: number;
    readonly onCount: (bytes: number) => void;
  },
): AsyncGenerator<Uint8Array> {
  let bytes = options.start;
  let reportedMs = Number.NEGATIVE_INFINITY;
  for await (const chunk of source) {
    bytes += chunk.length;
    const now = options.clock.monotonicMs();
    if (now - reportedMs >= INTERVAL_MS) {
      options.onCount(bytes);
      reportedMs = now;
    }
    yield chunk;
  }
}

/** The 12 characters of a layer or image in a message. */
export function shortDigest(digest: string): string {
  return digest.replace(/^sha256:/, "").slice(0, 12);
}

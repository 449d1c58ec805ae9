/**
 * Reads a container's log: the whole of it or its end, between two times, and on as it grows. Lines
 * that are damaged (a crash in the middle of a write) are passed over. A reader that falls so far
 * behind that its file is rotated away goes on with the oldest one left.
 */

import type { FileHandle } from "node:fs/promises";
import type { LogEntry, LogOptions } from "../ports.ts";
import type { JsonFileLog } from "./json-file.ts";
import { openMaybePacked } from "./packed-file.ts";
import { isTime, parseNs } from "./timestamps.ts";

const READ_BYTES = 64 * 1024;
const LINE_FEED = 0x0a;
/** Longest line that the writer makes: 16 KiB of text, each byte escaped, and the frame. */
const ENTRY_MAX_BYTES = 512 * 1024;

interface Position {
  readonly generation: number;
  readonly offset: number;
}

export async function* readLog(log: JsonFileLog, options: LogOptions): AsyncGenerator<LogEntry> {
  const { signal, since = 0n, until = 0n } = options;
  const follow = options.follow && log.runs;
  const details = options.details ? formatDetails(log.attributes) : "";
  await log.flush();
  if (options.tail === 0 && !follow) return;
  const timed = since > 0n || until > 0n;
  for await (const lines of readLines(log, await startOf(log, options.tail), follow, signal)) {
    for (const bytes of lines) {
      const entry = parseEntry(bytes);
      if (entry === undefined || !options[entry.stream]) continue;
      const ns = timed ? parseNs(entry.time) : undefined;
      if (ns !== undefined && ns < since) continue;
      if (ns !== undefined && until > 0n && ns > until) return;
      const { stream, time } = entry;
      const line = details === "" ? entry.line : Buffer.concat([Buffer.from(details), entry.line]);
      yield { stream, time, line };
    }
  }
}

/** The raw lines of a piece of a file: many at a time, since each turn of a generator costs. */
type Lines = readonly Buffer[];

/** The raw lines from a position on, across rotations; with `follow`, until the run ends. */
async function* readLines(
  log: JsonFileLog,
  from: Position,
  follow: boolean,
  signal: AbortSignal | undefined,
): AsyncGenerator<Lines> {
  let { generation, offset } = from;
  for (;;) {
    if (signal?.aborted) return;
    const oldest = log.generation - log.maxFiles + 1;
    if (generation < oldest) [generation, offset] = [oldest, 0];
    const file = await openGeneration(log, generation);
    const end = { offset };
    try {
      for (;;) {
        // Taken before reading: what comes between the last read and the wait is not missed.
        const { version, runs } = log;
        const current = generation === log.generation;
        if (file !== undefined) yield* linesFrom(file, end);
        if (!current || signal?.aborted) break;
        if (!follow || !runs) return;
        // No file yet: look again when there is something.
        await log.waitForChange(version, signal);
        if (file === undefined) break;
      }
    } finally {
      await file?.close();
    }
    if (generation === log.generation) {
      offset = end.offset;
      continue;
    }
    if (file !== undefined || generation < log.generation)
      [generation, offset] = [generation + 1, 0];
  }
}

async function openGeneration(
  log: JsonFileLog,
  generation: number,
): Promise<FileHandle | undefined> {
  for (;;) {
    const before = log.generation;
    const file = await openMaybePacked(log.filePath(before - generation));
    if (log.generation === before) return file;
    await file?.close();
    // Rotated in between: the same generation now has another name.
    if (log.generation - generation >= log.maxFiles) return undefined;
  }
}

/**
 * Complete lines from `position.offset` to the end of what is there; advances the offset. A file that
 * somebody has cut short by hand is read from its new beginning.
 */
async function* linesFrom(file: FileHandle, position: { offset: number }): AsyncGenerator<Lines> {
  if (position.offset > 0 && (await file.stat()).size < position.offset) position.offset = 0;
  let rest: Buffer = Buffer.alloc(0);
  let readAt = position.offset;
  for (;;) {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(READ_BYTES), 0, READ_BYTES, readAt);
    if (bytesRead === 0) return;
    readAt += bytesRead;
    const bytes = Buffer.concat([rest, buffer.subarray(0, bytesRead)]);
    const lines: Buffer[] = [];
    let begin = 0;
    for (let feed = bytes.indexOf(LINE_FEED); feed >= 0; feed = bytes.indexOf(LINE_FEED, begin)) {
      lines.push(bytes.subarray(begin, feed));
      begin = feed + 1;
    }
    position.offset += begin;
    if (lines.length > 0) yield lines;
    rest = bytes.subarray(begin);
    if (rest.length > ENTRY_MAX_BYTES) {
      position.offset += rest.length;
      rest = Buffer.alloc(0);
    }
  }
}

/** Where the last `tail` lines begin; the oldest line for undefined. */
async function startOf(log: JsonFileLog, tail: number | undefined): Promise<Position> {
  const newest = log.generation;
  const oldest = newest - log.maxFiles + 1;
  if (tail === undefined) return { generation: oldest, offset: 0 };
  let missing = tail;
  for (let generation = newest; generation >= oldest; generation--) {
    const file = await openGeneration(log, generation);
    if (file === undefined) continue;
    try {
      const found = await scanBack(file, missing);
      if (found.missing === 0) return { generation, offset: found.offset };
      missing = found.missing;
    } finally {
      await file.close();
    }
  }
  return { generation: oldest, offset: 0 };
}

/** The offset of the `wanted`-th line from the end, or how many more are wanted. */
async function scanBack(
  file: FileHandle,
  wanted: number,
): Promise<{ readonly missing: number; readonly offset: number }> {
  const { size } = await file.stat();
  if (wanted === 0) return { missing: 0, offset: size };
  let end = size;
  // The feed at the very end closes the last line; it does not begin another one.
  let feeds = -1;
  while (end > 0) {
    const length = Math.min(READ_BYTES, end);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, end - length);
    for (let i = bytesRead - 1; i >= 0; i--) {
      if (buffer[i] !== LINE_FEED) continue;
      feeds += 1;
      if (feeds === wanted) return { missing: 0, offset: end - length + i + 1 };
    }
    end -= length;
  }
  const lines = size === 0 ? 0 : feeds + 1;
  return lines >= wanted ? { missing: 0, offset: 0 } : { missing: wanted - lines, offset: 0 };
}

export function parseEntry(line: Uint8Array): LogEntry | undefined {
  let value: { log?: unknown; stream?: unknown; time?: unknown };
  try {
    value = JSON.parse(
      Buffer.from(line.buffer, line.byteOffset, line.length).toString("utf8"),
    ) as typeof value;
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { log, stream, time } = value;
  if (typeof log !== "string" || typeof time !== "string") return undefined;
  if (stream !== "stdout" && stream !== "stderr") return undefined;
  return isTime(time) ? { stream, time, line: Buffer.from(log) } : undefined;
}

/** "key=value,key2=value2 " in front of each line, as docker's details. */
function formatDetails(attributes: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(attributes)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${encodeURIComponent(key)}=${encodeURIComponent(value)}`);
  return `${pairs.join(",")} `;
}

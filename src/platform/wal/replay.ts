/**
 * Reading a log back at opening: every record in order, the torn end dropped, damage refused. See
 * `frame.ts` and `segment.ts` for what makes the two distinguishable.
 */

import { join } from "node:path";
import { EngineError } from "#base/error.ts";
import type { FileSystem } from "./file-system.ts";
import { decodeFrame, findFrame } from "./frame.ts";
import type { DataKey, KeyRing } from "./key-ring.ts";
import { decodeHeader, SEGMENT_HEADER_BYTES, segmentName } from "./segment.ts";

export interface OlderSegment {
  readonly sequence: number;
  readonly keyId: string;
}

/** Where the log ends. */
export interface LogEnd {
  readonly sequence: number;
  readonly keyId: string;
  /** Where the next frame goes in the newest segment. */
  readonly offset: number;
  /** The segments before the newest, oldest first. */
  readonly older: readonly OlderSegment[];
  /** Size of the newest segment's file. */
  readonly capacity: number;
}

/** Replays the segments, given in order; undefined if there are none. */
export async function readLog(
  fs: FileSystem,
  dir: string,
  sequences: readonly number[],
  keys: KeyRing,
  replay: (record: Uint8Array, segment: number) => void,
): Promise<LogEnd | undefined> {
  let end: LogEnd | undefined;
  for (const sequence of sequences) {
    const path = join(dir, segmentName(sequence));
    if (end !== undefined && sequence !== end.sequence + 1) {
      throw damage(join(dir, segmentName(end.sequence + 1)), 0, "the segment is missing");
    }
    const bytes = await fs.read(path);
    const { keyId, previousEnd } = readHeader(path, bytes, sequence);
    if (end !== undefined && previousEnd !== end.offset) {
      const before = join(dir, segmentName(end.sequence));
      throw damage(before, end.offset, `the segment goes on to byte ${previousEnd}`);
    }
    const key = findKey(path, keys, keyId);
    const offset = readFrames(path, bytes, sequence, key, replay);
    const older: readonly OlderSegment[] =
      end === undefined ? [] : [...end.older, { sequence: end.sequence, keyId: end.keyId }];
    end = { sequence, keyId, offset, older, capacity: bytes.length };
  }
  return end;
}

function readHeader(path: string, bytes: Buffer, sequence: number) {
  const header = decodeHeader(bytes);
  if (header === undefined || header.sequence !== sequence) {
    throw damage(path, 0, "the header of the segment is not valid");
  }
  if (bytes.length < header.capacity) {
    throw damage(path, bytes.length, `the file is cut, it had ${header.capacity} bytes`);
  }
  return header;
}

function readFrames(
  path: string,
  bytes: Buffer,
  sequence: number,
  key: DataKey,
  replay: (record: Uint8Array, segment: number) => void,
): number {
  let offset = SEGMENT_HEADER_BYTES;
  for (;;) {
    const read = decodeFrame(bytes, offset, sequence, key.key);
    if (read.outcome === "undecipherable") {
      throw damage(path, offset, `the key ${key.id} does not open a record, or it was altered`);
    }
    if (read.outcome === "none") break;
    for (const record of read.records) replay(record, sequence);
    offset = read.end;
  }
  const later = findFrame(bytes, offset, sequence);
  if (later !== undefined) {
    throw damage(path, offset, `unreadable, while records follow at byte ${later}`);
  }
  return offset;
}

function findKey(path: string, keys: KeyRing, keyId: string): DataKey {
  const key = keys.find(keyId);
  if (key !== undefined) return key;
  const message = `${path} is encrypted with the key ${keyId}, which is not at hand`;
  throw new EngineError("failed-precondition", message);
}

function damage(path: string, offset: number, what: string): EngineError {
  const advice = "remove this manager from the swarm and let it join again, or restore a backup";
  return new EngineError(
    "data-loss",
    `the raft log is damaged: ${path} at byte ${offset}: ${what}; ${advice}`,
  );
}

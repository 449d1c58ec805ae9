/** A snapshot's file as raft sees it: the metadata that it is about, and the data. */

import type { SnapshotReader } from "#platform/wal/snapshot-reader.ts";
import type { SnapshotMetadata } from "#raft/index.ts";
import { decodeMessage } from "#wire/decode.ts";
import { encodeMessage } from "#wire/encode.ts";
import { SnapshotMetadataSchema } from "#wire/gen/raft/raftpb_pb.js";
import { snapshotMetadataFromRaftpb, snapshotMetadataToRaftpb } from "./raftpb.ts";

export interface StoredSnapshot extends Pick<SnapshotReader, "content" | "chunks" | "close"> {
  readonly metadata: SnapshotMetadata;
}

export function storedSnapshot(file: SnapshotReader): StoredSnapshot {
  const pb = decodeMessage(SnapshotMetadataSchema, file.about);
  return {
    metadata: snapshotMetadataFromRaftpb(pb),
    content: file.content,
    chunks: (from) => file.chunks(from),
    close: () => file.close(),
  };
}

export function aboutOf(metadata: SnapshotMetadata): Uint8Array {
  return encodeMessage(SnapshotMetadataSchema, snapshotMetadataToRaftpb(metadata));
}

/**
 * How two managers of ours find out that they may send raft messages in one long stream. SwarmKit's
 * StreamRaftMessage carries one message in chunks; a stream with our metadata carries any number of
 * whole ones. Who can take one says so in a field that other managers ignore.
 */

import { create } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import {
  type ProcessRaftMessageResponse,
  ProcessRaftMessageResponseSchema,
} from "#wire/gen/swarmkit/raft_pb.js";

export const STREAM_METADATA = "skep-raft-stream";
/** Where the caller's manager port is, "host:port": for members that do not know the caller yet. */
export const ADDRESS_METADATA = "skep-raft-address";
const ACCEPTS_FIELD = 1000;

/** The answer to a raft message from a manager that takes long streams. */
export function streamingAnswer(): ProcessRaftMessageResponse {
  const answer = create(ProcessRaftMessageResponseSchema);
  const data = new BinaryWriter().bool(true).finish();
  answer.$unknown = [{ no: ACCEPTS_FIELD, wireType: WireType.Varint, data }];
  return answer;
}

export function acceptsStream(answer: ProcessRaftMessageResponse): boolean {
  return answer.$unknown?.some(({ no }) => no === ACCEPTS_FIELD) === true;
}

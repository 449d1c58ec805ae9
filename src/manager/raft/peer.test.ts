/** One member's way to another, over a real socket: what a refusal makes of it. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { EngineError } from "#base/error.ts";
import { deferred } from "#platform/async.ts";
import { openChannel, type RpcChannel } from "#platform/grpc/client.ts";
import { createRpcServer, type RpcServer } from "#platform/grpc/server.ts";
import { silentLog } from "#platform/log.ts";
import { realClock } from "#platform/real-ports.ts";
import { message } from "#raft/index.ts";
import { Raft } from "#wire/gen/swarmkit/raft_pb.js";
import { Peer } from "./peer.ts";
import { removedRefusal } from "./removal.ts";

let dir: string;
let server: RpcServer;
let channel: RpcChannel;
let refusal: EngineError;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "skep-peer-"));
  const refuse = () => {
    throw refusal;
  };
  server = createRpcServer(() => undefined);
  server.add(Raft, {
    processRaftMessage: refuse,
    streamRaftMessage: async () => refuse(),
    resolveAddress: refuse,
  });
  const socket = join(dir, "peer.sock");
  await server.listenUnix(socket);
  channel = openChannel({ target: `unix://${socket}` });
});
afterEach(async () => {
  channel.close();
  await server.close();
  await rm(dir, { recursive: true });
});

/** What a member makes of being answered so: whether it was told to go. */
async function afterRefusal(): Promise<boolean> {
  const answered = deferred();
  let removed = false;
  const peer = new Peer({
    id: 2,
    ownAddr: () => "one:1",
    channel: () => channel,
    openSnapshot: () => Promise.reject(new Error("no snapshot is sent here")),
    events: {
      unreachable: () => answered.resolve(),
      snapshotDone: () => undefined,
      snapshotDamaged: () => undefined,
      disconnected: () => undefined,
      removed: () => {
        removed = true;
      },
    },
    clock: realClock,
    log: silentLog,
  });
  peer.send(message({ type: "MsgHeartbeat", from: 1, to: 2, term: 1 }));
  await answered.promise;
  peer.close();
  return removed;
}

test("a member goes when it is told that it was removed", async () => {
  refusal = removedRefusal();
  expect(await afterRefusal()).toBe(true);
});

test("something else that is not found is no removal", async () => {
  refusal = new EngineError("not-found", "member 1f not found");
  expect(await afterRefusal()).toBe(false);
  refusal = new EngineError("not-found", "");
  expect(await afterRefusal()).toBe(false);
  refusal = new EngineError("permission-denied", removedRefusal().message);
  expect(await afterRefusal()).toBe(false);
});

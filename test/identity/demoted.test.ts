/** A manager that is none any more keeps its certificate for a while: it speaks for nobody with it. */

import { create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test } from "vitest";
import { must } from "#base/invariant.ts";
import type { RpcChannel } from "#platform/grpc/client.ts";
import { MessageSchema, MessageType } from "#wire/gen/raft/raftpb_pb.js";
import { Raft } from "#wire/gen/swarmkit/raft_pb.js";
import { NodeRole } from "#wire/gen/swarmkit/types_pb.js";
import { channelShowing, forged, stolenFrom } from "./credentials.ts";
import { authorityOf, clusterOf, nodesOf, TestCluster, type TestNode } from "./fixtures.ts";

/** The end of patience on a busy machine. */
const PATIENT = { timeout: 40_000 };
const UNKNOWN_ID = 4_711n;

let cluster: TestCluster;
let first: TestNode;
let second: TestNode;
let third: TestNode;
const channels: RpcChannel[] = [];

beforeEach(async () => {
  cluster = new TestCluster();
  first = await cluster.node("m1");
  second = await cluster.node("m2");
  third = await cluster.node("m3");
  await first.init();
  const { manager: token } = await clusterOf(first);
  await second.join(first, token);
  await third.join(first, token);
});

afterEach(async () => {
  for (const channel of channels.splice(0)) channel.close();
  await cluster.close();
});

async function wish(node: TestNode, desiredRole: NodeRole): Promise<void> {
  const nodeId = node.swarm.localNodeId();
  const change = async () => {
    const { meta, spec } = must((await nodesOf(first)).get(nodeId), "node");
    const nodeVersion = must(meta?.version, "version");
    await first.swarm
      .control()
      .updateNode({ nodeId, nodeVersion, spec: { ...must(spec, "spec"), desiredRole } });
    return true;
  };
  // The leader changes the object, too, when it has heard of its node.
  await expect.poll(() => change().catch((error: Error) => error.message), PATIENT).toBe(true);
}

const memberOf = (node: TestNode) =>
  second.swarm
    .manager()
    ?.membership.list()
    .find(({ nodeId }) => nodeId === node.swarm.localNodeId());

/** A heartbeat of a leader to come, as a raft member of the name says it. */
function heartbeat(channel: RpcChannel, from: bigint, term = 1_000n): Promise<unknown> {
  const to = must(memberOf(second), "member").raftId;
  const type = MessageType.MsgHeartbeat;
  const message = create(MessageSchema, { type, from, to, term });
  return channel.client(Raft).processRaftMessage({ message });
}

test("a demoted manager's certificate sends no raft messages, and its next one as a manager does", async () => {
  const nodeId = third.swarm.localNodeId();
  const raftId = must(memberOf(third), "member").raftId;
  const stolen = await stolenFrom(third);
  const channel = channelShowing(second.address, authorityOf(first).cert, stolen);
  channels.push(channel);
  await wish(third, NodeRole.WORKER);
  const roleAtSecond = () => second.swarm.manager()?.state.view().get("node", nodeId)?.role;
  await expect.poll(roleAtSecond, PATIENT).toBe(NodeRole.WORKER);
  const refusal = "a manager's certificate from before its demotion";
  await expect(heartbeat(channel, UNKNOWN_ID)).rejects.toThrow(refusal);
  await expect(heartbeat(channel, raftId)).rejects.toThrow("member was removed from the cluster");
  // Nobody has heard of a term of his making.
  expect((await nodesOf(second)).size).toBe(3);
  await expect.poll(() => third.swarm.info().controlAvailable, PATIENT).toBe(false);
  await wish(third, NodeRole.MANAGER);
  await expect.poll(() => memberOf(third)?.voter, PATIENT).toBe(true);
  await expect.poll(() => third.swarm.info().controlAvailable, PATIENT).toBe(true);
  await expect(heartbeat(channel, UNKNOWN_ID)).rejects.toThrow(refusal);
});

test("a manager that no store knows is believed only with a certificate newer than all that is known", async () => {
  const authority = authorityOf(first);
  const clusterId = must(second.swarm.swarmId(), "swarm");
  const subject = { nodeId: "unknown", role: NodeRole.MANAGER, clusterId };
  const showing = async (ageMs: number) => {
    const shown = await forged(authority, subject, ageMs, 6 * 3_600_000);
    const channel = channelShowing(second.address, authority.cert, shown);
    channels.push(channel);
    return channel;
  };
  const old = await showing(90 * 60_000);
  for (const id of [UNKNOWN_ID, UNKNOWN_ID + 1n]) {
    await expect(heartbeat(old, id)).rejects.toThrow("in this swarm no more");
  }
  // It may be the leader of a term that this member slept through: here, of one that is long over.
  await heartbeat(await showing(0), UNKNOWN_ID, 1n);
  expect((await nodesOf(second)).size).toBe(3);
});

/**
 * The authorization table on real sockets: every RPC that a manager serves is called by everybody who
 * may and may not, on the leader and on a manager that forwards to it.
 */

import type { DescMethod, DescService } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { EngineError } from "#base/error.ts";
import { must } from "#base/invariant.ts";
import { type Access, RULES } from "#manager/authz/rules.ts";
import { rootValidity } from "#pki/profile.ts";
import type { RpcChannel } from "#platform/grpc/client.ts";
import { realRandom } from "#platform/real-ports.ts";
import { createRoot } from "#platform/x509/issue.ts";
import { DataPlane } from "#wire/gen/skep/dataplane_pb.js";
import { Deploy } from "#wire/gen/skep/deploy_pb.js";
import { JoinTokens, WorkloadIdentities } from "#wire/gen/skep/identity_pb.js";
import { RaftSnapshots } from "#wire/gen/skep/raft_pb.js";
import { CA, NodeCA } from "#wire/gen/swarmkit/ca_pb.js";
import { Control } from "#wire/gen/swarmkit/control_pb.js";
import { Dispatcher } from "#wire/gen/swarmkit/dispatcher_pb.js";
import { Health } from "#wire/gen/swarmkit/health_pb.js";
import { LogBroker, Logs } from "#wire/gen/swarmkit/logbroker_pb.js";
import { Raft, RaftMembership } from "#wire/gen/swarmkit/raft_pb.js";
import { ResourceAllocator } from "#wire/gen/swarmkit/resource_pb.js";
import { NodeRole } from "#wire/gen/swarmkit/types_pb.js";
import { Watch } from "#wire/gen/swarmkit/watch_pb.js";
import { channelShowing, forged, type Shown, stolenFrom } from "./credentials.ts";
import { authorityOf, clusterOf, nodesOf, TestCluster, type TestNode } from "./fixtures.ts";

const SERVICES: readonly DescService[] = [
  CA,
  NodeCA,
  Control,
  DataPlane,
  Deploy,
  Dispatcher,
  Health,
  JoinTokens,
  LogBroker,
  Logs,
  Raft,
  RaftMembership,
  RaftSnapshots,
  ResourceAllocator,
  Watch,
  WorkloadIdentities,
];
const METHODS = SERVICES.flatMap((service) => service.methods);

/** Who calls, and the kinds of access that are his. */
const CALLERS: Readonly<Record<string, readonly Access[]>> = {
  "nobody in particular": ["anyone"],
  "a worker": ["anyone", "node"],
  "a manager": ["anyone", "node", "manager", "member"],
  "a manager that was demoted, with the certificate from before": ["anyone", "node", "member"],
  "a manager of another root": ["anyone"],
  "a manager of another cluster, whose certificates the same root signs": ["anyone"],
  "a manager whose certificate has expired": ["anyone"],
  "a worker that no store knows": ["anyone"],
  // Of managers, members believe the certificate: they may have slept when it was made.
  "a manager that no store knows": ["anyone", "member"],
  "a worker that was removed": ["anyone"],
  "a manager that was removed": ["anyone"],
};

/** A stream that has not been refused after this long was let in. */
const LET_IN_MS = 1_000;

let cluster: TestCluster;
let leader: TestNode;
let follower: TestNode;
let shown: Map<string, Shown | undefined>;

beforeAll(async () => {
  cluster = new TestCluster();
  leader = await cluster.node("m1");
  follower = await cluster.node("m2");
  const worker = await cluster.node("w1");
  const removed = await cluster.node("w2");
  await leader.init();
  const { worker: token, manager: managerToken, cluster: object } = await clusterOf(leader);
  await follower.join(leader, managerToken);
  await worker.join(leader, token);
  await removed.join(leader, token);
  const stolen = await stolenFrom(removed);
  const goneId = removed.swarm.localNodeId();
  await leader.swarm.control().removeNode({ nodeId: goneId, force: true });
  const removedHere = () =>
    follower.swarm.manager()?.state.view().byName("cluster", "default")?.blacklistedCertificates[
      goneId
    ];
  await vi.waitUntil(removedHere, { timeout: 5_000 });
  const authority = authorityOf(leader);
  const foreign = await createRoot(rootValidity(Date.now()), realRandom);
  const subject = (nodeId: string) => ({ nodeId, role: NodeRole.MANAGER, clusterId: object.id });
  const self = subject(follower.swarm.localNodeId());
  const elsewhere = { ...self, clusterId: "another" };
  const callers = Object.keys(CALLERS);
  const all = [
    undefined,
    await stolenFrom(worker),
    await stolenFrom(follower),
    await forged(authority, subject(worker.swarm.localNodeId())),
    await forged(foreign, self),
    await forged(authority, elsewhere),
    await forged(authority, self, 65 * 60_000),
    await forged(authority, { ...subject("unknown"), role: NodeRole.WORKER }),
    await forged(authority, subject("unknown")),
    stolen,
    await forged(authority, subject(goneId)),
  ];
  shown = new Map(callers.map((name, at) => [name, all[at]]));
  expect(all.length).toBe(callers.length);
});

afterAll(() => cluster.close());

function pathOf(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}

/** Calls with an empty request: why it was not let in, or undefined when something else answered. */
async function refusalOf(channel: RpcChannel, method: DescMethod): Promise<string | undefined> {
  const client = channel.client(method.parent) as Record<
    string,
    (request: unknown, options: object) => unknown
  >;
  const call = must(client[method.localName], method.name);
  const end = new AbortController();
  const timer = setTimeout(() => end.abort(), LET_IN_MS);
  async function* nothing() {
    await new Promise((resolve) => end.signal.addEventListener("abort", resolve, { once: true }));
    yield* [];
  }
  const streams =
    method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming";
  try {
    const answer = call(streams ? nothing() : {}, { signal: end.signal });
    if (method.methodKind === "unary" || method.methodKind === "client_streaming") {
      await answer;
      return undefined;
    }
    for await (const _ of answer as AsyncIterable<unknown>) break;
    return undefined;
  } catch (error) {
    const { code, message } = EngineError.from(error);
    return code === "permission-denied" && message.startsWith("Permission denied: ")
      ? message
      : undefined;
  } finally {
    clearTimeout(timer);
    end.abort();
  }
}

async function letIn(node: TestNode, caller: string): Promise<readonly string[]> {
  const { cluster: object } = await clusterOf(leader);
  const root = Buffer.from(object.rootCa?.caCert ?? []).toString();
  const channel = channelShowing(node.address, root, shown.get(caller));
  try {
    const refusals = await Promise.all(METHODS.map((method) => refusalOf(channel, method)));
    return METHODS.filter((_, at) => refusals[at] === undefined).map(pathOf);
  } finally {
    channel.close();
  }
}

test("no method is left out", () => {
  expect(METHODS.map(pathOf).sort()).toEqual([...RULES.keys()].sort());
});

describe.each(["leader", "follower"] as const)("the %s", (which) => {
  test.each(Object.entries(CALLERS))(
    "lets in %s to %s and nothing else",
    async (caller, rights) => {
      const node = which === "leader" ? leader : follower;
      const expected = METHODS.map(pathOf).filter((path) =>
        rights.includes(must(RULES.get(path), path).access),
      );
      expect(await letIn(node, caller)).toEqual(expected);
    },
  );
});

test("all that has changed nothing", async () => {
  expect((await nodesOf(leader)).size).toBe(3);
  const { clusters } = await follower.swarm.control().listClusters({});
  expect(clusters.length).toBe(1);
});

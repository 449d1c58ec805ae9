import type { DescService } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import type { PeerIdentity, RpcContext } from "#platform/grpc/server.ts";
import * as dataplane from "#wire/gen/skep/dataplane_pb.js";
import * as deploy from "#wire/gen/skep/deploy_pb.js";
import * as identity from "#wire/gen/skep/identity_pb.js";
import * as skepRaft from "#wire/gen/skep/raft_pb.js";
import * as ca from "#wire/gen/swarmkit/ca_pb.js";
import * as control from "#wire/gen/swarmkit/control_pb.js";
import { Control } from "#wire/gen/swarmkit/control_pb.js";
import * as dispatcher from "#wire/gen/swarmkit/dispatcher_pb.js";
import * as health from "#wire/gen/swarmkit/health_pb.js";
import * as logbroker from "#wire/gen/swarmkit/logbroker_pb.js";
import * as raft from "#wire/gen/swarmkit/raft_pb.js";
import * as resource from "#wire/gen/swarmkit/resource_pb.js";
import { NodeRole } from "#wire/gen/swarmkit/types_pb.js";
import * as watch from "#wire/gen/swarmkit/watch_pb.js";
import { authorizeAtLeader, createAuthorize } from "./authorize.ts";
import { forwardedMetadata, originOf } from "./caller.ts";
import { assertRuled, RULES } from "./rules.ts";

const ROLES: Readonly<Record<string, NodeRole>> = {
  w1: NodeRole.WORKER,
  m1: NodeRole.MANAGER,
  demoted: NodeRole.WORKER,
};
const cluster = {
  clusterId: "c1",
  removed: (nodeId: string) => nodeId === "gone",
  role: (nodeId: string) => ROLES[nodeId],
};
const authorize = createAuthorize(cluster);
const worker: PeerIdentity = { nodeId: "w1", role: "swarm-worker", clusterId: "c1" };
const manager: PeerIdentity = { nodeId: "m1", role: "swarm-manager", clusterId: "c1" };

function call(path: string, more: Partial<RpcContext> = {}): RpcContext {
  return {
    peer: undefined,
    peerAddress: "192.0.2.1:5000",
    signal: new AbortController().signal,
    metadata: {},
    path,
    local: false,
    ...more,
  };
}

function allows(context: RpcContext): boolean {
  try {
    authorize(context);
    return true;
  } catch {
    return false;
  }
}

const services: readonly DescService[] = [
  ca,
  control,
  dataplane,
  identity,
  dispatcher,
  health,
  logbroker,
  deploy,
  raft,
  resource,
  skepRaft,
  watch,
].flatMap((file) =>
  Object.values(file).filter(
    (value): value is DescService =>
      typeof value === "object" && "kind" in value && value.kind === "service",
  ),
);
const paths = services.flatMap((service) =>
  service.methods.map((method) => `/${service.typeName}/${method.name}`),
);

test("every method of every service has a rule, and no rule is for nothing", () => {
  expect(services.length).toBe(16);
  expect([...RULES.keys()].sort()).toEqual([...paths].sort());
});

test.each(paths)("%s lets in those of its rule and nobody else", (path) => {
  const access = RULES.get(path)?.access;
  expect(allows(call(path))).toBe(access === "anyone");
  expect(allows(call(path, { peer: worker }))).toBe(access === "anyone" || access === "node");
  expect(allows(call(path, { peer: manager }))).toBe(true);
  expect(allows(call(path, { local: true }))).toBe(true);
  for (const peer of [
    { ...manager, clusterId: "other" },
    { ...manager, nodeId: "gone" },
    { ...manager, role: "swarm-ca" },
    { ...manager, nodeId: "" },
  ]) {
    expect(allows(call(path, { peer }))).toBe(access === "anyone");
  }
});

test("what is in no table is refused, also to managers and over the local socket", () => {
  for (const path of ["/docker.swarmkit.v1.Control/DropTables", "/x.Y/Z", ""]) {
    expect(allows(call(path, { peer: manager }))).toBe(false);
    expect(allows(call(path, { local: true }))).toBe(false);
  }
});

test("a service with a method that has no rule is not served", () => {
  for (const service of services) assertRuled(service);
  const [method] = Control.methods;
  if (method === undefined) throw new Error("no method");
  const more = { ...Control, methods: [...Control.methods, { ...method, name: "DropTables" }] };
  expect(() => assertRuled(more as DescService)).toThrow("Control/DropTables");
});

test("a demoted manager is one no longer, whatever its certificate says", () => {
  const peer = { ...manager, nodeId: "demoted" };
  const atLeader = (path: string, more: Partial<RpcContext>) => () => {
    const context = call(path, more);
    authorizeAtLeader(context, originOf(context, cluster), cluster);
  };
  const refusal = "node demoted is no longer a manager";
  for (const [path, rule] of RULES) {
    if (rule.access !== "manager") {
      expect(allows(call(path, { peer }))).toBe(true);
    } else if (rule.answeredBy === "local") {
      expect(() => authorize(call(path, { peer }))).toThrow(refusal);
    } else {
      expect(atLeader(path, { peer })).toThrow(refusal);
      expect(atLeader(path, { peer: manager })).not.toThrow();
    }
    if (rule.answeredBy === "leader") {
      // It can't lend itself another's name.
      const metadata = forwardedMetadata(call("", { peer: manager }), peer, "192.0.2.9:2377");
      expect(atLeader(path, { peer, metadata })).toThrow(refusal);
    }
  }
  const watch = "/docker.swarmkit.v1.Watch/Watch";
  const metadata = forwardedMetadata(call("", { peer: manager }), peer, "192.0.2.9:2377");
  expect(allows(call(watch, { peer, metadata }))).toBe(false);
});

test("whom the store does not know is no node, however good its certificate", () => {
  const atLeader = (path: string, peer: PeerIdentity, by?: PeerIdentity) => () => {
    const metadata = by && forwardedMetadata(call("", { peer }), by, "192.0.2.9:2377");
    const context = call(
      path,
      by === undefined ? { peer } : { peer: by, metadata: metadata ?? {} },
    );
    authorize(context);
    authorizeAtLeader(context, originOf(context, cluster), cluster);
  };
  const unknownWorker = { ...worker, nodeId: "unknown" };
  const unknownManager = { ...manager, nodeId: "unknown" };
  const refusal = "node unknown is not part of this swarm";
  for (const [path, { access, answeredBy }] of RULES) {
    if (access === "node") expect(atLeader(path, unknownWorker)).toThrow(refusal);
    if (access === "node") expect(atLeader(path, unknownWorker, manager)).toThrow(refusal);
    if (access === "manager") expect(atLeader(path, unknownManager)).toThrow(refusal);
    if (access === "node" || answeredBy === "local") continue;
    expect(atLeader(path, worker, unknownManager)).toThrow();
  }
  const watching = call("/docker.swarmkit.v1.Watch/Watch", { peer: unknownManager });
  expect(() => authorize(watching)).toThrow(refusal);
});

test("before the node knows its cluster, an empty organization opens nothing", () => {
  const early = createAuthorize({ clusterId: "", removed: () => false, role: () => undefined });
  const path = "/docker.swarmkit.v1.Control/ListNodes";
  expect(() => early(call(path, { peer: { ...manager, clusterId: "" } }))).toThrow("organization");
});

test("the reasons are SwarmKit's", () => {
  const path = "/docker.swarmkit.v1.Control/ListNodes";
  expect(() => authorize(call(path, { peer: worker }))).toThrow(
    "Permission denied: remote certificate not part of OUs: [swarm-manager]",
  );
  expect(() => authorize(call(path, { peer: { ...manager, nodeId: "gone" } }))).toThrow(
    "Permission denied: node gone was removed from swarm",
  );
});

test("a forwarded call has the rights of its origin, and only managers may forward", () => {
  const path = "/docker.swarmkit.v1.Dispatcher/Heartbeat";
  const list = "/docker.swarmkit.v1.Control/ListNodes";
  const forward = (origin: Partial<RpcContext>) =>
    forwardedMetadata(call("", origin), manager, "192.0.2.9:2377");
  const byWorker = forward({ peer: worker });
  expect(allows(call(path, { peer: manager, metadata: byWorker }))).toBe(true);
  expect(allows(call(list, { peer: manager, metadata: byWorker }))).toBe(false);
  expect(allows(call(path, { peer: worker, metadata: byWorker }))).toBe(false);
  expect(allows(call(path, { metadata: byWorker }))).toBe(false);
  // A stranger's call does not gain the forwarder's rights.
  expect(allows(call(path, { peer: manager, metadata: forward({}) }))).toBe(false);
  expect(allows(call(list, { peer: manager, metadata: forward({ local: true }) }))).toBe(true);
  // A removed node does not come back through another manager.
  const gone = forward({ peer: { ...worker, nodeId: "gone" } });
  expect(allows(call(path, { peer: manager, metadata: gone }))).toBe(false);
  const origin = originOf(call(path, { peer: manager, metadata: byWorker }), cluster);
  expect(origin.peer).toEqual(worker);
  expect(origin.peerAddress).toBe("192.0.2.1:5000");
});

/**
 * Who may call what, and who answers it: one row for every RPC that a node serves. A method without
 * a row is refused to everybody; the compiler asks for the rows of each service named here, and a
 * test compares the table with the methods of all schemas.
 */

import type { DescService } from "@bufbuild/protobuf";
import { invariant } from "#base/invariant.ts";
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
import { Watch } from "#wire/gen/swarmkit/watch_pb.js";

/**
 * `anyone`: also without a certificate. `node`: workers and managers of this cluster. `manager`: a
 * manager's certificate, of a node that the store does not call a worker by now. `member`: a
 * manager's certificate alone, for what managers say to each other before one of them has caught up
 * with who the others are.
 */
export type Access = "anyone" | "node" | "manager" | "member";

/** `leader`: other managers forward the call. `local`: the manager that was asked answers. */
export type AnsweredBy = "leader" | "local";

export interface Rule {
  readonly access: Access;
  readonly answeredBy: AnsweredBy;
}

const OPEN_LOCAL = { access: "anyone", answeredBy: "local" } as const;
const OPEN = { access: "anyone", answeredBy: "leader" } as const;
const NODE = { access: "node", answeredBy: "leader" } as const;
const MANAGER = { access: "manager", answeredBy: "leader" } as const;
const MANAGER_LOCAL = { access: "manager", answeredBy: "local" } as const;
const MEMBER_LOCAL = { access: "member", answeredBy: "local" } as const;

/** Rules by "/package.Service/Method". */
export const RULES: ReadonlyMap<string, Rule> = new Map([
  // Every manager holds the root; a joiner checks it against its token, whoever answers.
  ...rows(CA, { getRootCACertificate: OPEN_LOCAL, getUnlockKey: MANAGER }),
  // Strangers come here with a token; the service itself tells them from nodes that renew.
  ...rows(NodeCA, { issueNodeCertificate: OPEN, nodeCertificateStatus: OPEN }),
  ...rows(Dispatcher, {
    session: NODE,
    heartbeat: NODE,
    updateTaskStatus: NODE,
    updateVolumeStatus: NODE,
    tasks: NODE,
    assignments: NODE,
  }),
  ...rows(Deploy, {
    promoteService: MANAGER,
    abortService: MANAGER,
    explainService: MANAGER,
    explainNode: MANAGER,
    getStack: MANAGER,
    deployStack: MANAGER,
    removeStack: MANAGER,
  }),
  ...rows(DataPlane, { watch: NODE, acknowledge: NODE }),
  ...rows(LogBroker, { listenSubscriptions: NODE, publishLogs: NODE }),
  ...rows(Logs, { subscribeLogs: MANAGER }),
  ...rows(ResourceAllocator, { attachNetwork: NODE, detachNetwork: NODE }),
  ...rows(RaftMembership, { join: MANAGER, leave: MANAGER }),
  ...rows(Raft, {
    processRaftMessage: MEMBER_LOCAL,
    streamRaftMessage: MEMBER_LOCAL,
    resolveAddress: MEMBER_LOCAL,
  }),
  ...rows(RaftSnapshots, { held: MEMBER_LOCAL }),
  ...rows(Health, { check: MEMBER_LOCAL }),
  ...rows(Watch, { watch: MANAGER_LOCAL }),
  ...rows(WorkloadIdentities, { issue: NODE }),
  ...rows(JoinTokens, { create: MANAGER, list: MANAGER, remove: MANAGER }),
  ...rows(Control, {
    getNode: MANAGER,
    listNodes: MANAGER,
    updateNode: MANAGER,
    removeNode: MANAGER,
    getTask: MANAGER,
    listTasks: MANAGER,
    removeTask: MANAGER,
    getService: MANAGER,
    listServices: MANAGER,
    listServiceStatuses: MANAGER,
    createService: MANAGER,
    updateService: MANAGER,
    removeService: MANAGER,
    getNetwork: MANAGER,
    listNetworks: MANAGER,
    createNetwork: MANAGER,
    removeNetwork: MANAGER,
    getCluster: MANAGER,
    listClusters: MANAGER,
    updateCluster: MANAGER,
    getSecret: MANAGER,
    listSecrets: MANAGER,
    createSecret: MANAGER,
    updateSecret: MANAGER,
    removeSecret: MANAGER,
    getConfig: MANAGER,
    listConfigs: MANAGER,
    createConfig: MANAGER,
    updateConfig: MANAGER,
    removeConfig: MANAGER,
    getExtension: MANAGER,
    createExtension: MANAGER,
    removeExtension: MANAGER,
    getResource: MANAGER,
    listResources: MANAGER,
    createResource: MANAGER,
    updateResource: MANAGER,
    removeResource: MANAGER,
    getVolume: MANAGER,
    listVolumes: MANAGER,
    createVolume: MANAGER,
    updateVolume: MANAGER,
    removeVolume: MANAGER,
  }),
]);

/** A service of which a method has no rule is not served at all: a bug, found when a manager starts. */
export function assertRuled(service: DescService): void {
  for (const method of service.methods) {
    const path = `/${service.typeName}/${method.name}`;
    invariant(RULES.has(path), `${path} is not in the authorization table`);
  }
}

function rows<S extends DescService>(
  service: S,
  rules: { readonly [K in keyof S["method"]]: Rule },
): readonly (readonly [string, Rule])[] {
  return service.methods.map((method) => [
    `/${service.typeName}/${method.name}`,
    rules[method.localName as keyof S["method"]],
  ]);
}

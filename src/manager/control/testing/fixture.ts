/** A Control service over an in-memory store, and the smallest valid requests to it. */

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { ErrorCode } from "#base/error.ts";
import { EngineError } from "#base/error.ts";
import type { Clock, Random } from "#base/ports.ts";
import { CreateServiceRequestSchema } from "#wire/gen/swarmkit/control_pb.js";
import { ClusterSchema, NodeSchema, type Service } from "#wire/gen/swarmkit/objects_pb.js";
import {
  NodeSpec_Membership,
  type ServiceSpec,
  ServiceSpecSchema,
} from "#wire/gen/swarmkit/specs_pb.js";
import {
  NodeRole,
  NodeStatus_State,
  RaftMemberStatus_Reachability,
} from "#wire/gen/swarmkit/types_pb.js";
import type { Member } from "../../manager-ports.ts";
import { createLocalState, type LocalState } from "../../raft/local-state.ts";
import type { ControlContext } from "../context.ts";
import { invalid } from "../refusal.ts";
import type { ExternalAuthorities } from "../root-ca.ts";
import { createService } from "../services.ts";

export interface Fixture extends ControlContext {
  readonly state: LocalState;
  /** Raft members; tests change it. */
  readonly raft: Member[];
  /** Whether `members.canRemove` agrees. */
  quorumHolds: boolean;
  /** Networks that a plug-in was told to let go. */
  readonly freed: string[];
}

export function fixture(external: Partial<ExternalAuthorities> = {}): Fixture {
  const clock = countingClock();
  const random = countingRandom();
  const raft: Member[] = [];
  const made: Fixture = {
    state: createLocalState({ clock, random }),
    clock,
    random,
    raft,
    quorumHolds: true,
    members: { list: () => raft, canRemove: () => made.quorumHolds },
    authority: {
      clock,
      random,
      external: {
        reachable: async () => false,
        crossSign: async () => {
          throw new Error("no external CA");
        },
        ...external,
      },
    },
    plugins: {
      require: async (name) => {
        if (name !== "remote-net") throw invalid(`error during lookup of plugin ${name}`);
      },
      requireAddresses: async (name) => {
        if (name !== "remote-ipam") throw invalid(`error during lookup of IPAM plugin ${name}`);
      },
      alone: (_id, work) => work(),
      free: async (_name, networkId) => void made.freed.push(networkId),
    },
    freed: [],
    imageTroubles: new Map(),
    isTaskDirty: (service, task) => service.specVersion?.index !== task.specVersion?.index,
  };
  return made;
}

export function member(nodeId: string, leader = false): Member {
  return {
    nodeId,
    raftId: BigInt(nodeId.length),
    addr: `${nodeId}:2377`,
    leader,
    voter: true,
    reachability: RaftMemberStatus_Reachability.REACHABLE,
  };
}

export function serviceSpec(changes: MessageInitShape<typeof ServiceSpecSchema> = {}): ServiceSpec {
  return create(ServiceSpecSchema, {
    annotations: { name: "web" },
    task: { runtime: { case: "container", value: { image: "nginx:1.27" } } },
    mode: { case: "replicated", value: { replicas: 1n } },
    ...changes,
  } as MessageInitShape<typeof ServiceSpecSchema>);
}

export async function aService(
  context: ControlContext,
  changes: MessageInitShape<typeof ServiceSpecSchema> = {},
): Promise<Service> {
  const request = create(CreateServiceRequestSchema, { spec: serviceSpec(changes) });
  const { service } = await createService(context, request);
  if (service === undefined) throw new Error("no service in the response");
  return service;
}

export async function aNode(
  context: ControlContext,
  id: string,
  changes: MessageInitShape<typeof NodeSchema> = {},
): Promise<void> {
  await context.state.update("ca", (tx) =>
    tx.create(
      "node",
      create(NodeSchema, {
        id,
        spec: { desiredRole: NodeRole.WORKER, membership: NodeSpec_Membership.ACCEPTED },
        status: { state: NodeStatus_State.READY },
        description: { hostname: `host-${id}` },
        ...changes,
      } as MessageInitShape<typeof NodeSchema>),
    ),
  );
}

export async function aCluster(
  context: ControlContext,
  changes: MessageInitShape<typeof ClusterSchema> = {},
): Promise<void> {
  await context.state.update("leader", (tx) =>
    tx.create(
      "cluster",
      create(ClusterSchema, {
        id: "cluster1",
        spec: { annotations: { name: "default" } },
        rootCa: { caKey: new Uint8Array([1]), joinTokens: { worker: "w", manager: "m" } },
        ...changes,
      } as MessageInitShape<typeof ClusterSchema>),
    ),
  );
}

/** The refusal of a call as "code: message"; "ok" when there was none. */
export async function refusalOf(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return "ok";
  } catch (error) {
    if (!(error instanceof EngineError)) throw error;
    const code: ErrorCode = error.code;
    return `${code}: ${error.message}`;
  }
}

function countingClock(): Clock {
  let now = 1_700_000_000_000;
  return {
    nowMs: () => (now += 1),
    monotonicMs: () => now,
    setTimer: () => ({ cancel: () => undefined }),
  };
}

function countingRandom(): Random {
  let seed = 1;
  const next = () => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return seed >>> 16;
  };
  return {
    int: (bound) => next() % bound,
    bytes: (length) => Uint8Array.from({ length }, () => next() & 0xff),
  };
}

/**
 * Who comes in and who goes: the RaftMembership service and the removals that the role manager asks
 * for. Only the leader changes the membership, one change at a time.
 *
 * A new member comes in as a learner and gets its vote when it has caught up: a joiner that dies on
 * the way never counts in a quorum. One that comes without its log gets a new raft id and its old
 * one is removed, because a member that forgot its vote could vote twice.
 */

import { create } from "@bufbuild/protobuf";
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { EngineError, messageOf } from "#base/error.ts";
import type { Clock, Log, Random } from "#base/ports.ts";
import { FEATURE_LEVEL } from "#model/feature-level.ts";
import { KeyedLock } from "#platform/async.ts";
import type { RpcChannel } from "#platform/grpc/client.ts";
import type { RpcContext } from "#platform/grpc/server.ts";
import type { ConfChangeType, NodeId } from "#raft/index.ts";
import { Health, HealthCheckResponse_ServingStatus } from "#wire/gen/swarmkit/health_pb.js";
import {
  type JoinRequest,
  JoinRequestSchema,
  type JoinResponse,
  JoinResponseSchema,
} from "#wire/gen/swarmkit/raft_pb.js";
import type { Driver } from "./driver.ts";
import { encodeMember, hexId, type KnownMember, type Members } from "./members.ts";

const HEALTH_TIMEOUT_MS = 5_000;
/** Entries that a learner may lack when it gets its vote. */
const NEARLY_THERE = 100;
/** Field of JoinRequest that is ours: the raft id of a member that comes back with its log. */
const RETURNING_FIELD = 1000;

export interface AdmissionOptions {
  readonly driver: Driver;
  readonly self: NodeId;
  readonly members: Members;
  readonly channelTo: (addr: string) => RpcChannel;
  readonly callerOf: (context: RpcContext) => string | undefined;
  /** Throws if the group can't take in whoever asks so. */
  readonly checkJoin?: ((request: JoinRequest) => void) | undefined;
  /** Silence after which a member counts as unreachable, milliseconds. */
  readonly silenceMs: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

export class Admission {
  readonly #options: AdmissionOptions;
  readonly #lock = new KeyedLock();
  #promoting = false;

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  async join(request: JoinRequest, context: RpcContext): Promise<JoinResponse> {
    this.#ensureLeader();
    const nodeId = this.#options.callerOf(context);
    if (nodeId === undefined) {
      throw new EngineError("permission-denied", "a manager joins with its certificate only");
    }
    this.#options.checkJoin?.(request);
    const addr = reachableAddress(request.addr, context.peerAddress);
    await this.#ensureHealthy(addr);
    return await this.#exclusively(() => this.#admit(nodeId, addr, returningId(request)));
  }

  async leave(raftId: NodeId): Promise<void> {
    await this.remove(raftId);
  }

  /** Resolves when the removal is committed; fine when it is gone already. */
  async remove(raftId: NodeId): Promise<void> {
    this.#ensureLeader();
    await this.#exclusively(async () => {
      const member = this.#options.members.get(raftId);
      if (member === undefined) return;
      if (!this.canRemove(raftId)) {
        throw new EngineError(
          "failed-precondition",
          "raft: member cannot be removed, because removing it may result in loss of quorum",
        );
      }
      await this.#change("removeNode", member);
    });
  }

  /** Whether enough of the other voters answer to go on without this one. */
  canRemove(raftId: NodeId): boolean {
    const { members } = this.#options;
    if (!members.isVoter(raftId)) return true;
    const others = members.confState.voters.filter((id) => id !== raftId);
    const reachable = others.filter((id) => this.isReachable(id)).length;
    return reachable >= Math.floor(others.length / 2) + 1;
  }

  isReachable(id: NodeId): boolean {
    const { driver, self, clock, silenceMs } = this.#options;
    if (id === self) return true;
    const heard = driver.lastHeardMs(id);
    return heard !== undefined && clock.monotonicMs() - heard < silenceMs;
  }

  /** Tells the group this member's new address, as its leader. */
  async updateAddress(member: KnownMember): Promise<void> {
    await this.#exclusively(() => this.#change("updateNode", member));
  }

  /** Gives learners that have caught up their vote; called now and then. */
  tick(): void {
    const { driver, members, log } = this.#options;
    const { learners } = members.confState;
    if (learners.length === 0 || this.#promoting || !driver.caughtUp) return;
    const { progress, hardState } = driver.status();
    const ready = learners.find((id) => {
      const state = progress.get(id);
      if (state?.state !== "replicate" || !state.recentActive) return false;
      return state.match + NEARLY_THERE >= hardState.commit;
    });
    const member = ready === undefined ? undefined : members.get(ready);
    if (member === undefined) return;
    this.#promoting = true;
    this.#exclusively(async () => {
      if (members.isLearner(member.raftId)) await this.#change("addNode", member);
    })
      .catch((error: unknown) =>
        log.warn("a new raft member has no vote yet", { reason: messageOf(error) }),
      )
      .finally(() => {
        this.#promoting = false;
      });
  }

  async #admit(nodeId: string, addr: string, returning: NodeId | undefined): Promise<JoinResponse> {
    const { members, random, log } = this.#options;
    const known = members.byNodeId(nodeId);
    if (known !== undefined && known.raftId === returning) {
      if (known.addr !== addr) await this.#change("updateNode", { ...known, addr });
      return this.#answer(known.raftId);
    }
    if (known !== undefined) {
      log.info("a raft member comes back without its log", { node: nodeId });
      await this.#change("removeNode", known);
    }
    const raftId = members.freshId(random);
    await this.#change("addLearnerNode", { raftId, nodeId, addr });
    log.info("a manager joined", { node: nodeId, addr, member: hexId(raftId) });
    return this.#answer(raftId);
  }

  async #change(type: ConfChangeType, member: KnownMember): Promise<void> {
    const { driver, random } = this.#options;
    const id = new DataView(random.bytes(8).buffer).getBigUint64(0);
    const context = encodeMember(member);
    await driver.proposeChange({ version: 1, id, type, nodeId: member.raftId, context });
  }

  #answer(raftId: NodeId): JoinResponse {
    const { members: list, removed } = this.#options.members.snapshot();
    return create(JoinResponseSchema, {
      raftId: BigInt(raftId),
      members: list,
      removedMembers: removed,
    });
  }

  async #ensureHealthy(addr: string): Promise<void> {
    const health = this.#options.channelTo(addr).client(Health);
    let status: HealthCheckResponse_ServingStatus;
    try {
      ({ status } = await health.check({ service: "Raft" }, { timeoutMs: HEALTH_TIMEOUT_MS }));
    } catch (error) {
      const message =
        "could not connect to prospective new cluster member using its advertised address";
      throw new EngineError("unavailable", `${message} ${addr}: ${messageOf(error)}`);
    }
    if (status !== HealthCheckResponse_ServingStatus.SERVING) {
      const name = HealthCheckResponse_ServingStatus[status];
      throw new EngineError("unavailable", `health check returned status ${name}`);
    }
  }

  #exclusively<T>(section: () => Promise<T>): Promise<T> {
    return this.#lock.run("membership", section);
  }

  #ensureLeader(): void {
    if (this.#options.driver.caughtUp) return;
    throw new EngineError(
      "failed-precondition",
      "raft: failed to process the request: node lost leader status",
    );
  }
}

/** The joiner's address; a host that stands for "any" is replaced by where the call came from. */
export function reachableAddress(addr: string, callerAddress: string): string {
  const colon = addr.lastIndexOf(":");
  const host = addr.slice(0, colon).replace(/^\[(.*)\]$/, "$1");
  const port = addr.slice(colon + 1);
  if (colon === -1 || !/^\d+$/.test(port)) {
    throw new EngineError("invalid-argument", `invalid address ${addr} in raft join request`);
  }
  if (host !== "" && host !== "0.0.0.0" && host !== "::") return addr;
  const end = callerAddress.lastIndexOf(":");
  const from = end === -1 ? callerAddress : callerAddress.slice(0, end);
  return `${from}:${port}`;
}

/** A request of a member that has its log and only moved. */
export function returningRequest(addr: string, raftId: NodeId): JoinRequest {
  const data = new BinaryWriter().uint64(BigInt(raftId)).finish();
  const request = create(JoinRequestSchema, { addr, featureLevel: FEATURE_LEVEL });
  request.$unknown = [{ no: RETURNING_FIELD, wireType: WireType.Varint, data }];
  return request;
}

function returningId(request: JoinRequest): NodeId | undefined {
  const field = request.$unknown?.find(({ no }) => no === RETURNING_FIELD);
  return field === undefined ? undefined : Number(new BinaryReader(field.data).uint64());
}

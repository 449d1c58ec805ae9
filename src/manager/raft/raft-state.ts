/**
 * ClusterState over raft: transactions run against the head of the store and become one entry each,
 * any number of them on their way at once; views and watches follow what is applied here.
 */

import { create } from "@bufbuild/protobuf";
import { EngineError } from "#base/error.ts";
import { PROPOSALS_IN_FLIGHT_MAX, STORE_TRANSACTION_MAX_BYTES } from "#base/limits.ts";
import type { Clock, Random } from "#base/ports.ts";
import type { NodeId } from "#raft/index.ts";
import type { Store } from "#store/store.ts";
import type { Change, Tx } from "#store/types.ts";
import { encodeIntoRoom } from "#wire/encode.ts";
import { InternalRaftRequestSchema } from "#wire/gen/swarmkit/raft_pb.js";
import type { Actor, ClusterState } from "../state.ts";
import { SwarmClock } from "../swarm-clock.ts";
import type { ChangeFeed } from "./change-feed.ts";
import type { Driver } from "./driver.ts";
import type { Leadership } from "./leadership.ts";
import type { Members } from "./members.ts";
import { notLeading } from "./proposals.ts";
import type { RaftTimings } from "./raft-node.ts";

export interface RaftStateOptions {
  readonly store: Store;
  readonly members: Members;
  readonly feed: ChangeFeed;
  readonly leadership: Leadership;
  /** Undefined until the member has its place in the group. */
  readonly driver: () => Driver | undefined;
  readonly checkChange?: ((actor: Actor, change: Change) => void) | undefined;
  readonly timings?: Pick<RaftTimings, "transaction"> | undefined;
  readonly clock: Clock;
  readonly random: Random;
}

export function createRaftState(options: RaftStateOptions): ClusterState {
  const { store, members, feed, leadership, driver } = options;
  const swarmClock = new SwarmClock(options.clock, () => store.newestMs);
  const update = createUpdate(options, swarmClock);
  return {
    view: () => store.view(),
    linearizable: async () => {
      const running = driver();
      if (running === undefined) throw notLeading();
      await running.readBarrier();
      return store.view();
    },
    update,
    watch: (watching) => feed.watch(watching),
    viewAndWatch: (watching) => feed.viewAndWatch(watching),
    nowMs: () => swarmClock.nowMs(),
    batchAfter: (index) => store.batchAfter(index),
    isLeader: () => leadership.leads,
    leader: () => {
      const member = members.get(driver()?.leadId ?? 0);
      return member === undefined ? undefined : { nodeId: member.nodeId, addr: member.addr };
    },
    hearsMajority: (withinMs) => hearsMajority(options, withinMs),
    onLeadership: (lead) => leadership.register(lead),
  };
}

function hearsMajority(options: RaftStateOptions, withinMs: number): boolean {
  const driver = options.driver();
  if (driver === undefined) return false;
  const { voters, votersOutgoing } = options.members.confState;
  const { id: self } = driver.status();
  const since = options.clock.monotonicMs() - withinMs;
  const isHeard = (id: NodeId) => id === self || (driver.lastHeardMs(id) ?? since) > since;
  return [voters, votersOutgoing].every(
    (group) => group.length === 0 || group.filter(isHeard).length > group.length / 2,
  );
}

function createUpdate(options: RaftStateOptions, clock: SwarmClock): ClusterState["update"] {
  const { store, leadership, checkChange, random } = options;
  // Tells the requests of this process from those of others, as in SwarmKit; nothing depends on it.
  let requestId = new DataView(random.bytes(8).buffer).getBigUint64(0) & 0xffff_ffff_0000_0000n;

  return async <T>(actor: Actor, write: (tx: Tx) => T): Promise<T> => {
    const driver = options.driver();
    if (driver === undefined || !leadership.leads || !driver.caughtUp) throw notLeading();
    if (driver.pending >= PROPOSALS_IN_FLIGHT_MAX) {
      throw new EngineError("unavailable", "too many changes are on their way; try again");
    }
    const check =
      checkChange === undefined ? undefined : (change: Change) => checkChange(actor, change);
    const { nextIndex: index, term } = driver;
    const transaction = store.begin({ index, nowMs: clock.nowMs(), check });
    let result: T;
    try {
      result = write(transaction);
    } catch (refusal) {
      // What it was refused for may be on its way still, and never come to pass; or it may be long
      // past, and this member not have heard yet that others lead.
      await driver.drained();
      await driver.confirmReign(term);
      throw refusal;
    }
    const action = transaction.actions();
    if (action.length === 0) {
      // What was read may itself be on its way still; somebody outside is told nothing outdated.
      await driver.drained();
      if (actor === "api") await driver.confirmReign(term);
      return result;
    }
    requestId += 1n;
    const request = create(InternalRaftRequestSchema, { id: requestId, action });
    const data = encodeIntoRoom(InternalRaftRequestSchema, request);
    if (data.length > STORE_TRANSACTION_MAX_BYTES) {
      const message = `transaction of ${data.length} bytes exceeds ${STORE_TRANSACTION_MAX_BYTES}`;
      throw new EngineError("resource-exhausted", message);
    }
    store.push(transaction);
    const startMs = options.clock.monotonicMs();
    const took = (outcome: "applied" | "lost") =>
      options.timings?.transaction((options.clock.monotonicMs() - startMs) / 1000, outcome);
    try {
      await driver.propose(data);
    } catch (error) {
      took("lost");
      throw error;
    }
    took("applied");
    return result;
  };
}

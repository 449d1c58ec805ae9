/**
 * ClusterState without raft: one member, in memory, committed at once. For tests of everything that
 * stands on the store; it refuses what the raft node refuses (no leader, transactions out of
 * sequence or too large) and can be told to lose its leadership.
 */

import { EngineError } from "#base/error.ts";
import { newId } from "#base/ids.ts";
import type { Clock, Random } from "#base/ports.ts";
import { createStore } from "#store/store.ts";
import type { Change } from "#store/types.ts";
import type { Actor, ClusterState } from "../state.ts";
import { SwarmClock } from "../swarm-clock.ts";
import { ChangeFeed } from "./change-feed.ts";
import { Leadership } from "./leadership.ts";

export interface LocalStateOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** This manager's node id; made up if absent. */
  readonly nodeId?: string;
  /** "host:port" that `leader()` tells. */
  readonly addr?: string;
  /** Throws if the actor may not make the change. */
  readonly checkChange?: (actor: Actor, change: Change) => void;
}

export interface LocalState extends ClusterState {
  readonly nodeId: string;
  /** Loses or regains leadership, as an election would. */
  setLeader(leads: boolean): void;
  /** Why a leadership function failed, which ended the reign. */
  failure(): unknown;
  /** Ends leadership and all watches, and waits for what ran under them. */
  stop(): Promise<void>;
}

export function createLocalState(options: LocalStateOptions): LocalState {
  const { clock, random, addr = "127.0.0.1:2377", checkChange } = options;
  const nodeId = options.nodeId ?? newId(random);
  const store = createStore();
  const feed = new ChangeFeed(store);
  const swarmClock = new SwarmClock(clock, () => store.newestMs);
  let failure: unknown;
  const leadership = new Leadership((error) => {
    failure = error;
    leadership.end();
  });
  leadership.begin();
  return {
    nodeId,
    view: () => store.view(),
    linearizable: async () => {
      if (!leadership.leads) throw notLeading();
      return store.view();
    },
    update: async (actor, write) => {
      if (!leadership.leads) throw notLeading();
      const check =
        checkChange === undefined ? undefined : (change: Change) => checkChange(actor, change);
      const index = store.view().index + 1;
      const transaction = store.begin({ index, nowMs: swarmClock.nowMs(), check });
      const result = write(transaction);
      if (transaction.changes().length === 0) return result;
      store.push(transaction);
      store.commitHead(index);
      feed.notify();
      return result;
    },
    watch: (watching) => feed.watch(watching),
    viewAndWatch: (watching) => feed.viewAndWatch(watching),
    nowMs: () => swarmClock.nowMs(),
    batchAfter: (index) => store.batchAfter(index),
    isLeader: () => leadership.leads,
    leader: () => (leadership.leads ? { nodeId, addr } : undefined),
    hearsMajority: () => leadership.leads,
    onLeadership: (lead) => leadership.register(lead),
    setLeader: (leads) => (leads ? leadership.begin() : leadership.end()),
    failure: () => failure,
    stop: async () => {
      leadership.end();
      feed.close();
      await leadership.settled();
    },
  };
}

function notLeading(): EngineError {
  return new EngineError("unavailable", "this manager is not the leader of the swarm");
}

/**
 * Who takes a call that only the leader answers. A leader is looked for with patience as long as there
 * is hope for one, and no longer; who is told that there is none is told why, and what to do.
 *
 * Elected is not ready: a new leader first applies what was decided before its term. Calls that others
 * send on to it wait there, and so do its own.
 */

import { EngineError } from "#base/error.ts";
import type { Clock, Timer } from "#base/ports.ts";
import { sleep } from "#platform/async.ts";
import type { RpcChannel } from "#platform/grpc/client.ts";
import type { PeerIdentity, RpcContext } from "#platform/grpc/server.ts";
import { UnsentError } from "#platform/grpc/status.ts";
import { Health } from "#wire/gen/swarmkit/health_pb.js";
import { wasRedirected } from "./authz/caller.ts";
import { refusedToForward, refuseToForward } from "./second-hop.ts";
import type { ClusterState, LeaderInfo } from "./state.ts";

/** How long a call waits where nothing says that there will be a leader: agents wait no longer. */
const ELECTION_WAIT_MS = 5_000;
/**
 * How long a call of this engine waits while a leader is there, or can be elected: with the wait of who
 * was elected and the work itself less than the API's clients are given.
 */
const PATIENCE_MS = 12_000;
const POLL_MS = 50;
/** A leader that is replaced, and not dead, learns within this time what became of its last changes. */
const LAST_ANSWERS_MS = 500;
/** How often that time is given to one that says that it is there; by then it has given up itself. */
const LAST_ANSWERS_MAX = 10;
/** How long to try to reach one leader before looking whether there is another. */
const CONNECT_WAIT_MS = 100;

const NO_LEADER =
  "The swarm does not have a leader. It's possible that too few managers are online. " +
  "Make sure more than half of the managers are online.";
const NOT_ELECTED =
  "the managers hear each other and have not elected a leader yet: nothing was changed; try again, and look at the managers' load and disks if it stays so";
const REPLACED =
  "the leader was replaced while it worked on the request: whether it was carried out is not known";
const LOST =
  "the leader is gone and there is no other yet: whether the request was carried out is not known";

export interface ElectionOptions {
  readonly state: Pick<ClusterState, "isLeader" | "leader" | "hearsMajority">;
  readonly self: () => PeerIdentity;
  /** A shared connection to a manager; not closed here. */
  readonly channelTo: (address: string) => RpcChannel;
  readonly clock: Clock;
}

export class Election {
  readonly #options: ElectionOptions;
  /** Set when a whole wait ended without a majority: the next calls do not wait again. */
  hopeless = false;

  constructor(options: ElectionOptions) {
    this.#options = options;
  }

  /** For one call. */
  search(context: RpcContext): Search {
    return new Search(this.#options, this, context);
  }

  /**
   * Runs a forwarded call for as long as its leader leads. A host without power answers nothing, and
   * says nothing of it either: the connection would be waited on long after another leads.
   */
  async during<T>(
    leader: LeaderInfo,
    caller: AbortSignal,
    call: (signal: AbortSignal) => T | Promise<T>,
  ): Promise<T> {
    const { clock } = this.#options;
    const over = new AbortController();
    const signal = AbortSignal.any([caller, over.signal]);
    const end = (why: string) => over.abort(new EngineError("unavailable", why));
    let timer: Timer | undefined;
    let lastKnownMs = clock.monotonicMs();
    const look = () => {
      const fate = this.#fateOf(leader);
      if (fate !== "unknown") lastKnownMs = clock.monotonicMs();
      if (fate === "replaced") void this.#lastAnswers(leader, signal).then(() => end(REPLACED));
      else if (clock.monotonicMs() - lastKnownMs >= ELECTION_WAIT_MS) end(LOST);
      else timer = clock.setTimer(POLL_MS, look);
    };
    timer = clock.setTimer(POLL_MS, look);
    try {
      return await call(signal);
    } catch (error) {
      throw over.signal.aborted ? over.signal.reason : error;
    } finally {
      timer.cancel();
      over.abort();
    }
  }

  #fateOf(leader: LeaderInfo): "leads" | "replaced" | "unknown" {
    const { state } = this.#options;
    if (state.isLeader()) return "replaced";
    const now = state.leader();
    if (now === undefined) return "unknown";
    return now.nodeId === leader.nodeId ? "leads" : "replaced";
  }

  /** Resolves when the former leader has had its time to answer: longer if it is there, and only slow. */
  async #lastAnswers({ addr }: LeaderInfo, signal: AbortSignal): Promise<void> {
    const { clock, channelTo } = this.#options;
    for (let times = 1; times <= LAST_ANSWERS_MAX && !signal.aborted; times++) {
      let isThere = false;
      channelTo(addr)
        .client(Health)
        .check({ service: "Raft" }, { signal, timeoutMs: LAST_ANSWERS_MS })
        .then(
          () => (isThere = true),
          () => undefined,
        );
      await sleep(clock, LAST_ANSWERS_MS, signal).catch(() => undefined);
      if (!isThere) return;
    }
  }
}

/** What one call has met on its way to a leader, and how long it goes on. */
export class Search {
  readonly #options: ElectionOptions;
  readonly #election: Election;
  readonly #context: RpcContext;
  readonly #begunMs: number;
  readonly #endMs: number;

  constructor(options: ElectionOptions, election: Election, context: RpcContext) {
    this.#options = options;
    this.#election = election;
    this.#context = context;
    this.#begunMs = options.clock.monotonicMs();
    this.#endMs = this.#begunMs + (context.local ? PATIENCE_MS : ELECTION_WAIT_MS);
  }

  /** Resolves with who is to take the call; rejects with what its caller is told when time is up. */
  async leader(): Promise<LeaderInfo | "self"> {
    const { state, clock, channelTo, self } = this.#options;
    for (;;) {
      if (state.isLeader()) {
        this.#election.hopeless = false;
        return "self";
      }
      const leader = state.leader();
      const isElected = leader?.nodeId === self().nodeId;
      if (wasRedirected(this.#context) && (!isElected || this.#isLate())) {
        throw refuseToForward(this.#context);
      }
      if (leader !== undefined && !isElected && (await reachable(channelTo(leader.addr)))) {
        this.#election.hopeless = false;
        return leader;
      }
      this.#requireHope(leader, isElected);
      await sleep(clock, POLL_MS, this.#context.signal);
    }
  }

  /** After a failure that left the call undone: resolves when it may be made again. */
  async again(error: unknown, leader: LeaderInfo | "self"): Promise<void> {
    if (this.#isLate()) {
      if (leader === "self") throw error;
      if (error instanceof UnsentError) {
        throw new EngineError("unavailable", whatIsMissing(leader, false), { cause: error });
      }
      if (!refusedToForward(error)) throw error;
      const text = `the swarm is between two leaders: the manager at ${leader.addr} does not lead, or not yet; nothing was changed: try again`;
      throw new EngineError("unavailable", text, { cause: error });
    }
    await sleep(this.#options.clock, POLL_MS, this.#context.signal);
  }

  #isLate(): boolean {
    return this.#options.clock.monotonicMs() >= this.#endMs;
  }

  #requireHope(leader: LeaderInfo | undefined, isElected: boolean): void {
    const { state, clock } = this.#options;
    const election = this.#election;
    if (leader === undefined && !state.hearsMajority(ELECTION_WAIT_MS)) {
      election.hopeless ||= clock.monotonicMs() >= this.#begunMs + ELECTION_WAIT_MS;
      if (election.hopeless) throw new EngineError("unknown", NO_LEADER);
      return;
    }
    election.hopeless = false;
    if (!this.#isLate()) return;
    throw new EngineError("unavailable", whatIsMissing(leader, isElected));
  }
}

function whatIsMissing(leader: LeaderInfo | undefined, isElected: boolean): string {
  if (leader === undefined) return NOT_ELECTED;
  if (isElected) {
    return "this manager was elected and does not lead yet: nothing was changed; try again";
  }
  return `this manager does not reach the leader of the swarm at ${leader.addr}: look at the network between them, or ask another manager`;
}

async function reachable(channel: RpcChannel): Promise<boolean> {
  try {
    await channel.ready(CONNECT_WAIT_MS);
    return true;
  } catch {
    return false;
  }
}

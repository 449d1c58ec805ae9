/**
 * How a member gets into a group, and how it tells that it has moved: calls to other managers, which
 * pass them on to the leader.
 */

import { EngineError, messageOf } from "#base/error.ts";
import type { Clock, Log } from "#base/ports.ts";
import { FEATURE_LEVEL } from "#model/feature-level.ts";
import { sleep } from "#platform/async.ts";
import type { RpcChannel } from "#platform/grpc/client.ts";
import { RaftMembership } from "#wire/gen/swarmkit/raft_pb.js";
import { returningRequest } from "./admission.ts";
import { type KnownMember, knownMember, type Members } from "./members.ts";

const CALL_TIMEOUT_MS = 25_000;
const RETRY_MS = 500;

interface Tools {
  readonly channelTo: (addr: string) => RpcChannel;
  readonly clock: Clock;
  readonly log: Log;
}

export interface Joined {
  readonly self: KnownMember;
  /** Whom the leader knows, this member included. */
  readonly members: readonly KnownMember[];
}

/** Asks the given managers, one after another, until one takes this one in or time is up. */
export async function joinGroup(
  request: {
    readonly addrs: () => readonly string[];
    readonly nodeId: string;
    readonly addr: string;
  },
  { channelTo, clock, log }: Tools,
  signal: AbortSignal,
): Promise<Joined> {
  const { addrs, nodeId, addr } = request;
  const deadline = clock.monotonicMs() + CALL_TIMEOUT_MS;
  for (;;) {
    let last: unknown = new EngineError("unavailable", "no manager is known to join");
    for (const manager of addrs()) {
      try {
        const client = channelTo(manager).client(RaftMembership);
        const answer = await client.join(
          { addr, featureLevel: FEATURE_LEVEL },
          { timeoutMs: CALL_TIMEOUT_MS, signal },
        );
        const members = answer.members.map(knownMember);
        const raftId = Number(answer.raftId);
        const self = members.find((member) => member.raftId === raftId);
        return { self: self ?? { raftId, nodeId, addr }, members };
      } catch (error) {
        last = error;
        log.info("a manager did not take this one in", { manager, reason: messageOf(error) });
      }
    }
    if (signal.aborted || clock.monotonicMs() >= deadline) throw last;
    await sleep(clock, RETRY_MS, signal);
  }
}

/** Tells the group this member's new address until it is known there; false if the signal ends it. */
export async function announceAddress(
  moved: KnownMember,
  { channelTo, clock, log }: Tools,
  group: {
    readonly members: Members;
    /** Undefined while this member does not lead. */
    readonly tellAsLeader: () => Promise<void> | undefined;
    readonly signal: AbortSignal;
  },
): Promise<boolean> {
  const { members, tellAsLeader, signal } = group;
  const request = returningRequest(moved.addr, moved.raftId);
  while (members.get(moved.raftId)?.addr !== moved.addr) {
    if (signal.aborted) return false;
    try {
      const others = members.list().filter(({ raftId }) => raftId !== moved.raftId);
      const asLeader = tellAsLeader();
      if (asLeader !== undefined) await asLeader;
      else
        await tellOne(others, (addr) => {
          const client = channelTo(addr).client(RaftMembership);
          return client.join(request, { timeoutMs: CALL_TIMEOUT_MS, signal });
        });
    } catch (error) {
      log.debug("the new address is not known yet", { reason: messageOf(error) });
    }
    await sleep(clock, RETRY_MS, signal).catch(() => undefined);
  }
  return true;
}

/** The first success among the members; the last failure if there is none. */
async function tellOne(
  others: readonly KnownMember[],
  tell: (addr: string) => Promise<unknown>,
): Promise<void> {
  let last: unknown;
  for (const { addr } of others) {
    try {
      await tell(addr);
      return;
    } catch (error) {
      last = error;
    }
  }
  if (last !== undefined) throw last;
}

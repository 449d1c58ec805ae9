/**
 * Makes nodes what the operator wants them to be. A promotion is a word: the node sees its new role,
 * gets a certificate for it and starts a manager. A demotion takes the member out of the raft group
 * first, and only if the group stays able to decide; a leader that is demoted hands over before. A
 * member whose node was deleted is taken out, too.
 *
 * Level-triggered: what could not be done is looked at again later, from the stored state.
 */

import { messageOf } from "#base/error.ts";
import type { Clock, Log } from "#base/ports.ts";
import { sleep } from "#platform/async.ts";
import { readCertificate } from "#platform/x509/certificate.ts";
import type { ReadView } from "#store/types.ts";
import type { Node } from "#wire/gen/swarmkit/objects_pb.js";
import { NodeRole } from "#wire/gen/swarmkit/types_pb.js";
import type { Member, Membership } from "./manager-ports.ts";
import type { ClusterState } from "./state.ts";

/** Pause before roles are looked at again while something is left to do. */
const RETRY_MS = 1_000;
const REMOVAL_TIMEOUT_MS = 5_000;

export interface RoleManagerOptions {
  readonly state: ClusterState;
  readonly membership: Membership;
  /** This manager. */
  readonly nodeId: string;
  readonly clock: Clock;
  readonly log: Log;
}

export type RoleStep =
  /** The node's role becomes what it should be. */
  | { readonly kind: "set-role"; readonly nodeId: string; readonly role: NodeRole }
  | { readonly kind: "remove-member"; readonly nodeId: string }
  /** The member to be removed is this leader. */
  | { readonly kind: "hand-over" };

/** What is to be done; own removal last, because it ends this leader's reign. */
export function nextRoleSteps(
  nodes: Iterable<Node>,
  members: readonly Member[],
  self: string,
): readonly RoleStep[] {
  const steps: RoleStep[] = [];
  const memberIds = new Set(members.map((member) => member.nodeId));
  const known = new Set<string>();
  const evict = (nodeId: string) => {
    if (nodeId !== self) steps.push({ kind: "remove-member", nodeId });
  };
  let handOver = false;
  for (const node of nodes) {
    known.add(node.id);
    const wanted = node.spec?.desiredRole ?? node.role;
    // Also one that is a worker already: it may have come in with the certificate that it had before.
    if (wanted === NodeRole.WORKER && memberIds.has(node.id)) {
      evict(node.id);
      handOver ||= node.id === self;
    } else if (wanted !== node.role) {
      steps.push({ kind: "set-role", nodeId: node.id, role: wanted });
    }
  }
  // Without any node the store is not the swarm's yet; nobody was deleted.
  for (const nodeId of known.size === 0 ? [] : memberIds) {
    if (known.has(nodeId)) continue;
    evict(nodeId);
    handOver ||= nodeId === self;
  }
  return handOver ? [...steps, { kind: "hand-over" }] : steps;
}

/** Runs until the signal is aborted. */
export async function runRoleManager(
  options: RoleManagerOptions,
  signal: AbortSignal,
): Promise<void> {
  const { state, membership, clock } = options;
  let changed = true;
  let left = false;
  let wake = () => undefined as void;
  const stopListening = membership.onChange(() => {
    changed = true;
    wake();
  });
  const follow = async () => {
    for await (const batch of state.watch({ signal })) {
      if (!batch.changes.some((change) => change.kind === "node")) continue;
      changed = true;
      wake();
    }
  };
  const act = async () => {
    while (!signal.aborted) {
      if (changed || left) {
        changed = false;
        left = await settle(options, state.view(), signal);
      }
      // The end may have come while steps were taken: nobody would tell of it again.
      if (changed || signal.aborted) continue;
      const pause = new AbortController();
      wake = () => pause.abort();
      const ended = () => pause.abort();
      signal.addEventListener("abort", ended, { once: true });
      // With nothing left to do only a change of the store, or the end, wakes this loop.
      await (left ? sleep(clock, RETRY_MS, pause.signal) : aborted(pause.signal)).catch(
        () => undefined,
      );
      signal.removeEventListener("abort", ended);
    }
  };
  try {
    await Promise.all([follow(), act()]);
  } finally {
    stopListening();
  }
}

/** Takes the steps that can be taken; true when something is left. */
async function settle(
  options: RoleManagerOptions,
  view: ReadView,
  signal: AbortSignal,
): Promise<boolean> {
  const { membership, nodeId, log } = options;
  const steps = nextRoleSteps(view.all("node"), membership.list(), nodeId);
  let left = false;
  for (const step of steps) {
    if (signal.aborted) return false;
    try {
      left = (await take(options, step)) || left;
    } catch (error) {
      if (signal.aborted) return false;
      log.warn("role not changed yet, trying again", { ...step, reason: messageOf(error) });
      left = true;
    }
  }
  return left;
}

async function take(options: RoleManagerOptions, step: RoleStep): Promise<boolean> {
  const { state, membership, clock, log } = options;
  if (step.kind === "hand-over") {
    log.info("demoted; transferring leadership");
    await membership.transferLeadership();
    return true;
  }
  if (step.kind === "remove-member") {
    if (!membership.canRemove(step.nodeId)) {
      log.warn("can't remove member from the raft: this would result in a loss of quorum", {
        node: step.nodeId,
      });
      return true;
    }
    await withTimeout(membership.remove(step.nodeId), clock);
    log.info("member removed from the raft", { node: step.nodeId });
    return true;
  }
  await state.update("membership", (tx) => {
    const node = tx.get("node", step.nodeId);
    // Between view and transaction the operator may have changed his mind.
    if (node === undefined || node.spec?.desiredRole !== step.role) return;
    if (node.role === step.role) return;
    const demoted = step.role === NodeRole.WORKER;
    tx.update("node", { ...(demoted ? withBarred(node) : node), role: step.role });
  });
  log.info("role of node changed", { node: step.nodeId, role: NodeRole[step.role] });
  return false;
}

/** Its certificate says that it is a manager until it ends, also to members that do not know better yet. */
function withBarred(node: Node): Node {
  const pem = Buffer.from(node.certificate?.certificate ?? []).toString("utf8");
  if (pem === "") return node;
  const since = Math.floor(readCertificate(pem).notBeforeMs / 1000);
  return { ...node, barredManagerSince: BigInt(since) };
}

async function withTimeout(work: Promise<void>, clock: Clock): Promise<void> {
  const timeout = new AbortController();
  const late = sleep(clock, REMOVAL_TIMEOUT_MS, timeout.signal).then(() => {
    throw new Error("no answer in time");
  });
  try {
    await Promise.race([work, late]);
  } finally {
    late.catch(() => undefined);
    timeout.abort();
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

/**
 * No request is led to a task that was stopped on purpose. Before a task stops, every node that serves
 * its network and is not known to be down has tables without it in its kernel; so a request that such
 * a node leads there is a breach. What ended of itself, or lost its machine, is nobody's word.
 *
 * A node is bound by what it says its kernel follows: from that revision on it must have counted
 * without a break, or nobody had to wait for it. And tables do not lag: a node that managers keep
 * informed leaves out within a bounded time what they know shall have no traffic.
 */

import { isDown } from "#model/node.ts";
import { isReady } from "#plan/dataplane/rows.ts";
import type { Node } from "#wire/gen/swarmkit/objects_pb.js";
import { Violation } from "../../checker.ts";
import type { End } from "../containers.ts";
import type { Backend, DataPath } from "../data-path.ts";
import type { Delta, Ledger, StoreLaw } from "../ledger.ts";

/** A request as its node led it. */
export interface Led {
  readonly from: string;
  readonly networkId: string;
  /** Of the tables that led it. */
  readonly revision: number;
  readonly to: Backend;
}

/** Virtual time in which a node that is told of changes leaves out what shall have no traffic. */
const LAG_MAX_MS = 20_000;

export class NoTrafficToWhatStops implements StoreLaw {
  readonly #now: () => number;
  /** Index of the store since when a node counts, by "node/network". */
  readonly #counts = new Map<string, number>();
  /** When a task was seen to have no part in the balance any more. */
  readonly #unreadyMs = new Map<string, number>();
  #ledger: Ledger | undefined;
  answered = 0;
  /** Requests that were lost and might be, by why. */
  readonly excused = new Map<string, number>();

  constructor(now: () => number) {
    this.#now = now;
  }

  begins(ledger: Ledger): void {
    this.#ledger = ledger;
    this.#counts.clear();
    this.#unreadyMs.clear();
    for (const node of ledger.all("node")) this.#note(undefined, node, ledger.index);
  }

  sees(deltas: readonly Delta[], ledger: Ledger): void {
    this.#ledger = ledger;
    for (const delta of deltas) {
      if (delta.kind === "node") this.#note(delta.before, delta.after, ledger.index);
      if (delta.kind !== "task") continue;
      const isNow = delta.after !== undefined && isReady(delta.after);
      if (isNow) this.#unreadyMs.delete(delta.id);
      else if (!this.#unreadyMs.has(delta.id)) this.#unreadyMs.set(delta.id, this.#now());
    }
  }

  /** What became of a request: `end` is why nobody answered it, undefined if somebody did. */
  arrives(led: Led, end: End | "never" | undefined): void {
    if (end === undefined) {
      this.answered++;
      return;
    }
    const excuse = this.#excuse(led, end);
    if (excuse !== undefined) {
      this.excused.set(excuse, (this.excused.get(excuse) ?? 0) + 1);
      return;
    }
    const { from, revision, to } = led;
    const what = end === "never" ? "never ran there" : "was stopped";
    throw new Violation(
      "traffic",
      `${from}, whose tables are of ${revision}, leads a request to ${to.taskId} on ${to.nodeId}, which ${what}`,
    );
  }

  /** A node has been told of changes without a break for `followedMs`: it must know. */
  lags(nodeId: string, { kernel }: DataPath, followedMs: number): void {
    if (followedMs < LAG_MAX_MS) return;
    for (const { endpoints } of kernel.values()) {
      for (const { taskId, ready } of endpoints) {
        const lagMs = ready ? this.#now() - (this.#unreadyMs.get(taskId) ?? this.#now()) : 0;
        if (lagMs <= LAG_MAX_MS) continue;
        throw new Violation("traffic", `${nodeId} has led requests to ${taskId} for ${lagMs}ms`);
      }
    }
  }

  #excuse({ from, networkId, revision, to }: Led, end: End | "never"): string | undefined {
    if (end !== "never" && !end.ordered) return "ended of itself";
    if (end !== "never" && end.release === "lost") return "no manager to ask";
    if (end !== "never" && end.release === "late") return "some node was too late";
    if (this.#ledger?.get("service", to.serviceId) === undefined) return "service removed";
    const since = this.#counts.get(`${from}/${networkId}`);
    return since === undefined || since > revision ? "node was not waited for" : undefined;
  }

  #note(before: Node | undefined, after: Node | undefined, index: number): void {
    const now = new Set(countedOn(after));
    for (const networkId of countedOn(before)) {
      if (!now.has(networkId)) this.#counts.delete(`${before?.id}/${networkId}`);
    }
    for (const networkId of now) {
      const key = `${after?.id}/${networkId}`;
      if (!this.#counts.has(key)) this.#counts.set(key, index);
    }
  }
}

/** Networks on which the end of a task waits for the node. */
function countedOn(node: Node | undefined): readonly string[] {
  if (node === undefined || isDown(node)) return [];
  if ((node.description?.dataPathAddr ?? "") === "") return [];
  return node.attachments.flatMap(({ network }) => network?.id ?? []);
}

/** Secrets and configs reach the nodes whose tasks need them, unchanged, and no others. */

import type { Task } from "#wire/gen/swarmkit/objects_pb.js";
import { Violation } from "../../checker.ts";
import type { Delta, Ledger, StoreLaw } from "../ledger.ts";

export type PayloadKind = "secret" | "config";

export interface Payload {
  readonly kind: PayloadKind;
  readonly id: string;
}

export class OnlyWhoNeedsIt implements StoreLaw {
  /** "node kind/id" of all that a task on a node ever referred to. */
  readonly #needed = new Set<string>();
  /** Payloads that were delivered. */
  deliveries = 0;

  begins(ledger: Ledger): void {
    for (const task of ledger.all("task")) this.#note(task);
  }

  sees(deltas: readonly Delta[]): void {
    for (const delta of deltas) {
      if (delta.kind === "task" && delta.after !== undefined) this.#note(delta.after);
    }
  }

  /** A manager sends a payload to a node. */
  delivers(nodeId: string, { kind, id }: Payload): void {
    this.deliveries++;
    if (this.#needed.has(`${nodeId} ${kind}/${id}`)) return;
    throw new Violation("secrecy", `${nodeId} is sent ${kind} ${id}, which no task there needs`);
  }

  #note(task: Task): void {
    if (task.nodeId === "") return;
    for (const { kind, id } of payloadsOf(task)) this.#needed.add(`${task.nodeId} ${kind}/${id}`);
  }
}

/** What a task refers to. */
export function payloadsOf({ spec }: Task): readonly Payload[] {
  if (spec?.runtime.case !== "container") return [];
  const { secrets, configs } = spec.runtime.value;
  return [
    ...secrets.map(({ secretId }) => ({ kind: "secret" as const, id: secretId })),
    ...configs.map(({ configId }) => ({ kind: "config" as const, id: configId })),
  ];
}

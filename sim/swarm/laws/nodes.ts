/** Nodes that were removed are gone: they do not come back, and no task is given to them any more. */

import { Violation } from "../../checker.ts";
import type { Delta, Ledger, StoreLaw } from "../ledger.ts";

export class RemovedNodesStayAway implements StoreLaw {
  readonly #removed = new Set<string>();

  get count(): number {
    return this.#removed.size;
  }

  begins(): void {
    this.#removed.clear();
  }

  sees(deltas: readonly Delta[], ledger: Ledger): void {
    for (const delta of deltas) {
      const { id } = delta;
      if (delta.kind === "node") {
        if (delta.after === undefined) this.#removed.add(id);
        else if (this.#removed.has(id)) {
          throw new Violation("placement", `node ${id} was removed and is back`);
        }
      }
      if (delta.kind !== "task" || delta.after === undefined) continue;
      const { nodeId } = delta.after;
      if (nodeId === "" || nodeId === delta.before?.nodeId) continue;
      if (ledger.get("node", nodeId) === undefined) {
        throw new Violation("placement", `task ${id} is given to ${nodeId}, which is no node`);
      }
    }
  }
}

/**
 * Lets services start when what they wait for has come true (`depends_on` with a condition). What is
 * still waited for is part of the service in the store, so that nothing of it is lost with the client
 * that deployed or with a leader; a condition that was true once is not asked for again.
 *
 * The orchestrator does not begin an update of a service that waits, and the scheduler gives its new
 * tasks no node: the old version goes on as it is.
 */

import { isHeldBack } from "#model/start-order.ts";
import type { Change } from "#store/types.ts";
import type { PlanContext, Planner } from "../planner.ts";
import { unmet } from "./conditions.ts";

export class StartOrder implements Planner {
  readonly name = "start-order";
  /** Services that wait. */
  readonly #waiting = new Set<string>();
  /** Something changed that a condition may be about. */
  #due = false;

  start(context: PlanContext): void {
    for (const service of context.tx.all("service")) {
      if (isHeldBack(service)) this.#waiting.add(service.id);
    }
    this.#due = true;
    this.#work(context);
  }

  step(context: PlanContext, changes: readonly Change[]): void {
    for (const change of changes) {
      if (change.kind === "service") {
        const { id } = change.object;
        if (change.action !== "delete" && isHeldBack(change.object)) this.#waiting.add(id);
        else this.#waiting.delete(id);
        this.#due = true;
      } else if (change.kind === "task" || change.kind === "node") {
        this.#due = true;
      }
    }
    this.#work(context);
  }

  #work(context: PlanContext): void {
    if (!this.#due || this.#waiting.size === 0) return;
    const { tx } = context;
    // Conditions of several services are often about the same one.
    const answers = new Map<string, boolean>();
    for (const id of this.#waiting) {
      if (!context.hasRoom()) return;
      const service = tx.get("service", id);
      if (service === undefined) continue;
      const left = service.startAfter.filter((condition) => {
        const key = `${condition.service} ${condition.kind} ${condition.serviceId} ${condition.specVersion}`;
        const known = answers.get(key);
        const lacks = known ?? unmet(tx, condition) !== undefined;
        answers.set(key, lacks);
        return lacks;
      });
      if (left.length === service.startAfter.length) continue;
      tx.update("service", { ...service, startAfter: left });
      // Whoever waits for this one sees it in the next round.
      answers.clear();
    }
    this.#due = false;
  }
}

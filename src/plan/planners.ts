/** All planners of a leader, in the order in which a turn runs them. */

import { Allocator } from "./allocator/allocator.ts";
import { Enforcer } from "./enforcer.ts";
import { Orchestrator } from "./orchestrator/orchestrator.ts";
import type { Planner } from "./planner.ts";
import { Reaper } from "./reaper.ts";
import { Scheduler } from "./scheduler/scheduler.ts";
import { StartOrder } from "./start-order/start-order.ts";

/**
 * Fresh ones: what they know of the store dies with the leadership. Services come to tasks, tasks to
 * addresses, those to nodes, so that in this order a new service is placed in a single round.
 */
export function createPlanners(): readonly Planner[] {
  return [
    new Enforcer(),
    new Orchestrator(),
    new StartOrder(),
    new Allocator(),
    new Scheduler(),
    new Reaper(),
  ];
}

/** What time brings in every history of the property tests: the steps that name no service and no node. */

import type { SwarmLab } from "./swarm-lab.ts";

export type TimeStep =
  | { readonly kind: "pass"; readonly ms: number }
  | { readonly kind: "leader" | "lost" | "turn" | "report" };

export function letHappen(swarm: SwarmLab, step: TimeStep): void {
  switch (step.kind) {
    case "pass":
      return swarm.pass(step.ms);
    case "leader":
      return swarm.newLeader();
    case "lost":
      return swarm.loseTurn();
    case "turn":
      swarm.turn();
      return;
    case "report":
      swarm.report();
  }
}

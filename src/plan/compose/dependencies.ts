/**
 * `depends_on`: in which order services are made, and which must be up before others are. A name alone
 * (or `service_started`) is about the order, as far as there is one: docker's stacks ignore it, so a
 * circle or an unknown name is no fault. A condition to wait for must be possible.
 */

import type { Fields } from "./fields.ts";
import { Refusal } from "./refusal.ts";

export interface DependencyOrder {
  readonly services: readonly (readonly [string, Fields])[];
  /** Service → those to wait for. */
  readonly waits: ReadonlyMap<string, readonly string[]>;
}

interface Dependency {
  readonly name: string;
  readonly waits: boolean;
  /** False: nothing is wrong if there is no such service. */
  readonly required: boolean;
  readonly at: readonly string[];
}

/** Throws `Refusal`. */
export function dependencyOrder(services: ReadonlyMap<string, Fields>): DependencyOrder {
  const order: (readonly [string, Fields])[] = [];
  const waits = new Map<string, readonly string[]>();
  const state = new Map<string, "open" | "done">();
  const visit = (name: string, service: Fields): void => {
    state.set(name, "open");
    const waited: string[] = [];
    for (const dependency of dependenciesOf(service)) {
      const other = services.get(dependency.name);
      if (other === undefined) {
        if (!dependency.required) continue;
        throw refusal(
          name,
          `depends on undefined service ${JSON.stringify(dependency.name)}`,
          dependency,
        );
      }
      if (!state.has(dependency.name)) visit(dependency.name, other);
      if (!dependency.waits) continue;
      if (state.get(dependency.name) === "open") {
        throw refusal(
          name,
          `waits for ${JSON.stringify(dependency.name)}, which depends on it`,
          dependency,
        );
      }
      waited.push(dependency.name);
    }
    if (waited.length > 0) waits.set(name, waited);
    state.set(name, "done");
    order.push([name, service]);
  };
  for (const [name, service] of services) if (!state.has(name)) visit(name, service);
  return { services: order, waits };
}

function dependenciesOf(service: Fields): readonly Dependency[] {
  const names = service.texts("depends_on");
  const at = service.at("depends_on");
  if (names !== undefined) {
    return names.map((name) => ({ name, waits: false, required: false, at }));
  }
  return service.entries("depends_on").map(([name, fields]) => {
    const condition = fields.text("condition") ?? "service_started";
    if (!CONDITIONS.has(condition)) {
      throw new Refusal(`invalid depends_on condition ${JSON.stringify(condition)}`, fields.path);
    }
    return {
      name,
      waits: condition !== "service_started",
      required: fields.flag("required") ?? true,
      at: fields.path,
    };
  });
}

/** A task runs, for the swarm, when it is healthy; and a job is waited for until it is complete. */
const CONDITIONS = new Set([
  "service_started",
  "service_healthy",
  "service_completed_successfully",
]);

function refusal(name: string, what: string, { at }: Dependency): Refusal {
  return new Refusal(`service ${name}: ${what}`, at);
}

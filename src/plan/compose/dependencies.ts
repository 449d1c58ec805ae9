/**
 * `depends_on`: in which order services are made, and which must be up before others are started. A
 * name alone (or `service_started`) is about the order, as far as there is one: docker's stacks ignore
 * it, so a circle or an unknown name is no fault. A condition to wait for must be possible.
 */

import type { Fields } from "./fields.ts";
import { Refusal } from "./refusal.ts";

export interface DependencyOrder {
  readonly services: readonly (readonly [string, Fields])[];
  /** Service → what it waits for. */
  readonly waits: ReadonlyMap<string, readonly Wait[]>;
}

export interface Wait {
  readonly service: string;
  /** In the words of the label that asks the managers for it. */
  readonly condition: "healthy" | "completed";
}

interface Dependency {
  readonly name: string;
  readonly waitsFor: Wait["condition"] | undefined;
  /** False: nothing is wrong if there is no such service. */
  readonly required: boolean;
  readonly at: readonly string[];
}

/** Throws `Refusal`. */
export function dependencyOrder(services: ReadonlyMap<string, Fields>): DependencyOrder {
  const order: (readonly [string, Fields])[] = [];
  const waits = new Map<string, readonly Wait[]>();
  const state = new Map<string, "open" | "done">();
  const visit = (name: string, service: Fields): void => {
    state.set(name, "open");
    const waited: Wait[] = [];
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
      const { waitsFor: condition } = dependency;
      if (condition === undefined) continue;
      if (state.get(dependency.name) === "open") {
        throw refusal(
          name,
          `waits for ${JSON.stringify(dependency.name)}, which depends on it`,
          dependency,
        );
      }
      waited.push({ service: dependency.name, condition });
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
    return names.map((name) => ({ name, waitsFor: undefined, required: false, at }));
  }
  return service.entries("depends_on").map(([name, fields]) => {
    const condition = fields.text("condition") ?? "service_started";
    if (!Object.hasOwn(CONDITIONS, condition)) {
      throw new Refusal(`invalid depends_on condition ${JSON.stringify(condition)}`, fields.path);
    }
    return {
      name,
      waitsFor: CONDITIONS[condition],
      required: fields.flag("required") ?? true,
      at: fields.path,
    };
  });
}

/** Without a wait it is only about the order. */
const CONDITIONS: Readonly<Record<string, Wait["condition"] | undefined>> = {
  service_started: undefined,
  service_healthy: "healthy",
  service_completed_successfully: "completed",
};

function refusal(name: string, what: string, { at }: Dependency): Refusal {
  return new Refusal(`service ${name}: ${what}`, at);
}

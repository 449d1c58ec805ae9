/** An operator who keeps changing services and nodes, and what services shall come to in the end. */

import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import type { RaftNode } from "#manager/raft/node.ts";
import type { Tx } from "#store/types.ts";
import { ServiceSchema } from "#wire/gen/swarmkit/objects_pb.js";
import {
  NodeSpec_Availability as Availability,
  ContainerSpecSchema,
  type ServiceSpec,
  ServiceSpecSchema,
} from "#wire/gen/swarmkit/specs_pb.js";
import {
  NodeRole,
  RestartPolicy_RestartCondition,
  UpdateConfig_FailureAction,
  UpdateConfig_UpdateOrder,
  VersionSchema,
} from "#wire/gen/swarmkit/types_pb.js";
import type { SeededRandom } from "../random.ts";

const SERVICES_MAX = 4;
const REPLICAS_MAX = 5;
/** Demotions stop here: a swarm of one manager has nobody to heal from. */
const MANAGERS_MIN = 2;

export interface Wish {
  readonly text: string;
  readonly write: (tx: Tx) => void;
}

export class Operator {
  readonly #random: SeededRandom;
  readonly #nodeIds: readonly string[];
  readonly #changesRoles: boolean;
  #services = 0;
  #images = 0;
  /** Services that were told to go, maybe before their creation was acknowledged. */
  readonly #removed = new Set<string>();
  /** Services whose creation was acknowledged, and whose removal was not begun. */
  readonly acknowledged = new Set<string>();

  constructor(random: SeededRandom, nodeIds: readonly string[], changesRoles: boolean) {
    this.#random = random;
    this.#nodeIds = nodeIds;
    this.#changesRoles = changesRoles;
  }

  /** Tries one change at the leader. */
  async act({ state }: RaftNode, say: (line: () => string) => void): Promise<void> {
    let text = "";
    let created: string | undefined;
    try {
      await state.update("api", (tx) => {
        const services = [...tx.all("service")].map(({ id }) => id);
        const id = this.#random.pick(services);
        switch (this.#random.pick(this.#choices(services.length))) {
          case "create":
            created = `service-${++this.#services}`;
            text = `creates ${created}`;
            tx.create(
              "service",
              create(ServiceSchema, {
                id: created,
                spec: this.#newSpec(created),
                specVersion: {},
              }),
            );
            break;
          case "remove":
            if (id === undefined) return;
            this.acknowledged.delete(id);
            this.#removed.add(id);
            text = `removes ${id}`;
            tx.delete("service", id);
            break;
          case "scale":
            if (id !== undefined) text = scale(tx, id, this.#random.int(REPLICAS_MAX + 1));
            break;
          case "update":
            if (id !== undefined) text = update(tx, id, `app:${++this.#images}`);
            break;
          case "drain":
            text = setAvailability(tx, this.#random.pick(this.#nodeIds), this.#availability());
            break;
          case "role":
            text = changeRole(tx, this.#random.pick(this.#nodeIds));
            break;
          case undefined:
        }
      });
      if (created !== undefined && !this.#removed.has(created)) this.acknowledged.add(created);
      if (text !== "") say(() => `the operator ${text}: done`);
    } catch (error) {
      say(() => `the operator ${text}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  /** Lets every node work again. */
  async calm({ state }: RaftNode): Promise<void> {
    await state.update("api", (tx) => {
      for (const id of this.#nodeIds) setAvailability(tx, id, Availability.ACTIVE);
    });
  }

  #choices(services: number) {
    const roles = this.#changesRoles ? (["role"] as const) : [];
    const some = ["scale", "update", "update", "drain", "remove", ...roles] as const;
    return services < SERVICES_MAX ? (["create", "create", ...some] as const) : some;
  }

  #availability(): Availability {
    const { ACTIVE, DRAIN, PAUSE } = Availability;
    return this.#random.pick([ACTIVE, ACTIVE, DRAIN, PAUSE]) ?? ACTIVE;
  }

  #newSpec(name: string): ServiceSpec {
    const isGlobal = this.#random.chance(0.25);
    const order = this.#random.chance(0.5)
      ? UpdateConfig_UpdateOrder.START_FIRST
      : UpdateConfig_UpdateOrder.STOP_FIRST;
    const container = create(ContainerSpecSchema, { image: "app:0" });
    return create(ServiceSpecSchema, {
      annotations: { name },
      mode: isGlobal
        ? { case: "global", value: {} }
        : {
            case: "replicated",
            value: { replicas: BigInt(this.#random.between(1, REPLICAS_MAX)) },
          },
      task: {
        runtime: { case: "container", value: container },
        restart: {
          condition: RestartPolicy_RestartCondition.ANY,
          delay: durationFromMs(this.#random.between(100, 2_000)),
        },
      },
      update: {
        parallelism: BigInt(this.#random.between(0, 2)),
        failureAction: UpdateConfig_FailureAction.CONTINUE,
        order,
      },
      endpoint: this.#random.chance(0.3) ? { ports: [{ targetPort: 80 }] } : {},
    });
  }
}

function scale(tx: Tx, id: string, replicas: number): string {
  const service = tx.get("service", id);
  if (service?.spec?.mode.case !== "replicated") return "";
  const value = { ...service.spec.mode.value, replicas: BigInt(replicas) };
  tx.update("service", {
    ...service,
    spec: { ...service.spec, mode: { case: "replicated", value } },
  });
  return `scales ${id} to ${replicas}`;
}

function update(tx: Tx, id: string, image: string): string {
  const service = tx.get("service", id);
  const task = service?.spec?.task;
  if (service?.spec === undefined || task?.runtime.case !== "container") return "";
  const runtime = { case: "container" as const, value: { ...task.runtime.value, image } };
  const spec = { ...service.spec, task: { ...task, runtime } };
  const specVersion = create(VersionSchema, { index: BigInt(tx.index) });
  tx.update("service", {
    ...service,
    spec,
    specVersion,
    previousSpec: service.spec,
    updateStatus: undefined,
  });
  return `updates ${id} to ${image}`;
}

function setAvailability(tx: Tx, id: string | undefined, availability: Availability): string {
  const node = id === undefined ? undefined : tx.get("node", id);
  if (node?.spec === undefined || node.spec.availability === availability) return "";
  tx.update("node", { ...node, spec: { ...node.spec, availability } });
  return `sets ${id} to ${Availability[availability]}`;
}

function changeRole(tx: Tx, id: string | undefined): string {
  const node = id === undefined ? undefined : tx.get("node", id);
  if (node?.spec === undefined) return "";
  const { MANAGER, WORKER } = NodeRole;
  const managers = [...tx.all("node")].filter((one) => one.spec?.desiredRole === MANAGER).length;
  const isManager = node.spec.desiredRole === MANAGER;
  if (isManager && managers <= MANAGERS_MIN) return "";
  const desiredRole = isManager ? WORKER : MANAGER;
  tx.update("node", { ...node, spec: { ...node.spec, desiredRole } });
  return `${isManager ? "demotes" : "promotes"} ${id}`;
}

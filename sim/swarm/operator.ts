/**
 * Operators who keep changing services, networks, secrets, nodes and roles, by the Control service
 * of any manager, as docker's commands do; and who in the end mend what they have broken.
 */

import { create } from "@bufbuild/protobuf";
import { messageOf } from "#base/error.ts";
import { isActive, stateOf } from "#model/task.ts";
import type { RpcClient } from "#platform/grpc/client.ts";
import type { ReadView } from "#store/types.ts";
import { type Control, UpdateServiceRequest_Rollback } from "#wire/gen/swarmkit/control_pb.js";
import type { Service } from "#wire/gen/swarmkit/objects_pb.js";
import {
  NodeSpec_Availability as Availability,
  ConfigSpecSchema,
  NetworkSpecSchema,
  NodeSpecSchema,
  SecretSpecSchema,
  type ServiceSpec,
} from "#wire/gen/swarmkit/specs_pb.js";
import {
  NodeRole,
  TaskState,
  UpdateStatus_UpdateState as UpdateState,
} from "#wire/gen/swarmkit/types_pb.js";
import type { SeededRandom } from "../random.ts";
import { behaviourOf, imageOf, REPLICAS_MAX, SpecDrawer } from "./specs.ts";

const SERVICES_MAX = 5;
const OTHERS_MAX = 3;
/** Demotions stop here: a swarm of one manager has nobody to heal from. */
const MANAGERS_MIN = 2;
const CALL_TIMEOUT_MS = 10_000;

export type Desk = RpcClient<typeof Control>;
type Kind = "service" | "network" | "secret" | "config";
type Say = (line: () => string) => void;

/** One call, and what it is in words. */
interface Wish {
  readonly text: string;
  readonly call: () => Promise<unknown>;
}

export class Operator {
  readonly #random: SeededRandom;
  readonly #specs: SpecDrawer;
  readonly #changesRoles: boolean;
  #made = 0;
  #isCalming = false;
  /** The service that was changed last: changes like to come in quick succession. */
  #latest = "";
  /** Ids that were told to go. */
  readonly #removed = new Set<string>();
  /** "kind/id" of what was acknowledged, and whose removal was not begun. */
  readonly acknowledged = new Set<string>();

  constructor(random: SeededRandom, changesRoles: boolean) {
    this.#random = random;
    this.#specs = new SpecDrawer(random.fork("specs"));
    this.#changesRoles = changesRoles;
  }

  /** Tries one change at a manager; `view` is what somebody knows of the swarm. */
  async act(desk: Desk, view: ReadView, say: Say): Promise<void> {
    await this.#try(this.#choose(desk, view), say);
  }

  /** Lets every node work again, and gives services that cannot run an image that can. */
  async calm(desk: Desk, view: ReadView, say: Say): Promise<void> {
    if (this.#isCalming) return;
    this.#isCalming = true;
    try {
      for (const wish of [...this.#awaken(desk, view), ...this.#mend(desk, view)]) {
        await this.#try(wish, say);
      }
    } finally {
      this.#isCalming = false;
    }
  }

  /** Removes a node, which is refused until it is down. */
  async removeNode(desk: Desk, nodeId: string, say: Say): Promise<void> {
    const request = { nodeId, force: false };
    const call = () => desk.removeNode(request, { timeoutMs: CALL_TIMEOUT_MS });
    await this.#try({ text: `removes node ${nodeId}`, call }, say);
  }

  async drain(desk: Desk, view: ReadView, nodeId: string, say: Say): Promise<void> {
    await this.#try(setNode(desk, view, nodeId, { availability: Availability.DRAIN }), say);
  }

  async #try(wish: Wish | undefined, say: Say): Promise<void> {
    if (wish === undefined) return;
    try {
      await wish.call();
      say(() => `the operator ${wish.text}: done`);
    } catch (error) {
      say(() => `the operator ${wish.text}: ${messageOf(error)}`);
    }
  }

  #choose(desk: Desk, view: ReadView): Wish | undefined {
    const latest = view.get("service", this.#latest);
    const service = latest !== undefined && this.#random.chance(0.5) ? latest : this.#any(view);
    switch (this.#random.pick(this.#choices(view))) {
      case "create":
        return this.#create(desk, view);
      case "update":
        return (
          service &&
          this.#update(desk, service, "updates", (spec) => this.#specs.change(spec, view))
        );
      case "scale":
        return service && this.#scale(desk, service);
      case "force":
        return service && this.#update(desk, service, "forces", forced);
      case "rollback":
        return service && this.#rollBack(desk, service);
      case "remove":
        return this.#remove(desk, view);
      case "furnish":
        return this.#furnish(desk, view);
      case "drain":
        return this.#drain(desk, view);
      case "role":
        return this.#changeRole(desk, view);
      case undefined:
        return undefined;
    }
  }

  #choices(view: ReadView) {
    const roles = this.#changesRoles ? (["role", "role"] as const) : [];
    const updates = ["update", "update", "update", "scale", "force", "rollback"] as const;
    const others = ["furnish", "furnish", "remove", "drain", ...roles] as const;
    const services = view.count("service");
    if (services < 2) return ["create", "furnish"] as const;
    return services < SERVICES_MAX
      ? (["create", "create", ...updates, ...others] as const)
      : ([...updates, ...others] as const);
  }

  #any(view: ReadView): Service | undefined {
    return this.#random.pick([...view.all("service")]);
  }

  #create(desk: Desk, view: ReadView): Wish {
    const name = `service-${++this.#made}`;
    const spec = this.#specs.draw(name, view);
    return {
      text: `creates ${name} (${spec.mode.case ?? ""})`,
      call: async () => {
        const { service } = await desk.createService({ spec }, { timeoutMs: CALL_TIMEOUT_MS });
        this.#latest = service?.id ?? "";
        this.#acknowledge("service", service?.id);
      },
    };
  }

  #update(
    desk: Desk,
    { id, meta, spec }: Service,
    verb: string,
    change: (spec: ServiceSpec) => ServiceSpec,
  ): Wish | undefined {
    if (spec === undefined) return undefined;
    const next = change(spec);
    this.#latest = id;
    const request = { serviceId: id, serviceVersion: meta?.version, spec: next };
    return {
      text: `${verb} ${nameOf(spec)} (${imageOf(next.task)})`,
      call: () => desk.updateService(request, { timeoutMs: CALL_TIMEOUT_MS }),
    };
  }

  #scale(desk: Desk, service: Service): Wish | undefined {
    const replicas = BigInt(this.#random.int(REPLICAS_MAX + 1));
    if (service.spec?.mode.case !== "replicated") return undefined;
    return this.#update(desk, service, `scales to ${replicas}`, (spec) => ({
      ...spec,
      mode: { case: "replicated", value: { $typeName: replicatedName(spec), replicas } },
    }));
  }

  #rollBack(desk: Desk, { id, meta, spec, previousSpec }: Service): Wish | undefined {
    if (spec === undefined || previousSpec === undefined) return undefined;
    this.#latest = id;
    const rollback = UpdateServiceRequest_Rollback.PREVIOUS;
    const request = { serviceId: id, serviceVersion: meta?.version, spec, rollback };
    return {
      text: `rolls ${nameOf(spec)} back`,
      call: () => desk.updateService(request, { timeoutMs: CALL_TIMEOUT_MS }),
    };
  }

  /** Something else than services. */
  #furnish(desk: Desk, view: ReadView): Wish | undefined {
    const kind = this.#random.pick(["network", "secret", "config"] as const) ?? "secret";
    const name = `${kind}-${++this.#made}`;
    const annotations = { name };
    const data = this.#random.bytes(8);
    const options = { timeoutMs: CALL_TIMEOUT_MS };
    const mine = [...view.all(kind)].filter(({ spec }) =>
      spec?.annotations?.name.startsWith(`${kind}-`),
    );
    if (mine.length >= OTHERS_MAX) return undefined;
    const text = `creates ${name}`;
    switch (kind) {
      case "network": {
        // Some so small that they are full.
        const subnet = `10.99.${this.#random.int(4)}.0/28`;
        const ipam = this.#random.chance(0.4) ? { configs: [{ subnet }] } : undefined;
        const spec = create(NetworkSpecSchema, { annotations, ipam });
        return {
          text,
          call: async () => {
            const { network } = await desk.createNetwork({ spec }, options);
            this.#acknowledge("network", network?.id);
          },
        };
      }
      case "secret": {
        const spec = create(SecretSpecSchema, { annotations, data });
        return {
          text,
          call: async () => {
            const { secret } = await desk.createSecret({ spec }, options);
            this.#acknowledge("secret", secret?.id);
          },
        };
      }
      case "config": {
        const spec = create(ConfigSpecSchema, { annotations, data });
        return {
          text,
          call: async () => {
            const { config } = await desk.createConfig({ spec }, options);
            this.#acknowledge("config", config?.id);
          },
        };
      }
    }
  }

  /** Removes anything; what is in use is refused. */
  #remove(desk: Desk, view: ReadView): Wish | undefined {
    const options = { timeoutMs: CALL_TIMEOUT_MS };
    const kind =
      this.#random.pick(["service", "network", "secret", "config"] as const) ?? "service";
    const victim = this.#random.pick(
      [...view.all(kind)].filter(({ spec }) => spec?.annotations?.name.startsWith(`${kind}-`)),
    );
    if (victim === undefined) return undefined;
    const { id } = victim;
    const calls = {
      service: () => desk.removeService({ serviceId: id }, options),
      network: () => desk.removeNetwork({ networkId: id }, options),
      secret: () => desk.removeSecret({ secretId: id }, options),
      config: () => desk.removeConfig({ configId: id }, options),
    };
    return {
      text: `removes ${victim.spec?.annotations?.name ?? ""}`,
      call: async () => {
        this.acknowledged.delete(`${kind}/${id}`);
        this.#removed.add(id);
        await calls[kind]();
      },
    };
  }

  #drain(desk: Desk, view: ReadView): Wish | undefined {
    const { ACTIVE, DRAIN, PAUSE } = Availability;
    const availability = this.#random.pick([ACTIVE, ACTIVE, DRAIN, PAUSE]) ?? ACTIVE;
    const node = this.#random.pick([...view.all("node")]);
    return node && setNode(desk, view, node.id, { availability });
  }

  #changeRole(desk: Desk, view: ReadView): Wish | undefined {
    const { MANAGER, WORKER } = NodeRole;
    const nodes = [...view.all("node")];
    const node = this.#random.pick(nodes);
    if (node === undefined) return undefined;
    const isManager = node.spec?.desiredRole === MANAGER;
    const managers = nodes.filter(({ spec }) => spec?.desiredRole === MANAGER).length;
    if (isManager && managers <= MANAGERS_MIN) return undefined;
    return setNode(desk, view, node.id, { desiredRole: isManager ? WORKER : MANAGER });
  }

  #awaken(desk: Desk, view: ReadView): readonly Wish[] {
    return [...view.all("node")].flatMap(({ id, spec }) => {
      if (spec?.availability === Availability.ACTIVE) return [];
      return setNode(desk, view, id, { availability: Availability.ACTIVE }) ?? [];
    });
  }

  #mend(desk: Desk, view: ReadView): readonly Wish[] {
    return [...view.all("service")].flatMap((service) => {
      if (lacksAddresses(view, service)) {
        return this.#update(desk, service, "simplifies", withoutNetworks) ?? [];
      }
      if (waitsForNothing(view, service)) {
        return this.#update(desk, service, "lets start", withoutOrder) ?? [];
      }
      if (!isStuck(service)) return [];
      return this.#update(desk, service, "mends", (spec) => this.#specs.mend(spec)) ?? [];
    });
  }

  #acknowledge(kind: Kind, id: string | undefined): void {
    if (id !== undefined && !this.#removed.has(id)) this.acknowledged.add(`${kind}/${id}`);
  }
}

/** A network that it wants to be on is full. */
function lacksAddresses(view: ReadView, { id, allocationError }: Service): boolean {
  if (allocationError !== "") return true;
  const tasks = [...view.find("task", "service", id)].filter(isActive);
  return tasks.some((task) => stateOf(task) === TaskState.NEW && task.status?.err !== "");
}

/** What it waits for is gone, or was taken back. */
function waitsForNothing(view: ReadView, { startAfter }: Service): boolean {
  return startAfter.some(({ service, serviceId, specVersion }) => {
    const other = view.byName("service", service);
    if (other === undefined) return true;
    return other.id === serviceId && (other.specVersion?.index ?? 0n) < specVersion;
  });
}

function withoutOrder(spec: ServiceSpec): ServiceSpec {
  const { annotations } = spec;
  return annotations === undefined
    ? spec
    : { ...spec, annotations: { ...annotations, labels: {} } };
}

function isStuck({ spec, updateStatus }: Service): boolean {
  if (spec?.mode.case !== "replicated" && spec?.mode.case !== "global") return false;
  const state = updateStatus?.state;
  if (state === UpdateState.PAUSED || state === UpdateState.ROLLBACK_PAUSED) return true;
  return behaviourOf(imageOf(spec.task)) === "bad" && state !== UpdateState.ROLLBACK_STARTED;
}

function setNode(
  desk: Desk,
  view: ReadView,
  nodeId: string,
  change: { readonly availability?: Availability; readonly desiredRole?: NodeRole },
): Wish | undefined {
  const node = view.get("node", nodeId);
  if (node === undefined) return undefined;
  const spec = { ...(node.spec ?? create(NodeSpecSchema)), ...change };
  const { availability, desiredRole } = change;
  const what =
    desiredRole === undefined
      ? `sets ${nodeId} to ${Availability[availability ?? Availability.ACTIVE]}`
      : `${desiredRole === NodeRole.MANAGER ? "promotes" : "demotes"} ${nodeId}`;
  const request = { nodeId, nodeVersion: node.meta?.version, spec };
  return { text: what, call: () => desk.updateNode(request, { timeoutMs: CALL_TIMEOUT_MS }) };
}

function forced(spec: ServiceSpec): ServiceSpec {
  const { task } = spec;
  return task === undefined
    ? spec
    : { ...spec, task: { ...task, forceUpdate: task.forceUpdate + 1n } };
}

/** For services that cannot have what they ask for. */
function withoutNetworks(spec: ServiceSpec): ServiceSpec {
  const { task } = spec;
  return task === undefined
    ? spec
    : { ...spec, task: { ...task, networks: [] }, endpoint: undefined };
}

function replicatedName(spec: ServiceSpec) {
  if (spec.mode.case !== "replicated") throw new Error("only replicated services have replicas");
  return spec.mode.value.$typeName;
}

function nameOf(spec: ServiceSpec): string {
  return spec.annotations?.name ?? "";
}

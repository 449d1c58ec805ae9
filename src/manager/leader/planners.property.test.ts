/**
 * Whatever happens to a swarm, in whatever order: at any time no two tasks share an address or port
 * and no more tasks are wanted than may be; and when it is left in peace, every service is what its
 * spec asks for and nothing is left over.
 */

import { create } from "@bufbuild/protobuf";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { losesTasks } from "#model/node.ts";
import { hasLetGo, isTerminal, isWanted } from "#model/task.ts";
import { Allocator } from "#plan/allocator/allocator.ts";
import type { ReadView } from "#store/types.ts";
import { NetworkSchema } from "#wire/gen/swarmkit/objects_pb.js";
import {
  NodeSpec_Availability as Availability,
  NodeSpecSchema,
  type ServiceSpec,
} from "#wire/gen/swarmkit/specs_pb.js";
import {
  AnnotationsSchema,
  UpdateConfig_FailureAction as FailureAction,
  UpdateConfig_UpdateOrder as Order,
} from "#wire/gen/swarmkit/types_pb.js";
import { global, replicated, withImage, withReplicas } from "./testing/specs.ts";
import { type Fate, imageOf, SwarmLab } from "./testing/swarm-lab.ts";
import { letHappen, type TimeStep } from "./testing/time-steps.ts";

const NODES = ["n1", "n2", "n3", "n4"];
const PARALLELISM = 2;
const REPLICAS_MAX = 6;
/** 29 addresses, of which all services, tasks and nodes take 23: updates may have to wait. */
const SCARCE_SUBNET = "10.77.0.0/27";

type Step =
  | {
      readonly kind:
        | "down"
        | "up"
        | "drain"
        | "active"
        | "pause"
        | "bad"
        | "good"
        | "mute"
        | "unmute";
      readonly node: number;
    }
  | { readonly kind: "scale"; readonly service: number; readonly replicas: number }
  | { readonly kind: "image"; readonly service: number; readonly image: string }
  | { readonly kind: "fate"; readonly fate: Fate }
  | { readonly kind: "crash"; readonly pick: number }
  | TimeStep;

const SERVICES = ["web", "api"];

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    kind: fc.constantFrom(
      "down" as const,
      "up",
      "drain",
      "active",
      "pause",
      "bad",
      "good",
      "mute",
      "unmute",
    ),
    node: fc.nat(NODES.length - 1),
  }),
  fc.record({
    kind: fc.constant("scale" as const),
    service: fc.nat(1),
    replicas: fc.nat(REPLICAS_MAX),
  }),
  fc.record({
    kind: fc.constant("image" as const),
    service: fc.nat(2),
    image: fc.constantFrom("app:1", "app:2", "app:3"),
  }),
  fc.record({
    kind: fc.constant("fate" as const),
    fate: fc.constantFrom<Fate>("run", "run", "fail", "reject", "hang"),
  }),
  fc.record({ kind: fc.constant("crash" as const), pick: fc.nat(20) }),
  fc.record({ kind: fc.constant("pass" as const), ms: fc.constantFrom(1, 900, 5_000, 61_000) }),
  fc.record({ kind: fc.constantFrom("leader" as const, "lost", "turn", "report", "report") }),
);

function newSwarm(order: Order): SwarmLab {
  const swarm = new SwarmLab();
  for (const node of NODES) swarm.addNode(node);
  swarm.write("api", (tx) => {
    const ipam = { configs: [{ subnet: SCARCE_SUBNET }] };
    const spec = { annotations: { name: "net" }, ipv6Enabled: true, ipam };
    tx.create("network", create(NetworkSchema, { id: "net", spec }));
  });
  const placement = { constraints: ["node.labels.bad != yes"] };
  const task = { networks: [{ target: "net" }], placement };
  const update = {
    parallelism: BigInt(PARALLELISM),
    failureAction: FailureAction.CONTINUE,
    order,
  };
  const endpoint = { ports: [{ targetPort: 80 }] };
  for (const id of SERVICES) {
    swarm.addService(id, replicated(id, 3, { task, service: { update, endpoint } }));
  }
  swarm.addService("agent", global("agent", { task, service: { update } }));
  return swarm;
}

function apply(swarm: SwarmLab, one: Step, crashed: Set<string>): void {
  switch (one.kind) {
    case "down":
    case "up":
      return swarm.setUp(NODES[one.node] ?? "", one.kind === "up");
    case "drain":
      return swarm.setAvailability(NODES[one.node] ?? "", Availability.DRAIN);
    case "active":
      return swarm.setAvailability(NODES[one.node] ?? "", Availability.ACTIVE);
    case "pause":
      return swarm.setAvailability(NODES[one.node] ?? "", Availability.PAUSE);
    case "bad":
    case "good":
      return label(swarm, NODES[one.node] ?? "", one.kind);
    case "mute":
    case "unmute":
      return swarm.mute(NODES[one.node] ?? "", one.kind === "mute");
    case "scale":
      return swarm.editService(SERVICES[one.service] ?? "", (s) => withReplicas(s, one.replicas));
    case "image":
      return swarm.editService([...SERVICES, "agent"][one.service] ?? "", (spec) =>
        withImage(spec, one.image),
      );
    case "fate":
      swarm.fate = (task) => (crashed.has(task.id) ? "fail" : one.fate);
      return;
    case "crash": {
      const running = SERVICES.flatMap((id) => swarm.running(id));
      const victim = running[one.pick % Math.max(running.length, 1)];
      if (victim !== undefined) crashed.add(victim.id);
      return;
    }
    case "pass":
    case "leader":
    case "lost":
    case "turn":
    case "report":
      letHappen(swarm, one);
  }
}

/** A node that is bad may not have the tasks that it has. */
function label(swarm: SwarmLab, id: string, kind: "bad" | "good"): void {
  const bad = kind === "bad" ? "yes" : "no";
  swarm.editNode(id, (node) => {
    const spec = node.spec ?? create(NodeSpecSchema);
    const annotations = spec.annotations ?? create(AnnotationsSchema);
    return { ...node, spec: { ...spec, annotations: { ...annotations, labels: { bad } } } };
  });
}

/** Holds after every entry. */
function checkSafety(swarm: SwarmLab, view: ReadView): void {
  const addresses = new Map<string, string>();
  const ports = new Map<number, string>();
  const claim = (networkId: string, address: string, owner: string) => {
    const key = `${networkId} ${address}`;
    expect(addresses.get(key) ?? owner, `${key} is held twice`).toBe(owner);
    addresses.set(key, owner);
  };
  for (const task of view.all("task")) {
    if (hasLetGo(task)) continue;
    for (const { network, addresses: own } of task.networks) {
      for (const address of own) claim(network?.id ?? "", address, task.id);
    }
  }
  // The store may say what it likes: these are the addresses that packets come from.
  for (const task of swarm.containers.values()) {
    for (const { network, addresses: own } of task.networks) {
      for (const address of own) claim(network?.id ?? "", address, task.id);
    }
  }
  for (const service of view.all("service")) {
    for (const { networkId, addr } of service.endpoint?.virtualIps ?? []) {
      claim(networkId, addr, service.id);
    }
    for (const { publishedPort } of service.endpoint?.ports ?? []) {
      expect(ports.has(publishedPort)).toBe(false);
      ports.set(publishedPort, service.id);
    }
  }
  for (const node of view.all("node")) {
    for (const { network, addresses: own } of node.attachments) {
      for (const address of own) claim(network?.id ?? "", address, node.id);
    }
  }
  for (const id of SERVICES) {
    const wanted = [...view.find("task", "service", id)].filter(isWanted);
    const live = wanted.filter((task) => !isTerminal(task));
    expect(live.length, "tasks beyond replicas and parallelism").toBeLessThanOrEqual(
      Math.max(REPLICAS_MAX, 3) + PARALLELISM,
    );
  }
}

/** Holds when all nodes are well and time has passed. */
function checkConverged(swarm: SwarmLab): void {
  const { view } = swarm;
  for (const service of view.all("service")) {
    const spec = service.spec as ServiceSpec;
    const image = spec.task?.runtime.case === "container" ? spec.task.runtime.value.image : "";
    const wanted =
      spec.mode.case === "replicated" ? Number(spec.mode.value.replicas) : NODES.length;
    const running = swarm.running(service.id);
    expect(running.map(imageOf), swarm.table(service.id)).toEqual(Array(wanted).fill(image));
    const live = swarm.tasks(service.id).filter((task) => isWanted(task) && !isTerminal(task));
    expect(live).toHaveLength(wanted);
    for (const task of running) expect(losesTasks(view.get("node", task.nodeId))).toBe(false);
  }
}

/** What a planner counts as held is what the objects hold. */
function checkNoLeak(swarm: SwarmLab): void {
  const before = usage(swarm);
  expect(before?.addresses).toBe(addressesIn(swarm.view));
  swarm.newLeader();
  expect(usage(swarm)).toEqual(before);
}

/** Addresses that objects hold, counted without the allocator. */
function addressesIn(view: ReadView): number {
  let count = 0;
  for (const task of view.all("task")) {
    if (hasLetGo(task)) continue;
    for (const { addresses } of task.networks) count += addresses.length;
  }
  for (const service of view.all("service")) count += service.endpoint?.virtualIps.length ?? 0;
  for (const node of view.all("node")) {
    for (const { addresses } of node.attachments) count += addresses.length;
  }
  return count;
}

function usage(swarm: SwarmLab) {
  const allocator = swarm.planners.find((planner) => planner instanceof Allocator);
  return allocator?.usage();
}

describe("planners", () => {
  it.each([
    ["stop-first", Order.STOP_FIRST],
    ["start-first", Order.START_FIRST],
  ])("converge and never overreach, %s", { timeout: 600_000 }, (_name, order) => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const swarm = newSwarm(order);
        swarm.onCommit = (view) => checkSafety(swarm, view);
        const crashed = new Set<string>();
        for (const one of steps) apply(swarm, one, crashed);
        swarm.fate = (task) => (crashed.has(task.id) ? "fail" : "run");
        for (const node of NODES) {
          swarm.setUp(node, true);
          label(swarm, node, "good");
          swarm.setAvailability(node, Availability.ACTIVE);
        }
        swarm.pass(600_000);
        checkConverged(swarm);
        checkNoLeak(swarm);
        for (const id of [...SERVICES, "agent"]) swarm.removeService(id);
        swarm.pass(120_000);
        expect(swarm.view.count("task")).toBe(0);
        checkNoLeak(swarm);
        expect(usage(swarm)).toMatchObject({ addresses: 0, ports: 0, waiting: 0 });
      }),
      { numRuns: Number(process.env["PLAN_RUNS"] ?? 40) },
    );
  });

  it("leave tasks that were never asked to stop alone", () => {
    const swarm = newSwarm(Order.STOP_FIRST);
    swarm.pass(60_000);
    const before = SERVICES.flatMap((id) => swarm.running(id).map((task) => task.id));
    swarm.newLeader();
    swarm.pass(60_000);
    const after = SERVICES.flatMap((id) => swarm.running(id).map((task) => task.id));
    expect(after).toEqual(before);
  });
});

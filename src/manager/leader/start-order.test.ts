/** Services that wait for others: at creation, at updates, over new leaders, and how they are let go. */

import { create } from "@bufbuild/protobuf";
import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { START_LABEL } from "#model/service-labels.ts";
import { isTaskHeldBack } from "#model/start-order.ts";
import { isWanted, stateOf } from "#model/task.ts";
import { explainService } from "#plan/explain-service.ts";
import { Dirtiness } from "#plan/orchestrator/dirtiness.ts";
import {
  NodeSpec_Availability as Availability,
  type ServiceSpec,
  TaskSpecSchema,
} from "#wire/gen/swarmkit/specs_pb.js";
import {
  RestartPolicy_RestartCondition as Condition,
  PlacementSchema,
  TaskState,
} from "#wire/gen/swarmkit/types_pb.js";
import { global, job, replicated, withImage, withLabels, withReplicas } from "./testing/specs.ts";
import { type Fate, imageOf, SwarmLab } from "./testing/swarm-lab.ts";
import { letHappen } from "./testing/time-steps.ts";

const RUNS = Number(process.env["PLAN_RUNS"] ?? 60);
const after = (spec: ServiceSpec, label: string) => withLabels(spec, { [START_LABEL]: label });

function newSwarm(): SwarmLab {
  const swarm = new SwarmLab();
  for (const id of ["n1", "n2", "n3"]) swarm.addNode(id);
  return swarm;
}

const left = (swarm: SwarmLab, id: string) =>
  swarm.view.get("service", id)?.startAfter.map(({ service }) => service) ?? [];
const waits = (swarm: SwarmLab, id: string) =>
  explainService(swarm.view, id, swarm.nowMs)?.waits ?? [];
const images = (swarm: SwarmLab, id: string) => swarm.running(id).map(imageOf);

describe("a service that is made", () => {
  it("waits with its tasks pending, and says what for", () => {
    const swarm = newSwarm();
    swarm.fate = (task) => (task.serviceId === "db" ? "hang" : "run");
    swarm.addService("web", after(replicated("web", 2), "db=healthy"));
    swarm.settle();
    expect(waits(swarm, "web")[0]).toContain("there is no such service");
    swarm.addService("db", replicated("db", 1));
    swarm.pass(60_000);
    expect(swarm.tasks("web").map(stateOf)).toEqual([TaskState.PENDING, TaskState.PENDING]);
    expect(swarm.tasks("web")[0]?.status?.err).toBe("waits for db to be healthy");
    expect(waits(swarm, "web")[0]).toContain("db to be healthy: 0 of 1 tasks run");
    expect(explainService(swarm.view, "web", 0)?.tasks[0]?.summary).toBe(
      "it waits for db to be healthy",
    );
    swarm.newLeader();
    swarm.pass(60_000);
    expect(swarm.running("web")).toHaveLength(0);
    swarm.fate = () => "run";
    swarm.pass(1_000);
    expect(swarm.running("web")).toHaveLength(2);
    expect(waits(swarm, "web")).toEqual([]);
  });

  it("costs no look at all tasks for each one that is made", () => {
    const swarm = newSwarm();
    const looks = vi.spyOn(Dirtiness.prototype, "isDirty");
    try {
      swarm.addService("web", after(replicated("web", 500), "db=healthy"));
      swarm.settle();
      expect(swarm.tasks("web")).toHaveLength(500);
      expect(looks.mock.calls.length).toBeLessThan(500 * 20);
    } finally {
      looks.mockRestore();
    }
  });

  it("is not stopped or held again when what it waited for fails later", () => {
    const swarm = newSwarm();
    swarm.addService("db", replicated("db", 1));
    swarm.addService("web", after(replicated("web", 1), "db=healthy"));
    swarm.pass(10_000);
    swarm.fate = (task) => (task.serviceId === "db" ? "fail" : "run");
    swarm.pass(10_000);
    swarm.editService("web", (spec) => withReplicas(spec, 3));
    swarm.pass(10_000);
    expect(swarm.running("db")).toHaveLength(0);
    expect(swarm.running("web")).toHaveLength(3);
  });

  it("waits also as it was first asked for, when it is changed before it has started", () => {
    const swarm = newSwarm();
    swarm.addService("web", after(replicated("web", 2), "db=healthy"));
    swarm.addService("top", after(global("top"), "db=healthy"));
    swarm.pass(5_000);
    swarm.editService("web", (spec) => withReplicas(spec, 3));
    swarm.pass(5_000);
    for (const id of ["web", "top"]) swarm.editService(id, (spec) => withImage(spec, "app:2"));
    swarm.pass(60_000);
    expect(swarm.view.get("service", "web")?.previousSpec).toBeUndefined();
    for (const task of [...swarm.tasks("web"), ...swarm.tasks("top")]) {
      expect(isWanted(task) && stateOf(task) > TaskState.PENDING, swarm.table()).toBe(false);
    }
    swarm.addService("db", replicated("db", 1));
    swarm.pass(60_000);
    expect(images(swarm, "web")).toEqual(["app:2", "app:2", "app:2"]);
    expect(images(swarm, "top")).toEqual(["app:2", "app:2", "app:2"]);
  });

  it("waits for jobs, for tasks that end well, and for global services", () => {
    const swarm = newSwarm();
    const once = { task: { restart: { condition: Condition.NONE } } };
    swarm.fate = (task) => (["job", "once"].includes(task.serviceId) ? "fail" : "run");
    swarm.addService("job", job("job", 2, 1));
    swarm.addService("once", replicated("once", 1, once));
    swarm.addService("agent", global("agent"));
    swarm.addService("web", after(global("web"), "job=completed,once=completed,agent=healthy"));
    swarm.pass(5_000);
    expect(left(swarm, "web")).toEqual(["job", "once"]);
    expect(swarm.tasks("web").filter((task) => stateOf(task) > TaskState.PENDING)).toEqual([]);
    swarm.fate = (task) => (["job", "once"].includes(task.serviceId) ? "complete" : "run");
    swarm.pass(60_000);
    // The task that was not to be tried again has failed for good.
    expect(waits(swarm, "web")[0]).toContain(
      "once to be complete: 0 of 1 tasks have ended with success",
    );
    swarm.editService("once", (spec) => withImage(spec, "app:2"));
    swarm.pass(60_000);
    expect(swarm.running("web")).toHaveLength(3);
  });
});

describe("an update", () => {
  /** db and web run; db gets a version that does not come up, and web one that waits for it. */
  function held(): SwarmLab {
    const swarm = newSwarm();
    swarm.addService("db", replicated("db", 1));
    swarm.addService("web", after(replicated("web", 2), "db=healthy"));
    swarm.pass(10_000);
    swarm.fate = (task) => (imageOf(task) === "db:2" ? "hang" : "run");
    swarm.editService("db", (spec) => withImage(spec, "db:2"));
    swarm.editService("web", (spec) => withImage(spec, "app:2"));
    swarm.pass(60_000);
    return swarm;
  }

  it("is not begun before, and the old version goes on", () => {
    const swarm = held();
    expect(images(swarm, "web")).toEqual(["app:1", "app:1"]);
    // What is lost is replaced by its like, and so is what is added.
    const [lost] = swarm.running("web");
    swarm.setAvailability(lost?.nodeId ?? "", Availability.DRAIN);
    swarm.editService("web", (spec) => withReplicas(spec, 3));
    swarm.pass(60_000);
    expect(images(swarm, "web")).toEqual(["app:1", "app:1", "app:1"]);
    expect(left(swarm, "web")).toEqual(["db"]);
    swarm.newLeader();
    swarm.fate = () => "run";
    swarm.pass(60_000);
    expect(images(swarm, "web")).toEqual(["app:2", "app:2", "app:2"]);
  });

  it("goes back at once to what runs, and does not start after a rollback of the other", () => {
    const swarm = held();
    swarm.rollBack("db");
    swarm.pass(60_000);
    expect(waits(swarm, "web")[0]).toContain("it was rolled back: ");
    expect(images(swarm, "web")).toEqual(["app:1", "app:1"]);
    swarm.editService("web", (spec) => withImage(spec, "app:1"));
    expect(left(swarm, "web")).toEqual([]);
    swarm.pass(60_000);
    expect(images(swarm, "web")).toEqual(["app:1", "app:1"]);
  });

  it("of a global service keeps the old version where that may be, and then moves", () => {
    const swarm = newSwarm();
    const on = (spec: ServiceSpec, node: string) => ({
      ...spec,
      task: {
        ...create(TaskSpecSchema, spec.task),
        placement: create(PlacementSchema, { constraints: [`node.hostname == ${node}`] }),
      },
    });
    swarm.addService("db", replicated("db", 1));
    swarm.addService("web", on(after(global("web"), "db=healthy"), "n1"));
    swarm.addService("top", after(replicated("top", 0), "web=healthy"));
    swarm.pass(10_000);
    swarm.fate = (task) => (imageOf(task) === "db:2" ? "hang" : "run");
    swarm.editService("db", (spec) => withImage(spec, "db:2"));
    swarm.editService("web", (spec) => withImage(on(spec, "n2"), "app:2"));
    swarm.editService("top", (spec) => withImage(spec, "app:2"));
    swarm.pass(60_000);
    expect(swarm.running("web").map(({ nodeId }) => nodeId)).toEqual(["n1"]);
    expect(waits(swarm, "top")[0]).toContain("it waits for db to be healthy itself");
    swarm.fate = () => "run";
    swarm.pass(60_000);
    expect(swarm.running("web").map(({ nodeId }) => nodeId)).toEqual(["n2"]);
  });

  it("is rolled back to what ran, not to what never started", () => {
    const swarm = held();
    swarm.editService("web", (spec) => withImage(spec, "app:3"));
    swarm.rollBack("web");
    swarm.pass(60_000);
    expect(images(swarm, "web")).toEqual(["app:1", "app:1"]);
    expect(left(swarm, "web")).toEqual([]);
  });

  it("waits no more when the label is gone", () => {
    const swarm = held();
    swarm.editService("web", (spec) => withLabels(spec, {}));
    swarm.pass(60_000);
    expect(images(swarm, "web")).toEqual(["app:2", "app:2"]);
  });
});

describe("whatever happens", () => {
  const fates: readonly Fate[] = ["run", "fail", "hang", "complete", "reject"];
  const step = fc.oneof(
    fc.record({ kind: fc.constant("fate" as const), fate: fc.constantFrom(...fates) }),
    fc.record({
      kind: fc.constant("image" as const),
      service: fc.constantFrom("db", "job", "web", "top"),
      image: fc.constantFrom("app:1", "app:2", "app:3"),
    }),
    fc.record({
      kind: fc.constant("scale" as const),
      service: fc.constantFrom("db", "web"),
      replicas: fc.integer({ min: 1, max: 4 }),
    }),
    fc.record({
      kind: fc.constantFrom("drain" as const, "active"),
      node: fc.constantFrom("n1", "n2", "n3"),
    }),
    fc.record({ kind: fc.constantFrom("leader" as const, "lost", "turn", "report") }),
    fc.record({ kind: fc.constant("back" as const) }),
    fc.record({ kind: fc.constant("pass" as const), ms: fc.constantFrom(1, 900, 20_000) }),
  );
  type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

  function apply(swarm: SwarmLab, one: Step): void {
    switch (one.kind) {
      case "fate":
        swarm.fate = (task) => (["db", "job"].includes(task.serviceId) ? one.fate : "run");
        return;
      case "image":
        return swarm.editService(one.service, (spec) => withImage(spec, one.image));
      case "scale":
        return swarm.editService(one.service, (spec) => withReplicas(spec, one.replicas));
      case "drain":
        return swarm.setAvailability(one.node, Availability.DRAIN);
      case "active":
        return swarm.setAvailability(one.node, Availability.ACTIVE);
      case "back":
        if (swarm.view.get("service", "web")?.previousSpec !== undefined) swarm.rollBack("web");
        return;
      case "pass":
      case "leader":
      case "lost":
      case "turn":
      case "report":
        letHappen(swarm, one);
    }
  }

  it("nothing starts too early, and all comes up", { timeout: 600_000 }, () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (history) => {
        const swarm = newSwarm();
        swarm.addService("db", replicated("db", 2));
        swarm.addService("job", job("job", 2, 2));
        swarm.addService("web", after(replicated("web", 2), "db=healthy,job=completed"));
        swarm.addService("top", after(global("top"), "web=healthy"));
        const mayStart = { web: false, top: false };
        swarm.onCommit = (view) => {
          for (const id of ["web", "top"] as const) {
            mayStart[id] ||= view.get("service", id)?.startAfter.length === 0;
            const early = mayStart[id] ? [] : [...view.find("task", "service", id)];
            for (const task of early.filter(isWanted)) {
              expect(stateOf(task), swarm.table()).toBeLessThanOrEqual(TaskState.PENDING);
            }
            const service = view.get("service", id);
            for (const task of view.find("task", "service", id)) {
              if (!isWanted(task) || !isTaskHeldBack(service, task)) continue;
              expect(stateOf(task), swarm.table()).toBeLessThanOrEqual(TaskState.PENDING);
            }
          }
        };
        for (const one of history) apply(swarm, one);
        swarm.fate = (task) => (task.serviceId === "job" ? "complete" : "run");
        for (const id of ["n1", "n2", "n3"]) swarm.setAvailability(id, Availability.ACTIVE);
        // What gave up, or was taken back, is deployed once more.
        for (const id of ["db", "job", "web", "top"]) {
          swarm.editService(id, (spec) => withImage(spec, "app:9"));
        }
        swarm.pass(900_000);
        expect(left(swarm, "web"), waits(swarm, "web").join()).toEqual([]);
        expect(left(swarm, "top"), waits(swarm, "top").join()).toEqual([]);
        expect(new Set(images(swarm, "web")), swarm.table()).toEqual(new Set(["app:9"]));
        expect(images(swarm, "top"), swarm.table()).toEqual(["app:9", "app:9", "app:9"]);
      }),
      { numRuns: RUNS },
    );
  });
});

/**
 * Updates of all kinds over random histories of well nodes: superseded, rolled back, led by others in
 * every phase. At any time no service has less than it promises nor more than it may have, a version
 * on trial does not get beyond its trial, and of two sets exactly one serves.
 */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isSetAside } from "#model/rollout.ts";
import { ROLLOUT_LABELS } from "#model/service-labels.ts";
import { holdsNode, isActive, isWanted, stateOf } from "#model/task.ts";
import type { ReadView } from "#store/types.ts";
import type { Task } from "#wire/gen/swarmkit/objects_pb.js";
import {
  UpdateConfig_FailureAction as FailureAction,
  UpdateConfig_UpdateOrder as Order,
  PortConfig_PublishMode as PublishMode,
  TaskState,
  UpdateStatus_UpdateState as UpdateState,
} from "#wire/gen/swarmkit/types_pb.js";
import { replicated, withImage, withLabels, withReplicas } from "./testing/specs.ts";
import { type Fate, imageOf, SwarmLab } from "./testing/swarm-lab.ts";
import { letHappen, type TimeStep } from "./testing/time-steps.ts";

const RUNS = Number(process.env["PLAN_RUNS"] ?? 60);
const NODES = 4;

type Step =
  | { readonly kind: "image"; readonly image: string }
  | { readonly kind: "strategy"; readonly strategy: string }
  | { readonly kind: "back" }
  | TimeStep;

const pass = fc.record({
  kind: fc.constant("pass" as const),
  ms: fc.constantFrom(1, 900, 5_000, 20_000, 61_000),
});
const other = fc.record({
  kind: fc.constantFrom("leader" as const, "lost", "turn", "report", "report"),
});
const image = fc.record({
  kind: fc.constant("image" as const),
  image: fc.constantFrom("app:1", "app:2", "app:3"),
});
const steps = fc.array(fc.oneof(image, pass, other), { maxLength: 30 });

function newSwarm(): SwarmLab {
  const swarm = new SwarmLab();
  for (let at = 1; at <= NODES; at++) swarm.addNode(`n${at}`);
  return swarm;
}

function apply(swarm: SwarmLab, step: Step): void {
  switch (step.kind) {
    case "image":
      return swarm.editService("web", (spec) => withImage(spec, step.image));
    case "strategy":
      return swarm.editService("web", (spec) => withLabels(spec, rules(step.strategy)));
    case "back":
      if (swarm.view.get("service", "web")?.previousSpec !== undefined) swarm.rollBack("web");
      return;
    case "pass":
    case "leader":
    case "lost":
    case "turn":
    case "report":
      letHappen(swarm, step);
  }
}

const tasksOf = (view: ReadView) => [...view.find("task", "service", "web")];
const isUp = (task: Task) => stateOf(task) === TaskState.RUNNING && isWanted(task);

function serving(view: ReadView): Task[] {
  const rollout = view.get("service", "web")?.rollout;
  return tasksOf(view).filter((task) => isUp(task) && !isSetAside(rollout, task));
}

const rules = (strategy: string) => ({
  [ROLLOUT_LABELS.strategy]: strategy,
  [ROLLOUT_LABELS.keep]: "60s",
});

function specImage(view: ReadView): string {
  const runtime = view.get("service", "web")?.spec?.task?.runtime;
  return runtime?.case === "container" ? runtime.value.image : "";
}

describe("rolling updates", () => {
  it("keep what they promise, whatever overtakes them", { timeout: 600_000 }, () => {
    const shape = fc.record({
      replicas: fc.integer({ min: 1, max: 6 }),
      parallelism: fc.integer({ min: 1, max: 3 }),
      order: fc.constantFrom(Order.START_FIRST, Order.STOP_FIRST),
      limit: fc.constantFrom("none" as const, "none", "port", "perNode"),
    });
    fc.assert(
      fc.property(shape, steps, ({ replicas: wanted, parallelism, order, limit }, history) => {
        // With one task a node, the new one has nowhere to go but where the old one is.
        const replicas = limit === "none" ? wanted : NODES;
        const swarm = newSwarm();
        const port = { targetPort: 80, publishedPort: 80, publishMode: PublishMode.HOST };
        const update = { parallelism: BigInt(parallelism), order };
        swarm.addService(
          "web",
          replicated("web", replicas, {
            task: limit === "perNode" ? { placement: { maxReplicas: 1n } } : {},
            service: { update, ...(limit === "port" ? { endpoint: { ports: [port] } } : {}) },
          }),
        );
        swarm.settle();
        const surge = order === Order.START_FIRST && limit === "none" ? parallelism : 0;
        const least = surge > 0 ? replicas : replicas - parallelism;
        swarm.onCommit = (view) => {
          const tasks = tasksOf(view);
          const run = tasks.filter(
            (task) => holdsNode(task) && stateOf(task) >= TaskState.STARTING,
          );
          expect(run.length, "too many run").toBeLessThanOrEqual(replicas + surge);
          expect(tasks.filter(isActive).length).toBeLessThanOrEqual(replicas + parallelism);
          expect(tasks.filter(isUp).length, "too few run").toBeGreaterThanOrEqual(least);
        };
        for (const one of history) apply(swarm, one);
        swarm.pass(300_000);
        expect(swarm.running("web").map(imageOf), swarm.table("web")).toEqual(
          Array(replicas).fill(specImage(swarm.view)),
        );
        expect(tasksOf(swarm.view).filter(isWanted)).toHaveLength(replicas);
      }),
      { numRuns: RUNS },
    );
  });
});

describe("updates to versions that fail", () => {
  it("never stand beside more tasks than they may, and move on", { timeout: 600_000 }, () => {
    const shape = fc.record({
      replicas: fc.integer({ min: 2, max: 6 }),
      parallelism: fc.integer({ min: 1, max: 2 }),
      order: fc.constantFrom(Order.START_FIRST, Order.STOP_FIRST),
    });
    const fate = fc.record({
      kind: fc.constant("fate" as const),
      fate: fc.constantFrom<Fate>("run", "fail", "reject", "hang"),
    });
    const history = fc.array(fc.oneof(image, pass, other, fate), { maxLength: 40 });
    fc.assert(
      fc.property(shape, history, ({ replicas, parallelism, order }, all) => {
        const swarm = newSwarm();
        const { CONTINUE: failureAction } = FailureAction;
        const update = { parallelism: BigInt(parallelism), order, failureAction };
        swarm.addService("web", replicated("web", replicas, { service: { update } }));
        swarm.settle();
        swarm.onCommit = (view) => {
          const bySlot = new Map<bigint, number>();
          for (const { slot } of tasksOf(view).filter(isActive)) {
            bySlot.set(slot, (bySlot.get(slot) ?? 0) + 1);
          }
          const beside = [...bySlot.values()].filter((count) => count > 1);
          expect(Math.max(0, ...beside), swarm.table()).toBeLessThanOrEqual(2);
          expect(beside.length, swarm.table()).toBeLessThanOrEqual(parallelism);
        };
        for (const one of all) {
          if (one.kind === "fate") swarm.fate = fateOf(one.fate);
          else apply(swarm, one);
        }
        swarm.fate = () => "run";
        swarm.pass(900_000);
        expect(swarm.running("web").map(imageOf), swarm.table("web")).toEqual(
          Array(replicas).fill(specImage(swarm.view)),
        );
        expect(tasksOf(swarm.view).filter(isWanted)).toHaveLength(replicas);
      }),
      { numRuns: RUNS },
    );
  });
});

/** What happens to tasks that do not run yet. */
function fateOf(fate: Fate): (task: Task) => Fate {
  return (task) => (stateOf(task) < TaskState.RUNNING ? fate : "run");
}

describe("canaries", () => {
  it("never let a bad version beyond the trial", { timeout: 600_000 }, () => {
    const shape = fc.record({
      replicas: fc.integer({ min: 2, max: 8 }),
      canary: fc.integer({ min: 1, max: 3 }),
      order: fc.constantFrom(Order.START_FIRST, Order.STOP_FIRST),
      fate: fc.constantFrom<Fate>("fail", "reject", "complete", "hang"),
    });
    fc.assert(
      fc.property(shape, steps, ({ replicas, canary, order, fate }, history) => {
        const swarm = newSwarm();
        const labels = {
          [ROLLOUT_LABELS.strategy]: "canary",
          [ROLLOUT_LABELS.canary]: String(canary),
          [ROLLOUT_LABELS.analysis]: "30s",
        };
        const spec = replicated("web", replicas, {
          service: { update: { parallelism: 2n, order } },
        });
        swarm.addService("web", withLabels(spec, labels));
        swarm.settle();
        swarm.fate = (task) => (imageOf(task) === "app:bad" ? fate : "run");
        swarm.editService("web", (before) => withImage(before, "app:bad"));
        swarm.onCommit = (view) => {
          const tasks = tasksOf(view).filter(isActive);
          const bad = tasks.filter((task) => imageOf(task) === "app:bad");
          expect(bad.length, "the bad version spreads").toBeLessThanOrEqual(canary);
          const good = tasks.filter((task) => imageOf(task) === "app:1" && isUp(task));
          expect(good.length).toBeGreaterThanOrEqual(replicas - Math.min(canary, replicas));
          const over = view.get("service", "web")?.updateStatus?.state;
          if (over === UpdateState.ROLLBACK_COMPLETED) expect(good.length).toBe(replicas);
        };
        for (const one of history) if (one.kind !== "image") apply(swarm, one);
        swarm.pass(3_600_000);
        const service = swarm.view.get("service", "web");
        expect(UpdateState[service?.updateStatus?.state ?? 0]).toBe("ROLLBACK_COMPLETED");
        expect(swarm.running("web").map(imageOf)).toEqual(Array(replicas).fill("app:1"));
        expect(service?.rollout).toBeUndefined();
      }),
      { numRuns: RUNS },
    );
  });
});

describe("updates of changing strategy", () => {
  it("never leave a service without tasks that serve", { timeout: 600_000 }, () => {
    const strategy = fc.record({
      kind: fc.constant("strategy" as const),
      strategy: fc.constantFrom("rolling", "canary", "blue-green"),
    });
    const back = fc.record({ kind: fc.constant("back" as const) });
    const history = fc.array(fc.oneof(image, pass, other, back, strategy), { maxLength: 40 });
    const orders = fc.constantFrom(Order.START_FIRST, Order.STOP_FIRST);
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 5 }), orders, history, (replicas, order, all) => {
        const swarm = newSwarm();
        swarm.addService(
          "web",
          replicated("web", replicas, { service: { update: { parallelism: 1n, order } } }),
        );
        swarm.settle();
        swarm.onCommit = (view) => {
          const least = order === Order.START_FIRST ? replicas - 1 : replicas - 2;
          expect(serving(view).length, swarm.table()).toBeGreaterThanOrEqual(Math.max(1, least));
          expect(tasksOf(view).filter(isActive).length).toBeLessThanOrEqual(2 * replicas + 1);
        };
        for (const one of all) apply(swarm, one);
        swarm.pass(600_000);
        expect(swarm.running("web").map(imageOf), swarm.table()).toEqual(
          Array(replicas).fill(specImage(swarm.view)),
        );
        expect(tasksOf(swarm.view).filter(isWanted)).toHaveLength(replicas);
        expect(swarm.view.get("service", "web")?.rollout).toBeUndefined();
      }),
      { numRuns: RUNS },
    );
  });
});

describe("blue/green updates", () => {
  it("serve with one whole set at any time", { timeout: 600_000 }, () => {
    const back = fc.record({ kind: fc.constant("back" as const) });
    const scale = fc.integer({ min: 1, max: 5 });
    const history = fc.array(fc.oneof(image, pass, pass, other, back), { maxLength: 30 });
    fc.assert(
      fc.property(scale, scale, history, (replicas, later, all) => {
        const swarm = newSwarm();
        swarm.addService("web", withLabels(replicated("web", replicas), rules("blue-green")));
        swarm.settle();
        swarm.onCommit = (view) => {
          const images = serving(view).map(imageOf);
          expect(new Set(images).size, "two versions serve").toBe(1);
          expect(images.length, "too few serve").toBeGreaterThanOrEqual(replicas);
        };
        for (const one of all) apply(swarm, one);
        swarm.pass(300_000);
        const wanted = specImage(swarm.view);
        expect(serving(swarm.view).map(imageOf), swarm.table()).toEqual(
          Array(replicas).fill(wanted),
        );
        expect(tasksOf(swarm.view).filter(isWanted)).toHaveLength(replicas);
        expect(swarm.view.get("service", "web")?.rollout).toBeUndefined();
        swarm.onCommit = () => {};
        swarm.editService("web", (spec) => withReplicas(spec, later));
        swarm.pass(300_000);
        expect(serving(swarm.view)).toHaveLength(later);
      }),
      { numRuns: RUNS },
    );
  });
});

/** What updates do about slots that are empty, or whose new task fails. */

import { describe, expect, it } from "vitest";
import { ROLLOUT_LABELS } from "#model/service-labels.ts";
import { isActive } from "#model/task.ts";
import type { ServiceSpec } from "#wire/gen/swarmkit/specs_pb.js";
import {
  RestartPolicy_RestartCondition as Condition,
  UpdateConfig_FailureAction as FailureAction,
  UpdateConfig_UpdateOrder as Order,
  TaskState,
  UpdateStatus_UpdateState as UpdateState,
} from "#wire/gen/swarmkit/types_pb.js";
import { replicated, withImage, withLabels } from "./testing/specs.ts";
import { imageOf, SwarmLab } from "./testing/swarm-lab.ts";

function lab(): SwarmLab {
  const swarm = new SwarmLab();
  for (const node of ["n1", "n2", "n3"]) swarm.addNode(node);
  return swarm;
}

function rolling(replicas: number, parallelism: number): ServiceSpec {
  return replicated("web", replicas, { service: { update: { parallelism: BigInt(parallelism) } } });
}

describe("updates", () => {
  it.each([
    ["that goes on", false],
    ["that is new", true],
  ])("empty no slot while others still are, under a leader %s", (_name, isNew) => {
    const swarm = lab();
    swarm.addService("web", rolling(3, 2));
    swarm.settle();
    swarm.editService("web", (spec) => withImage(spec, "app:2"));
    const inSlot = (number: bigint) =>
      swarm.tasks("web").find((task) => task.slot === number && imageOf(task) === "app:2");
    swarm.turn();
    while (inSlot(1n)?.desiredState !== TaskState.RUNNING) {
      swarm.report();
      swarm.turn();
    }
    // Two slots are empty by now, and one of them stays so when a slower update begins.
    const muted = inSlot(2n)?.nodeId ?? "";
    swarm.mute(muted, true);
    swarm.report();
    swarm.editService("web", (spec) => ({
      ...withImage(spec, "app:3"),
      update: rolling(3, 1).update,
    }));
    swarm.turn();
    if (isNew) swarm.newLeader();
    let most = 0;
    swarm.onCommit = () => {
      const running = swarm.running("web").length;
      most = Math.max(most, running);
      expect(running, swarm.table("web")).toBe(most);
    };
    for (let round = 0; round < 20; round++) {
      if (isNew) swarm.newLeader();
      swarm.report();
      swarm.turn();
    }
    expect(most).toBe(2);
    swarm.onCommit = () => {};
    swarm.mute(muted, false);
    swarm.pass(120_000);
    expect(swarm.running("web").map(imageOf)).toEqual(Array(3).fill("app:3"));
  });

  it("give every slot its turn before what failed is tried again, as one of those at work", () => {
    for (const order of [Order.STOP_FIRST, Order.START_FIRST]) {
      const { CONTINUE: failureAction } = FailureAction;
      const swarm = lab();
      const update = { parallelism: 1n, order, failureAction };
      swarm.addService("web", replicated("web", 4, { service: { update } }));
      swarm.settle();
      swarm.fate = (task) => (imageOf(task) === "app:bad" ? "reject" : "run");
      const tried = new Set<bigint>();
      swarm.onCommit = () => {
        const fresh = swarm.tasks("web").filter((task) => imageOf(task) === "app:bad");
        for (const { slot } of fresh) tried.add(slot);
        expect(swarm.tasks("web").filter(isActive).length).toBeLessThanOrEqual(5);
        expect(swarm.running("web")).toHaveLength(4);
      };
      swarm.editService("web", (spec) => withImage(spec, "app:bad"));
      swarm.pass(120_000);
      expect(tried.size).toBe(4);
      const state = swarm.view.get("service", "web")?.updateStatus?.state;
      expect(UpdateState[state ?? 0]).toBe("COMPLETED");
      swarm.onCommit = () => {};
      // Once it can be had, every slot comes to it, however often that failed before.
      swarm.fate = () => "run";
      swarm.pass(600_000);
      expect(swarm.running("web").map(imageOf)).toEqual(Array(4).fill("app:bad"));
    }
  });

  /** A service goes back from a version that fails, by this strategy. */
  function goneBack(strategy: string, maxAttempts: bigint): SwarmLab {
    const swarm = lab();
    const { ROLLBACK: failureAction } = FailureAction;
    const restart = { condition: Condition.ANY, maxAttempts };
    const update = { parallelism: 1n, failureAction };
    const spec = replicated("web", 2, { task: { restart }, service: { update } });
    swarm.addService("web", withLabels(spec, { [ROLLOUT_LABELS.strategy]: strategy }));
    swarm.settle();
    swarm.fate = (task) => (imageOf(task) === "app:bad" ? "fail" : "run");
    swarm.editService("web", (before) => withImage(before, "app:bad"));
    swarm.pass(300);
    return swarm;
  }
  const STRATEGIES = ["canary", "blue-green", "rolling"];

  it.each(STRATEGIES)("that went back by %s leave the task that failed, to be read", (strategy) => {
    const swarm = goneBack(strategy, 0n);
    swarm.pass(60_000);
    const failed = swarm.tasks("web").filter((task) => task.status?.state === TaskState.FAILED);
    expect(failed.map(imageOf), swarm.table("web")).toContain("app:bad");
  });

  it.each(STRATEGIES)("that went back by %s count no attempt of the version before", (strategy) => {
    const swarm = goneBack(strategy, 1n);
    swarm.pass(60_000);
    const ran = new Set(swarm.running("web").map(({ id }) => id));
    swarm.fate = (task) => (ran.has(task.id) ? "fail" : "run");
    swarm.pass(60_000);
    expect(swarm.running("web").map(imageOf)).toEqual(["app:1", "app:1"]);
  });

  it("do not try again what its restart policy forbids", () => {
    const { CONTINUE: failureAction } = FailureAction;
    const swarm = lab();
    const update = { parallelism: 1n, failureAction };
    const restart = { condition: Condition.NONE };
    swarm.addService("web", replicated("web", 3, { task: { restart }, service: { update } }));
    swarm.settle();
    swarm.fate = (task) => (imageOf(task) === "app:bad" ? "reject" : "run");
    const created = new Set<string>();
    swarm.onCommit = () => {
      for (const task of swarm.tasks("web")) if (imageOf(task) === "app:bad") created.add(task.id);
    };
    swarm.editService("web", (spec) => withImage(spec, "app:bad"));
    swarm.pass(120_000);
    expect(created.size).toBe(3);
    expect(swarm.running("web").map(imageOf)).toEqual(Array(3).fill("app:1"));
    swarm.editService("web", (spec) => withImage(spec, "app:2"));
    swarm.pass(120_000);
    expect(swarm.running("web").map(imageOf)).toEqual(Array(3).fill("app:2"));
  });
});

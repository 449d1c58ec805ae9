import { describe, expect, it } from "vitest";
import { replicated, withImage, withLabels } from "#manager/leader/testing/specs.ts";
import { SwarmLab } from "#manager/leader/testing/swarm-lab.ts";
import { ROLLOUT_LABELS } from "#model/service-labels.ts";
import { RestartPolicy_RestartCondition as Condition } from "#wire/gen/swarmkit/types_pb.js";
import { explainService } from "./explain-service.ts";

function labelled(labels: Record<string, string>, cpus = 0n): SwarmLab {
  const swarm = new SwarmLab();
  swarm.addNode("n1");
  swarm.addNode("n2");
  const task = { resources: { reservations: { nanoCpus: cpus } } };
  swarm.addService("web", withLabels(replicated("web", 4, { task }), labels));
  swarm.settle();
  return swarm;
}

const waits = (swarm: SwarmLab) => explainService(swarm.view, "web", swarm.nowMs)?.waits;

describe("explainService", () => {
  it("has nothing to say of a service that is as it shall be", () => {
    const swarm = labelled({});
    expect(explainService(swarm.view, "web", swarm.nowMs)).toEqual({ waits: [], tasks: [] });
    expect(explainService(swarm.view, "gone", swarm.nowMs)).toBeUndefined();
  });

  it("names the node that comes nearest, and what it lacks", () => {
    const swarm = labelled({}, 5_000_000_000n);
    const tasks = explainService(swarm.view, "web", swarm.nowMs)?.tasks ?? [];
    expect(tasks.map(({ nearest }) => nearest)).toEqual(Array(2).fill("n1: it lacks 2 CPUs"));
    expect(tasks[0]?.summary).toBe("no suitable node (insufficient resources on 2 nodes)");
  });

  it("tells how a crash loop is slowed down, and what the tasks end with", () => {
    const swarm = labelled({});
    swarm.fate = () => "fail";
    swarm.pass(46_000);
    const tasks = explainService(swarm.view, "web", swarm.nowMs)?.tasks ?? [];
    expect(tasks.map(({ summary }) => summary)).toEqual(
      Array(4).fill("it is ready and starts in 39 s: the 6 before it failed soon after they began"),
    );
  });

  it("tells of tasks that are not started again, which seem to want nothing", () => {
    const swarm = new SwarmLab();
    swarm.addNode("n1");
    swarm.fate = (task) => (task.slot === 1n ? "run" : "fail");
    const restart = { condition: Condition.ANY, maxAttempts: 2n };
    swarm.addService("web", replicated("web", 3, { task: { restart } }));
    swarm.pass(60_000);
    expect(swarm.running("web")).toHaveLength(1);
    expect(waits(swarm)).toEqual([
      expect.stringMatching(
        /^2 of 3 tasks failed and are not started again, by the restart policy \(the last of web\.[23]\.\w+\); /,
      ),
    ]);
    swarm.fate = () => "run";
    swarm.editService("web", (spec) => withImage(spec, "app:2"));
    swarm.pass(60_000);
    expect(waits(swarm)).toEqual([]);
  });

  it("tells how far an update is", () => {
    const swarm = labelled({});
    swarm.editService("web", (spec) => withImage(spec, "app:2"));
    swarm.settle();
    expect(waits(swarm)).toEqual([
      "an update is under way, 1 at a time, each watched for 5s: 1 of 4 tasks run the new version",
    ]);
  });

  it("tells what a trial waits for, and how long an old set is kept", () => {
    const canary = labelled({
      [ROLLOUT_LABELS.strategy]: "canary",
      [ROLLOUT_LABELS.canary]: "50%",
      [ROLLOUT_LABELS.promotion]: "manual",
    });
    canary.editService("web", (spec) => withImage(spec, "app:2"));
    canary.settle();
    expect(waits(canary)).toEqual([
      "a canary is on trial: 2 of 4 tasks run the new version and are watched for 5s",
    ]);
    canary.pass(10_000);
    expect(waits(canary)).toEqual([
      "a canary is on trial: update waits for promotion: 2 of 4 tasks run the new version (skep service promote web)",
    ]);
    canary.promote("web");
    canary.pass(60_000);
    expect(waits(canary)).toEqual([]);
    const sets = labelled({ [ROLLOUT_LABELS.strategy]: "blue-green" });
    sets.editService("web", (spec) => withImage(spec, "app:2"));
    sets.pass(65_000);
    expect(waits(sets)).toEqual([
      "the 4 tasks of the old set are kept for another 4m0s: service rollback",
    ]);
  });

  it("repeats why an update stands, and what can be done", () => {
    const swarm = labelled({});
    swarm.fate = (task) => (task.specVersion?.index === 6n ? "run" : "reject");
    swarm.editService("web", (spec) => withImage(spec, "app:bad"));
    swarm.pass(30_000);
    expect(waits(swarm)?.[0]).toMatch(
      /^update paused due to failure .*; it goes on with the next service update, or back/,
    );
  });
});

/** The planners together over a real store, as tables of what becomes of tasks. */

import { create } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import { isActive, slotKeyOf, stateOf } from "#model/task.ts";
import { durationOf } from "#model/time.ts";
import { NetworkSchema, type Task } from "#wire/gen/swarmkit/objects_pb.js";
import { NodeSpec_Availability as Availability } from "#wire/gen/swarmkit/specs_pb.js";
import {
  RestartPolicy_RestartCondition as Condition,
  UpdateConfig_FailureAction as FailureAction,
  UpdateConfig_UpdateOrder as Order,
  PortConfig_PublishMode as PublishMode,
  TaskState,
  UpdateStatus_UpdateState as UpdateState,
} from "#wire/gen/swarmkit/types_pb.js";
import { global, job, replicated, withImage, withReplicas } from "./testing/specs.ts";
import { imageOf, SwarmLab } from "./testing/swarm-lab.ts";

function lab(nodes = 3): SwarmLab {
  const swarm = new SwarmLab();
  for (let n = 1; n <= nodes; n++) swarm.addNode(`n${n}`);
  return swarm;
}

function perNode(swarm: SwarmLab, service: string): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { nodeId } of swarm.running(service)) counts[nodeId] = (counts[nodeId] ?? 0) + 1;
  return counts;
}

function startedAt(swarm: SwarmLab): bigint | undefined {
  return swarm.view.get("service", "web")?.updateStatus?.startedAt?.seconds;
}

describe("replicated services", () => {
  it("are allocated, filled and placed in one entry", () => {
    const swarm = lab();
    swarm.turn();
    swarm.addService("web", replicated("web", 3));
    const before = swarm.view.index;
    swarm.turn();
    expect(swarm.view.index).toBe(before + 1);
    expect(swarm.table("web")).toMatchInlineSnapshot(`
      "web.1    n1   ASSIGNED  RUNNING  app:1
      web.2    n2   ASSIGNED  RUNNING  app:1
      web.3    n3   ASSIGNED  RUNNING  app:1"
    `);
  });

  it("spread over nodes, and give up most where there are most", () => {
    const swarm = lab();
    swarm.addService("web", replicated("web", 9));
    swarm.settle();
    expect(perNode(swarm, "web")).toEqual({ n1: 3, n2: 3, n3: 3 });
    swarm.editService("web", (spec) => withReplicas(spec, 5));
    swarm.settle();
    expect(Object.values(perNode(swarm, "web")).sort((a, b) => a - b)).toEqual([1, 2, 2]);
    expect(swarm.tasks("web")).toHaveLength(5);
  });

  it("keep what runs when scaled up", () => {
    const swarm = lab();
    swarm.addService("web", replicated("web", 2));
    swarm.settle();
    const ids = swarm.running("web").map(({ id }) => id);
    swarm.editService("web", (spec) => withReplicas(spec, 4));
    swarm.settle();
    expect(swarm.running("web").map(({ id }) => id)).toEqual(expect.arrayContaining(ids));
    expect(swarm.running("web")).toHaveLength(4);
    expect(swarm.view.get("service", "web")?.updateStatus).toBeUndefined();
  });

  it("move at once from a node that is down, and nothing is doubled when it comes back", () => {
    const swarm = lab();
    swarm.addService("web", replicated("web", 3));
    swarm.settle();
    swarm.setUp("n1", false);
    swarm.settle();
    expect(perNode(swarm, "web")).toEqual({ n2: expect.any(Number), n3: expect.any(Number) });
    expect(swarm.running("web")).toHaveLength(3);
    swarm.setUp("n1", true);
    swarm.pass(120_000);
    expect(swarm.running("web")).toHaveLength(3);
    expect(perNode(swarm, "web")["n1"]).toBeUndefined();
  });

  it("leave a drained node, stay on a paused one", () => {
    const swarm = lab(2);
    swarm.addService("web", replicated("web", 4));
    swarm.settle();
    swarm.setAvailability("n1", Availability.PAUSE);
    swarm.editService("web", (spec) => withReplicas(spec, 6));
    swarm.settle();
    expect(perNode(swarm, "web")).toEqual({ n1: 2, n2: 4 });
    swarm.setAvailability("n1", Availability.DRAIN);
    swarm.settle();
    expect(perNode(swarm, "web")).toEqual({ n2: 6 });
  });

  it("leave nothing behind when removed", () => {
    const swarm = lab();
    swarm.addService("web", replicated("web", 3));
    swarm.settle();
    swarm.removeService("web");
    swarm.settle();
    expect(swarm.view.count("task")).toBe(0);
  });

  it("survive the removal of a node that never answers again", () => {
    const swarm = lab();
    swarm.addService("web", replicated("web", 3));
    swarm.settle();
    swarm.removeNode("n2");
    swarm.settle();
    expect(swarm.running("web")).toHaveLength(3);
    expect(swarm.tasks("web").map((task) => TaskState[stateOf(task)])).toContain("ORPHANED");
  });

  it("say why they find no node, and go where one becomes free", () => {
    const swarm = lab(2);
    const constraint = { placement: { constraints: ["node.labels.disk==ssd"] } };
    swarm.addService("db", replicated("db", 1, { task: constraint }));
    swarm.settle();
    expect(swarm.table("db")).toMatchInlineSnapshot(
      `"db.1     -    PENDING   RUNNING  app:1 no suitable node (scheduling constraints not satisfied on 2 nodes)"`,
    );
    swarm.editNode("n2", (node) => ({
      ...node,
      spec: {
        ...(node.spec as NonNullable<typeof node.spec>),
        annotations: {
          $typeName: "docker.swarmkit.v1.Annotations",
          name: "",
          labels: { disk: "ssd" },
          indices: [],
        },
      },
    }));
    swarm.settle();
    expect(perNode(swarm, "db")).toEqual({ n2: 1 });
  });
});

describe("restarts", () => {
  it("happen after the delay, with the successor ready before", () => {
    const swarm = lab(1);
    swarm.addService("web", replicated("web", 1));
    swarm.settle();
    const [first] = swarm.running("web");
    swarm.fate = (task) => (task.id === first?.id ? "fail" : "run");
    swarm.settle();
    expect(swarm.table("web")).toMatchInlineSnapshot(`
      "web.1    n1   FAILED    SHUTDOWN app:1
      web.1    n1   READY     READY    app:1"
    `);
    swarm.pass(4_999);
    expect(swarm.running("web")).toHaveLength(0);
    swarm.pass(1);
    expect(swarm.running("web")).toHaveLength(1);
  });

  it("end with the attempts of the policy", () => {
    const swarm = lab(1);
    swarm.fate = () => "fail";
    const restart = { condition: Condition.ON_FAILURE, maxAttempts: 2n, delay: durationOf(100) };
    swarm.addService("web", replicated("web", 1, { task: { restart } }));
    swarm.pass(60_000);
    expect(swarm.tasks("web")).toHaveLength(3);
    expect(swarm.tasks("web").every((task) => stateOf(task) === TaskState.FAILED)).toBe(true);
    swarm.newLeader();
    swarm.pass(60_000);
    expect(swarm.tasks("web")).toHaveLength(3);
  });

  it("do not happen after success, when only failures are to be restarted", () => {
    const swarm = lab(1);
    swarm.fate = () => "complete";
    const restart = { condition: Condition.ON_FAILURE };
    swarm.addService("web", replicated("web", 2, { task: { restart } }));
    swarm.pass(60_000);
    expect(swarm.tasks("web").map((task) => TaskState[stateOf(task)])).toEqual([
      "COMPLETE",
      "COMPLETE",
    ]);
  });

  it("keep a bounded history, and do not hammer", () => {
    const swarm = lab(1);
    swarm.fate = () => "reject";
    swarm.addService("web", replicated("web", 1));
    let created = 0;
    const seen = new Set<string>();
    swarm.onCommit = (view) => {
      for (const { id } of view.all("task")) if (!seen.has(id)) seen.add(id);
      created = seen.size;
    };
    swarm.pass(120_000);
    expect(swarm.tasks("web").length).toBeLessThanOrEqual(6);
    expect(created).toBeGreaterThan(5);
    expect(created).toBeLessThanOrEqual(10);
  });

  /** Seconds between the starts of one slot's tasks over two minutes. */
  function paceOf(fate: "fail" | "complete", delayMs: number, restartLeader: boolean): number[] {
    const swarm = lab(1);
    swarm.fate = () => fate;
    const starts = new Map<string, number>();
    swarm.onCommit = (view) => {
      for (const task of view.find("task", "service", "web")) {
        if (stateOf(task) >= TaskState.STARTING && !starts.has(task.id)) {
          starts.set(task.id, swarm.nowMs);
        }
      }
    };
    const restart = { condition: Condition.ANY, delay: durationOf(delayMs) };
    swarm.addService("web", replicated("web", 1, { task: { restart } }));
    for (let second = 0; second < 120; second++) {
      if (restartLeader && second % 7 === 0) swarm.newLeader();
      swarm.pass(1_000);
    }
    const at = [...starts.values()];
    return at.slice(1).map((ms, index) => (ms - (at[index] ?? 0)) / 1_000);
  }

  it.each([false, true])(
    "come ever later after quick failures, whoever leads and however short the delay: %s",
    (anew) => {
      expect(paceOf("fail", 5_000, anew)).toEqual([5, 5, 5, 10, 20, 40]);
      const short = [0.1, 0.1, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10];
      expect(paceOf("fail", 100, anew).slice(0, 11)).toEqual(short);
      const none = [0, 0, 0, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10];
      expect(paceOf("fail", 0, anew).slice(0, 11)).toEqual(none);
    },
  );

  it("keep their pace after success: some use that as a clock", () => {
    const pace = paceOf("complete", 10_000, false);
    expect(pace).toEqual(Array(pace.length).fill(10));
    expect(paceOf("complete", 0, false).at(-1)).toBe(5);
  });
});

describe("updates", () => {
  const app = (replicas: number, parallelism: number, order = Order.STOP_FIRST) =>
    replicated("web", replicas, {
      service: { update: { parallelism: BigInt(parallelism), order } },
    });

  it("go slot by slot and say so", () => {
    const swarm = lab();
    swarm.addService("web", app(5, 2));
    swarm.settle();
    swarm.editService("web", (spec) => withImage(spec, "app:2"));
    const states: string[] = [];
    swarm.onCommit = (view) => {
      const status = view.get("service", "web")?.updateStatus;
      const line = `${UpdateState[status?.state ?? 0]}: ${status?.message ?? ""}`;
      if (states.at(-1) !== line) states.push(line);
      const wanted = [...view.find("task", "service", "web")].filter(
        (task) => task.desiredState <= TaskState.RUNNING && stateOf(task) <= TaskState.RUNNING,
      );
      expect(wanted.length).toBeLessThanOrEqual(7);
      expect(wanted.length).toBeGreaterThanOrEqual(5);
    };
    const seen = new Set<string>();
    for (let second = 0; second < 30; second++) {
      swarm.pass(1_000);
      const images = swarm.running("web").map(imageOf).sort().join(" ");
      seen.add(images);
    }
    expect([...seen]).toEqual([
      "app:1 app:1 app:1 app:2 app:2",
      "app:1 app:2 app:2 app:2 app:2",
      "app:2 app:2 app:2 app:2 app:2",
    ]);
    expect(states).toEqual(
      ["UNKNOWN: ", "UPDATING: update in progress", "COMPLETED: update completed"].slice(
        states[0] === "UNKNOWN: " ? 0 : 1,
      ),
    );
  });

  it("pause when the new version fails, and leave the old one running", () => {
    const swarm = lab();
    swarm.addService(
      "web",
      replicated("web", 5, { service: { update: { parallelism: 1n, maxFailureRatio: 0.25 } } }),
    );
    swarm.settle();
    swarm.fate = (task) => (imageOf(task) === "app:bad" ? "reject" : "run");
    swarm.editService("web", (spec) => withImage(spec, "app:bad"));
    swarm.pass(60_000);
    const status = swarm.view.get("service", "web")?.updateStatus;
    expect(status?.state).toBe(UpdateState.PAUSED);
    expect(status?.message).toMatch(/^update paused due to failure or early termination of task t/);
    expect(swarm.running("web").map(imageOf)).toEqual(Array(5).fill("app:1"));
  });

  it("that failed half way, were told to go on and failed again lead back to what ran before", () => {
    for (const again of ["app:bad", "app:worse"]) {
      const swarm = lab();
      swarm.addService("web", app(4, 1));
      swarm.settle();
      swarm.fate = (task) => (imageOf(task) === "app:1" ? "run" : "fail");
      swarm.editService("web", (spec) => withImage(spec, "app:bad"));
      swarm.pass(30_000);
      swarm.editService("web", (spec) => withImage(spec, again));
      swarm.pass(30_000);
      expect(swarm.view.get("service", "web")?.updateStatus?.state).toBe(UpdateState.PAUSED);
      swarm.rollBack("web");
      swarm.pass(60_000);
      expect(swarm.running("web").map(imageOf)).toEqual(Array(4).fill("app:1"));
    }
  });

  it("roll back by themselves when told to", () => {
    const swarm = lab();
    const update = { parallelism: 1n, failureAction: FailureAction.ROLLBACK };
    swarm.addService("web", replicated("web", 3, { service: { update } }));
    swarm.settle();
    swarm.fate = (task) => (imageOf(task) === "app:bad" ? "fail" : "run");
    swarm.editService("web", (spec) => withImage(spec, "app:bad"));
    swarm.pass(60_000);
    const service = swarm.view.get("service", "web");
    expect(service?.updateStatus?.state).toBe(UpdateState.ROLLBACK_COMPLETED);
    expect(swarm.running("web").map(imageOf)).toEqual(["app:1", "app:1", "app:1"]);
    expect(service?.previousSpec).toBeUndefined();
  });

  it("start first where told to, never stopping what has no successor", () => {
    const swarm = lab();
    swarm.addService("web", app(3, 1, Order.START_FIRST));
    swarm.settle();
    swarm.onCommit = () => expect(swarm.running("web").length).toBeGreaterThanOrEqual(3);
    swarm.editService("web", (spec) => withImage(spec, "app:2"));
    swarm.pass(60_000);
    expect(swarm.running("web").map(imageOf)).toEqual(["app:2", "app:2", "app:2"]);
  });

  it("start first also when the new task is tried again", () => {
    const { CONTINUE: failureAction } = FailureAction;
    const service = { update: { parallelism: 1n, order: Order.START_FIRST, failureAction } };
    for (const spec of [replicated("web", 2, { service }), global("web", { service })]) {
      const swarm = lab(2);
      swarm.addService("web", spec);
      swarm.settle();
      let failures = 3;
      const failed = new Set<string>();
      swarm.fate = (task) => {
        if (imageOf(task) === "app:2" && !failed.has(task.id) && failures-- > 0)
          failed.add(task.id);
        return failed.has(task.id) ? "fail" : "run";
      };
      swarm.onCommit = () => expect(swarm.running("web").length).toBeGreaterThanOrEqual(2);
      swarm.editService("web", (before) => withImage(before, "app:2"));
      swarm.pass(120_000);
      expect(failed.size).toBe(3);
      expect(swarm.running("web").map(imageOf)).toEqual(["app:2", "app:2"]);
    }
  });

  it("do not wait for ever for a host port that the old task holds", () => {
    const swarm = lab(2);
    const ports = [{ targetPort: 80, publishedPort: 80, publishMode: PublishMode.HOST }];
    for (const order of [Order.START_FIRST, Order.STOP_FIRST]) {
      const id = `web${order}`;
      const spec = global(id, {
        service: { update: { parallelism: 1n, order }, endpoint: { ports } },
      });
      swarm.addService(id, spec);
      swarm.settle();
      swarm.editService(id, (before) => withImage(before, "app:2"));
      swarm.pass(60_000);
      expect(swarm.running(id).map(imageOf)).toEqual(["app:2", "app:2"]);
      swarm.removeService(id);
      swarm.settle();
    }
  });

  it("do not hammer with a version that cannot be prepared, while the old one runs", () => {
    for (const order of [Order.START_FIRST, Order.STOP_FIRST]) {
      const swarm = lab();
      const update = { parallelism: 1n, order, failureAction: FailureAction.CONTINUE };
      swarm.addService("web", replicated("web", 1, { service: { update } }));
      swarm.settle();
      swarm.fate = (task) => (imageOf(task) === "app:bad" ? "reject" : "run");
      const seen = new Set<string>();
      swarm.onCommit = (view) => {
        for (const { id } of view.all("task")) seen.add(id);
      };
      swarm.editService("web", (spec) => withImage(spec, "app:bad"));
      swarm.pass(60_000);
      expect(swarm.running("web").map(imageOf)).toEqual(["app:1"]);
      expect(seen.size).toBeLessThanOrEqual(16);
      expect(seen.size).toBeGreaterThan(5);
    }
  });

  it("do not start the new task beside an old one that still works or still stops", () => {
    const swarm = lab(1);
    swarm.addService("web", app(1, 1));
    swarm.settle();
    swarm.fate = (task) => (imageOf(task) === "app:2" ? "hang" : "run");
    swarm.editService("web", (spec) => withImage(spec, "app:2"));
    swarm.pass(120_000);
    expect(swarm.table("web")).toBe(
      "web.1    n1   RUNNING   RUNNING  app:1\nweb.1    n1   PREPARING READY    app:2",
    );
    swarm.fate = () => "run";
    swarm.report();
    swarm.mute("n1", true);
    swarm.pass(59_000);
    expect(swarm.table("web")).toBe(
      "web.1    n1   RUNNING   SHUTDOWN app:1\nweb.1    n1   READY     READY    app:2",
    );
    swarm.mute("n1", false);
    swarm.settle();
    expect(swarm.running("web").map(imageOf)).toEqual(["app:2"]);
  });

  it("are overtaken by a newer one", () => {
    const swarm = lab();
    swarm.addService("web", app(4, 1, Order.START_FIRST));
    swarm.settle();
    swarm.fate = (task) => (imageOf(task) === "app:2" ? "hang" : "run");
    swarm.editService("web", (spec) => withImage(spec, "app:2"));
    swarm.pass(1_000);
    swarm.editService("web", (spec) => withImage(spec, "app:3"));
    swarm.pass(60_000);
    expect(swarm.running("web").map(imageOf)).toEqual(Array(4).fill("app:3"));
    expect(swarm.view.get("service", "web")?.updateStatus?.state).toBe(UpdateState.COMPLETED);
  });

  it("finish first what an earlier one left half done", () => {
    for (const order of [Order.START_FIRST, Order.STOP_FIRST]) {
      const swarm = lab();
      swarm.addService("web", app(4, 1, order));
      swarm.settle();
      swarm.editService("web", (spec) => withImage(spec, "app:2"));
      const isNew = (task: Task) => imageOf(task) === "app:2";
      while (!swarm.running("web").some(isNew)) swarm.pass(100);
      swarm.fate = (task) => (isNew(task) && stateOf(task) < TaskState.RUNNING ? "hang" : "run");
      swarm.pass(10_000);
      swarm.onCommit = (view) => {
        const wanted = [...view.find("task", "service", "web")].filter(isActive);
        expect(wanted.length).toBeLessThanOrEqual(5);
      };
      swarm.editService("web", (spec) => withImage(spec, "app:3"));
      swarm.pass(60_000);
      expect(swarm.running("web").map(imageOf)).toEqual(Array(4).fill("app:3"));
    }
  });

  it("start first on a full network: the old task gives its address", () => {
    const swarm = lab();
    swarm.write("api", (tx) => {
      const ipam = { configs: [{ subnet: "10.66.0.0/29" }] };
      const spec = { annotations: { name: "net" }, ipam };
      tx.create("network", create(NetworkSchema, { id: "net", spec }));
    });
    const service = { update: { parallelism: 1n, order: Order.START_FIRST } };
    const task = { networks: [{ target: "net" }] };
    swarm.addService("web", replicated("web", 4, { task, service }));
    swarm.settle();
    swarm.editService("web", (spec) => withImage(spec, "app:2"));
    swarm.pass(120_000);
    expect(swarm.running("web").map(imageOf)).toEqual(Array(4).fill("app:2"));
  });

  it("start first when the new task waited only for nodes to come back", () => {
    const swarm = lab(2);
    swarm.addService("web", app(2, 1, Order.START_FIRST));
    swarm.settle();
    for (const node of ["n1", "n2"]) swarm.setAvailability(node, Availability.PAUSE);
    swarm.editService("web", (spec) => withImage(spec, "app:2"));
    swarm.pass(5_000);
    expect(swarm.running("web").map(imageOf)).toEqual(["app:1", "app:1"]);
    swarm.onCommit = () => expect(swarm.running("web").length).toBeGreaterThanOrEqual(2);
    for (const node of ["n1", "n2"]) swarm.setAvailability(node, Availability.ACTIVE);
    swarm.pass(60_000);
    expect(swarm.running("web").map(imageOf)).toEqual(["app:2", "app:2"]);
  });

  it("count the slots at work when the service is scaled in the middle", () => {
    for (const order of [Order.START_FIRST, Order.STOP_FIRST]) {
      const swarm = lab();
      swarm.addService("web", app(4, 1, order));
      swarm.settle();
      swarm.fate = (task) => (imageOf(task) === "app:2" ? "hang" : "run");
      swarm.editService("web", (spec) => withImage(spec, "app:2"));
      swarm.pass(10_000);
      const begunAt = startedAt(swarm);
      swarm.onCommit = (view) => {
        const slots = [...view.find("task", "service", "web")].filter(isActive).map(slotKeyOf);
        expect(slots.length - new Set(slots).size).toBeLessThanOrEqual(1);
      };
      swarm.editService("web", (spec) => withReplicas(spec, 3));
      expect(startedAt(swarm)).not.toBe(begunAt);
      swarm.pass(10_000);
      swarm.fate = () => "run";
      swarm.pass(60_000);
      expect(swarm.running("web").map(imageOf)).toEqual(Array(3).fill("app:2"));
    }
  });

  it("go on under a new leader", () => {
    const swarm = lab();
    swarm.addService("web", app(4, 1));
    swarm.settle();
    swarm.editService("web", (spec) => withImage(spec, "app:2"));
    for (let second = 0; second < 40; second++) {
      swarm.pass(1_000);
      swarm.newLeader();
    }
    expect(swarm.running("web").map(imageOf)).toEqual(Array(4).fill("app:2"));
    expect(swarm.view.get("service", "web")?.updateStatus?.state).toBe(UpdateState.COMPLETED);
  });
});

describe("global services", () => {
  it("have one task a node, also on nodes that come later", () => {
    const swarm = lab(2);
    swarm.addService("agent", global("agent"));
    swarm.settle();
    swarm.addNode("n3");
    swarm.settle();
    expect(perNode(swarm, "agent")).toEqual({ n1: 1, n2: 1, n3: 1 });
    swarm.setAvailability("n1", Availability.DRAIN);
    swarm.settle();
    expect(perNode(swarm, "agent")).toEqual({ n2: 1, n3: 1 });
    swarm.setAvailability("n1", Availability.ACTIVE);
    swarm.settle();
    expect(perNode(swarm, "agent")).toEqual({ n1: 1, n2: 1, n3: 1 });
    swarm.removeNode("n2");
    swarm.settle();
    expect(swarm.tasks("agent").every(({ nodeId }) => nodeId !== "n2")).toBe(true);
  });
});

describe("jobs", () => {
  it("need no second run of a task that ended well after it was told to stop", () => {
    const swarm = lab(2);
    swarm.addService("job", job("job", 1, 1));
    swarm.settle();
    const [first] = swarm.running("job");
    swarm.setAvailability("n1", Availability.PAUSE);
    swarm.setAvailability("n2", Availability.PAUSE);
    swarm.setAvailability(first?.nodeId ?? "", Availability.DRAIN);
    swarm.turn();
    expect(swarm.tasks("job")).toHaveLength(2);
    swarm.write("dispatcher", (tx) => {
      const task = tx.get("task", first?.id ?? "");
      if (task?.status === undefined) throw new Error("no task");
      const status = { ...task.status, state: TaskState.COMPLETE };
      tx.update("task", { ...task, status });
    });
    swarm.pass(10_000);
    expect(swarm.tasks("job").filter(isActive)).toEqual([]);
  });

  it("run until so many have completed, no more than so many at a time", () => {
    const swarm = lab();
    swarm.fate = () => "complete";
    swarm.onCommit = (view) => {
      const running = [...view.find("task", "service", "job")].filter(
        (task) => task.desiredState <= TaskState.COMPLETE && stateOf(task) <= TaskState.RUNNING,
      );
      expect(running.length).toBeLessThanOrEqual(3);
    };
    swarm.addService("job", job("job", 10, 3));
    swarm.settle();
    expect(swarm.tasks("job").map(stateOf)).toEqual(Array(10).fill(TaskState.COMPLETE));
  });
});

import { create } from "@bufbuild/protobuf";
import { afterEach, describe, expect, it } from "vitest";
import { must } from "#base/invariant.ts";
import type { Clock } from "#base/ports.ts";
import { stateOf } from "#model/task.ts";
import { msOfTimestamp } from "#model/time.ts";
import { respecified } from "#plan/orchestrator/respec.ts";
import type { Planner } from "#plan/planner.ts";
import { deferred } from "#platform/async.ts";
import { silentLog } from "#platform/log.ts";
import { realClock, realRandom } from "#platform/real-ports.ts";
import {
  ClusterSchema,
  NodeSchema,
  ServiceSchema,
  type Task,
} from "#wire/gen/swarmkit/objects_pb.js";
import { NodeStatus_State, TaskState, VersionSchema } from "#wire/gen/swarmkit/types_pb.js";
import { createLocalState, type LocalState } from "../raft/local-state.ts";
import { runReconciler } from "./reconciler.ts";
import { checkTaskChange } from "./task-check.ts";
import { replicated } from "./testing/specs.ts";

const open: LocalState[] = [];

afterEach(async () => {
  for (const state of open.splice(0)) await state.stop();
});

function start(planners?: () => readonly Planner[], clock: Clock = realClock): LocalState {
  const random = realRandom;
  const state = createLocalState({ clock, random, checkChange: checkTaskChange });
  open.push(state);
  const options = { state, clock, random, log: silentLog };
  state.onLeadership((signal) =>
    runReconciler(planners === undefined ? options : { ...options, planners }, signal),
  );
  return state;
}

async function begin(state: LocalState): Promise<void> {
  await state.update("ca", (tx) => {
    tx.create(
      "cluster",
      create(ClusterSchema, { id: "c", spec: { annotations: { name: "default" } } }),
    );
    for (const id of ["n1", "n2"]) {
      const status = { state: NodeStatus_State.READY };
      tx.create(
        "node",
        create(NodeSchema, { id, spec: {}, description: { hostname: id }, status }),
      );
    }
  });
}

/** Resolves when the tasks of a service are as wanted. */
async function until(state: LocalState, fits: (tasks: Task[]) => boolean): Promise<Task[]> {
  const stop = new AbortController();
  const { view, batches } = state.viewAndWatch({ signal: stop.signal });
  const tasks = () => [...state.view().find("task", "service", "web")];
  try {
    if (fits([...view.find("task", "service", "web")])) return tasks();
    for await (const batch of batches) {
      if (batch.changes.length > 0 && fits(tasks())) return tasks();
    }
  } finally {
    stop.abort();
  }
  throw new Error("the watch ended");
}

const placed = (count: number) => (tasks: Task[]) =>
  tasks.length === count && tasks.every((task) => stateOf(task) === TaskState.ASSIGNED);

describe("runReconciler", () => {
  it("places the tasks of a service as soon as it is committed", async () => {
    const state = start();
    await begin(state);
    await state.update("api", (tx) => {
      tx.create("service", { ...create(ServiceSchema, { id: "web" }), spec: replicated("web", 4) });
    });
    const tasks = await until(state, placed(4));
    expect(tasks.map(({ nodeId }) => nodeId).sort()).toEqual(["n1", "n1", "n2", "n2"]);
    expect(state.view().byName("network", "bridge")?.driverState?.name).toBe("bridge");
  });

  it("makes no task of an update older than the update, however the clock moves in a turn", async () => {
    let nowMs = 1_700_000_000_000;
    const state = start(undefined, { ...realClock, nowMs: () => (nowMs += 1) });
    await begin(state);
    await state.update("api", (tx) => {
      tx.create("service", { ...create(ServiceSchema, { id: "web" }), spec: replicated("web", 2) });
    });
    const old = new Set((await until(state, placed(2))).map(({ id }) => id));
    await state.update("api", (tx) => {
      const service = must(tx.get("service", "web"), "web");
      const spec = replicated("web", 2, { image: "app:2" });
      const version = create(VersionSchema, { index: BigInt(state.view().index + 1) });
      const tasks = tx.find("task", "service", "web");
      tx.update("service", respecified(service, spec, version, tasks, tx.nowMs));
    });
    const tasks = await until(state, (all) => all.some(({ id }) => !old.has(id)));
    const startedAt = state.view().get("service", "web")?.updateStatus?.startedAt;
    for (const { id, meta } of tasks) {
      if (old.has(id)) continue;
      expect(msOfTimestamp(meta?.createdAt)).toBeGreaterThanOrEqual(
        msOfTimestamp(startedAt) ?? NaN,
      );
    }
  });

  it("takes more turns than one for what does not fit into one entry", async () => {
    const state = start();
    await begin(state);
    const before = state.view().index;
    await state.update("api", (tx) => {
      const service = create(ServiceSchema, { id: "web" });
      tx.create("service", { ...service, spec: replicated("web", 5_000) });
    });
    await until(state, placed(5_000));
    expect(state.view().index - before).toBeGreaterThan(3);
  }, 60_000);

  it("lets no report move a task that no node has", async () => {
    const state = start();
    await begin(state);
    await state.update("api", (tx) => {
      const spec = replicated("web", 1, { task: { placement: { constraints: ["node.id==no"] } } });
      tx.create("service", { ...create(ServiceSchema, { id: "web" }), spec });
    });
    const [task] = await until(
      state,
      ([one]) => one !== undefined && stateOf(one) === TaskState.PENDING,
    );
    const report = state.update("dispatcher", (tx) => {
      const status = { ...(task as Task).status, state: TaskState.RUNNING };
      tx.update("task", { ...(task as Task), status } as Task);
    });
    await expect(report).rejects.toMatchObject({ code: "failed-precondition" });
    expect(state.isLeader()).toBe(true);
  });

  it("goes on after leadership was lost and won again", async () => {
    const state = start();
    await begin(state);
    state.setLeader(false);
    state.setLeader(true);
    await state.update("api", (tx) => {
      tx.create("service", { ...create(ServiceSchema, { id: "web" }), spec: replicated("web", 2) });
    });
    await until(state, placed(2));
    expect(state.failure()).toBeUndefined();
  });

  it("ends the reign when a planner fails", async () => {
    const started = deferred();
    const state = start(() => [
      {
        name: "bad",
        start: () => started.resolve(),
        step: (_context, changes) => {
          if (changes.length > 0) throw new Error("planner broke");
        },
      },
    ]);
    const ended = reignEnds(state);
    await started.promise;
    await begin(state);
    await ended;
    expect(String(state.failure())).toContain("planner broke");
  });

  it("names planners that do not agree", async () => {
    const flip = (name: string, hostname: string): Planner => ({
      name,
      start: () => {},
      step: ({ tx }) => {
        const node = tx.get("node", "n1");
        if (node?.description === undefined) return;
        tx.update("node", { ...node, description: { ...node.description, hostname } });
      },
    });
    const state = start(() => [flip("ping", "a"), flip("pong", "b")]);
    const ended = reignEnds(state);
    await begin(state);
    await ended;
    expect(String(state.failure())).toMatch(/do not come to an agreement: ping, pong/);
  });
});

function reignEnds(state: LocalState): Promise<void> {
  const ended = deferred();
  state.onLeadership(async (signal) => {
    if (signal.aborted) ended.resolve();
    signal.addEventListener("abort", () => ended.resolve(), { once: true });
  });
  return ended.promise;
}

describe("what is committed", () => {
  it("is told at the next turn, also when the watch has not told of it yet", async () => {
    const state = createLocalState({ clock: realClock, random: realRandom });
    open.push(state);
    const batches: AsyncIterable<never> = {
      [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => undefined) }),
    };
    const told: string[] = [];
    const first = deferred();
    const second = deferred();
    const listens: Planner = {
      name: "leader",
      start: (context) => context.wakeAt(context.nowMs + 1),
      step: (_context, changes) => {
        for (const { kind, object } of changes) told.push(`${kind} ${object.id}`);
        if (told.length > 0) second.resolve();
        first.resolve();
      },
    };
    const stop = new AbortController();
    const running = runReconciler(
      {
        state: { ...state, viewAndWatch: () => ({ view: state.view(), batches }) },
        clock: realClock,
        random: realRandom,
        log: silentLog,
        planners: () => [listens],
      },
      stop.signal,
    );
    await first.promise;
    await state.update("ca", (tx) => tx.create("node", create(NodeSchema, { id: "n1" })));
    await second.promise;
    expect(told).toEqual(["node n1"]);
    stop.abort();
    await running;
  });
});

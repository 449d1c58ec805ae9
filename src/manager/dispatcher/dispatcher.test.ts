import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { must } from "#base/invariant.ts";
import type { Random } from "#base/ports.ts";
import { hasLetGo } from "#model/task.ts";
import type { RpcContext } from "#platform/grpc/server.ts";
import { silentLog } from "#platform/log.ts";
import { realRandom } from "#platform/real-ports.ts";
import { ManualClock, turn } from "#platform/testing/manual-clock.ts";
import {
  type AssignmentsMessage,
  AssignmentsRequestSchema,
  HeartbeatRequestSchema,
  type SessionMessage,
  SessionRequestSchema,
  UpdateTaskStatusRequestSchema,
} from "#wire/gen/swarmkit/dispatcher_pb.js";
import { ClusterSchema, NodeSchema, TaskSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { NodeStatus_State as NodeState, TaskState } from "#wire/gen/swarmkit/types_pb.js";
import { createLocalState, type LocalState } from "../raft/local-state.ts";
import { createDispatcher, type DispatcherServer } from "./dispatcher.ts";

/** Periods without their random part. */
const middle: Random = { int: (bound) => Math.floor(bound / 2), bytes: (n) => realRandom.bytes(n) };
const PERIOD_MS = 5_000;

let clock: ManualClock;
let state: LocalState;
let dispatcher: DispatcherServer;
let calls: AbortController;
let silent: Set<string>;

beforeEach(async () => {
  clock = new ManualClock();
  state = createLocalState({ clock, random: realRandom, nodeId: "m1" });
  calls = new AbortController();
  await state.update("api", (tx) => {
    tx.create(
      "cluster",
      create(ClusterSchema, { id: "c", spec: { annotations: { name: "default" } } }),
    );
    for (const id of ["n1", "n2"]) {
      tx.create("node", create(NodeSchema, { id, spec: { annotations: { name: id } } }));
    }
  });
  silent = new Set();
  dispatcher = createDispatcher({
    state,
    clock,
    random: middle,
    log: silentLog,
    nodeId: "m1",
    isSilent: (id) => silent.has(id),
  });
  state.onLeadership((signal) => dispatcher.lead(signal));
  await turn();
});

afterEach(async () => {
  calls.abort();
  await state.stop();
  expect(state.failure()).toBeUndefined();
  // Nothing of a reign outlives it.
  expect(clock.pending).toBe(0);
});

function context(nodeId: string): RpcContext {
  return {
    peer: { nodeId, role: "swarm-worker", clusterId: "c" },
    peerAddress: "192.0.2.7:40000",
    signal: calls.signal,
    metadata: {},
    path: "",
    local: false,
  };
}

function iterate<T>(stream: AsyncIterable<unknown>): AsyncIterator<T> {
  return stream[Symbol.asyncIterator]() as AsyncIterator<T>;
}

function openSession(nodeId: string, sessionId = "", hostname = nodeId) {
  const request = create(SessionRequestSchema, { sessionId, description: { hostname } });
  return iterate<SessionMessage>(dispatcher.handlers.session(request, context(nodeId)));
}

async function register(nodeId: string, sessionId = "", hostname = nodeId) {
  const stream = openSession(nodeId, sessionId, hostname);
  const first = await stream.next();
  return {
    stream,
    message: first.value as SessionMessage,
    id: (first.value as SessionMessage).sessionId,
  };
}

function assignments(nodeId: string, sessionId: string) {
  const request = create(AssignmentsRequestSchema, { sessionId });
  return iterate<AssignmentsMessage>(dispatcher.handlers.assignments(request, context(nodeId)));
}

const beat = async (nodeId: string, sessionId: string) =>
  dispatcher.handlers.heartbeat(create(HeartbeatRequestSchema, { sessionId }), context(nodeId));

const report = async (nodeId: string, sessionId: string, ...updates: [string, TaskState][]) =>
  dispatcher.handlers.updateTaskStatus(
    create(UpdateTaskStatusRequestSchema, {
      sessionId,
      updates: updates.map(([taskId, state]) => ({ taskId, status: { state } })),
    }),
    context(nodeId),
  );

const nodeState = (id: string) => state.view().get("node", id)?.status;
const taskState = (id: string) => state.view().get("task", id)?.status?.state;

function assign(...tasks: MessageInitShape<typeof TaskSchema>[]): Promise<void> {
  return state.update("scheduler", (tx) => {
    for (const task of tasks) {
      const filled = {
        desiredState: TaskState.RUNNING,
        status: { state: TaskState.ASSIGNED },
        nodeId: "n1",
        ...task,
      };
      tx.create("task", create(TaskSchema, filled as MessageInitShape<typeof TaskSchema>));
    }
  });
}

describe("liveness", () => {
  test("a new leader trusts nobody until heard of, and gives up after six periods", async () => {
    expect(nodeState("n1")).toMatchObject({
      state: NodeState.UNKNOWN,
      message: 'Node moved to "unknown" state due to leadership change in cluster',
    });
    await clock.advance(6 * PERIOD_MS - 1);
    expect(nodeState("n1")?.state).toBe(NodeState.UNKNOWN);
    await clock.advance(1);
    expect(nodeState("n1")).toMatchObject({
      state: NodeState.DOWN,
      message: 'heartbeat failure for node in "unknown" state',
    });
  });

  test("a manager that raft does not hear of either is given up after two and a half periods", async () => {
    silent.add("n1");
    await clock.advance(2.5 * PERIOD_MS - 1);
    expect(nodeState("n1")?.state).toBe(NodeState.UNKNOWN);
    await clock.advance(1);
    expect(nodeState("n1")?.state).toBe(NodeState.DOWN);
    expect(nodeState("n2")?.state).toBe(NodeState.UNKNOWN);
  });

  test("a manager that has found the new leader is not doubted", async () => {
    silent.add("n1");
    await clock.advance(PERIOD_MS);
    await register("n1");
    await clock.advance(2 * PERIOD_MS);
    expect(nodeState("n1")?.state).toBe(NodeState.READY);
  });

  test("a node that registers is ready, with its address and description", async () => {
    const { message } = await register("n1", "", "host-1");
    expect(message.node?.id).toBe("n1");
    expect(nodeState("n1")).toMatchObject({
      state: NodeState.READY,
      addr: "192.0.2.7",
      message: "",
    });
    expect(state.view().get("node", "n1")?.description?.hostname).toBe("host-1");
  });

  test("a manager's own agent, which comes by no network, has the manager's address", async () => {
    await state.update("membership", (tx) => {
      const { managerStatus } = create(NodeSchema, { managerStatus: { addr: "[fd00::1]:2377" } });
      tx.create("node", create(NodeSchema, { id: "m1", managerStatus }));
    });
    await turn();
    const local = { ...context("m1"), peer: undefined, peerAddress: "unix", local: true };
    const request = create(SessionRequestSchema, { description: { hostname: "m1" } });
    await iterate(dispatcher.handlers.session(request, local)).next();
    expect(nodeState("m1")).toMatchObject({ state: NodeState.READY, addr: "fd00::1" });
  });

  test("three periods without a heartbeat and it is down; registering brings it back", async () => {
    const { id, stream } = await register("n1");
    await clock.advance(PERIOD_MS);
    expect((await beat("n1", id)).period).toEqual(durationFromMs(PERIOD_MS));
    await clock.advance(3 * PERIOD_MS - 1);
    expect(nodeState("n1")?.state).toBe(NodeState.READY);
    await clock.advance(1);
    expect(nodeState("n1")).toMatchObject({
      state: NodeState.DOWN,
      message: "heartbeat failure",
      addr: "192.0.2.7",
    });
    await expect(stream.next()).rejects.toMatchObject({
      code: "not-found",
      message: "node not registered",
    });
    await expect(beat("n1", id)).rejects.toMatchObject({ code: "not-found" });
    const again = await register("n1", id);
    expect(again.id).not.toBe(id);
    expect(nodeState("n1")?.state).toBe(NodeState.READY);
  });

  test("a leader that was itself suspended does not take its nodes for dead", async () => {
    const { id } = await register("n1");
    await clock.leap(60_000);
    expect(nodeState("n1")?.state).toBe(NodeState.READY);
    await beat("n1", id);
    await clock.advance(PERIOD_MS);
    expect(nodeState("n1")?.state).toBe(NodeState.READY);
    await clock.advance(4 * PERIOD_MS);
    expect(nodeState("n1")?.state).toBe(NodeState.DOWN);
  });

  test("the period follows the cluster's spec", async () => {
    const { id } = await register("n1");
    await state.update("api", (tx) => {
      const cluster = tx.get("cluster", "c");
      if (cluster === undefined) return;
      const spec = create(ClusterSchema, {
        spec: {
          annotations: { name: "default" },
          dispatcher: { heartbeatPeriod: durationFromMs(1000) },
        },
      }).spec;
      tx.update("cluster", { ...cluster, spec });
    });
    await turn();
    expect((await beat("n1", id)).period).toEqual(durationFromMs(1000));
    await clock.advance(3000);
    expect(nodeState("n1")?.state).toBe(NodeState.DOWN);
  });

  test("a node down for a day gives up its tasks, and only unfinished ones", async () => {
    await assign(
      { id: "t1" },
      { id: "t2", status: { state: TaskState.FAILED } },
      { id: "t3", nodeId: "n2" },
    );
    const { id } = await register("n2");
    const beating = setIntervalOf(() => beat("n2", id));
    await clock.advance(6 * PERIOD_MS);
    expect(nodeState("n1")?.state).toBe(NodeState.DOWN);
    await clock.advance(24 * 60 * 60 * 1000 - 1);
    expect(taskState("t1")).toBe(TaskState.ASSIGNED);
    await clock.advance(1);
    expect([taskState("t1"), taskState("t2"), taskState("t3")]).toEqual([
      TaskState.ORPHANED,
      TaskState.FAILED,
      TaskState.ASSIGNED,
    ]);
    beating.stop();
  });
});

/** Beats on the manual clock every period. */
function setIntervalOf(action: () => Promise<unknown>) {
  let timer = clock.setTimer(PERIOD_MS, tick);
  function tick() {
    void action();
    timer = clock.setTimer(PERIOD_MS, tick);
  }
  return { stop: () => timer.cancel() };
}

describe("sessions", () => {
  test("an unknown node is refused", async () => {
    await expect(openSession("stranger").next()).rejects.toMatchObject({
      code: "not-found",
      message: "node not found",
    });
  });

  test("a second registration ends the first session", async () => {
    const first = await register("n1");
    const second = await register("n1");
    await expect(first.stream.next()).rejects.toMatchObject({
      code: "invalid-argument",
      message: "session invalid",
    });
    await expect(beat("n1", first.id)).rejects.toMatchObject({ message: "session invalid" });
    await beat("n1", second.id);
  });

  test("a known session is taken up again, with the new description", async () => {
    const first = await register("n1");
    const again = await register("n1", first.id, "renamed");
    expect(again.id).toBe(first.id);
    expect(state.view().get("node", "n1")?.description?.hostname).toBe("renamed");
  });

  test("registering all the time is refused for a while", async () => {
    for (let n = 0; n < 3; n += 1) await register("n1");
    await expect(openSession("n1").next()).rejects.toMatchObject({
      code: "unavailable",
      message: "node n1 exceeded rate limit count of registrations",
    });
    await clock.advance(8_001);
    await register("n1");
  });

  test("nodes hear of managers, the root and their own record, and not of what they said", async () => {
    const { id, stream } = await register("n1");
    let next = stream.next();
    await beat("n1", id);
    await register("n1", id, "renamed");
    await state.update("membership", (tx) => {
      const node = tx.get("node", "n2");
      if (node)
        tx.update("node", {
          ...node,
          managerStatus: create(NodeSchema, { managerStatus: { addr: "192.0.2.2:2377" } })
            .managerStatus,
        });
    });
    const managers = (await next).value as SessionMessage;
    expect(managers.managers.map(({ peer, weight }) => [peer?.nodeId, peer?.addr, weight])).toEqual(
      [["n2", "192.0.2.2:2377", 10n]],
    );
    next = stream.next();
    await state.update("ca", (tx) => {
      const cluster = tx.get("cluster", "c");
      if (cluster)
        tx.update("cluster", {
          ...cluster,
          rootCa: create(ClusterSchema, { rootCa: { caCert: new Uint8Array([1]) } }).rootCa,
        });
    });
    expect(((await next).value as SessionMessage).RootCA).toEqual(new Uint8Array([1]));
  });

  test("removing a node ends its session", async () => {
    const { stream } = await register("n1");
    const next = stream.next();
    await state.update("api", (tx) => tx.delete("node", "n1"));
    await expect(next).rejects.toMatchObject({ code: "not-found", message: "node not found" });
  });

  test("without leadership everything is refused, and streams end", async () => {
    const { id, stream } = await register("n1");
    const next = stream.next();
    state.setLeader(false);
    await expect(next).rejects.toMatchObject({ code: "aborted", message: "dispatcher is stopped" });
    await expect(beat("n1", id)).rejects.toMatchObject({ code: "aborted" });
    await expect(openSession("n1").next()).rejects.toMatchObject({ code: "aborted" });
  });
});

describe("assignments", () => {
  test("first everything, then what changes, numbered without gaps", async () => {
    await assign({ id: "t1" }, { id: "t2", nodeId: "n2" });
    const { id } = await register("n1");
    const stream = assignments("n1", id);
    const complete = (await stream.next()).value as AssignmentsMessage;
    expect(complete).toMatchObject({ type: 0, appliesTo: "", resultsIn: "1" });
    expect(complete.changes.map(({ assignment }) => assignment?.item.value?.id)).toEqual(["t1"]);
    const next = stream.next();
    await assign({ id: "t3" }, { id: "t4", nodeId: "n2" });
    // No timer has to fire: a change after a pause goes out at once.
    const increment = (await next).value as AssignmentsMessage;
    expect(increment).toMatchObject({ type: 1, appliesTo: "1", resultsIn: "2" });
    expect(increment.changes.map(({ assignment }) => assignment?.item.value?.id)).toEqual(["t3"]);
  });

  test("what was committed before the stream began is not told again, nor undone", async () => {
    const { id } = await register("n1");
    const committed = [assign({ id: "t1" }), assign({ id: "t2" })];
    committed.push(state.update("reaper", (tx) => tx.delete("task", "t1")));
    // No turn in between: the dispatcher has not yet read of any of this.
    const stream = assignments("n1", id);
    const complete = stream.next();
    const next = stream.next();
    await Promise.all(committed);
    const ids = ({ changes }: AssignmentsMessage) =>
      changes.map(({ assignment }) => assignment?.item.value?.id);
    expect(ids((await complete).value as AssignmentsMessage)).toEqual(["t2"]);
    await turn();
    await assign({ id: "t3" });
    expect(ids((await next).value as AssignmentsMessage)).toEqual(["t3"]);
  });

  test("a burst goes out in messages of at most a hundred changes", async () => {
    const { id } = await register("n1");
    const stream = assignments("n1", id);
    await stream.next();
    await assign(...Array.from({ length: 250 }, (_, n) => ({ id: `t${n}` })));
    const sizes: number[] = [];
    for (let n = 0; n < 3; n += 1)
      sizes.push(((await stream.next()).value as AssignmentsMessage).changes.length);
    expect(sizes).toEqual([100, 100, 50]);
  });

  test("changes in quick succession gather for a moment", async () => {
    const { id } = await register("n1");
    const stream = assignments("n1", id);
    await stream.next();
    let next = stream.next();
    await assign({ id: "t1" });
    await next;
    next = stream.next();
    await assign({ id: "t2" });
    await turn();
    await assign({ id: "t3" });
    await clock.advance(10);
    expect(((await next).value as AssignmentsMessage).changes).toHaveLength(2);
  });

  test("a stale session gets no assignments", async () => {
    const { id } = await register("n1");
    await register("n1");
    await expect(assignments("n1", id).next()).rejects.toMatchObject({
      message: "session invalid",
    });
    await expect(assignments("n2", id).next()).rejects.toMatchObject({
      message: "session invalid",
    });
  });
});

describe("reports", () => {
  test("are written, stamped, and never take a task back", async () => {
    await assign({ id: "t1" });
    const { id } = await register("n1");
    await report("n1", id, ["t1", TaskState.RUNNING]);
    await turn();
    expect(state.view().get("task", "t1")?.status).toMatchObject({
      state: TaskState.RUNNING,
      appliedBy: "m1",
    });
    await report("n1", id, ["t1", TaskState.PREPARING]);
    await turn();
    expect(taskState("t1")).toBe(TaskState.RUNNING);
  });

  test("say when a task has ended that a manager had rejected without asking its node", async () => {
    await assign({ id: "t1", nodeId: "n1", status: { state: TaskState.RUNNING } });
    const { id } = await register("n1");
    await state.update("enforcer", (tx) => {
      const task = must(tx.get("task", "t1"), "t1");
      const status = { ...must(task.status, "status"), state: TaskState.REJECTED };
      tx.update("task", { ...task, status });
    });
    const task = () => must(state.view().get("task", "t1"), "t1");
    expect(hasLetGo(task())).toBe(false);
    await report("n1", id, ["t1", TaskState.RUNNING]);
    await clock.advance(0);
    expect(hasLetGo(task())).toBe(false);
    await report("n1", id, ["t1", TaskState.SHUTDOWN]);
    await clock.advance(0);
    expect(hasLetGo(task())).toBe(true);
    expect(taskState("t1")).toBe(TaskState.REJECTED);
  });

  test("of tasks of other nodes are refused as a whole; of deleted ones they are ignored", async () => {
    await assign({ id: "t1" }, { id: "t2", nodeId: "n2" });
    const { id } = await register("n1");
    await expect(
      report("n1", id, ["t1", TaskState.RUNNING], ["t2", TaskState.RUNNING]),
    ).rejects.toMatchObject({
      code: "permission-denied",
      message: "cannot update a task not assigned this node",
    });
    await report("n1", id, ["gone", TaskState.RUNNING]);
    await turn();
    expect(taskState("t1")).toBe(TaskState.ASSIGNED);
  });

  test("that come together are one entry, and the same again is none", async () => {
    await assign({ id: "t1" }, { id: "t2" });
    const { id } = await register("n1");
    const before = state.view().index;
    await report("n1", id, ["t1", TaskState.PREPARING]);
    await report("n1", id, ["t1", TaskState.RUNNING], ["t2", TaskState.RUNNING]);
    await turn();
    expect(state.view().index).toBe(before + 1);
    await report("n1", id, ["t1", TaskState.RUNNING]);
    await turn();
    expect(state.view().index).toBe(before + 1);
  });

  test("one that the store refuses does not keep back the others", async () => {
    await assign({ id: "t1" }, { id: "t2" }, { id: "t3" });
    const { id } = await register("n1");
    const update = state.update.bind(state);
    state.update = (actor, write) =>
      update(actor, (tx) => {
        const result = write(tx);
        if (tx.get("task", "t2")?.status?.state === TaskState.RUNNING)
          throw new Error("no such transition");
        return result;
      });
    await report(
      "n1",
      id,
      ["t1", TaskState.RUNNING],
      ["t2", TaskState.RUNNING],
      ["t3", TaskState.RUNNING],
    );
    await turn();
    expect([taskState("t1"), taskState("t2"), taskState("t3")]).toEqual([
      TaskState.RUNNING,
      TaskState.ASSIGNED,
      TaskState.RUNNING,
    ]);
  });
});

import { create, equals } from "@bufbuild/protobuf";
import fc from "fast-check";
import { expect, test } from "vitest";
import { realRandom } from "#platform/real-ports.ts";
import { ManualClock } from "#platform/testing/manual-clock.ts";
import {
  AssignmentChange_AssignmentAction as Action,
  type AssignmentChange,
} from "#wire/gen/swarmkit/dispatcher_pb.js";
import {
  ConfigSchema,
  SecretSchema,
  type Task,
  TaskSchema,
} from "#wire/gen/swarmkit/objects_pb.js";
import { TaskState, TaskStatusSchema } from "#wire/gen/swarmkit/types_pb.js";
import { createLocalState } from "../raft/local-state.ts";
import { AssignmentSet } from "./assignment-set.ts";

const local = () => createLocalState({ clock: new ManualClock(), random: realRandom });

const STATES = [
  TaskState.NEW,
  TaskState.PENDING,
  TaskState.ASSIGNED,
  TaskState.ACCEPTED,
  TaskState.RUNNING,
  TaskState.COMPLETE,
  TaskState.FAILED,
] as const;

/** What a node holds after applying changes in order; fails when a task comes before its secrets. */
class NodeModel {
  readonly items = new Map<string, unknown>();

  apply(changes: readonly AssignmentChange[]): void {
    for (const { assignment, action } of changes) {
      const item = assignment?.item;
      if (item?.case === undefined) throw new Error("empty change");
      const key = `${item.case}/${item.value.id}`;
      if (action === Action.REMOVE) this.items.delete(key);
      else this.items.set(key, item.value);
      if (item.case === "task" && action === Action.UPDATE) this.#checkDependencies(item.value);
    }
  }

  #checkDependencies(task: Task): void {
    if ((task.status?.state ?? 0) > TaskState.RUNNING) return;
    if (task.spec?.runtime.case !== "container") return;
    for (const { secretId } of task.spec.runtime.value.secrets) {
      expect(this.items.has(`secret/${secretId}`), `secret ${secretId} of ${task.id}`).toBe(true);
    }
  }
}

interface Op {
  readonly what: "put" | "state" | "desired" | "delete";
  readonly task: number;
  readonly secrets: readonly number[];
  readonly state: number;
  readonly other: boolean;
}

const op = fc.record<Op>({
  what: fc.constantFrom("put", "state", "desired", "delete"),
  task: fc.nat(5),
  secrets: fc.subarray([0, 1, 2]),
  state: fc.nat(STATES.length - 1),
  other: fc.boolean(),
});

test("a complete assignment and all increments give what a new complete one would", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(op, { maxLength: 40 }),
      fc.nat(20),
      fc.nat(6),
      async (ops, at, max) => {
        const state = local();
        await state.update("api", (tx) => {
          for (const n of [0, 1, 2]) {
            tx.create(
              "secret",
              create(SecretSchema, {
                id: `sec${n}`,
                spec: { annotations: { name: `s${n}` }, data: new Uint8Array(10) },
              }),
            );
            tx.create(
              "config",
              create(ConfigSchema, { id: `con${n}`, spec: { annotations: { name: `c${n}` } } }),
            );
          }
        });
        const node = new NodeModel();
        let set: AssignmentSet | undefined;
        for (const [n, op] of ops.entries()) {
          if (n === at) {
            set = new AssignmentSet("n1");
            set.load(state.view());
            node.apply(set.take(1e9, 1e9));
          }
          const before = state.view().index;
          await state.update("scheduler", (tx) => run(tx, op));
          if (set === undefined || state.view().index === before) continue;
          const feed = state.watch({ signal: new AbortController().signal, resumeFrom: before });
          for await (const batch of feed) {
            for (const change of batch.changes) set.apply(state.view(), change);
            break;
          }
          // Sometimes taken in small pieces, sometimes left to gather.
          if (max > 0) node.apply(set.take(max, 15));
        }
        if (set === undefined) return;
        while (set.pending > 0) node.apply(set.take(1 + max, 1e9));
        const fresh = new AssignmentSet("n1");
        fresh.load(state.view());
        const expected = new NodeModel();
        expected.apply(fresh.take(1e9, 1e9));
        expect([...node.items.keys()].sort()).toEqual([...expected.items.keys()].sort());
        for (const [key, value] of expected.items) {
          if (!key.startsWith("task/")) continue;
          const stable = (task: Task) => ({ ...task, status: undefined, meta: undefined });
          expect(
            equals(TaskSchema, stable(value as Task), stable(node.items.get(key) as Task)),
          ).toBe(true);
        }
      },
    ),
    { numRuns: 300 },
  );
});

function run(tx: Parameters<Parameters<ReturnType<typeof local>["update"]>[1]>[0], op: Op): void {
  const id = `t${op.task}`;
  const task = tx.get("task", id);
  const state = STATES[op.state] ?? TaskState.NEW;
  if (task === undefined) {
    if (op.what !== "put") return;
    tx.create(
      "task",
      create(TaskSchema, {
        id,
        serviceId: "svc",
        nodeId: op.other ? "n2" : "n1",
        status: { state },
        desiredState: TaskState.RUNNING,
        spec: {
          runtime: {
            case: "container",
            value: {
              image: "x",
              secrets: op.secrets.map((n) => ({ secretId: `sec${n}` })),
              configs: op.secrets.map((n) => ({ configId: `con${n}` })),
            },
          },
        },
      }),
    );
  } else if (op.what === "delete") tx.delete("task", id);
  else if (op.what === "desired") tx.update("task", { ...task, desiredState: TaskState.SHUTDOWN });
  else if (state > (task.status?.state ?? 0)) {
    tx.update("task", { ...task, status: create(TaskStatusSchema, { state }) });
  }
}

test("a node is not told what it has reported itself", async () => {
  const state = local();
  await state.update("scheduler", (tx) =>
    run(tx, { what: "put", task: 1, secrets: [], state: 2, other: false }),
  );
  const set = new AssignmentSet("n1");
  set.load(state.view());
  set.take(1e9, 1e9);
  const running = {
    ...state.view().get("task", "t1"),
    status: create(TaskStatusSchema, { state: TaskState.RUNNING }),
  };
  set.apply(state.view(), {
    kind: "task",
    action: "update",
    object: running as Task,
    old: running as Task,
  });
  expect(set.pending).toBe(0);
});

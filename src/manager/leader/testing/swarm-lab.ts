/**
 * A leader without raft and a swarm without machines: the real store and planners, a clock that is
 * moved by hand, and nodes that do at once what they are told. For tests.
 */

import { create } from "@bufbuild/protobuf";
import { hasLetGo, isTerminal, isWanted, slotKeyOf, stateOf } from "#model/task.ts";
import { assertTaskTransition } from "#model/task-states.ts";
import { timestampOf } from "#model/time.ts";
import { respecified, returned } from "#plan/orchestrator/respec.ts";
import type { Planner } from "#plan/planner.ts";
import { createPlanners } from "#plan/planners.ts";
import { startingInOrder } from "#plan/start-order/conditions.ts";
import { WakeQueue } from "#plan/wake-queue.ts";
import { createStore } from "#store/store.ts";
import type { Change, ChangeBatch, ReadView, Tx } from "#store/types.ts";
import {
  ClusterSchema,
  NetworkSchema,
  type Node,
  NodeSchema,
  ServiceSchema,
  type Task,
} from "#wire/gen/swarmkit/objects_pb.js";
import type { NodeSpec_Availability, ServiceSpec } from "#wire/gen/swarmkit/specs_pb.js";
import { NodeStatus_State, TaskState } from "#wire/gen/swarmkit/types_pb.js";
import { Turns } from "../turn.ts";

/** What becomes of a task's program when it is prepared and started. */
export type Fate = "run" | "fail" | "reject" | "complete" | "hang";

export class SwarmLab {
  nowMs = 1_700_000_000_000;
  /** Decides about each task; all run by default. */
  fate: (task: Task) => Fate = () => "run";
  /** Called after each committed entry, for checks that hold at any time. */
  onCommit: (view: ReadView, batch: ChangeBatch) => void = () => {};
  planners: readonly Planner[] = [];
  /** What really runs, whatever the store says: tasks by id, as their nodes took them up. */
  readonly containers = new Map<string, Task>();
  #turns: Turns;
  #ids = 0;
  readonly #store = createStore();
  readonly #wakes = new WakeQueue<number>();
  #committed: Change[] = [];
  /** Nodes that answer. */
  readonly #alive = new Set<string>();

  constructor() {
    this.#turns = this.#newTurns();
    this.write("api", (tx) => {
      tx.create(
        "cluster",
        create(ClusterSchema, { id: "cluster", spec: { annotations: { name: "default" } } }),
      );
      tx.create(
        "network",
        create(NetworkSchema, {
          id: "ingress",
          spec: { annotations: { name: "ingress" }, ingress: true },
        }),
      );
    });
  }

  get view(): ReadView {
    return this.#store.view();
  }

  /** As after an election: everything that planners know is forgotten. */
  newLeader(): void {
    this.#turns = this.#newTurns();
    this.#committed = [];
    this.turn();
  }

  /** A leader that falls with a turn on its way that no majority has: another begins without it. */
  loseTurn(): void {
    const { index } = this.view;
    const lost = this.#store.begin({ index: index + 1, nowMs: this.nowMs });
    this.#plan(lost);
    this.newLeader();
  }

  #newTurns(): Turns {
    this.planners = createPlanners();
    return new Turns(this.planners);
  }

  write(actor: string, write: (tx: Tx) => void): number {
    const index = this.#store.view().index + 1;
    const check = (change: Change) => {
      if (actor === "leader" || change.kind !== "task") return;
      const before =
        change.action === "create"
          ? undefined
          : change.action === "update"
            ? change.old
            : change.object;
      assertTaskTransition(actor, before, change.action === "delete" ? undefined : change.object);
    };
    const transaction = this.#store.begin({ index, nowMs: this.nowMs, check });
    write(transaction);
    const changes = transaction.changes();
    if (changes.length === 0) return 0;
    this.#store.push(transaction);
    const batch = this.#store.commitHead(index);
    this.#committed.push(...batch.changes);
    this.onCommit(this.view, batch);
    return changes.length;
  }

  /** Turns of the leader until it is at rest; how many objects they changed. */
  turn(): number {
    let changed = 0;
    for (;;) {
      let full = false;
      this.write("leader", (tx) => {
        const result = this.#plan(tx);
        full = result.full;
        changed += result.objects;
      });
      if (!full) break;
    }
    return changed;
  }

  #plan(tx: Parameters<Turns["run"]>[0]["tx"]) {
    while (this.#wakes.take(this.nowMs) !== undefined);
    const committed = this.#committed;
    this.#committed = [];
    return this.#turns.run(
      {
        tx,
        newId: () => this.newId("t"),
        random: () => 0,
        wakeAt: (timeMs) => this.#wakes.set(timeMs, timeMs),
      },
      committed,
    );
  }

  /** Leader and nodes act until nothing more happens without time passing. */
  settle(): void {
    for (let step = 0; step < 200; step++) {
      const planned = this.turn();
      const reported = this.report();
      if (planned === 0 && reported === 0) return;
    }
    throw new Error(`the swarm does not come to rest:\n${this.table()}`);
  }

  /** Lets time pass, with all that happens in it. */
  pass(ms: number): void {
    const endMs = this.nowMs + ms;
    this.settle();
    for (;;) {
      const next = this.#wakes.next();
      if (next === undefined || next > endMs) break;
      this.nowMs = Math.max(this.nowMs, next);
      this.settle();
    }
    this.nowMs = endMs;
    this.settle();
  }

  /** Every node takes each of its tasks one step further; how many it did. */
  report(): number {
    return this.write("dispatcher", (tx) => {
      for (const [id, { nodeId }] of this.containers) {
        // A node takes away what it is not told of.
        if (this.#alive.has(nodeId) && tx.get("task", id) === undefined) this.containers.delete(id);
      }
      for (const nodeId of this.#alive) {
        for (const task of tx.find("task", "node", nodeId)) {
          // A manager ended it; the node does so when it is told to.
          if (isTerminal(task) && !hasLetGo(task) && task.desiredState >= TaskState.SHUTDOWN) {
            const at = timestampOf(this.nowMs);
            tx.update("task", { ...task, status: { ...must(task.status), appliedAt: at } });
            this.containers.delete(task.id);
          }
          const next = nextState(task, this.fate(task));
          if (next === undefined) continue;
          const status = this.#status(task, next);
          tx.update("task", { ...task, status });
          if (next > TaskState.RUNNING) this.containers.delete(task.id);
          else this.containers.set(task.id, task);
        }
      }
    });
  }

  #status(task: Task, state: TaskState) {
    const before = task.status;
    if (before === undefined) throw new Error("a task has a status");
    const at = timestampOf(this.nowMs);
    return { ...before, state, message: "reported", err: "", timestamp: at, appliedAt: at };
  }

  newId(prefix: string): string {
    this.#ids += 1;
    return `${prefix}${String(this.#ids).padStart(5, "0")}`;
  }

  addNode(id: string, change: (node: Node) => Node = (node) => node): void {
    this.#alive.add(id);
    const node = create(NodeSchema, {
      id,
      spec: { annotations: { name: "" } },
      description: {
        hostname: id,
        resources: { nanoCpus: 8_000_000_000n, memoryBytes: 8n << 30n },
      },
      status: { state: NodeStatus_State.READY },
    });
    this.write("api", (tx) => tx.create("node", change(node)));
  }

  editNode(id: string, change: (node: Node) => Node): void {
    this.write("api", (tx) => {
      const node = tx.get("node", id);
      if (node !== undefined) tx.update("node", change(node));
    });
  }

  /** Takes a node off the net, or brings it back. */
  setUp(id: string, up: boolean): void {
    if (up) this.#alive.add(id);
    else this.#alive.delete(id);
    const state = up ? NodeStatus_State.READY : NodeStatus_State.DOWN;
    this.editNode(id, (node) => ({ ...node, status: { ...must(node.status), state } }));
  }

  /** The node goes on but reports nothing more, or does again. */
  mute(id: string, mute: boolean): void {
    if (mute) this.#alive.delete(id);
    else this.#alive.add(id);
  }

  setAvailability(id: string, availability: NodeSpec_Availability): void {
    this.editNode(id, (node) => ({ ...node, spec: { ...must(node.spec), availability } }));
  }

  removeNode(id: string): void {
    this.#alive.delete(id);
    for (const [taskId, { nodeId }] of this.containers) {
      if (nodeId === id) this.containers.delete(taskId);
    }
    this.write("api", (tx) => {
      if (tx.get("node", id) !== undefined) tx.delete("node", id);
    });
  }

  addService(id: string, spec: ServiceSpec): void {
    this.write("api", (tx) => {
      const specVersion = {
        $typeName: "docker.swarmkit.v1.Version" as const,
        index: BigInt(tx.index),
      };
      const service = create(ServiceSchema, { id });
      const made = { ...service, spec, specVersion };
      tx.create("service", startingInOrder(tx, undefined, made));
    });
  }

  /** As the control service does it. */
  editService(id: string, change: (spec: ServiceSpec) => ServiceSpec): void {
    this.write("api", (tx) => {
      const service = must(tx.get("service", id));
      const specVersion = {
        $typeName: "docker.swarmkit.v1.Version" as const,
        index: BigInt(this.view.index + 1),
      };
      const tasks = tx.find("task", "service", id);
      const spec = change(must(service.spec));
      const next = respecified(service, spec, specVersion, tasks, this.nowMs);
      tx.update("service", startingInOrder(tx, service, next));
    });
  }

  rollBack(id: string): void {
    this.write("api", (tx) => {
      const options = { message: "manually requested rollback", forgetsNext: false };
      const tasks = tx.find("task", "service", id);
      tx.update("service", returned(must(tx.get("service", id)), tasks, this.nowMs, options));
    });
  }

  promote(id: string): void {
    this.write("api", (tx) => {
      const service = must(tx.get("service", id));
      const rollout = { ...must(service.rollout), promoted: true };
      tx.update("service", { ...service, rollout });
    });
  }

  removeService(id: string): void {
    this.write("api", (tx) => tx.delete("service", id));
  }

  tasks(serviceId: string): Task[] {
    return [...this.view.find("task", "service", serviceId)];
  }

  /** Tasks that run and shall. */
  running(serviceId: string): Task[] {
    return this.tasks(serviceId).filter(
      (task) => isWanted(task) && stateOf(task) === TaskState.RUNNING,
    );
  }

  /** One line a task: slot, node, state, desired state, image, error. */
  table(serviceId?: string): string {
    const tasks = serviceId === undefined ? [...this.view.all("task")] : this.tasks(serviceId);
    return tasks
      .map((task) => ({ task, key: `${task.serviceId}.${slotKeyOf(task)}` }))
      .sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : a.task.id < b.task.id ? -1 : 1))
      .map(({ task, key }) =>
        [
          key.padEnd(8),
          (task.nodeId === "" ? "-" : task.nodeId).padEnd(4),
          (TaskState[stateOf(task)] ?? "?").padEnd(9),
          (TaskState[task.desiredState] ?? "?").padEnd(8),
          imageOf(task),
          task.status?.err ?? "",
        ]
          .join(" ")
          .trimEnd(),
      )
      .join("\n");
  }
}

export function imageOf(task: Task): string {
  return task.spec?.runtime.case === "container" ? task.spec.runtime.value.image : "";
}

function nextState(task: Task, fate: Fate): TaskState | undefined {
  const state = stateOf(task);
  if (isTerminal(task) || state < TaskState.ASSIGNED) return undefined;
  if (task.desiredState >= TaskState.SHUTDOWN) return TaskState.SHUTDOWN;
  if (state < TaskState.PREPARING) return TaskState.PREPARING;
  if (state === TaskState.PREPARING) {
    if (fate === "hang") return undefined;
    return fate === "reject" ? TaskState.REJECTED : TaskState.READY;
  }
  if (state === TaskState.READY) {
    return task.desiredState === TaskState.READY ? undefined : TaskState.STARTING;
  }
  if (state === TaskState.STARTING) return fate === "fail" ? TaskState.FAILED : TaskState.RUNNING;
  return fate === "complete" ? TaskState.COMPLETE : fate === "fail" ? TaskState.FAILED : undefined;
}

function must<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("missing");
  return value;
}

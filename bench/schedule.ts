/**
 * Placing tasks in memory: how long the scheduler takes to assign tasks that are all pending, turns
 * and store included, raft not; what SwarmKit's BenchmarkScheduler measures. The peer's figures are
 * the ones that SwarmKit published (on hardware of 2016); run on a machine of two cores like the one
 * this was written on, its benchmark took 1.5 s and 18.9 s.
 */

import { create } from "@bufbuild/protobuf";
import { Turns } from "../src/manager/leader/turn.ts";
import { Scheduler } from "../src/plan/scheduler/scheduler.ts";
import { createStore } from "../src/store/store.ts";
import { NodeSchema, ServiceSchema, TaskSchema } from "../src/wire/gen/swarmkit/objects_pb.js";
import { TaskSpecSchema } from "../src/wire/gen/swarmkit/specs_pb.js";
import {
  NodeStatus_State,
  TaskState,
  TaskStatusSchema,
  VersionSchema,
} from "../src/wire/gen/swarmkit/types_pb.js";
import type { Report } from "./report.ts";

interface Case {
  readonly nodes: number;
  readonly tasks: number;
  /** Seconds; absent where nothing was published. */
  readonly peer?: number;
}

const CASES: readonly Case[] = [
  { nodes: 1_000, tasks: 10_000, peer: 0.55 },
  { nodes: 1_000, tasks: 100_000, peer: 6.2 },
  { nodes: 10_000, tasks: 100_000 },
];
const TASKS_PER_SERVICE = 100;
/** Setup is written in entries of this many objects. */
const BATCH = 10_000;

export async function run(report: Report): Promise<void> {
  // The first run is slower until the code is compiled.
  measure({ nodes: 1_000, tasks: 10_000 });
  for (const one of CASES) {
    const runs = [measure(one), measure(one), measure(one)].sort((a, b) => a - b);
    const seconds = runs[1] ?? 0;
    report({
      name: `schedule ${one.tasks} tasks on ${one.nodes} nodes`,
      ours: Number(seconds.toFixed(3)),
      peer: one.peer ?? "nothing published",
      unit: "s",
      ratio: one.peer === undefined ? undefined : one.peer / seconds,
    });
  }
}

/** Seconds until all tasks have a node. */
function measure({ nodes, tasks }: Case): number {
  const store = createStore();
  fill(store, nodes, tasks);
  const turns = new Turns([new Scheduler()]);
  let ids = 0;
  const started = performance.now();
  for (let full = true; full; ) {
    const index = store.view().index + 1;
    const tx = store.begin({ index, nowMs: Date.now() });
    const input = { tx, newId: () => `id${ids++}`, random: () => 0 };
    full = turns.run({ ...input, wakeAt: () => {} }, []).full;
    if (tx.changes().length === 0) break;
    store.push(tx);
    store.commitHead(index);
  }
  const seconds = (performance.now() - started) / 1000;
  for (const task of store.view().all("task")) {
    if (task.status?.state !== TaskState.ASSIGNED) throw new Error(`task ${task.id} has no node`);
  }
  return seconds;
}

function fill(store: ReturnType<typeof createStore>, nodes: number, tasks: number): void {
  const status = { state: NodeStatus_State.READY };
  write(store, nodes, (tx, n) => {
    const description = { hostname: `node${n}` };
    tx.create("node", create(NodeSchema, { id: `n${n}`, spec: {}, description, status }));
  });
  const spec = create(TaskSpecSchema, { runtime: { case: "container", value: { image: "app" } } });
  const specVersion = create(VersionSchema, { index: 1n });
  const pending = create(TaskStatusSchema, { state: TaskState.PENDING });
  const services = Math.ceil(tasks / TASKS_PER_SERVICE);
  write(store, services, (tx, n) => tx.create("service", create(ServiceSchema, { id: `s${n}` })));
  const desiredState = TaskState.RUNNING;
  write(store, tasks, (tx, n) => {
    const slot = BigInt(1 + Math.floor(n / services));
    const fresh = { id: `t${n}`, serviceId: `s${n % services}`, slot, desiredState };
    tx.create("task", { ...create(TaskSchema, fresh), spec, specVersion, status: pending });
  });
}

type Transaction = ReturnType<ReturnType<typeof createStore>["begin"]>;

function write(
  store: ReturnType<typeof createStore>,
  count: number,
  put: (tx: Transaction, n: number) => void,
): void {
  for (let from = 0; from < count; from += BATCH) {
    const index = store.view().index + 1;
    const tx = store.begin({ index, nowMs: 0 });
    for (let n = from; n < Math.min(from + BATCH, count); n++) put(tx, n);
    store.push(tx);
    store.commitHead(index);
  }
}

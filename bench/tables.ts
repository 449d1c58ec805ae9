/**
 * The tables of the data path in memory: what one change costs a leader (tables, the messages of all
 * nodes that serve the network, encoded) and a node (decoded and merged), with many services on one
 * network; and what a new leader pays once. Raft, sockets and the kernel are not in it. No peer keeps
 * such a table; a smaller swarm stands beside it, because the cost shall follow the change, not the
 * swarm.
 */

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { applyMessage, type NetworkTables } from "../src/plan/dataplane/merge.ts";
import { DataPlane } from "../src/plan/dataplane/plane.ts";
import { createStore } from "../src/store/store.ts";
import { TablesMessageSchema } from "../src/wire/gen/skep/dataplane_pb.js";
import {
  type Network,
  NetworkSchema,
  NodeSchema,
  ServiceSchema,
  type Task,
  TaskSchema,
} from "../src/wire/gen/swarmkit/objects_pb.js";
import {
  NodeStatus_State,
  TaskState,
  TaskStatusSchema,
} from "../src/wire/gen/swarmkit/types_pb.js";
import type { Report } from "./report.ts";

interface Case {
  readonly services: number;
  readonly tasksPerService: number;
  readonly nodes: number;
}

const SMALL: Case = { services: 50, tasksPerService: 10, nodes: 5 };
const CASES: readonly Case[] = [
  { services: 500, tasksPerService: 10, nodes: 5 },
  { services: 500, tasksPerService: 10, nodes: 50 },
];
const CHANGES = 2_000;
const WARM_UP = 500;
const BATCH = 5_000;

export async function run(report: Report): Promise<void> {
  // The first run is slower until the code is compiled.
  measure(SMALL);
  const small = measure(SMALL);
  for (const one of CASES) {
    const figures = measure(one);
    const name = `${one.services} services of ${one.tasksPerService}, ${one.nodes} nodes`;
    const versus = `${SMALL.services} services: `;
    const line = (what: string, unit: string, ours: number, peer: number) =>
      report({
        name: `${what}, ${name}`,
        ours: Number(ours.toFixed(1)),
        peer: `${versus}${peer.toFixed(1)}`,
        unit,
        ratio: undefined,
      });
    line("one change, leader and messages to all nodes", "µs", figures.leader, small.leader);
    line("one change, bytes to one node", "bytes", figures.bytes, small.bytes);
    line("one change, merged by a node", "µs", figures.node, small.node);
    line("all of it, once per new leader", "ms", figures.load, small.load);
  }
}

interface Figures {
  readonly leader: number;
  readonly node: number;
  readonly bytes: number;
  readonly load: number;
}

function measure(one: Case): Figures {
  const store = createStore();
  const network = networkOf();
  fill(store, network, one);
  const began = performance.now();
  const plane = new DataPlane(() => undefined);
  plane.load(store.view());
  const load = performance.now() - began;
  const feeds = Array.from({ length: one.nodes }, (_, n) => plane.open(`n${n}`));
  let tables: NetworkTables = new Map();
  for (const [n, feed] of feeds.entries()) {
    for (const message of feed.take()) if (n === 0) tables = applyMessage(tables, message);
  }
  const tasks = [...store.view().all("task")];
  const leader: number[] = [];
  const node: number[] = [];
  let bytes = 0;
  for (let n = -WARM_UP; n < CHANGES; n++) {
    const task = tasks[Math.abs(n * 37) % tasks.length];
    const batch = toggle(store, task?.id ?? "");
    const start = performance.now();
    plane.apply(batch);
    const encoded = feeds.flatMap((feed) =>
      feed.take().map((message) => toBinary(TablesMessageSchema, message)),
    );
    const sent = performance.now();
    const [first = new Uint8Array()] = encoded;
    tables = applyMessage(tables, fromBinary(TablesMessageSchema, first));
    if (n < 0) continue;
    leader.push(sent - start);
    node.push(performance.now() - sent);
    bytes += first.length;
  }
  return {
    leader: median(leader) * 1_000,
    node: median(node) * 1_000,
    bytes: bytes / CHANGES,
    load,
  };
}

/** What others do on the machine meanwhile is in few of them. */
function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

type Store = ReturnType<typeof createStore>;
type Transaction = ReturnType<Store["begin"]>;

/** A task that takes part in the balance leaves it, and the other way round. */
function toggle(store: Store, taskId: string) {
  return write(store, (tx) => {
    const task = tx.get("task", taskId);
    if (task === undefined) throw new Error(`no task ${taskId}`);
    const runs = task.desiredState === TaskState.RUNNING;
    tx.update("task", { ...task, desiredState: runs ? TaskState.SHUTDOWN : TaskState.RUNNING });
  });
}

function networkOf(): Network {
  return create(NetworkSchema, {
    id: "net",
    spec: { annotations: { name: "net" } },
    driverState: {
      name: "overlay",
      options: { "com.docker.network.driver.overlay.vxlanid_list": "4097" },
    },
    ipam: { configs: [{ subnet: "10.0.0.0/16", gateway: "10.0.0.1" }] },
  });
}

function fill(store: Store, network: Network, { services, tasksPerService, nodes }: Case): void {
  write(store, (tx) => {
    tx.create("network", network);
    for (let n = 0; n < nodes; n++) {
      const node = create(NodeSchema, {
        id: `n${n}`,
        status: { state: NodeStatus_State.READY },
        description: { dataPathAddr: `192.0.2.${n}` },
        attachments: [{ addresses: [`10.0.255.${n + 1}/16`] }],
      });
      const [attachment] = node.attachments;
      if (attachment !== undefined) attachment.network = network;
      tx.create("node", node);
    }
    for (let n = 0; n < services; n++) {
      const service = create(ServiceSchema, {
        id: `s${n}`,
        spec: { annotations: { name: `service${n}` }, task: { networks: [{ target: "net" }] } },
        endpoint: { virtualIps: [{ networkId: "net", addr: `10.0.${n >> 8}.${n & 255}/16` }] },
      });
      tx.create("service", service);
    }
  });
  const total = services * tasksPerService;
  for (let from = 0; from < total; from += BATCH) {
    write(store, (tx) => {
      for (let n = from; n < Math.min(from + BATCH, total); n++) {
        tx.create("task", taskOf(n, n % services, n % nodes, network));
      }
    });
  }
}

function taskOf(n: number, service: number, node: number, network: Network): Task {
  const task = create(TaskSchema, {
    id: `t${String(n).padStart(24, "0")}`,
    serviceId: `s${service}`,
    slot: BigInt(n),
    nodeId: `n${node}`,
    desiredState: TaskState.RUNNING,
    serviceAnnotations: { name: `service${service}` },
    networks: [{ addresses: [`10.0.${16 + (n >> 8)}.${n & 255}/16`] }],
  });
  const [attachment] = task.networks;
  if (attachment !== undefined) attachment.network = network;
  task.status = create(TaskStatusSchema, { state: TaskState.RUNNING });
  return task;
}

function write(store: Store, put: (tx: Transaction) => void) {
  const index = store.view().index + 1;
  const tx = store.begin({ index, nowMs: 0 });
  put(tx);
  store.push(tx);
  return store.commitHead(index);
}

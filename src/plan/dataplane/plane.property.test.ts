/**
 * Whatever happens to a swarm, and however late its nodes hear of it: a node that took every message
 * in order holds what it would be told from scratch; no task is released before every node that could
 * still send to it was told not to; and when all have heard everything, nobody waits any more.
 */

import { create, equals } from "@bufbuild/protobuf";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { replicated, withImage, withLabels, withReplicas } from "#manager/leader/testing/specs.ts";
import { SwarmLab } from "#manager/leader/testing/swarm-lab.ts";
import { ROLLOUT_LABELS } from "#model/service-labels.ts";
import { isTerminal, isWanted } from "#model/task.ts";
import { NetworkTableSchema, type TablesMessage } from "#wire/gen/skep/dataplane_pb.js";
import { NetworkSchema, TaskSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { EndpointSpec_ResolutionMode as Mode } from "#wire/gen/swarmkit/specs_pb.js";
import { TaskState } from "#wire/gen/swarmkit/types_pb.js";
import { joinParts } from "#wire/tables-parts.ts";
import type { TablesFeed } from "./feed.ts";
import { applyMessage, type NetworkTables } from "./merge.ts";
import { DataPlane } from "./plane.ts";
import { reachableBy, servedBy } from "./rows.ts";

const NODES = ["n1", "n2", "n3"];
const SERVICES = ["web", "api"];
const NETWORKS = ["net", "back"];

type Step =
  | { readonly kind: "down" | "up" | "connect" | "pull" | "ack"; readonly node: number }
  | { readonly kind: "scale"; readonly service: number; readonly replicas: number }
  | { readonly kind: "image" | "aliases" | "mode" | "service"; readonly service: number }
  | { readonly kind: "network" | "attach"; readonly at: number }
  | { readonly kind: "crash"; readonly pick: number }
  | { readonly kind: "leader" | "turn" | "report" | "pass" };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constantFrom("down" as const, "up", "connect", "pull", "pull", "ack", "ack"),
      node: fc.nat(NODES.length - 1),
    }),
  },
  fc.record({ kind: fc.constant("scale" as const), service: fc.nat(1), replicas: fc.nat(5) }),
  fc.record({
    kind: fc.constantFrom("image" as const, "aliases", "mode", "service"),
    service: fc.nat(1),
  }),
  fc.record({ kind: fc.constantFrom("network" as const, "attach"), at: fc.nat(5) }),
  fc.record({ kind: fc.constant("crash" as const), pick: fc.nat(9) }),
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constantFrom("leader" as const, "turn", "turn", "report", "report", "pass"),
    }),
  },
);

/** A node's end: what it has applied, and what of it the leader knows. */
interface Follower {
  feed: TablesFeed | undefined;
  tables: NetworkTables;
  revision: bigint;
  released: Set<string>;
}

class Swarm {
  readonly lab = new SwarmLab();
  readonly followers = new Map<string, Follower>();
  #plane: DataPlane;
  #images = 0;
  /** Not waited for while they were down, so that they may still balance over what was stopped. */
  readonly #everDown = new Set<string>();

  constructor() {
    for (const id of NODES) {
      this.followers.set(id, {
        feed: undefined,
        tables: new Map(),
        revision: 0n,
        released: new Set(),
      });
      this.lab.addNode(id, (node) => ({
        ...node,
        description: {
          ...(node.description ?? missing("description")),
          dataPathAddr: `192.0.2.${id.slice(1)}`,
        },
      }));
    }
    for (const name of NETWORKS) this.#addNetwork(name);
    for (const name of SERVICES) this.#addService(name);
    this.#plane = this.#newPlane();
    this.lab.onCommit = (_view, batch) => this.#plane.apply(batch);
  }

  #newPlane(): DataPlane {
    const plane = new DataPlane((feed) => expect(feed.pending).toBe(true));
    plane.load(this.lab.view);
    return plane;
  }

  #addNetwork(name: string): void {
    this.lab.write("api", (tx) => {
      if (tx.byName("network", name) !== undefined) return;
      const spec = { annotations: { name }, attachable: true };
      tx.create("network", create(NetworkSchema, { id: this.lab.newId(name), spec }));
    });
  }

  #addService(id: string): void {
    if (this.lab.view.get("service", id) !== undefined) return;
    const networks = NETWORKS.map((target) => ({ target }));
    const endpoint = { ports: [{ targetPort: 80 }] };
    const spec = replicated(id, 2, { task: { networks }, service: { endpoint } });
    // One rolls, the other moves its traffic from set to set.
    const labels = { [ROLLOUT_LABELS.strategy]: id === "api" ? "blue-green" : "rolling" };
    this.lab.addService(id, withLabels(spec, labels));
  }

  do(step: Step): void {
    switch (step.kind) {
      case "down":
      case "up":
        if (step.kind === "down") this.#everDown.add(nodeAt(step.node));
        return this.lab.setUp(nodeAt(step.node), step.kind === "up");
      case "connect":
        return this.#connect(nodeAt(step.node));
      case "pull":
        return this.#pull(nodeAt(step.node));
      case "ack":
        return this.#acknowledge(nodeAt(step.node));
      case "crash": {
        const running = SERVICES.flatMap((id) => this.lab.running(id));
        const victim = running[step.pick % Math.max(running.length, 1)];
        this.lab.fate = (task) => (task.id === victim?.id ? "fail" : "run");
        return;
      }
      case "network":
        return this.#toggleNetwork(NETWORKS[step.at % 2] ?? "");
      case "attach":
        return this.#toggleAttachment(step.at);
      case "leader":
        this.lab.newLeader();
        this.#plane = this.#newPlane();
        for (const follower of this.followers.values()) follower.feed = undefined;
        return;
      case "turn":
        this.lab.turn();
        return;
      case "report":
        this.lab.report();
        return;
      case "pass":
        return this.lab.pass(1000);
      case "aliases":
      case "image":
      case "mode":
      case "scale":
      case "service":
        return this.#edit(step);
    }
  }

  #edit(step: Extract<Step, { readonly service: number }>): void {
    const id = SERVICES[step.service] ?? "";
    if (step.kind === "service") {
      if (this.lab.view.get("service", id) === undefined) this.#addService(id);
      else this.lab.removeService(id);
      return;
    }
    if (this.lab.view.get("service", id) === undefined) return;
    this.#images += 1;
    const serial = String(this.#images);
    this.lab.editService(id, (spec) => {
      if (step.kind === "scale") return withReplicas(spec, step.replicas);
      if (step.kind === "image") return withImage(spec, `app:${serial}`);
      const task = spec.task ?? missing("task");
      if (step.kind === "aliases") {
        const networks = task.networks.map((one) => ({ ...one, aliases: [`alias${serial}`] }));
        return { ...spec, task: { ...task, networks } };
      }
      const endpoint = spec.endpoint ?? missing("endpoint");
      const mode = endpoint.mode === Mode.VIP ? Mode.DNSRR : Mode.VIP;
      return { ...spec, endpoint: { ...endpoint, mode } };
    });
  }

  /** As `network rm` and `create` do, without asking who uses it. */
  #toggleNetwork(name: string): void {
    const network = this.lab.view.byName("network", name);
    if (network === undefined) this.#addNetwork(name);
    else this.lab.write("api", (tx) => tx.delete("network", network.id));
  }

  #toggleAttachment(at: number): void {
    const id = `attachment${at}`;
    this.lab.write("api", (tx) => {
      if (tx.get("task", id) !== undefined) {
        tx.delete("task", id);
        return;
      }
      const network = tx.byName("network", "net");
      if (network === undefined) return;
      const task = create(TaskSchema, {
        id,
        nodeId: nodeAt(at),
        spec: {
          runtime: { case: "attachment", value: { containerId: "c".repeat(64) } },
          networks: [{ target: network.id, aliases: ["mine"] }],
        },
        status: { state: TaskState.NEW },
        desiredState: TaskState.RUNNING,
      });
      tx.create("task", task);
    });
  }

  #connect(nodeId: string): void {
    const follower = this.followers.get(nodeId) ?? missing(nodeId);
    if (follower.feed !== undefined) this.#plane.close(follower.feed);
    follower.feed = this.#plane.open(nodeId);
  }

  #pull(nodeId: string): void {
    const follower = this.followers.get(nodeId) ?? missing(nodeId);
    if (follower.feed?.pending !== true) return;
    const parts = follower.feed.take();
    const message = whole(parts);
    follower.tables = applyMessage(follower.tables, message);
    follower.revision = message.revision;
    for (const taskId of message.releasedTasks) {
      follower.released.add(taskId);
      this.#checkReleased(taskId);
    }
    this.#checkTables(nodeId);
  }

  #acknowledge(nodeId: string): void {
    const { feed, revision } = this.followers.get(nodeId) ?? missing(nodeId);
    if (feed !== undefined) this.#plane.acknowledge(nodeId, Number(revision));
  }

  /** What the node holds is what it would be told if it asked for everything now. */
  #checkTables(nodeId: string): void {
    const fresh = new DataPlane(() => undefined);
    fresh.load(this.lab.view);
    const scratch = applyMessage(new Map(), whole(fresh.open(nodeId).take()));
    const held = this.followers.get(nodeId)?.tables ?? missing(nodeId);
    expect([...held.keys()].sort()).toEqual([...scratch.keys()].sort());
    for (const [id, table] of scratch) {
      const mine = held.get(id) ?? missing(id);
      if (!equals(NetworkTableSchema, mine, table)) expect(mine).toEqual(table);
    }
  }

  /** No node that always was up and serves a network of the task still balances over it. */
  #checkReleased(taskId: string): void {
    const task = this.lab.view.get("task", taskId);
    if (task === undefined) return;
    const networkIds = [...reachableBy(task).keys()];
    for (const [nodeId, { tables }] of this.followers) {
      const node = this.lab.view.get("node", nodeId);
      if (node === undefined || this.#everDown.has(nodeId)) continue;
      for (const networkId of networkIds.filter((id) => servedBy(node).has(id))) {
        const row = tables.get(networkId)?.endpoints.find((one) => one.taskId === taskId);
        expect(row?.ready ?? false).toBe(false);
      }
    }
  }

  /** Everybody hears everything. */
  quiesce(): void {
    for (const id of NODES) this.lab.setUp(id, true);
    for (let round = 0; round < 3; round++) {
      for (const [id, { feed }] of this.followers) {
        if (feed === undefined) this.#connect(id);
        this.#pull(id);
        this.#acknowledge(id);
      }
    }
    expect(this.#plane.counts().withdrawn).toBe(0);
    for (const task of this.lab.view.all("task")) {
      if (isWanted(task) || isTerminal(task) || reachableBy(task).size === 0) continue;
      expect(this.followers.get(task.nodeId)?.released.has(task.id), task.id).toBe(true);
    }
  }
}

function whole([first, ...rest]: readonly TablesMessage[]): TablesMessage {
  return joinParts(first ?? missing("message"), rest);
}

function nodeAt(at: number): string {
  return NODES[at % NODES.length] ?? "";
}

function missing(what: string): never {
  throw new Error(`${what} is missing`);
}

describe("the tables of the data path", () => {
  it("are the same told by and by as told at once, and release nobody too early", () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 20, maxLength: 120 }), (steps) => {
        const swarm = new Swarm();
        for (const one of steps) swarm.do(one);
        swarm.quiesce();
      }),
      { numRuns: Number(process.env["PLAN_RUNS"] ?? 80) },
    );
  }, 600_000);
});

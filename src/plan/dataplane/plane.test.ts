import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { describe, expect, it } from "vitest";
import type { Change } from "#store/types.ts";
import type { TablesMessage } from "#wire/gen/skep/dataplane_pb.js";
import {
  ClusterSchema,
  type Network,
  NetworkSchema,
  type Node,
  NodeSchema,
  RolloutSchema,
  ServiceSchema,
  Rollout_Strategy as Strategy,
  type Task,
  TaskSchema,
} from "#wire/gen/swarmkit/objects_pb.js";
import {
  NodeStatus_State as NodeState,
  PortConfig_Protocol as Protocol,
  TaskState,
  VersionSchema,
} from "#wire/gen/swarmkit/types_pb.js";
import { joinParts } from "#wire/tables-parts.ts";
import type { TablesFeed } from "./feed.ts";
import { applyMessage } from "./merge.ts";
import { DataPlane } from "./plane.ts";
import { entriesOf } from "./rows.ts";

const NET = network("net");

/** A plane whose entries are written by hand. */
class Entries {
  readonly plane = new DataPlane(() => undefined);
  #index = 0;

  commit(...changes: Change[]): number {
    this.#index += 1;
    this.plane.apply({ index: this.#index, changes });
    return this.#index;
  }

  create(...objects: readonly (Network | Node | Task)[]): number {
    return this.commit(
      ...objects.map((object): Change => {
        if (object.$typeName === "docker.swarmkit.v1.Task") {
          return { kind: "task", action: "create", object };
        }
        if (object.$typeName === "docker.swarmkit.v1.Node") {
          return { kind: "node", action: "create", object };
        }
        return { kind: "network", action: "create", object };
      }),
    );
  }

  node(old: Node, object: Node): number {
    return this.commit({ kind: "node", action: "update", object, old });
  }

  task(old: Task, object: Task): number {
    return this.commit({ kind: "task", action: "update", object, old });
  }
}

function network(id: string): Network {
  return create(NetworkSchema, {
    id,
    spec: { annotations: { name: id, labels: { a: "b" } }, attachable: true },
    driverState: {
      name: "overlay",
      options: { "com.docker.network.driver.overlay.vxlanid_list": "4097,4098", encrypted: "" },
    },
    ipam: {
      configs: [
        { subnet: "10.0.1.0/24", gateway: "10.0.1.1" },
        { subnet: "fd00:1::/64", gateway: "fd00:1::1" },
      ],
    },
  });
}

function node(id: string, on: readonly Network[] = [NET]): Node {
  return create(NodeSchema, {
    id,
    status: { state: NodeState.READY, addr: "198.51.100.9" },
    description: { dataPathAddr: `192.0.2.${id.slice(1)}` },
    attachments: on.map((network) => ({ network, addresses: [`10.0.1.20${id.slice(1)}/24`] })),
  });
}

function task(id: string, nodeId: string, state = TaskState.RUNNING): Task {
  return create(TaskSchema, {
    id,
    nodeId,
    serviceId: "web",
    slot: 1n,
    serviceAnnotations: { name: "web" },
    networks: [{ network: NET, addresses: ["10.0.1.5/24", "fd00:1::5/64"] }],
    status: { state },
    desiredState: TaskState.RUNNING,
  });
}

const version = (index: bigint) => create(VersionSchema, { index });

function stopped(before: Task): Task {
  return { ...before, desiredState: TaskState.SHUTDOWN };
}

function take(feed: TablesFeed): TablesMessage {
  const [first, ...rest] = feed.take();
  if (first === undefined) throw new Error("a message has a part");
  return joinParts(first, rest);
}

describe("what a node is told", () => {
  it("is the table of its networks, with addresses as the kernel needs them", () => {
    const entries = new Entries();
    entries.create(NET, node("n1"), node("n2", []), task("t1", "n1"));
    entries.commit(
      { kind: "cluster", action: "create", object: create(ClusterSchema, { VXLANUDPPort: 4_790 }) },
      {
        kind: "service",
        action: "create",
        object: create(ServiceSchema, {
          id: "web",
          spec: {
            annotations: { name: "web", labels: { "skep.mesh.local-first": "true" } },
            task: { networks: [{ target: "net", aliases: ["www"] }] },
          },
          endpoint: { virtualIps: [{ networkId: "net", addr: "10.0.1.2/24" }] },
        }),
      },
    );
    expect(take(entries.plane.open("n2")).networks).toEqual([]);
    const message = take(entries.plane.open("n1"));
    expect(message.dataPathPort).toBe(4_790);
    expect(message.revision).toBe(2n);
    expect(message.networks).toMatchObject([
      {
        networkId: "net",
        driver: "overlay",
        encrypted: true,
        attachable: true,
        labels: { a: "b" },
        subnets: [
          { subnet: "10.0.1.0/24", gateway: "10.0.1.1", vni: 4097 },
          { subnet: "fd00:1::/64", gateway: "fd00:1::1", vni: 4098 },
        ],
        peers: [{ nodeId: "n1", dataPathAddr: "192.0.2.1", addresses: ["10.0.1.201"] }],
        endpoints: [
          {
            taskId: "t1",
            nodeId: "n1",
            addresses: ["10.0.1.5", "fd00:1::5"],
            serviceId: "web",
            slot: 1n,
            name: "web.1.t1",
            ready: true,
          },
        ],
        services: [
          {
            serviceId: "web",
            name: "web",
            aliases: ["www"],
            virtualIps: ["10.0.1.2"],
            localFirst: true,
          },
        ],
      },
    ]);
  });

  it("moves from one set of tasks to the other in one revision", () => {
    const entries = new Entries();
    const of = (id: string, index: bigint) => ({ ...task(id, "n1"), specVersion: version(index) });
    const service = create(ServiceSchema, { id: "web" });
    const at = (...setAside: bigint[]) => ({
      ...service,
      rollout: create(RolloutSchema, { strategy: Strategy.BLUE_GREEN, setAside }),
    });
    entries.commit({ kind: "service", action: "create", object: at(2n) });
    entries.create(NET, node("n1"), of("old", 1n), of("new", 2n));
    const feed = entries.plane.open("n1");
    const ready = (rows: readonly { taskId: string; ready: boolean }[] = []) =>
      rows.filter((row) => row.ready).map(({ taskId }) => taskId);
    expect(ready(take(feed).networks[0]?.endpoints)).toEqual(["old"]);
    entries.commit({ kind: "service", action: "update", old: at(2n), object: at(1n) });
    const { changes } = take(feed);
    expect(changes[0]?.endpoints.map(({ taskId }) => taskId).sort()).toEqual(["new", "old"]);
    expect(ready(changes[0]?.endpoints)).toEqual(["new"]);
  });

  it("says where the ports of a service answer, on the ingress network alone", () => {
    const labels = {
      "skep.mesh.addresses": "10.0.0.0/8",
      "skep.mesh.addresses.9090/udp": "127.0.0.1,::1",
    };
    const ingress = create(NetworkSchema, { id: "ing", spec: { ingress: true } });
    const service = create(ServiceSchema, {
      id: "web",
      spec: { annotations: { name: "web", labels } },
      endpoint: {
        virtualIps: [
          { networkId: "ing", addr: "10.0.1.2/24" },
          { networkId: "net", addr: "10.0.2.2/24" },
        ],
        ports: [{ publishedPort: 80 }, { publishedPort: 9090, protocol: Protocol.UDP }],
      },
    });
    const networks = new Map([
      ["ing", ingress],
      ["net", NET],
    ]);
    const rows = entriesOf(service, (id) => networks.get(id));
    expect(rows.get("net")?.addresses).toEqual({});
    expect(rows.get("ing")?.addresses).toMatchObject({
      "tcp/80": { cidrs: ["10.0.0.0/8"] },
      "udp/9090": { cidrs: ["127.0.0.1/32", "::1/128"] },
    });
  });

  it("is nothing when nothing changed that it knows of", () => {
    const entries = new Entries();
    entries.create(NET, network("other"), node("n1"), node("n2", []), task("t1", "n1"));
    const feed = entries.plane.open("n1");
    take(feed);
    entries.node(node("n2", []), node("n2", [network("other")]));
    entries.task(task("t1", "n1"), { ...task("t1", "n1"), meta: undefined });
    expect(feed.pending).toBe(false);
  });

  it("is a removal for a network that came and went in between", () => {
    const entries = new Entries();
    entries.create(NET, node("n1", []), task("t1", "n2"));
    const feed = entries.plane.open("n1");
    take(feed);
    entries.node(node("n1", []), node("n1"));
    entries.node(node("n1"), node("n1", []));
    const message = take(feed);
    expect(message.networks).toEqual([]);
    expect(message.removedNetworks).toEqual(["net"]);
  });

  it("comes in parts when there is too much for one, and they make a whole", () => {
    const entries = new Entries();
    const ids = Array.from({ length: 12_000 }, (_, at) => `t${String(at).padStart(5, "0")}`);
    entries.create(NET, node("n1"), ...ids.map((id) => task(id, "n1")));
    const feed = entries.plane.open("n1");
    const parts = feed.take();
    expect(parts.map(({ continued }) => continued)).toEqual([true, false]);
    const [first, ...rest] = parts;
    if (first === undefined) throw new Error("no part");
    const tables = applyMessage(new Map(), joinParts(first, rest));
    expect(tables.get("net")?.endpoints.map(({ taskId }) => taskId)).toEqual(ids);
    expect(tables.get("net")?.peers).toHaveLength(1);
  });
});

describe("the drain barrier", () => {
  function running(): { entries: Entries; feeds: Map<string, TablesFeed> } {
    const entries = new Entries();
    entries.create(NET, node("n1"), node("n2"), task("t1", "n1"));
    const feeds = new Map(["n1", "n2"].map((id) => [id, entries.plane.open(id)]));
    for (const [id, feed] of feeds) {
      take(feed);
      entries.plane.acknowledge(id, 1);
    }
    return { entries, feeds };
  }

  function released(feed: TablesFeed | undefined): string[] {
    return feed?.pending === true ? take(feed).releasedTasks : [];
  }

  it("opens when every node has acknowledged, and tells the task's node alone", () => {
    const { entries, feeds } = running();
    const withdrawn = entries.task(task("t1", "n1"), stopped(task("t1", "n1")));
    expect(released(feeds.get("n1"))).toEqual([]);
    entries.plane.acknowledge("n1", withdrawn);
    entries.plane.acknowledge("n2", withdrawn - 1);
    expect(released(feeds.get("n1"))).toEqual([]);
    entries.plane.acknowledge("n2", withdrawn);
    expect(released(feeds.get("n1"))).toEqual(["t1"]);
    expect(released(feeds.get("n2"))).toEqual([]);
    expect(take(entries.plane.open("n1")).releasedTasks).toEqual(["t1"]);
  });

  it("does not wait for a node that is down, left the network, or speaks another protocol", () => {
    const ways = [
      (old: Node): Node => ({ ...old, status: { ...must(old.status), state: NodeState.DOWN } }),
      (old: Node): Node => ({ ...old, attachments: [] }),
      (old: Node): Node => ({
        ...old,
        description: { ...must(old.description), dataPathAddr: "" },
      }),
    ];
    for (const way of ways) {
      const { entries, feeds } = running();
      const withdrawn = entries.task(task("t1", "n1"), stopped(task("t1", "n1")));
      take(must(feeds.get("n1")));
      entries.plane.acknowledge("n1", withdrawn);
      expect(released(feeds.get("n1"))).toEqual([]);
      entries.node(node("n2"), way(node("n2")));
      expect(released(feeds.get("n1"))).toEqual(["t1"]);
    }
  });

  it("waits anew for a node that starts over, whatever it acknowledged before", () => {
    const { entries, feeds } = running();
    entries.plane.acknowledge("n2", 100);
    const feed = entries.plane.open("n2");
    const withdrawn = entries.task(task("t1", "n1"), stopped(task("t1", "n1")));
    entries.plane.acknowledge("n1", withdrawn);
    expect(released(feeds.get("n1"))).toEqual([]);
    entries.plane.acknowledge("n2", Number(take(feed).revision));
    expect(released(feeds.get("n1"))).toEqual(["t1"]);
  });

  it("is open for a task that no node ever knew as ready", () => {
    const { entries, feeds } = running();
    const fresh = task("t2", "n1", TaskState.STARTING);
    entries.create(fresh);
    entries.task(fresh, stopped(fresh));
    expect(released(feeds.get("n1"))).toEqual(["t2"]);
  });

  it("is closed for everything that a new leader finds withdrawn", () => {
    const plane = new DataPlane(() => undefined);
    plane.load({
      index: 7,
      get: () => undefined,
      byName: () => undefined,
      byIdPrefix: () => [],
      find: () => [],
      count: () => 0,
      all: ((kind: string) => {
        if (kind === "network") return [NET];
        if (kind === "node") return [node("n1"), node("n2")];
        return kind === "task" ? [stopped(task("t1", "n1"))] : [];
      }) as never,
    });
    const feeds = ["n1", "n2"].map((id) => plane.open(id));
    expect(feeds.map(released)).toEqual([[], []]);
    plane.acknowledge("n1", 7);
    plane.acknowledge("n2", 7);
    expect(feeds.map(released)).toEqual([["t1"], []]);
  });

  it("opens for a task whose node wants no traffic for it, and closes when it does again", () => {
    const { entries, feeds } = running();
    const before = task("t1", "n1");
    const after: Task = { ...before, status: { ...must(before.status), withdrawn: true } };
    const withdrawn = entries.task(before, after);
    const told = take(must(feeds.get("n2")));
    expect(told.changes[0]?.endpoints).toMatchObject([{ taskId: "t1", ready: false }]);
    entries.plane.acknowledge("n1", withdrawn);
    entries.plane.acknowledge("n2", withdrawn);
    expect(released(feeds.get("n1"))).toEqual(["t1"]);
    entries.task(after, before);
    expect(entries.plane.counts()).toEqual({ withdrawn: 0, released: 0 });
    const again = take(must(feeds.get("n2")));
    expect(again.changes[0]?.endpoints).toMatchObject([{ taskId: "t1", ready: true }]);
  });

  it("holds for a task that a manager rejected, until its node has let go", () => {
    const { entries, feeds } = running();
    const before = task("t1", "n1");
    const rejected = { ...before, status: { ...must(before.status), state: TaskState.REJECTED } };
    const withdrawn = entries.task(before, rejected);
    const told = take(must(feeds.get("n2")));
    expect(told.changes[0]?.endpoints).toMatchObject([{ taskId: "t1", ready: false }]);
    const unwanted = stopped(rejected);
    entries.task(rejected, unwanted);
    expect(released(feeds.get("n1"))).toEqual([]);
    entries.plane.acknowledge("n1", withdrawn);
    entries.plane.acknowledge("n2", withdrawn);
    expect(released(feeds.get("n1"))).toEqual(["t1"]);
    const heard = { ...must(unwanted.status), appliedAt: timestampFromMs(1) };
    entries.task(unwanted, { ...unwanted, status: heard });
    expect(take(must(feeds.get("n2"))).changes[0]?.removedEndpoints).toEqual(["t1"]);
  });

  it("forgets a task that has ended", () => {
    const { entries } = running();
    entries.task(task("t1", "n1"), stopped(task("t1", "n1")));
    expect(entries.plane.counts()).toEqual({ withdrawn: 1, released: 0 });
    const over = {
      ...stopped(task("t1", "n1")),
      status: task("t1", "n1", TaskState.SHUTDOWN).status,
    };
    entries.task(stopped(task("t1", "n1")), over);
    expect(entries.plane.counts()).toEqual({ withdrawn: 0, released: 0 });
  });
});

function must<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("missing");
  return value;
}

/** Where tasks go, what they are given, and what they say when they get nothing. */

import { create } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import { NetworkSchema, type Node } from "#wire/gen/swarmkit/objects_pb.js";
import {
  AnnotationsSchema,
  EngineDescriptionSchema,
  type GenericResource,
  GenericResourceSchema,
  PortConfig_PublishMode as PublishMode,
} from "#wire/gen/swarmkit/types_pb.js";
import { global, replicated, withReplicas } from "./testing/specs.ts";
import { SwarmLab } from "./testing/swarm-lab.ts";

function labelled(labels: Record<string, string>): (node: Node) => Node {
  return (node) => ({
    ...node,
    spec: {
      ...(node.spec as NonNullable<typeof node.spec>),
      annotations: create(AnnotationsSchema, { labels }),
    },
  });
}

function addNetwork(swarm: SwarmLab, id: string, subnet = ""): void {
  const ipam = subnet === "" ? undefined : { configs: [{ subnet }] };
  swarm.write("api", (tx) => {
    const spec = { annotations: { name: id }, ...(ipam === undefined ? {} : { ipam }) };
    tx.create("network", create(NetworkSchema, { id, spec }));
  });
}

function counts(swarm: SwarmLab, service: string): Record<string, number> {
  const result: Record<string, number> = {};
  for (const { nodeId } of swarm.running(service)) result[nodeId] = (result[nodeId] ?? 0) + 1;
  return result;
}

function errors(swarm: SwarmLab, service: string): string[] {
  const texts = swarm.tasks(service).map((task) => task.status?.err ?? "");
  return [...new Set(texts)].filter((text) => text !== "");
}

describe("the scheduler", () => {
  it("divides tasks over the values of a label first", () => {
    const swarm = new SwarmLab();
    swarm.addNode("a1", labelled({ rack: "a" }));
    swarm.addNode("a2", labelled({ rack: "a" }));
    swarm.addNode("b1", labelled({ rack: "b" }));
    const preferences = [
      { Preference: { case: "spread" as const, value: { spreadDescriptor: "node.labels.rack" } } },
    ];
    swarm.addService("web", replicated("web", 4, { task: { placement: { preferences } } }));
    swarm.settle();
    expect(counts(swarm, "web")).toEqual({ a1: 1, a2: 1, b1: 2 });
  });

  it("keeps to the most replicas of a node, and says so", () => {
    const swarm = new SwarmLab();
    swarm.addNode("n1");
    swarm.addNode("n2");
    swarm.addService("web", replicated("web", 5, { task: { placement: { maxReplicas: 2n } } }));
    swarm.settle();
    expect(counts(swarm, "web")).toEqual({ n1: 2, n2: 2 });
    expect(errors(swarm, "web")).toEqual(["no suitable node (max replicas per node limit exceed)"]);
    swarm.addNode("n3");
    swarm.settle();
    expect(counts(swarm, "web")).toEqual({ n1: 2, n2: 2, n3: 1 });
    expect(errors(swarm, "web")).toEqual([]);
  });

  it("gives tasks on networks of the swarm to no Docker Engine, and others to it, too", () => {
    const swarm = new SwarmLab();
    const engine = (dataPathAddr: string) => (node: Node) => {
      const description = node.description as NonNullable<typeof node.description>;
      const plugins = ["overlay", "bridge"].map((name) => ({ type: "Network", name }));
      const reported = create(EngineDescriptionSchema, { plugins });
      return { ...node, description: { ...description, engine: reported, dataPathAddr } };
    };
    addNetwork(swarm, "net", "10.5.0.0/24");
    swarm.addNode("docker", engine(""));
    const task = { networks: [{ target: "net" }] };
    swarm.addService("web", replicated("web", 2, { task }));
    swarm.addService("alone", replicated("alone", 2));
    swarm.settle();
    expect(counts(swarm, "alone")).toEqual({ docker: 2 });
    expect(counts(swarm, "web")).toEqual({});
    expect(errors(swarm, "web")).toEqual([
      "no suitable node (networks of the swarm do not reach 1 node)",
    ]);
    swarm.addNode("ours", engine("192.0.2.1"));
    swarm.settle();
    expect(counts(swarm, "web")).toEqual({ ours: 2 });
    expect(errors(swarm, "web")).toEqual([]);
  });

  it("places what fits what is reserved, and the rest once room is made", () => {
    const swarm = new SwarmLab();
    swarm.addNode("n1");
    swarm.addNode("n2");
    const resources = { reservations: { memoryBytes: 3n << 30n } };
    swarm.addService("db", replicated("db", 5, { task: { resources } }));
    swarm.settle();
    expect(counts(swarm, "db")).toEqual({ n1: 2, n2: 2 });
    expect(errors(swarm, "db")).toEqual(["no suitable node (insufficient resources on 2 nodes)"]);
    swarm.addService("small", replicated("small", 2));
    swarm.settle();
    expect(swarm.running("small")).toHaveLength(2);
    swarm.editService("db", (spec) => withReplicas(spec, 4));
    swarm.settle();
    expect(errors(swarm, "db")).toEqual([]);
  });

  it("hands out named resources, each to one task", () => {
    const swarm = new SwarmLab();
    const named = (value: string): GenericResource =>
      create(GenericResourceSchema, {
        resource: { case: "namedResourceSpec", value: { kind: "gpu", value } },
      });
    swarm.addNode("n1", (node) => {
      const description = node.description as NonNullable<typeof node.description>;
      const resources = description.resources as NonNullable<typeof description.resources>;
      const generic = [named("g1"), named("g2"), named("g3")];
      return { ...node, description: { ...description, resources: { ...resources, generic } } };
    });
    const generic = [
      { resource: { case: "discreteResourceSpec" as const, value: { kind: "gpu", value: 1n } } },
    ];
    const resources = { reservations: { generic } };
    swarm.addService("ml", replicated("ml", 4, { task: { resources } }));
    swarm.settle();
    const given = swarm.running("ml").flatMap((task) => task.assignedGenericResources);
    const names = given.map(({ resource }) =>
      resource.case === "namedResourceSpec" ? resource.value.value : "",
    );
    expect(names.sort()).toEqual(["g1", "g2", "g3"]);
    expect(errors(swarm, "ml")).toEqual(["no suitable node (insufficient resources on 1 node)"]);
  });

  it("opens a host port once a node", () => {
    const swarm = new SwarmLab();
    swarm.addNode("n1");
    swarm.addNode("n2");
    const ports = [{ targetPort: 80, publishedPort: 80, publishMode: PublishMode.HOST }];
    swarm.addService("web", replicated("web", 3, { service: { endpoint: { ports } } }));
    swarm.settle();
    expect(counts(swarm, "web")).toEqual({ n1: 1, n2: 1 });
    expect(errors(swarm, "web")).toEqual([
      "no suitable node (host-mode port already in use on 2 nodes)",
    ]);
  });
});

describe("the allocator", () => {
  it("cuts networks out of the pool in order, ingress first", () => {
    const swarm = new SwarmLab();
    addNetwork(swarm, "one");
    addNetwork(swarm, "two", "10.0.2.0/24");
    addNetwork(swarm, "three");
    swarm.settle();
    const subnets = ["ingress", "one", "two", "three"].map((id) => {
      const network = swarm.view.get("network", id);
      const vni = network?.driverState?.options["com.docker.network.driver.overlay.vxlanid_list"];
      const config = network?.ipam?.configs[0];
      return `${id} ${config?.subnet} ${config?.gateway} ${vni}`;
    });
    expect(subnets.join("\n")).toMatchInlineSnapshot(`
      "ingress 10.0.0.0/24 10.0.0.1 4097
      one 10.0.1.0/24 10.0.1.1 4098
      two 10.0.2.0/24 10.0.2.1 4096
      three 10.0.3.0/24 10.0.3.1 4099"
    `);
  });

  it("gives a service its ports and addresses, and keeps them over updates", () => {
    const swarm = new SwarmLab();
    swarm.addNode("n1");
    addNetwork(swarm, "net");
    const ports = [
      { targetPort: 80, publishedPort: 5005 },
      { targetPort: 80, publishedPort: 5006 },
      { targetPort: 80 },
      { targetPort: 80 },
    ];
    const task = { networks: [{ target: "net" }] };
    swarm.addService("web", replicated("web", 2, { task, service: { endpoint: { ports } } }));
    swarm.settle();
    const endpoint = swarm.view.get("service", "web")?.endpoint;
    expect(endpoint?.ports.map((port) => port.publishedPort)).toEqual([5005, 5006, 30000, 30001]);
    expect(endpoint?.virtualIps.map(({ networkId }) => networkId)).toEqual(["ingress", "net"]);
    expect(
      swarm.running("web").map(({ networks }) => networks.map(({ network }) => network?.id)),
    ).toEqual([
      ["ingress", "net"],
      ["ingress", "net"],
    ]);
    swarm.editService("web", (spec) => withReplicas(spec, 1));
    swarm.settle();
    expect(swarm.view.get("service", "web")?.endpoint).toEqual(endpoint);
  });

  it("does not give a port twice; the second service says who has it, and gets it later", () => {
    const swarm = new SwarmLab();
    swarm.addNode("n1");
    const service = { endpoint: { ports: [{ targetPort: 80, publishedPort: 8080 }] } };
    swarm.addService("one", replicated("one", 1, { service }));
    swarm.settle();
    swarm.addService("two", replicated("two", 1, { service }));
    swarm.settle();
    expect(errors(swarm, "two")).toEqual(["port '8080' is already in use by service 'one' (one)"]);
    swarm.removeService("one");
    swarm.settle();
    expect(swarm.running("two")).toHaveLength(1);
    expect(errors(swarm, "two")).toEqual([]);
  });

  it("shows a full network on the task, and goes on when an address comes free", () => {
    const swarm = new SwarmLab();
    swarm.addNode("n1");
    addNetwork(swarm, "tiny", "10.9.0.0/29");
    const task = { networks: [{ target: "tiny" }] };
    // Five addresses besides the gateway's: a virtual one, and four tasks before the node itself.
    swarm.addService("web", replicated("web", 6, { task }));
    swarm.settle();
    expect(errors(swarm, "web")).toEqual(["could not find an available IP in network tiny"]);
    expect(swarm.running("web")).toHaveLength(4);
    swarm.editService("web", (spec) => withReplicas(spec, 2));
    swarm.settle();
    expect(swarm.view.get("node", "n1")?.attachments).toHaveLength(1);
    swarm.editService("web", (spec) => withReplicas(spec, 5));
    swarm.settle();
    expect(swarm.running("web")).toHaveLength(3);
    addNetwork(swarm, "other");
    swarm.removeService("web");
    swarm.settle();
    swarm.addService("again", replicated("again", 3, { task }));
    swarm.settle();
    expect(swarm.running("again")).toHaveLength(3);
  });

  it("says that a network is missing, and goes on when it is made", () => {
    const swarm = new SwarmLab();
    swarm.addNode("n1");
    swarm.addService("agent", global("agent", { task: { networks: [{ target: "later" }] } }));
    swarm.settle();
    expect(errors(swarm, "agent")).toEqual(["network later not found"]);
    addNetwork(swarm, "later");
    swarm.settle();
    expect(swarm.running("agent")).toHaveLength(1);
  });

  it("keeps the subnet of a removed network until the last task has let go", () => {
    const swarm = new SwarmLab();
    swarm.addNode("n1");
    addNetwork(swarm, "old");
    const task = { networks: [{ target: "old" }] };
    swarm.addService("web", replicated("web", 1, { task }));
    swarm.settle();
    const subnetOf = (id: string) => swarm.view.get("network", id)?.ipam?.configs[0]?.subnet;
    const subnet = subnetOf("old");
    swarm.mute("n1", true);
    swarm.removeService("web");
    swarm.write("api", (tx) => tx.delete("network", "old"));
    swarm.settle();
    addNetwork(swarm, "new");
    swarm.newLeader();
    expect(subnetOf("new")).not.toBe(subnet);
    swarm.mute("n1", false);
    swarm.settle();
    addNetwork(swarm, "newer");
    swarm.settle();
    expect(subnetOf("newer")).toBe(subnet);
  });
});

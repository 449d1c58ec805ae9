/** What networks, services, tasks and nodes are given, and what they say when they cannot have it. */

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import { replicated, withReplicas } from "#manager/leader/testing/specs.ts";
import { SwarmLab } from "#manager/leader/testing/swarm-lab.ts";
import { type Network, NetworkSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { NetworkSpecSchema } from "#wire/gen/swarmkit/specs_pb.js";
import {
  AnnotationsSchema,
  DriverSchema,
  NodeDescriptionSchema,
} from "#wire/gen/swarmkit/types_pb.js";

function addNetwork(
  swarm: SwarmLab,
  name: string,
  spec: MessageInitShape<typeof NetworkSpecSchema> = {},
): Network {
  swarm.write("api", (tx) => {
    const annotations = create(AnnotationsSchema, { name });
    const object = create(NetworkSchema, { id: name });
    tx.create("network", { ...object, spec: { ...create(NetworkSpecSchema, spec), annotations } });
  });
  swarm.settle();
  const network = swarm.view.get("network", name);
  if (network === undefined) throw new Error("no network");
  return network;
}

function subnets({ ipam }: Network): string[] {
  return (ipam?.configs ?? []).map(({ subnet, gateway }) => `${subnet} ${gateway}`);
}

function onNetwork(target: string) {
  return { task: { networks: [{ target }] } };
}

describe("a network", () => {
  it("with IPv6 has a subnet of each family, the second of the swarm's own prefix", () => {
    const swarm = new SwarmLab();
    swarm.addNode("n1");
    const [v4, v6] = subnets(addNetwork(swarm, "net", { ipv6Enabled: true }));
    expect(v4).toBe("10.0.1.0/24 10.0.1.1");
    expect(v6).toMatch(/^fd[0-9a-f:]+::\/64 fd[0-9a-f:]+::1$/);
    const [, other] = subnets(addNetwork(swarm, "other", { ipv6Enabled: true }));
    expect(other).not.toBe(v6);
  });

  it("keeps what was chosen for it, and gets what was not", () => {
    const swarm = new SwarmLab();
    swarm.addNode("n1");
    const ipam = {
      configs: [
        { subnet: "fd00:5::/64", gateway: "fd00:5::9" },
        { subnet: "10.50.0.0/24", range: "10.50.0.128/25" },
        { subnet: "10.51.0.0/24" },
      ],
    };
    const network = addNetwork(swarm, "net", { ipv6Enabled: true, ipam });
    expect(subnets(network)).toEqual([
      "fd00:5::/64 fd00:5::9",
      "10.50.0.0/24 10.50.0.1",
      "10.51.0.0/24 10.51.0.1",
    ]);
    swarm.addService("web", replicated("web", 1, onNetwork("net")));
    swarm.settle();
    const [task] = swarm.running("web");
    expect(task?.networks.map(({ addresses }) => addresses)).toEqual([
      ["10.50.0.129/24", "fd00:5::2/64"],
    ]);
  });

  it("of a plug-in has its subnets, and waits for the plug-in; nodes have no address there", () => {
    const swarm = new SwarmLab();
    swarm.addNode("n1");
    const waiting = addNetwork(swarm, "net", { driverConfig: { name: "plug" } });
    expect(waiting.driverState).toBeUndefined();
    expect(waiting.allocationError).toBe('waits for the plugin "plug"');
    expect(subnets(waiting)).toEqual(["10.0.1.0/24 10.0.1.1"]);
    swarm.addService("web", replicated("web", 1, onNetwork("net")));
    swarm.settle();
    const [task] = swarm.tasks("web");
    expect(task?.status?.err).toBe('network net is not allocated yet: waits for the plugin "plug"');
    swarm.write("allocator", (tx) => {
      const driverState = create(DriverSchema, { name: "plug", options: { tunnel: "7" } });
      tx.update("network", { ...waiting, driverState, allocationError: "" });
    });
    swarm.settle();
    const networks = swarm.running("web")[0]?.networks;
    expect(networks?.map(({ addresses }) => addresses)).toEqual([["10.0.1.3/24"]]);
    expect(networks?.[0]?.network?.driverState?.options).toEqual({ tunnel: "7" });
    expect(swarm.view.get("node", "n1")?.attachments).toMatchObject([
      { network: { id: "net" }, addresses: [] },
    ]);
  });

  it("keeps clear of where the routes of any node lead", () => {
    const swarm = new SwarmLab();
    for (const [id, routes] of [
      ["n1", ["10.0.1.0/24", "10.0.2.64/26", "192.168.0.0/16"]],
      ["n2", ["10.0.3.0/24", "10.0.4.0/23"]],
    ] as const) {
      swarm.addNode(id, (node) => ({
        ...node,
        description: create(NodeDescriptionSchema, { hostname: id, routes: [...routes] }),
      }));
    }
    expect(subnets(addNetwork(swarm, "a"))).toEqual(["10.0.6.0/24 10.0.6.1"]);
    swarm.removeNode("n2");
    expect(subnets(addNetwork(swarm, "b"))).toEqual(["10.0.3.0/24 10.0.3.1"]);
  });

  it("is cut between the routes where one leads to all of the pool", () => {
    const swarm = new SwarmLab();
    swarm.addNode("n1", (node) => ({
      ...node,
      description: create(NodeDescriptionSchema, { routes: ["10.0.0.0/8", "10.0.0.0/16"] }),
    }));
    expect(subnets(addNetwork(swarm, "a"))).toEqual(["10.1.1.0/24 10.1.1.1"]);
  });

  it("waits for the first node to say where its routes lead", () => {
    const swarm = new SwarmLab();
    swarm.addNode("n1", (node) => ({ ...node, description: undefined }));
    expect(addNetwork(swarm, "a").driverState).toBeUndefined();
    expect(
      subnets(addNetwork(swarm, "b", { ipam: { configs: [{ subnet: "10.9.0.0/24" }] } })),
    ).toEqual(["10.9.0.0/24 10.9.0.1"]);
    swarm.editNode("n1", (node) => ({
      ...node,
      description: create(NodeDescriptionSchema, { routes: ["10.0.0.0/24"] }),
    }));
    swarm.settle();
    expect(subnets(swarm.view.get("network", "ingress") as Network)).toEqual([
      "10.0.1.0/24 10.0.1.1",
    ]);
  });

  it("that cannot have its subnet says so, and so do those who need it", () => {
    const swarm = new SwarmLab();
    swarm.addNode("n1");
    const ipam = { configs: [{ subnet: "10.9.0.0/16" }] };
    addNetwork(swarm, "first", { ipam });
    const second = addNetwork(swarm, "second", { ipam });
    const reason = "invalid pool request: Pool overlaps with other one on this address space";
    expect(second.allocationError).toBe(reason);
    swarm.addService("web", replicated("web", 1, onNetwork("second")));
    swarm.settle();
    const blocked = `network second is not allocated yet: ${reason}`;
    expect(swarm.view.get("service", "web")?.allocationError).toBe(blocked);
    expect(swarm.tasks("web").map(({ status }) => status?.err)).toEqual([blocked]);
    swarm.write("api", (tx) => tx.delete("network", "first"));
    swarm.settle();
    expect(swarm.view.get("network", "second")?.allocationError).toBe("");
    expect(swarm.view.get("service", "web")?.allocationError).toBe("");
    expect(swarm.running("web")).toHaveLength(1);
  });
});

describe("a service", () => {
  it("has a virtual address of each family", () => {
    const swarm = new SwarmLab();
    swarm.addNode("n1");
    const ipam = { configs: [{ subnet: "10.5.0.0/24" }, { subnet: "fd00:5::/64" }] };
    addNetwork(swarm, "net", { ipv6Enabled: true, ipam });
    swarm.addService("web", replicated("web", 1, onNetwork("net")));
    swarm.settle();
    const vips = () =>
      swarm.view.get("service", "web")?.endpoint?.virtualIps.map(({ addr }) => addr);
    expect(vips()).toEqual(["10.5.0.2/24", "fd00:5::2/64"]);
    swarm.newLeader();
    swarm.editService("web", (spec) => withReplicas(spec, 2));
    swarm.settle();
    expect(vips()).toEqual(["10.5.0.2/24", "fd00:5::2/64"]);
  });
});

describe("addresses that run out", () => {
  /** Four addresses beside gateway, network and broadcast. */
  function scarce(): SwarmLab {
    const swarm = new SwarmLab();
    swarm.addNode("n1");
    addNetwork(swarm, "net", { ipam: { configs: [{ subnet: "10.5.0.0/29" }] } });
    return swarm;
  }

  it("are said on the tasks, and go to those who wait when others end", () => {
    const swarm = scarce();
    swarm.addService("web", replicated("web", 6, onNetwork("net")));
    swarm.settle();
    expect(swarm.running("web")).toHaveLength(4);
    const full = "could not find an available IP in network net";
    const waiting = swarm.tasks("web").filter(({ status }) => status?.err === full);
    expect(waiting).toHaveLength(2);
    swarm.editService("web", (spec) => withReplicas(spec, 4));
    swarm.settle();
    swarm.editService("web", (spec) => withReplicas(spec, 2));
    swarm.settle();
    expect(swarm.running("web")).toHaveLength(2);
    // The node had to do without; it has one as soon as there is one to have.
    const [attachment] = swarm.view.get("node", "n1")?.attachments ?? [];
    expect(attachment?.addresses).toHaveLength(1);
  });

  it("leave a node that serves the network without one of its own", () => {
    const swarm = scarce();
    swarm.addService("web", replicated("web", 4, onNetwork("net")));
    swarm.settle();
    expect(swarm.running("web")).toHaveLength(4);
    const attachments = swarm.view.get("node", "n1")?.attachments ?? [];
    expect(attachments.map(({ network, addresses }) => [network?.id, addresses])).toEqual([
      ["net", []],
    ]);
  });

  it("are said on a service that has no virtual address", () => {
    const swarm = scarce();
    swarm.addService("web", replicated("web", 4, onNetwork("net")));
    swarm.settle();
    swarm.addService("api", replicated("api", 1, onNetwork("net")));
    swarm.settle();
    const reason = "no address is free for a virtual IP in network net";
    expect(swarm.view.get("service", "api")?.allocationError).toBe(reason);
    expect(swarm.tasks("api").map(({ status }) => status?.err)).toEqual([reason]);
    swarm.removeService("web");
    swarm.settle();
    expect(swarm.view.get("service", "api")?.allocationError).toBe("");
    expect(swarm.running("api")).toHaveLength(1);
  });
});

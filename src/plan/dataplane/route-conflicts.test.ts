import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { must } from "#base/invariant.ts";
import { SwarmLab } from "#manager/leader/testing/swarm-lab.ts";
import { NetworkSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { NodeDescriptionSchema } from "#wire/gen/swarmkit/types_pb.js";
import { conflictsOfNetwork, conflictsOfNode } from "./route-conflicts.ts";

test("a route that takes from a network is a conflict, a wider one is none", () => {
  const swarm = new SwarmLab();
  const routes = ["10.0.0.0/8", "10.7.0.64/26", "10.8.0.0/24", "fd00:7::/64", "nonsense"];
  swarm.addNode("n1", (node) => ({
    ...node,
    description: create(NodeDescriptionSchema, { hostname: "vpn-host", routes }),
  }));
  swarm.write("api", (tx) => {
    const ipam = { configs: [{ subnet: "10.7.0.0/24" }, { subnet: "fd00:7::/64" }] };
    tx.create(
      "network",
      create(NetworkSchema, { id: "a", spec: { annotations: { name: "a" }, ipam } }),
    );
    const driverConfig = { name: "macvlan" };
    const own = {
      annotations: { name: "b" },
      driverConfig,
      ipam: { configs: [{ subnet: "10.8.0.0/24" }] },
    };
    tx.create("network", create(NetworkSchema, { id: "b", spec: own }));
  });
  swarm.settle();
  const { view } = swarm;
  const found = conflictsOfNode(view, must(view.get("node", "n1"), "n1"));
  expect(found.map(({ network, subnet, route }) => `${network} ${subnet} ${route}`)).toEqual([
    "a 10.7.0.0/24 10.7.0.64/26",
    "a fd00:7::/64 fd00:7::/64",
  ]);
  expect(conflictsOfNetwork(view, must(view.get("network", "a"), "a"))).toEqual(found);
});

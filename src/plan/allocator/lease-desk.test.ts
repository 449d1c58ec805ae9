/** Networks whose addresses a plug-in gives, as the allocator sees them: what it asks for and gives back. */

import { create } from "@bufbuild/protobuf";
import { expect, it } from "vitest";
import {
  leasesIn,
  markAsking,
  recordAddress,
  recordPools,
} from "#manager/address-plugins/records.ts";
import { POOL } from "#manager/address-plugins/testing/fixtures.ts";
import { replicated, withReplicas } from "#manager/leader/testing/specs.ts";
import { SwarmLab } from "#manager/leader/testing/swarm-lab.ts";
import { LeaseState } from "#model/lease.ts";
import { NetworkSchema } from "#wire/gen/swarmkit/objects_pb.js";

function newSwarm(): SwarmLab {
  const swarm = new SwarmLab();
  swarm.addNode("n1");
  swarm.write("api", (tx) => {
    const spec = { annotations: { name: "net" }, ipam: { driver: { name: "plug" } } };
    tx.create("network", create(NetworkSchema, { id: "net", spec }));
  });
  swarm.settle();
  return swarm;
}

const states = (swarm: SwarmLab) =>
  leasesIn(swarm.view)
    .filter(({ lease }) => !lease.pool)
    .map(({ lease: { state, address } }) => `${LeaseState[state]} ${address}`.trim())
    .sort();

function givePools(swarm: SwarmLab): void {
  swarm.write("allocator", (tx) => {
    const network = tx.get("network", "net");
    if (network !== undefined) recordPools(tx, network, [POOL], () => "pool");
  });
  swarm.settle();
}

it("waits for pools, then asks for one address after another, and gives back what nobody uses", () => {
  const swarm = newSwarm();
  swarm.addService("web", replicated("web", 2, { task: { networks: [{ target: "net" }] } }));
  swarm.settle();
  expect(swarm.tasks("web")[0]?.status?.err).toBe(
    "network net is not allocated yet: waits for a pool of IPAM driver plug",
  );
  givePools(swarm);
  expect(states(swarm)).toEqual(["WANTED"]);
  let last = 10;
  const give = () => {
    for (const { id, lease } of leasesIn(swarm.view)) {
      if (lease.state !== LeaseState.WANTED) continue;
      swarm.write("allocator", (tx) => {
        const [asked] = markAsking(tx, [id]);
        const pool = leasesIn(tx).find((one) => one.lease.pool)?.lease;
        if (asked === undefined || pool === undefined) throw new Error("no lease");
        recordAddress(tx, id, asked.lease, pool, `10.60.0.${last++}/24`, () => "late");
      });
    }
    swarm.settle();
  };
  give();
  expect(states(swarm)).toEqual(["GIVEN 10.60.0.10", "WANTED", "WANTED"]);
  give();
  give();
  expect(swarm.running("web")).toHaveLength(2);
  expect(states(swarm)).toHaveLength(4);
  swarm.editService("web", (spec) => withReplicas(spec, 1));
  swarm.pass(60_000);
  expect(states(swarm).filter((one) => one.startsWith("RELEASING"))).toHaveLength(1);
});

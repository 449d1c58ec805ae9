/**
 * Whatever happens to a swarm, its leaders and its address plug-in: no address is used that the plug-in
 * has not given, none has two holders, and the plug-in has back what nobody uses, in the end all.
 */

import { create } from "@bufbuild/protobuf";
import fc from "fast-check";
import { expect, it } from "vitest";
import {
  backToWanted,
  leasesIn,
  markAsking,
  recordAddress,
  recordPools,
} from "#manager/address-plugins/records.ts";
import { POOL } from "#manager/address-plugins/testing/fixtures.ts";
import { replicated, withReplicas } from "#manager/leader/testing/specs.ts";
import { SwarmLab } from "#manager/leader/testing/swarm-lab.ts";
import { LeaseState } from "#model/lease.ts";
import { hasLetGo } from "#model/task.ts";
import type { ReadView } from "#store/types.ts";
import { NetworkSchema } from "#wire/gen/swarmkit/objects_pb.js";

const SERVICES = ["web", "api"];

/** Strict, and small enough to be empty at times. */
class Plugin {
  readonly taken = new Set<string>();
  #next = 10;
  #ids = 0;

  readonly newId = () => `lease${this.#ids++}`;

  give(): string | undefined {
    if (this.taken.size >= 12) return undefined;
    let address: string;
    do address = `10.60.0.${10 + (this.#next++ % 40)}`;
    while (this.taken.has(address));
    this.taken.add(address);
    return address;
  }

  takeBack(address: string): void {
    expect(this.taken.delete(address), `${address} is given back twice`).toBe(true);
  }
}

/** One step of a leader with the plug-in; true if there was anything to do. */
function serve(swarm: SwarmLab, plugin: Plugin, count: number): boolean {
  const leases = leasesIn(swarm.view);
  const releasing = leases.filter(({ lease }) => lease.state === LeaseState.RELEASING);
  for (const { id, lease } of releasing.slice(0, count)) {
    if (!lease.pool) plugin.takeBack(lease.address);
    swarm.write("allocator", (tx) => tx.delete("resource", id));
  }
  if (releasing.length > 0) return true;
  const network = swarm.view.get("network", "net");
  if (network?.ipam === undefined && network !== undefined) {
    swarm.write("allocator", (tx) => recordPools(tx, network, [POOL], plugin.newId));
    return true;
  }
  const wanted = leases.filter(({ lease }) => lease.state === LeaseState.WANTED).slice(0, count);
  let given = false;
  for (const { id } of wanted) {
    swarm.write("allocator", (tx) => {
      const [asked] = markAsking(tx, [id]);
      const pool = leasesIn(tx).find((one) => one.lease.pool)?.lease;
      const address = pool === undefined ? undefined : plugin.give();
      if (asked === undefined || pool === undefined || address === undefined) {
        return backToWanted(tx, id, "no address is left");
      }
      given = true;
      expect(recordAddress(tx, id, asked.lease, pool, address, plugin.newId)).toBeUndefined();
    });
  }
  return given;
}

function holders(view: ReadView): string[] {
  const held: string[] = [];
  for (const task of view.all("task")) {
    if (!hasLetGo(task)) held.push(...task.networks.flatMap(({ addresses }) => addresses));
  }
  for (const { endpoint } of view.all("service")) {
    held.push(...(endpoint?.virtualIps ?? []).map(({ addr }) => addr));
  }
  for (const node of view.all("node")) {
    held.push(...node.attachments.flatMap(({ addresses }) => addresses));
  }
  return held
    .filter((address) => address.startsWith("10.60."))
    .map((one) => one.split("/")[0] ?? "");
}

function checkSafety(plugin: Plugin, view: ReadView): void {
  const held = holders(view);
  expect(new Set(held).size, `held twice: ${held.join()}`).toBe(held.length);
  const given = new Set(
    leasesIn(view).flatMap(({ lease }) =>
      lease.state === LeaseState.GIVEN ? [lease.address] : [],
    ),
  );
  for (const address of held) {
    expect(given, `${address} is in use without being given`).toContain(address);
    expect(plugin.taken).toContain(address);
  }
}

const step = fc.oneof(
  fc.record({
    kind: fc.constant("scale" as const),
    service: fc.nat(1),
    replicas: fc.nat(6),
  }),
  fc.record({ kind: fc.constant("serve" as const), count: fc.integer({ min: 1, max: 4 }) }),
  fc.record({ kind: fc.constant("node" as const), up: fc.boolean() }),
  fc.record({ kind: fc.constantFrom("leader" as const, "lost", "turn", "report", "pass") }),
);

function settle(swarm: SwarmLab, plugin: Plugin): void {
  for (let at = 0; at < 500; at += 1) {
    const served = serve(swarm, plugin, 8);
    swarm.settle();
    if (!served) return;
  }
  throw new Error("leases do not come to rest");
}

it("uses only what is given, each once, and gives back the rest", { timeout: 300_000 }, () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const swarm = new SwarmLab();
      const plugin = new Plugin();
      for (const node of ["n1", "n2"]) swarm.addNode(node);
      swarm.write("api", (tx) => {
        const spec = { annotations: { name: "net" }, ipam: { driver: { name: "plug" } } };
        tx.create("network", create(NetworkSchema, { id: "net", spec }));
      });
      for (const id of SERVICES) {
        swarm.addService(id, replicated(id, 2, { task: { networks: [{ target: "net" }] } }));
      }
      swarm.onCommit = (view) => checkSafety(plugin, view);
      for (const one of steps) {
        if (one.kind === "scale") {
          swarm.editService(SERVICES[one.service] ?? "", (s) => withReplicas(s, one.replicas));
        } else if (one.kind === "serve") serve(swarm, plugin, one.count);
        else if (one.kind === "node") swarm.setUp("n2", one.up);
        else if (one.kind === "leader") swarm.newLeader();
        else if (one.kind === "lost") swarm.loseTurn();
        else if (one.kind === "turn") swarm.turn();
        else if (one.kind === "report") swarm.report();
        else swarm.pass(61_000);
      }
      swarm.setUp("n2", true);
      for (const id of SERVICES) swarm.editService(id, (s) => withReplicas(s, 3));
      for (let at = 0; at < 4; at += 1) {
        settle(swarm, plugin);
        swarm.pass(120_000);
      }
      settle(swarm, plugin);
      for (const id of SERVICES) expect(swarm.running(id), swarm.table(id)).toHaveLength(3);
      expect([...plugin.taken].sort()).toEqual(holders(swarm.view).sort());
      for (const id of SERVICES) swarm.removeService(id);
      for (let at = 0; at < 2; at += 1) {
        swarm.pass(120_000);
        settle(swarm, plugin);
      }
      swarm.write("api", (tx) => tx.delete("network", "net"));
      swarm.settle();
      settle(swarm, plugin);
      settle(swarm, plugin);
      expect([...plugin.taken]).toEqual([]);
      expect(swarm.view.count("resource")).toBe(0);
    }),
    { numRuns: Number(process.env["PLAN_RUNS"] ?? 60) },
  );
});

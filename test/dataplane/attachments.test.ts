/** Networks of the swarm lent to containers that were started by hand, on a worker. */

import { afterEach, beforeEach, expect, test } from "vitest";
import type { Loan } from "#engine/networks/lend.ts";
import { stateOf } from "#model/task.ts";
import type { EndpointSettings } from "#wire/docker/networks.ts";
import type { Task } from "#wire/gen/swarmkit/objects_pb.js";
import { TaskState } from "#wire/gen/swarmkit/types_pb.js";
import { PretendSwarm } from "./cluster.ts";
import { until } from "./task-host.ts";

const CONTAINER = "c".repeat(64);

let swarm: PretendSwarm;

beforeEach(async () => {
  swarm = await PretendSwarm.open();
  await swarm.form(1, 1);
});

afterEach(() => swarm.close());

function lend(target: string, settings: EndpointSettings = {}): Promise<Loan> {
  return swarm.host("w1").lender.lend(CONTAINER, target, settings);
}

function attachments(): readonly Task[] {
  const tasks = [...(swarm.node("m1").swarm.manager()?.state.view().all("task") ?? [])];
  return tasks.filter(({ spec }) => spec?.runtime.case === "attachment");
}

test("a container gets an address, others find it, and it is free when the container leaves", async () => {
  const id = await swarm.network("shared", {
    attachable: true,
    ipam: {
      configs: [{ subnet: "10.44.0.0/29" }],
      driver: { name: "default" },
    },
  });
  const host = swarm.host("w1");
  const loan = await lend("shared", { Aliases: ["hand", "other-name"] });
  expect(loan).toMatchObject({ networkId: id, addresses: ["10.44.0.2/29"] });
  host.attach(CONTAINER, loan);
  await until("it counts as running", () => swarm.host("w1").ready("shared").length === 1);
  const [endpoint] = swarm.host("w1").kernel.get(id)?.endpoints ?? [];
  expect(endpoint).toMatchObject({
    name: "hand",
    aliases: ["other-name", CONTAINER.slice(0, 12)],
    addresses: ["10.44.0.2"],
  });
  host.attached.clear();
  host.lender.giveBack(loan.id);
  await until("nothing is held", () => attachments().length === 0);
  const again = await lend("shared", { IPAMConfig: { IPv4Address: "10.44.0.2" } });
  expect(again.addresses).toEqual(["10.44.0.2/29"]);
});

test("what cannot be lent is refused in docker's words", async () => {
  await swarm.network("private");
  await expect(lend("private")).rejects.toThrow(
    "Could not attach to network private: rpc error: code = PermissionDenied desc = network private not manually attachable",
  );
  await expect(lend("nowhere")).rejects.toThrow(
    "Could not attach to network nowhere: rpc error: code = NotFound desc = network nowhere not found",
  );
  expect(attachments()).toEqual([]);
});

test("a loan outlives a restart of the engine, and ends with its container", async () => {
  await swarm.network("shared", { attachable: true });
  swarm.host("w1").attach(CONTAINER, await lend("shared"));
  const running = () => attachments().filter((task) => stateOf(task) === TaskState.RUNNING);
  await until("it runs", () => running().length === 1);
  const before = running()[0]?.id;
  await swarm.restart("w1");
  await until("the node is back", () => swarm.node("w1").swarm.info().state === "active");
  expect(running().map((task) => task.id)).toEqual([before]);
  // The container ends while there is no engine to see it.
  await swarm.node("w1").stop();
  swarm.host("w1").attached.clear();
  await swarm.restart("w1");
  await until("nothing is held", () => attachments().length === 0);
}, 60_000);

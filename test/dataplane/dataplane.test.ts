/**
 * The control side of the data path with real managers and agents in one process: who is told which
 * tables, and that no task is stopped while some node still sends to it.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Executor } from "#agent/executor.ts";
import { must } from "#base/invariant.ts";
import { ClusterSpecSchema, ServiceSpecSchema } from "#wire/gen/swarmkit/specs_pb.js";
import { clusterOf, TestCluster, type TestNode } from "../identity/fixtures.ts";
import { TaskHost, until } from "./task-host.ts";

let directory: string;
let cluster: TestCluster;
const hosts = new Map<string, TaskHost>();
const executors = new Map<string, Executor>();

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "skep-dataplane-"));
  cluster = new TestCluster((name) => must(executors.get(name), name));
});

afterEach(async () => {
  await cluster.close();
  for (const host of hosts.values()) await host.close();
  hosts.clear();
  executors.clear();
  await rm(directory, { recursive: true, force: true });
});

async function node(name: string): Promise<TestNode> {
  const host = new TaskHost(name);
  hosts.set(name, host);
  executors.set(name, await host.open(directory));
  return cluster.node(name);
}

function host(name: string): TaskHost {
  return must(hosts.get(name), name);
}

async function swarm(managers: number, workers: number): Promise<readonly TestNode[]> {
  const first = await node("m1");
  const heartbeatPeriod = durationFromMs(1_000);
  const spec = create(ClusterSpecSchema, { dispatcher: { heartbeatPeriod } });
  await first.init({ spec, dataPathPort: 4790 });
  const tokens = await clusterOf(first);
  const nodes = [first];
  for (let at = 2; at <= managers; at++) {
    const next = await node(`m${at}`);
    await next.join(first, tokens.manager);
    nodes.push(next);
  }
  for (let at = 1; at <= workers; at++) {
    const next = await node(`w${at}`);
    await next.join(first, tokens.worker);
    nodes.push(next);
  }
  return nodes;
}

async function network(manager: TestNode, name: string): Promise<string> {
  const spec = { annotations: { name }, driverConfig: { name: "overlay" } };
  const { network: made } = await manager.swarm.control().createNetwork({ spec });
  return must(made, name).id;
}

/** A service with a task on each node, or on those that the constraints name. */
async function service(
  manager: TestNode,
  name: string,
  networkId: string,
  constraints: readonly string[] = [],
): Promise<string> {
  const spec = create(ServiceSpecSchema, {
    annotations: { name },
    mode: { case: "global", value: {} },
    task: {
      runtime: { case: "container", value: { image: "web:1" } },
      networks: [{ target: networkId }],
      placement: { constraints: [...constraints] },
    },
  });
  const made = await manager.swarm.control().createService({ spec });
  return must(made.service, name).id;
}

async function removeService(manager: TestNode, serviceId: string): Promise<void> {
  await manager.swarm.control().removeService({ serviceId });
}

function tablesOf(name: string): readonly string[] {
  return [...host(name).kernel.values()].map((table) => table.name).sort();
}

function everywhereReady(networkName: string, count: number, names: readonly string[]): boolean {
  return names.every((name) => host(name).ready(networkName).length === count);
}

test("each node has the tables of the networks that it serves, and of no others", async () => {
  const [manager] = await swarm(1, 2);
  const leader = must(manager, "manager");
  const front = await network(leader, "front");
  const back = await network(leader, "back");
  await service(leader, "web", front);
  const db = await service(leader, "db", back, ["node.hostname==w2"]);
  const names = ["m1", "w1", "w2"];
  await until("all know all of front", () => everywhereReady("front", 3, names));
  await until("w2 knows back", () => everywhereReady("back", 1, ["w2"]));
  expect(names.map(tablesOf)).toEqual([["front"], ["front"], ["back", "front"]]);
  expect(host("w1").dataPathPort).toBe(4790);
  const [table] = host("w1").kernel.values();
  expect(table?.peers.map(({ dataPathAddr }) => dataPathAddr)).toEqual(
    names.map(() => "127.0.0.1"),
  );
  expect(table?.services.map(({ name }) => name)).toEqual(["web"]);
  await removeService(leader, db);
  await until("back has gone from w2", () => tablesOf("w2").join() === "front");
});

test("a task stops only when every live node sends elsewhere", async () => {
  const [manager] = await swarm(1, 2);
  const leader = must(manager, "manager");
  const front = await network(leader, "front");
  const id = await service(leader, "web", front);
  const client = await service(leader, "client", front);
  const names = ["m1", "w1", "w2"];
  await until("all know all", () => everywhereReady("front", 6, names));
  host("w1").hold();
  await removeService(leader, id);
  await until("the others know", () => everywhereReady("front", 3, ["m1", "w2"]));
  // Nodes that have long been told wait for the one that has not.
  expect(names.map((name) => host(name).stopped.size)).toEqual([0, 0, 0]);
  host("w1").release();
  await until("all have stopped", () => names.every((name) => host(name).stopped.size === 1));
  for (const name of names) expect([...host(name).stopped.values()]).toEqual(["released"]);
  await removeService(leader, client);
  await until("no tasks are left", () => names.every((name) => host(name).running.size === 0));
});

test("a node that is down is not waited for", async () => {
  const [manager, , lost] = await swarm(1, 2);
  const leader = must(manager, "manager");
  const front = await network(leader, "front");
  const id = await service(leader, "web", front);
  await until("all know all", () => everywhereReady("front", 3, ["m1", "w1", "w2"]));
  host("w2").hold();
  await must(lost, "w2").stop();
  await removeService(leader, id);
  await until(
    "the others have stopped",
    () => host("m1").stopped.size + host("w1").stopped.size === 2,
  );
  expect([...host("m1").stopped.values(), ...host("w1").stopped.values()]).toEqual([
    "released",
    "released",
  ]);
}, 60_000);

test("a new leader learns from the nodes what the old one knew", async () => {
  const [first, second, third] = await swarm(3, 1);
  const leader = must(first, "first");
  const front = await network(leader, "front");
  const id = await service(leader, "web", front);
  const names = ["m2", "m3", "w1"];
  await until("all know all", () => everywhereReady("front", 4, names));
  host("w1").hold();
  await removeService(leader, id);
  await until("the others know", () => everywhereReady("front", 0, ["m2", "m3"]));
  await leader.stop();
  const leads = () =>
    [second, third].some((other) => other?.swarm.manager()?.state.isLeader() === true);
  await until("another leads", leads);
  await until("it keeps the tasks of w1's peers", () => host("m2").stopped.size === 0);
  host("w1").release();
  await until("all have stopped", () => names.every((name) => host(name).stopped.size === 1));
  for (const name of names) expect([...host(name).stopped.values()]).toEqual(["released"]);
}, 90_000);

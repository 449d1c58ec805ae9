/**
 * The control side of the data path with real managers and agents in one process: who is told which
 * tables, and that no task is stopped while some node still sends to it.
 */

import { afterEach, beforeEach, expect, test } from "vitest";
import { PretendSwarm } from "./cluster.ts";
import { type TaskHost, until } from "./task-host.ts";

let swarm: PretendSwarm;

beforeEach(async () => {
  swarm = await PretendSwarm.open();
});

afterEach(() => swarm.close());

function host(name: string): TaskHost {
  return swarm.host(name);
}

function tablesOf(name: string): readonly string[] {
  return [...host(name).kernel.values()].map((table) => table.name).sort();
}

function everywhereReady(networkName: string, count: number, names: readonly string[]): boolean {
  return names.every((name) => host(name).ready(networkName).length === count);
}

test("each node has the tables of the networks that it serves, and of no others", async () => {
  await swarm.form(1, 2);
  const front = await swarm.network("front");
  const back = await swarm.network("back");
  await swarm.service("web", front);
  const db = await swarm.service("db", back, ["node.hostname==w2"]);
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
  await swarm.removeService(db);
  await until("back has gone from w2", () => tablesOf("w2").join() === "front");
});

test("a task stops only when every live node sends elsewhere", async () => {
  await swarm.form(1, 2);
  const front = await swarm.network("front");
  const id = await swarm.service("web", front);
  const client = await swarm.service("client", front);
  const names = ["m1", "w1", "w2"];
  await until("all know all", () => everywhereReady("front", 6, names));
  host("w1").hold();
  await swarm.removeService(id);
  await until("the others know", () => everywhereReady("front", 3, ["m1", "w2"]));
  // Nodes that have long been told wait for the one that has not.
  expect(names.map((name) => host(name).stopped.size)).toEqual([0, 0, 0]);
  host("w1").release();
  await until("all have stopped", () => names.every((name) => host(name).stopped.size === 1));
  for (const name of names) expect([...host(name).stopped.values()]).toEqual(["released"]);
  await swarm.removeService(client);
  await until("no tasks are left", () => names.every((name) => host(name).running.size === 0));
});

test("a node that is down is not waited for", async () => {
  await swarm.form(1, 2);
  const front = await swarm.network("front");
  const id = await swarm.service("web", front);
  await until("all know all", () => everywhereReady("front", 3, ["m1", "w1", "w2"]));
  host("w2").hold();
  await swarm.node("w2").stop();
  await swarm.removeService(id);
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
  await swarm.form(3, 1);
  const front = await swarm.network("front");
  const id = await swarm.service("web", front);
  const names = ["m2", "m3", "w1"];
  await until("all know all", () => everywhereReady("front", 4, names));
  host("w1").hold();
  await swarm.removeService(id);
  await until("the others know", () => everywhereReady("front", 0, ["m2", "m3"]));
  await swarm.node("m1").stop();
  const leads = () =>
    ["m2", "m3"].some((name) => swarm.node(name).swarm.manager()?.state.isLeader() === true);
  await until("another leads", leads);
  await until("it keeps the tasks of w1's peers", () => host("m2").stopped.size === 0);
  host("w1").release();
  await until("all have stopped", () => names.every((name) => host(name).stopped.size === 1));
  for (const name of names) expect([...host(name).stopped.values()]).toEqual(["released"]);
}, 90_000);

import { expect, test } from "vitest";
import { Reachability, withoutSilent } from "./reachability.ts";

function after(outcomes: string): boolean {
  const nodes = new Reachability();
  for (const outcome of outcomes) nodes.observe("n1", outcome === "+");
  return nodes.silent.has("n1");
}

test("three misses make a node silent, three answers in a row make it heard", () => {
  expect(after("+--")).toBe(false);
  expect(after("+--+--")).toBe(false);
  expect(after("+---")).toBe(true);
  expect(after("+---++")).toBe(true);
  expect(after("+---++-++-++")).toBe(true);
  expect(after("+---+++")).toBe(false);
});

test("who never answered is not judged", () => {
  expect(after("----------")).toBe(false);
  expect(after("-----+---")).toBe(true);
});

test("a change is told once, and a node that is no peer any more is forgotten", () => {
  const nodes = new Reachability();
  const told = "+----+++".split("").map((outcome) => nodes.observe("n1", outcome === "+"));
  expect(told).toEqual([false, false, false, true, false, false, false, true]);
  for (const _ of "---") nodes.observe("n1", false);
  expect(nodes.keep(new Set(["n1"]))).toBe(false);
  expect(nodes.keep(new Set(["n2"]))).toBe(true);
  expect([...nodes.silent]).toEqual([]);
});

const task = (taskId: string, nodeId: string, serviceId: string, ready = true) => ({
  taskId,
  nodeId,
  serviceId,
  ready,
  v4: undefined,
  v6: undefined,
  mac: "",
  canary: false,
});

test("tasks of silent nodes leave the balance, unless nobody else would be in it", () => {
  const tasks = [
    task("t1", "n1", "web"),
    task("t2", "n2", "web"),
    task("t3", "n1", "db"),
    task("t4", "n1", "web", false),
    task("t5", "n2", "db", false),
  ];
  expect(withoutSilent(tasks, new Set())).toBe(tasks);
  const left = withoutSilent(tasks, new Set(["n1"]));
  expect(left.filter(({ ready }) => ready).map(({ taskId }) => taskId)).toEqual(["t2", "t3"]);
  expect(left.filter(({ lost }) => lost).map(({ taskId }) => taskId)).toEqual(["t4"]);
  const none = withoutSilent(tasks, new Set(["n1", "n2"]));
  expect(none.filter(({ ready }) => ready).map(({ taskId }) => taskId)).toEqual(["t1", "t2", "t3"]);
});

/**
 * The story of the demo on three managers: a service spreads, hosts lose their power, leaders their
 * engines, a host its network, and the service goes on. The times are the project's promises at the
 * default heartbeat of 5 s, not measurements.
 */

import { availableParallelism, loadavg } from "node:os";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { startOf } from "./host-state.ts";
import { IMAGE, Lab, type Task, until } from "./lab.ts";

const HOSTS = ["h1", "h2", "h3"];
const REPLICAS = 5;
/** All replicas of a dead host run elsewhere. */
const MOVED_WITHIN_MS = 20_000;
/** The leader has lost its power: the next write is accepted. */
const WRITTEN_WITHIN_MS = 3000;

let lab: Lab;

beforeAll(async () => {
  lab = await Lab.up({ hosts: 3, managers: 3 });
  await lab.loadImage(HOSTS);
});

afterAll(() => lab.down());

function settled(host: string, count: number, without?: string): Promise<readonly Task[]> {
  return until(
    `${count} tasks run${without === undefined ? "" : `, none on ${without}`}`,
    async () => {
      const away = without === undefined ? "" : (await lab.node(host, without)).ID;
      const running = (await lab.running(host, "web")).filter(({ NodeID }) => NodeID !== away);
      return running.length === count && running;
    },
    MOVED_WITHIN_MS,
  );
}

async function allReady(host: string): Promise<void> {
  await until("all nodes are ready and all managers reachable", async () =>
    (await lab.nodes(host)).every(
      ({ Status, ManagerStatus }) =>
        Status.State === "ready" && ManagerStatus?.Reachability === "reachable",
    ),
  );
}

/** A host that does not lead, and runs some of the service. */
async function busyFollower(): Promise<string> {
  const nodes = await lab.nodes("h1");
  const running = await lab.running("h1", "web");
  const found = nodes.find(
    ({ ID, ManagerStatus }) =>
      ManagerStatus?.Leader !== true && running.some(({ NodeID }) => NodeID === ID),
  );
  if (found === undefined) throw new Error("the service runs on the leader alone");
  return found.Description.Hostname;
}

test("a service of five replicas converges and spreads", async () => {
  const speaks = ["sh", "-c", "echo born; exec serve"];
  const service = ["--name=web", `--replicas=${REPLICAS}`, IMAGE, ...speaks];
  await lab.docker("h2", "service", "create", ...service);
  const counts = new Map<string, number>();
  for (const { NodeID = "" } of await settled("h3", REPLICAS)) {
    counts.set(NodeID, (counts.get(NodeID) ?? 0) + 1);
  }
  expect([...counts.values()].sort((a, b) => a - b)).toEqual([1, 2, 2]);
});

test("a host loses its power: its replicas run elsewhere within 20 s; it comes back", async () => {
  const dead = await busyFollower();
  const witness = HOSTS.find((host) => host !== dead) ?? "";
  const logs = lab.follow(witness, "service", "logs", "-f", "web");
  onTestFinished(() => logs.stop());
  const births = () => logs.said().match(/^web\.\d\.\w+@h\d .*born$/gm) ?? [];
  await until("all have spoken", async () => births().length >= REPLICAS);
  await lab.command("kill", dead);
  await settled(witness, REPLICAS, dead);
  expect(await lab.docker(witness, "service", "ls", "--format={{.Replicas}}")).toBe("5/5");
  const warning = new RegExp(`@${dead} .*warning: node ${dead} \\(\\w+\\) does not answer`);
  await until("who follows the logs is told", async () => warning.test(logs.said()));
  // Its connection stands for minutes; who asks for logs does not wait for it.
  const partial = await lab.run(witness, "docker", ["service", "logs", "web"]);
  expect(partial.stderr).toMatch(/incomplete log stream.*: node \w+ /);
  expect(partial.stdout).toMatch(/ born$/m);

  await lab.command("start", dead);
  await allReady(witness);
  await until("what ran on the dead host is not there twice", async () => {
    const containers = await lab.docker(dead, "ps", "-q");
    return containers === "" && (await lab.running(witness, "web")).length === REPLICAS;
  });
  // Who follows the logs hears of those that moved, and nothing twice.
  const heard = (task: Task) => births().some((line) => line.includes(task.ID.slice(0, 12)));
  await until("every task was heard of", async () =>
    (await lab.running(witness, "web")).every(heard),
  );
  expect(new Set(births()).size).toBe(births().length);
});

test("the leader loses its power: the next write is accepted within 3 s", async () => {
  const leader = await lab.leader("h1");
  const witness = HOSTS.find((host) => host !== leader) ?? "";
  const begun = performance.now();
  await lab.command("kill", leader);
  await until("a write is accepted", () => writeSomething(witness));
  const written = performance.now() - begun;
  const slowness = Math.max(1, (loadavg()[0] ?? 0) / availableParallelism());
  console.info(
    `the next write after the leader's power cut: ${Math.round(written)} ms (load ${slowness.toFixed(1)})`,
  );
  await settled(witness, REPLICAS, leader);
  await lab.command("start", leader);
  await allReady(witness);
  // Where others want the processors, too, everything takes as many times longer.
  expect(written).toBeLessThan(WRITTEN_WITHIN_MS * slowness);
});

test("the leader's engine is killed (-9): its containers go on, scaling works elsewhere", async () => {
  const leader = await lab.leader("h1");
  const other = HOSTS.find((host) => host !== leader) ?? "";
  const before = await processes(leader);
  expect(before.size).toBeGreaterThan(0);
  await lab.command("stop-engine", leader);
  await until("another leads, and takes the change", async () => {
    const { status } = await lab.update(other, "web", (spec) => ({
      ...spec,
      Mode: { Replicated: { Replicas: REPLICAS + 3 } },
    }));
    return status === 200;
  });
  await settled(other, REPLICAS + 3);
  for (const [pid, start] of before) expect(startOf(pid), `pid ${pid}`).toBe(start);
  await lab.command("start", leader);
  await allReady(other);
  await lab.docker(leader, "service", "scale", `web=${REPLICAS}`);
  await settled(leader, REPLICAS);
});

test("a host is cut off the network, and healed", async () => {
  const away = await busyFollower();
  const witness = HOSTS.find((host) => host !== away) ?? "";
  await lab.command("cut", away);
  await settled(witness, REPLICAS, away);
  await lab.command("heal", away);
  await allReady(witness);
  await until("what was started elsewhere is not there twice", async () => {
    const here = (await lab.docker(away, "ps", "-q")).split("\n").filter(Boolean).length;
    const id = (await lab.node(witness, away)).ID;
    const running = await lab.running(witness, "web");
    return (
      running.length === REPLICAS && running.filter(({ NodeID }) => NodeID === id).length === here
    );
  });
});

async function writeSomething(host: string): Promise<boolean> {
  const Name = `written-${performance.now()}`;
  return (await lab.http(host, "POST", "/secrets/create", { Name, Data: "eA==" })).status === 201;
}

/** pid → start time of every container that runs on a host. */
async function processes(host: string): Promise<ReadonlyMap<number, string>> {
  const ids = (await lab.docker(host, "ps", "-q")).split("\n").filter(Boolean);
  const pids = await lab.docker(host, "inspect", "--format={{.State.Pid}}", ...ids);
  return new Map(pids.split("\n").map((pid) => [Number(pid), startOf(Number(pid)) ?? ""]));
}

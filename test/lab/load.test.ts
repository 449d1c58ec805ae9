/**
 * A steady load of short connections through the mesh of five hosts while its service is scaled and its
 * tasks are stopped one by one, by the engine's own API too: no request fails. In the suite with a rate
 * that any machine bears; `SKEP_LOAD_RATE=1000 SKEP_LOAD_SECONDS=120` is the whole proof.
 */

import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Lab, type Task, until } from "./lab.ts";
import { PROBE, PROBE_HEALTH, probeService, startTraffic } from "./traffic.ts";

const RATE = Number(process.env["SKEP_LOAD_RATE"] ?? 200);
/** The load goes on at least so long: scaling and stopping are repeated until then. */
const SECONDS = Number(process.env["SKEP_LOAD_SECONDS"] ?? 20);
const HOSTS = ["h1", "h2", "h3", "h4", "h5"];
const PORT = 8080;

let lab: Lab;
let addresses: readonly string[];

beforeAll(async () => {
  lab = await Lab.up({ hosts: HOSTS.length, managers: 3 });
  await lab.loadImage(HOSTS, PROBE);
  addresses = HOSTS.map((host) => `${lab.address(host)}:${PORT}`);
  const spec = probeService("web", 10, PORT);
  expect(await lab.http("h1", "POST", "/services/create", spec)).toMatchObject({ status: 201 });
  await runs(10);
});

afterAll(() => lab.down());

function runs(count: number): Promise<readonly Task[]> {
  return until(`${count} tasks run, and no more`, async () => {
    const tasks = await lab.tasks("h1", "web");
    const live = tasks.filter(({ Status }) => ["running", "starting"].includes(Status.State));
    const running = await lab.running("h1", "web");
    return running.length === count && live.length === count && running;
  });
}

async function hostOf({ NodeID }: Task): Promise<string> {
  const nodes = await lab.nodes("h1");
  return nodes.find(({ ID }) => ID === NodeID)?.Description.Hostname ?? "";
}

async function replaced(taskId: string): Promise<void> {
  await until("another takes its place", async () => {
    const running = await lab.running("h1", "web");
    return running.length === 10 && running.every(({ ID }) => ID !== taskId);
  });
}

async function scale(count: number): Promise<void> {
  await lab.docker("h1", "service", "scale", "-d", `web=${count}`);
  await runs(count);
}

/** The operator's hand: the container of a task is stopped on its host, and the swarm starts another. */
async function stopOne(task: Task): Promise<void> {
  await lab.docker(await hostOf(task), "stop", containerOf(task));
  await replaced(task.ID);
}

function containerOf({ Status }: Task): string {
  return Status.ContainerStatus?.ContainerID ?? "";
}

test("scaled and stopped one by one, no request fails", async () => {
  const traffic = await startTraffic(RATE, addresses);
  const deadline = performance.now() + SECONDS * 1_000;
  do {
    await scale(3);
    await scale(10);
    for (const task of await lab.running("h1", "web")) {
      await stopOne(task);
      if (performance.now() > deadline) break;
    }
  } while (performance.now() < deadline);
  const result = await traffic.stop();
  console.info(JSON.stringify({ ...result, failures: result.failures.length }));
  expect(result.failures).toEqual([]);
  expect(result.rate).toBeGreaterThan(RATE * 0.9);
}, 600_000);

test("what its health check or a constraint ends is led away from first", async () => {
  const changed = await lab.update("h1", "web", (spec) => ({
    ...spec,
    TaskTemplate: {
      ...spec.TaskTemplate,
      ContainerSpec: {
        Image: PROBE.name,
        Healthcheck: { ...PROBE_HEALTH, Interval: 1e9, Retries: 1 },
      },
      Placement: { Constraints: ["node.labels.web != no"] },
    },
    UpdateConfig: {
      Parallelism: 0,
      FailureAction: "pause",
      Monitor: 1e9,
      MaxFailureRatio: 0,
      Order: "stop-first",
    },
  }));
  expect(changed).toMatchObject({ status: 200 });
  await until("all tasks are the new ones", async () => {
    const { UpdateStatus } = await lab.service("h1", "web");
    return UpdateStatus?.State === "completed";
  });
  await runs(10);
  const traffic = await startTraffic(RATE, addresses);
  const [sick] = await lab.running("h1", "web");
  if (sick === undefined) throw new Error("no task");
  await lab.docker(await hostOf(sick), "exec", containerOf(sick), "sh", "-c", "echo >/tmp/sick");
  await replaced(sick.ID);
  const begunMs = performance.now();
  await lab.docker("h1", "node", "update", "--label-add=web=no", "h5");
  await until("no task runs on h5", async () => {
    const running = await lab.running("h1", "web");
    const hosts = await Promise.all(running.map(hostOf));
    return running.length === 10 && !hosts.includes("h5");
  });
  await until("no container of it is left there", async () => {
    const filter = "label=com.docker.swarm.service.name=web";
    return (await lab.docker("h5", "ps", "-q", "--filter", filter)) === "";
  });
  console.info(`moved away from h5 in ${Math.round(performance.now() - begunMs)} ms`);
  const result = await traffic.stop();
  console.info(JSON.stringify({ ...result, failures: result.failures.length }));
  expect(result.failures).toEqual([]);
}, 120_000);

test("a client may ask all nodes from one port of its own, and be led to one task", async () => {
  const spec = probeService("one", 1, PORT + 1);
  expect(await lab.http("h1", "POST", "/services/create", spec)).toMatchObject({ status: 201 });
  await until("every node answers", async () => {
    const asked = await Promise.all(HOSTS.map((host) => hello(host, undefined)));
    for (const socket of asked) socket.destroy();
    return true;
  });
  const port = await freePort();
  // All of them stay open: to the task they must be five connections.
  for (const socket of await Promise.all(HOSTS.map((host) => hello(host, port)))) {
    socket.write("bye\n");
    const [answer] = await once(socket, "data");
    expect(String(answer)).toMatch(/ \d+\.\d+\.\d+\.\d+\n$/);
    socket.destroy();
  }
  await lab.docker("h1", "service", "rm", "one");
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0);
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  await once(server.close(), "close");
  return port;
}

/** A connection that has been answered once, and stays. */
async function hello(host: string, localPort: number | undefined): Promise<Socket> {
  const where = { host: lab.address(host), port: PORT + 1 };
  const socket = connect(localPort === undefined ? where : { ...where, localPort });
  socket.write("stay\n");
  await once(socket, "data", { signal: AbortSignal.timeout(30_000) });
  return socket;
}

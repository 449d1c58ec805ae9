/** Networks of the swarm that a plug-in of scope "global" carries: a process of its own, and tasks. */

import { type ChildProcess, execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { EngineProcess } from "../engine/engine-process.ts";
import {
  type Call,
  endPlugin,
  importDemoImage,
  removeLinks,
  socketOf,
  spawnPlugin,
  takeCalls,
} from "./plugin-process.ts";

const NAME = `skep-wide-${process.pid}`;
/** Begins the names of all interfaces that the plug-in makes. */
const TAG = `u${process.pid % 100_000}`;
const LISTEN = `127.0.0.1:${20_000 + (process.pid % 10_000)}`;

let engine: EngineProcess;
let folder: string;
let plugin: ChildProcess | undefined;

async function startPlugin(): Promise<void> {
  plugin = await spawnPlugin("network-plugin.mjs", NAME, folder, TAG, "global");
}

async function stopPlugin(): Promise<void> {
  await endPlugin(plugin);
  rmSync(socketOf(NAME), { force: true });
}

const ok = async (...args: string[]) => {
  const finished = await engine.skep(...args);
  expect(finished, finished.stderr).toMatchObject({ code: 0 });
  return finished.stdout;
};

/** The plug-in's calls since the last time this was asked; `method` without its part. */
function calls(): readonly Call[] {
  return takeCalls(folder).map((call) => ({
    ...call,
    method: call.method.replace("NetworkDriver.", ""),
  }));
}

function held() {
  const text = readFileSync(join(folder, "state"), "utf8");
  const all = JSON.parse(text) as Record<string, object>;
  const count = (what: string) => Object.keys(all[what] ?? {}).length;
  return {
    networks: count("networks"),
    endpoints: count("endpoints"),
    allocated: count("allocated"),
  };
}

/** What comes about without a command that waits for it. */
async function until(condition: () => Promise<boolean> | boolean, what: string): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    if (await condition()) return;
    await new Promise((go) => setTimeout(go, 100));
  }
  throw new Error(`${what} did not come about:\n${engine.log.slice(-4000)}`);
}

/** Killed and started again; resolves when its managers answer. */
async function crash(): Promise<void> {
  await engine.end("SIGKILL");
  calls();
  await engine.start(["--bridge=none"]);
  await until(async () => (await engine.skep("node", "ls")).code === 0, "a leader");
}

const running = (service: string, count: number) =>
  until(async () => {
    const states = await ok("service", "ps", "-f", "desired-state=running", service);
    return (states.match(/Running \S|Running\s+\d|Running [a-z]/g) ?? []).length === count;
  }, `${count} running tasks of ${service}`);

const reach = (name: string) =>
  engine.skep("exec", "client", "wget", "-qO-", `http://${name}/cgi-bin/index.cgi`);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "skep-plugin-"));
  engine = new EngineProcess();
  await startPlugin();
  await engine.start(["--bridge=none"]);
  await importDemoImage(engine);
  await ok("swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", LISTEN);
});

afterAll(async () => {
  await engine.skep("rm", "-f", "client");
  await engine.skep("swarm", "leave", "-f");
  await engine.destroy();
  await stopPlugin();
  removeLinks(TAG);
  rmSync(folder, { recursive: true, force: true });
});

test("the leader gives the network to its plug-in, the node makes it with the first task", async () => {
  calls();
  const id = (
    await ok(
      "network",
      "create",
      "-d",
      NAME,
      "--subnet",
      "10.235.0.0/24",
      "-o",
      "a=b",
      "--attachable",
      "wide",
    )
  ).trim();
  await until(() => held().allocated === 1, "the allocation");
  const allocate = calls().find(({ method }) => method === "AllocateNetwork");
  const pool = { AddressSpace: "GlobalDefault", Pool: "10.235.0.0/24", Gateway: "10.235.0.1/24" };
  expect(allocate?.body).toMatchObject({
    NetworkID: id,
    Options: { a: "b" },
    IPv4Data: [pool],
    IPv6Data: [],
  });
  expect(held()).toEqual({ networks: 0, endpoints: 0, allocated: 1 });

  await ok(
    "service",
    "create",
    "-d",
    "--name",
    "web",
    "--replicas",
    "2",
    "--network",
    "wide",
    "web:demo",
    "serve",
  );
  await running("web", 2);
  // Plug-ins are asked again who they are when they have not been used for a while.
  const greetings = ["Plugin.Activate", "GetCapabilities"];
  const made = calls().filter(({ method }) => !greetings.includes(method ?? ""));
  expect(made[0]).toMatchObject({
    method: "CreateNetwork",
    body: { NetworkID: id, IPv4Data: [pool] },
  });
  expect(made[0]?.body?.["Options"]).toMatchObject({
    "com.docker.network.generic": { a: "b", tunnel: expect.stringMatching(/^\d+$/) },
  });
  const endpoints = made.filter(({ method }) => method === "CreateEndpoint");
  expect(endpoints).toHaveLength(2);
  for (const { body } of endpoints) {
    expect(body).toMatchObject({
      Interface: { Address: expect.stringMatching(/^10\.235\.0\.\d+\/24$/) },
    });
  }
  const format = "{{.Driver}} {{.Scope}} {{.Options.a}}";
  expect(await ok("network", "inspect", "-f", format, "wide")).toBe(`${NAME} swarm b\n`);
  expect((await ok("network", "ls", "-q", "-f", "name=wide")).trim().split("\n")).toHaveLength(1);
});

test("names and virtual addresses lead to the tasks, for containers that attach as well", async () => {
  await ok("run", "-d", "--name", "client", "--network", "wide", "web:demo", "serve");
  const [vip] = (
    await ok("service", "inspect", "-f", "{{range .Endpoint.VirtualIPs}}{{.Addr}}{{end}}", "web")
  ).split("/");
  const answers = new Set<string>();
  await until(async () => {
    const { stdout } = await reach("web");
    const address = /address (10\.235\.0\.\d+)\/24/.exec(stdout)?.[1];
    if (address !== undefined) answers.add(address);
    return answers.size === 2;
  }, "both tasks behind the virtual address");
  expect(answers).not.toContain(vip);
  expect((await reach("tasks.web")).stdout).toMatch(/address 10\.235\.0\.\d+\/24/);
  expect((await reach("web.1")).stdout).toMatch(/address 10\.235\.0\.\d+\/24/);
  const links = execFileSync("ip", ["-json", "-d", "link"]).toString();
  expect(links).not.toContain(
    `vx-${(await ok("network", "ls", "-q", "--no-trunc", "-f", "name=wide")).trim().slice(0, 12)}`,
  );
});

test("an engine that was killed finds the network and its containers again", async () => {
  const before = held();
  await crash();
  await running("web", 2);
  await until(async () => (await reach("web")).code === 0, "the service after the restart");
  expect(calls().map(({ method }) => method)).not.toContain("AllocateNetwork");
  expect(held()).toEqual(before);
});

test("who waits for the plug-in says so, and goes on when it can", async () => {
  writeFileSync(join(folder, "busy"), "");
  await ok("network", "create", "-d", NAME, "narrow");
  await ok(
    "service",
    "create",
    "-d",
    "--name",
    "waits",
    "--network",
    "narrow",
    "web:demo",
    "serve",
  );
  await until(async () => {
    const shown = await ok("service", "ps", "--no-trunc", "--format", "{{.Error}}", "waits");
    return /waits for the plugin.*no tunnel is free/.test(shown);
  }, "the reason on the task");
  rmSync(join(folder, "busy"));
  await running("waits", 1);
  await ok("service", "rm", "waits");
  await until(() => held().networks === 1, "the end of the network on the node");
  await ok("network", "rm", "narrow");
  expect(held()).toMatchObject({ networks: 1, allocated: 1 });
});

test("a leader that ends between the plug-in's word and its own asks again", async () => {
  const stuck = new Promise((resolve) => plugin?.stdout?.once("data", resolve));
  await ok("network", "create", "-d", NAME, "-o", "stuck-once=AllocateNetwork", "torn");
  await stuck;
  await crash();
  const inspect = ["network", "inspect", "-f", "{{.Options.tunnel}}", "torn"];
  await until(async () => /^\d+\n$/.test((await engine.skep(...inspect)).stdout), "the options");
  expect(
    calls()
      .map(({ method }) => method)
      .filter((method) => /Allocate|Free/.test(method)),
  ).toEqual(["AllocateNetwork", "FreeNetwork", "AllocateNetwork"]);
  await ok("network", "rm", "torn");
  expect(held().allocated).toBe(1);
});

test("what managers cannot do with a plug-in is refused", async () => {
  const ipam = await engine.skep("network", "create", "-d", NAME, "--ipam-driver", "null", "no");
  expect(ipam.stderr).toContain("leave --ipam-driver null out");
  const busy = await engine.skep("network", "rm", "wide");
  expect(busy.stderr).toContain("is in use by service");
});

test("the network is not removed before its plug-in has heard of it", async () => {
  await ok("rm", "-f", "client");
  await ok("service", "rm", "web");
  await until(() => held().networks === 0, "the end of the network on the node");
  expect(held()).toEqual({ networks: 0, endpoints: 0, allocated: 1 });
  expect(readdirSync(join(engine.folder, "d/networks-held"))).toEqual([]);
  await stopPlugin();
  const refused = await engine.skep("network", "rm", "wide");
  expect(refused.stderr).toContain("the network stays until its plugin is there to hear of it");
  await startPlugin();
  // It has let go, and gets the network again as long as that is not removed.
  await ok("network", "rm", "wide");
  expect(held()).toEqual({ networks: 0, endpoints: 0, allocated: 0 });
});

/** Networks of the swarm whose addresses a plug-in gives: a strict process of its own, and tasks. */

import { type ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { EngineProcess } from "../engine/engine-process.ts";
import { endPlugin, importDemoImage, socketOf, spawnPlugin, takeCalls } from "./plugin-process.ts";

const NAME = `skep-addr-${process.pid}`;
const LISTEN = `127.0.0.1:${30_000 + (process.pid % 10_000)}`;

let engine: EngineProcess;
let folder: string;
let plugin: ChildProcess | undefined;

async function startPlugin(): Promise<void> {
  plugin = await spawnPlugin("address-plugin.mjs", NAME, folder);
}

async function stopPlugin(): Promise<void> {
  await endPlugin(plugin);
  rmSync(socketOf(NAME), { force: true });
}

const ok = async (...args: string[]) => {
  const finished = await engine.skep(...args);
  expect(finished, finished.stderr).toMatchObject({ code: 0 });
  return finished.stdout.trim();
};

interface PluginState {
  readonly pools: Readonly<Record<string, readonly string[]>>;
  readonly wrong: readonly string[];
}

const known = () => JSON.parse(readFileSync(join(folder, "state"), "utf8")) as PluginState;
/** Addresses that the plug-in has given of all pools. */
const taken = () => Object.values(known().pools).flat().sort();

/** What comes about without a command that waits for it. */
async function until(condition: () => Promise<boolean> | boolean, what: string): Promise<void> {
  const giveUpMs = performance.now() + 90_000;
  while (performance.now() < giveUpMs) {
    if (await condition()) return;
    await new Promise((go) => setTimeout(go, 150));
  }
  const tasks = await engine.skep("service", "ps", "--no-trunc", "web");
  throw new Error(
    `${what} did not come about:\n${tasks.stdout}\n${JSON.stringify(known())}\n${engine.log.slice(-4000)}`,
  );
}

const running = (service: string, count: number) =>
  until(async () => {
    const shown = await engine.skep(
      "service",
      "ls",
      "-f",
      `name=${service}`,
      "--format",
      "{{.Replicas}}",
    );
    return shown.stdout.trim() === `${count}/${count}`;
  }, `${count} running tasks of ${service}`);

/** Addresses of the running tasks, as their containers have them; none while one of them goes. */
async function addresses(service: string): Promise<readonly string[]> {
  const own = `label=com.docker.swarm.service.name=${service}`;
  const ids = (await ok("ps", "-q", "-f", own)).split("\n");
  const format = '{{(index .NetworkSettings.Networks "net").IPAddress}}';
  const { code, stdout } = await engine.skep("inspect", "-f", format, ...ids);
  return code === 0 ? stdout.trim().split("\n").sort() : [];
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "skep-plugin-"));
  engine = new EngineProcess();
  await startPlugin();
  await engine.start(["--bridge=none"]);
  await importDemoImage(engine);
  await ok("swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", LISTEN);
});

afterAll(async () => {
  await engine.skep("swarm", "leave", "-f");
  await engine.destroy();
  await stopPlugin();
  rmSync(folder, { recursive: true, force: true });
});

const CREATE = ["network", "create", "-d", "overlay", "--attachable", "--ipam-driver", NAME];

test("pools, virtual addresses and those of tasks are the plug-in's", async () => {
  await ok(...CREATE, "--ipam-opt", "site=a", "net");
  await ok(
    "service",
    "create",
    "-d",
    "--name",
    "web",
    "--replicas",
    "3",
    "--network",
    "net",
    "web:demo",
    "serve",
  );
  await running("web", 3);
  const calls = takeCalls(folder);
  expect(calls.find(({ method }) => method === "RequestPool")?.body).toMatchObject({
    AddressSpace: "everywhere",
    Pool: "",
    Options: { site: "a" },
    V6: false,
  });
  const [vip] = (
    await ok("service", "inspect", "-f", "{{range .Endpoint.VirtualIPs}}{{.Addr}}{{end}}", "web")
  ).split("/");
  const own = await addresses("web");
  expect(new Set([...own, vip]).size).toBe(4);
  // Three tasks, the service, the node, and the router.
  expect(taken()).toHaveLength(6);
  expect(taken()).toEqual(expect.arrayContaining([...own, vip, "10.234.0.254"]));
  const ipam = "{{.IPAM.Driver}} {{range .IPAM.Config}}{{.Subnet}} {{.Gateway}}{{end}}";
  expect(await ok("network", "inspect", "-f", ipam, "net")).toBe(
    `${NAME} 10.234.0.0/24 10.234.0.254`,
  );
});

test("who cannot have an address says why, and goes on when it comes", async () => {
  writeFileSync(join(folder, "full"), "");
  await ok("service", "scale", "-d", "web=4");
  const errors = async () => ok("service", "ps", "--no-trunc", "--format", "{{.Error}}", "web");
  await until(
    async () =>
      (await errors()).includes(
        `waits for an address of IPAM driver ${NAME}: remote: no address is left`,
      ),
    "the plug-in's reason on the task",
  );
  rmSync(join(folder, "full"));
  await running("web", 4);
  await stopPlugin();
  await ok("service", "scale", "-d", "web=5");
  await until(
    async () =>
      /waits for an address of IPAM driver.*not found on the manager/.test(await errors()),
    "the absence on the task",
  );
  await startPlugin();
  await running("web", 5);
  expect(taken()).toHaveLength(8);
});

test("addresses go back when the plug-in is there to hear of it", async () => {
  await stopPlugin();
  await ok("service", "scale", "-d", "web=2");
  await running("web", 2);
  await until(async () => (await addresses("web")).length === 2, "the end of three tasks");
  expect(taken()).toHaveLength(8);
  await engine.end("SIGKILL");
  await engine.start(["--bridge=none"]);
  await startPlugin();
  await until(() => taken().length === 5, "the return of the addresses");
  expect(taken()).toEqual(expect.arrayContaining([...(await addresses("web"))]));
});

test("a container may choose its address, if the plug-in agrees", async () => {
  const run = ["run", "-d", "--network", "net", "--ip", "10.234.0.77"];
  await ok(...run, "--name", "first", "web:demo", "serve");
  expect(taken()).toContain("10.234.0.77");
  await ok("rm", "-f", "first");
  await until(() => taken().length === 5, "the return of the address");
});

test("a leader that ends over the call leaves nothing in use twice, and tells what may be lost", async () => {
  const stuck = new Promise((resolve) => plugin?.stdout?.once("data", resolve));
  writeFileSync(join(folder, "stuck"), "");
  await ok("service", "scale", "-d", "web=3");
  await stuck;
  await engine.end("SIGKILL");
  await engine.start(["--bridge=none"]);
  await running("web", 3);
  expect(new Set(await addresses("web")).size).toBe(3);
  // That of the answer that nobody heard is the plug-in's loss.
  expect(taken()).toHaveLength(7);
  await engine.logged(/the plugin may hold addresses for the swarm that nobody uses/);
});

test("nothing is left when network and services go, also while the plug-in is away", async () => {
  await stopPlugin();
  await ok("service", "rm", "web");
  await until(
    async () => (await engine.skep("network", "rm", "net")).code === 0,
    "the network's end",
  );
  // Its subnet is not anybody's before the plug-in has it back.
  const again = await engine.skep(
    "network",
    "create",
    "-d",
    "overlay",
    "--subnet",
    "10.234.0.0/24",
    "again",
  );
  expect(again.code === 0 ? await shownError("again") : again.stderr).toContain("overlaps");
  await engine.skep("network", "rm", "again");
  await startPlugin();
  await until(() => taken().length === 1, "the return of all that the swarm knows");
  expect(known().wrong).toEqual([]);
  expect(existsSync(join(folder, "stuck"))).toBe(false);
});

async function shownError(name: string): Promise<string> {
  let shown = "";
  await ok("service", "create", "-d", "--name", "probe", "--network", name, "web:demo", "serve");
  await until(async () => {
    shown = await ok("service", "ps", "--no-trunc", "--format", "{{.Error}}", "probe");
    return shown !== "";
  }, "an error");
  await ok("service", "rm", "probe");
  return shown;
}

test("what cannot work is refused at once", async () => {
  const absent = await engine.skep(
    "network",
    "create",
    "-d",
    "overlay",
    "--ipam-driver",
    "nosuch",
    "no",
  );
  expect(absent.stderr).toContain('plugin "nosuch" not found');
  await ok(...CREATE, "--ipam-opt", "refuse=not today", "refused");
  await ok(
    "service",
    "create",
    "-d",
    "--name",
    "waits",
    "--network",
    "refused",
    "web:demo",
    "serve",
  );
  await until(
    async () =>
      /waits for a pool of IPAM driver.*not today/.test(
        await ok("service", "ps", "--no-trunc", "--format", "{{.Error}}", "waits"),
      ),
    "the reason on the task",
  );
  await ok("service", "rm", "waits");
  await ok("network", "rm", "refused");
});

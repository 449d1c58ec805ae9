/** Networks and addresses of a plug-in, a process of its own in the place where Docker looks for it. */

import type { ChildProcess } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DOCKERS, EngineProcess } from "../engine/engine-process.ts";
import {
  type Call,
  endPlugin,
  importDemoImage,
  removeLinks,
  socketOf,
  spawnPlugin,
  takeCalls,
} from "./plugin-process.ts";

const NAME = `skep-net-${process.pid}`;
/** Begins the names of all interfaces that the plug-in makes. */
const TAG = `t${process.pid % 100_000}`;

let engine: EngineProcess;
let folder: string;
let plugin: ChildProcess | undefined;
const extra: ChildProcess[] = [];

const spawnNetworks = (name: string, at: string, ...more: string[]) =>
  spawnPlugin("network-plugin.mjs", name, at, TAG, ...more);

/** A further plug-in's own place. */
function folderOf(name: string): string {
  const path = join(folder, name);
  mkdirSync(path, { recursive: true });
  return path;
}

async function startPlugin(): Promise<void> {
  plugin = await spawnNetworks(NAME, folder);
}

async function stopPlugin(): Promise<void> {
  await endPlugin(plugin);
  plugin = undefined;
}

/** A command during which the plug-in does not answer, and the engine dies. */
async function killedWhileStuck(...args: readonly string[]): Promise<void> {
  const stuck = new Promise((resolve) => plugin?.stdout?.once("data", resolve));
  const command = engine.skep(...args);
  await stuck;
  await engine.end("SIGKILL");
  expect(await command).not.toMatchObject({ code: 0 });
}

/** What the plug-in holds: nothing, when everything was given back. */
function held() {
  const path = join(folder, "state");
  const text = existsSync(path) ? readFileSync(path, "utf8") : "{}";
  const { networks = {}, endpoints = {}, pools = {} } = JSON.parse(text) as Record<string, object>;
  const count = (what: object) => Object.keys(what).length;
  return { networks: count(networks), endpoints: count(endpoints), pools: count(pools) };
}

/** A plug-in's calls since the last time this was asked. */
const calls = (at = folder) => takeCalls(at);

const methods = (all: readonly Call[]) =>
  all
    .map(({ method }) => method.replace("NetworkDriver.", "").replace("IpamDriver", "Ipam"))
    .filter((method) => method !== "Plugin.Activate");

const NOTHING = { networks: 0, endpoints: 0, pools: 0 };

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "skep-plugin-"));
  engine = new EngineProcess();
  await startPlugin();
  await engine.start(["--bridge=none"]);
  await importDemoImage(engine);
});

afterAll(async () => {
  const left = (await engine.skep("ps", "-aq")).stdout.trim().split("\n");
  await engine.skep("rm", "-f", ...left.filter((id) => id !== ""));
  await engine.skep("network", "prune", "-f");
  await engine.destroy();
  await stopPlugin();
  for (const child of extra) await endPlugin(child);
  for (const name of [NAME, `${NAME}-global`, `${NAME}-forgetful`])
    rmSync(socketOf(name), { force: true });
  removeLinks(TAG);
  rmSync(folder, { recursive: true, force: true });
});

describe.each(DOCKERS)("%s", (docker) => {
  const run = (...args: string[]) => engine.run(docker, args);
  const ok = async (...args: string[]) => {
    const finished = await run(...args);
    expect(finished, finished.stderr).toMatchObject({ code: 0 });
    return finished.stdout;
  };

  test("a network of a plug-in: its containers reach each other, by name as well", async () => {
    calls();
    await ok("network", "create", "-d", NAME, "--subnet", "10.230.7.0/24", "-o", "a=b", "far");
    const [capabilities, create] = calls();
    expect(capabilities?.method).toBe("NetworkDriver.GetCapabilities");
    expect(create).toMatchObject({
      method: "NetworkDriver.CreateNetwork",
      body: {
        Options: { "com.docker.network.generic": { a: "b" } },
        IPv4Data: [
          { AddressSpace: "LocalDefault", Pool: "10.230.7.0/24", Gateway: "10.230.7.1/24" },
        ],
        IPv6Data: [],
      },
    });
    const format = "{{.Driver}} {{.Scope}} {{(index .IPAM.Config 0).Subnet}}";
    expect(await ok("network", "inspect", "-f", format, "far")).toBe(
      `${NAME} local 10.230.7.0/24\n`,
    );
    const detached = ["run", "-d", "--network", "far"];
    await ok(
      ...detached,
      "--name",
      "one",
      "--ip",
      "10.230.7.50",
      "-p",
      "18080:80",
      "web:demo",
      "serve",
    );
    expect(methods(calls())).toEqual(["CreateEndpoint", "Join", "ProgramExternalConnectivity"]);
    await ok(
      ...detached,
      "--name",
      "two",
      "--mac-address",
      "02:00:00:00:00:77",
      "web:demo",
      "serve",
    );
    expect(await ok("exec", "two", "wget", "-qO-", "http://one/cgi-bin/index.cgi")).toContain(
      "address 10.230.7.50/24",
    );
    expect(await ok("exec", "one", "ip", "route")).toMatch(/default via 10.230.7.1 dev plug0/);
    expect(await ok("exec", "one", "ip", "route")).toMatch(/10.232.0.0\/16 dev plug0 scope link/);
    const endpoint = (field: string) => `{{range .NetworkSettings.Networks}}{{.${field}}}{{end}}`;
    const mac = (await ok("inspect", "-f", endpoint("MacAddress"), "one")).trim();
    expect(mac).toMatch(/^02:99:/);
    expect(await ok("exec", "one", "ip", "link", "show", "plug0")).toContain(mac);
    expect(await ok("exec", "two", "ip", "link", "show", "plug0")).toContain("02:00:00:00:00:77");
    expect(await ok("inspect", "-f", endpoint("Gateway"), "one")).toBe("10.230.7.1\n");
    const busy = await run("network", "rm", "far");
    expect(busy.stderr).toContain("has active endpoints");
    calls();
    await ok("rm", "-f", "one");
    expect(methods(calls())).toEqual(["RevokeExternalConnectivity", "Leave", "DeleteEndpoint"]);
    await ok("rm", "-f", "two");
    await ok("network", "rm", "far");
    expect(held()).toEqual(NOTHING);
  });

  test("connected and disconnected while it runs; the interface goes back to the plug-in", async () => {
    await ok("network", "create", "--subnet", "10.230.6.0/24", "near");
    await ok("network", "create", "-d", NAME, "--subnet", "10.230.8.0/24", "beside");
    await ok("run", "-d", "--name", "both", "--network", "near", "web:demo", "serve");
    await ok("network", "connect", "beside", "both");
    expect(await ok("exec", "both", "ip", "-4", "addr", "show", "plug0")).toContain(
      "10.230.8.2/24",
    );
    await ok("network", "disconnect", "beside", "both");
    expect((await run("exec", "both", "ip", "link", "show", "plug0")).code).not.toBe(0);
    expect(await ok("exec", "both", "ip", "route")).toMatch(/default via 10.230.6.1/);
    expect(held()).toMatchObject({ endpoints: 0 });
    await ok("rm", "-f", "both");
    await ok("network", "rm", "near", "beside");
    expect(held()).toEqual(NOTHING);
  });

  test("published ports follow the network that leads out, to a plug-in and back", async () => {
    await ok("network", "create", "-d", NAME, "--subnet", "10.230.5.0/24", "m-plug");
    await ok("network", "create", "--subnet", "10.230.6.0/24", "a-bridge");
    const port = docker.includes("local") ? "18082" : "18081";
    const publish = ["--name", "moves", "--network", "m-plug", "-p", `127.0.0.1:${port}:80`];
    calls();
    await ok("run", "-d", ...publish, "web:demo", "serve");
    const programmed = calls().find(({ method }) => method.includes("Program"));
    expect(programmed?.body).toMatchObject({
      Options: {
        "com.docker.network.portmap": [
          { Proto: 6, Port: 80, HostIP: "127.0.0.1", HostPort: Number(port) },
        ],
      },
    });
    await ok("network", "connect", "a-bridge", "moves");
    expect(methods(calls())).toEqual(["RevokeExternalConnectivity"]);
    const answer = await fetch(`http://127.0.0.1:${port}/cgi-bin/index.cgi`);
    expect(await answer.text()).toContain("hostname");
    await ok("network", "disconnect", "a-bridge", "moves");
    expect(methods(calls())).toEqual(["ProgramExternalConnectivity"]);
    await expect(fetch(`http://127.0.0.1:${port}/`)).rejects.toThrow();
    // A connection that fails leaves the ports where they were.
    await ok("network", "create", "-d", NAME, "-o", "broken=Join", "b-broken");
    calls();
    expect((await run("network", "connect", "b-broken", "moves")).stderr).toContain("cable is cut");
    expect(methods(calls())).toEqual(["CreateEndpoint", "Join", "Leave", "DeleteEndpoint"]);
    await ok("rm", "-f", "moves");
    expect(methods(calls())).toEqual(["RevokeExternalConnectivity", "Leave", "DeleteEndpoint"]);
    await ok("network", "rm", "m-plug", "a-bridge", "b-broken");
    expect(held()).toEqual(NOTHING);
  });

  test("addresses from a plug-in, for its own network and for a bridge", async () => {
    for (const [name, driver] of [
      ["remote", NAME],
      ["ours", "bridge"],
    ] as const) {
      await ok("network", "create", "-d", driver, "--ipam-driver", NAME, name);
      const gateway = await ok(
        "network",
        "inspect",
        "-f",
        "{{(index .IPAM.Config 0).Gateway}}",
        name,
      );
      expect(gateway).toMatch(/^10\.231\.\d+\.254\n$/);
      const route = await ok("run", "--rm", "--network", name, "web:demo", "ip", "addr");
      expect(route).toMatch(/inet 10\.231\.\d+\.100\/24/);
      await ok("network", "rm", name);
    }
    expect(held()).toEqual(NOTHING);
    const released = calls().filter(({ method }) => method === "IpamDriver.ReleaseAddress");
    expect(released).toHaveLength(4);
  });

  test("what the plug-in refuses is said in its words, and leaves nothing", async () => {
    const create = (...more: string[]) => run("network", "create", ...more, "never");
    const refused = await create("-d", NAME, "--ipam-driver", NAME, "-o", "refuse=not today");
    expect(refused.stderr).toContain("Error response from daemon: remote: not today");
    const full = await create("-d", NAME, "--ipam-driver", NAME, "--ipam-opt", "refuse=no pool");
    expect(full.stderr).toContain("Error response from daemon: remote: no pool");
    const nobody = await create("-d", "nosuch");
    expect(nobody.stderr).toContain('plugin "nosuch" not found');
    expect((await create("--ipam-driver", "nosuch")).stderr).toContain('plugin "nosuch" not found');
    expect(await ok("network", "ls", "-q", "-f", "name=never")).toBe("");
    expect(held()).toEqual(NOTHING);
  });

  test.each([
    ["CreateEndpoint", "failed to create endpoint fails on network bad: remote: no port is free"],
    ["Join", "remote: the cable is cut"],
  ])("a container that fails in %s has nothing", async (method, message) => {
    await ok(
      "network",
      "create",
      "-d",
      NAME,
      "--ipam-driver",
      NAME,
      "-o",
      `broken=${method}`,
      "bad",
    );
    const failed = await run("run", "--name", "fails", "--network", "bad", "web:demo", "true");
    expect(failed.code).not.toBe(0);
    expect(failed.stderr).toContain(message);
    await ok("rm", "-f", "fails");
    await ok("network", "rm", "bad");
    expect(held()).toEqual(NOTHING);
  });
});

test("without an address of ours, the plug-in gives one; without a gateway there is none", async () => {
  const words = ["-d", NAME, "--ipam-driver", "null", "-o", "own=10.233.0."];
  expect(await engine.skep("network", "create", ...words, "own")).toMatchObject({ code: 0 });
  const shown = await engine.skep("run", "--rm", "--network", "own", "web:demo", "ip", "addr");
  expect(shown.stdout).toMatch(/inet 10\.233\.0\.\d+\/24/);
  expect(await engine.skep("network", "rm", "own")).toMatchObject({ code: 0 });
  expect(held()).toEqual(NOTHING);
});

test("IPv6", async () => {
  const words = [
    "-d",
    NAME,
    "--ipv6",
    "--subnet",
    "10.230.4.0/24",
    "--subnet",
    "fd00:77::/64",
    "six",
  ];
  calls();
  expect(await engine.skep("network", "create", ...words)).toMatchObject({ code: 0 });
  expect(calls().at(-1)?.body).toMatchObject({
    IPv6Data: [{ Pool: "fd00:77::/64", Gateway: "fd00:77::1/64" }],
  });
  const shown = await engine.skep("run", "--rm", "--network", "six", "web:demo", "ip", "addr");
  expect(shown.stdout).toContain("inet6 fd00:77::2/64");
  expect(await engine.skep("network", "rm", "six")).toMatchObject({ code: 0 });
});

test("a plug-in for whole swarms is refused without a swarm; the node tells of its drivers", async () => {
  extra.push(await spawnNetworks(`${NAME}-global`, folderOf("global"), "global"));
  const refused = await engine.skep("network", "create", "-d", `${NAME}-global`, "wide");
  expect(refused.stderr).toContain("This node is not a swarm manager");
  const info = JSON.parse((await engine.http("GET", "/info")).text) as {
    readonly Plugins: { readonly Network: readonly string[] };
  };
  expect(info.Plugins.Network).toEqual(expect.arrayContaining(["bridge", "overlay", NAME]));
});

test("a killed engine keeps what runs, and gives back what does not", async () => {
  await engine.skep("network", "create", "-d", NAME, "--subnet", "10.230.9.0/24", "lasting");
  const detached = ["run", "-d", "--network", "lasting"];
  expect(await engine.skep(...detached, "--name", "stays", "web:demo", "serve")).toMatchObject({
    code: 0,
  });
  expect(await engine.skep(...detached, "--name", "goes", "web:demo", "serve")).toMatchObject({
    code: 0,
  });
  const pid = (await engine.skep("inspect", "-f", "{{.State.Pid}}", "goes")).stdout.trim();
  await engine.end("SIGKILL");
  process.kill(Number(pid), "SIGKILL");
  await engine.start(["--bridge=none"]);
  expect(held()).toEqual({ networks: 1, endpoints: 1, pools: 0 });
  const shown = await engine.skep("exec", "stays", "ip", "addr", "show", "plug0");
  expect(shown.stdout).toContain("10.230.9.2/24");
  expect(await engine.skep("start", "goes")).toMatchObject({ code: 0 });
  const asked = ["wget", "-qO-", "http://stays/cgi-bin/index.cgi"];
  expect((await engine.skep("exec", "goes", ...asked)).stdout).toContain("address 10.230.9.2/24");
});

test("a network that the engine died over is given up at its next start", async () => {
  const words = ["-d", NAME, "--ipam-driver", NAME, "-o", "stuck=CreateNetwork", "half"];
  const before = held();
  await killedWhileStuck("network", "create", ...words);
  expect(held()).toEqual({ ...before, networks: before.networks + 1, pools: before.pools + 1 });
  await engine.start(["--bridge=none"]);
  expect(held()).toEqual(before);
  expect((await engine.skep("network", "ls", "-q", "-f", "name=half")).stdout).toBe("");
});

test("so is an endpoint of a container that goes on", async () => {
  const words = ["-d", NAME, "--ipam-driver", NAME, "-o", "stuck=Join", "half"];
  expect(await engine.skep("network", "create", ...words)).toMatchObject({ code: 0 });
  const before = held();
  await killedWhileStuck("network", "connect", "half", "stays");
  expect(held()).toEqual({ ...before, endpoints: before.endpoints + 1 });
  calls();
  await engine.start(["--bridge=none"]);
  const given = ["Leave", "DeleteEndpoint", "Ipam.ReleaseAddress"];
  expect(methods(calls())).toEqual(["Ipam.GetCapabilities", ...given]);
  expect(held()).toEqual(before);
  const asked = ["wget", "-qO-", "http://stays/cgi-bin/index.cgi"];
  expect((await engine.skep("exec", "goes", ...asked)).stdout).toContain("address 10.230.9.2/24");
  expect(await engine.skep("network", "rm", "half")).toMatchObject({ code: 0 });
});

test("a reboot takes the containers and leaves the plug-in what it knows: it is told", async () => {
  const words = ["network", "create", "-d", NAME, "--ipam-driver", NAME, "booted"];
  expect(await engine.skep(...words)).toMatchObject({ code: 0 });
  const before = held();
  const run = ["run", "-d", "--name", "lost", "--network", "booted", "web:demo", "serve"];
  expect(await engine.skep(...run)).toMatchObject({ code: 0 });
  const pid = (await engine.skep("inspect", "-f", "{{.State.Pid}}", "lost")).stdout.trim();
  const id = (await engine.skep("inspect", "-f", "{{.Id}}", "lost")).stdout.trim();
  await engine.end("SIGKILL");
  // As the machine's end does: the process, and what lay in memory.
  process.kill(Number(pid), "SIGKILL");
  rmSync(join(engine.folder, "x/networks", `${id}.json`));
  await engine.start(["--bridge=none"]);
  expect(held()).toEqual(before);
  expect(await engine.skep("rm", "-f", "lost")).toMatchObject({ code: 0 });
  expect(await engine.skep("network", "rm", "booted")).toMatchObject({ code: 0 });
});

test("an address plug-in that forgets is told again of all that it gave", async () => {
  const name = `${NAME}-forgetful`;
  const at = folderOf("forgetful");
  const first = await spawnNetworks(name, at, "forgetful");
  const words = [
    "--ipam-driver",
    name,
    "--aux-address",
    "a=10.234.0.9",
    "--subnet",
    "10.234.0.0/24",
  ];
  expect(await engine.skep("network", "create", ...words, "told")).toMatchObject({ code: 0 });
  const run = ["run", "-d", "--name", "told", "--network", "told", "web:demo", "serve"];
  expect(await engine.skep(...run)).toMatchObject({ code: 0 });
  await engine.end("SIGKILL");
  await endPlugin(first);
  extra.push(await spawnNetworks(name, at, "forgetful"));
  calls(at);
  await engine.start(["--bridge=none"]);
  const again = calls(at).filter(({ method }) => method.startsWith("IpamDriver.Request"));
  expect(again.map(({ body }) => body?.["Address"] ?? body?.["Pool"])).toEqual([
    "10.234.0.0/24",
    "10.234.0.254",
    "10.234.0.9",
    "10.234.0.100",
  ]);
  const next = ["run", "--rm", "--network", "told", "web:demo", "ip", "addr"];
  expect((await engine.skep(...next)).stdout).toContain("inet 10.234.0.101/24");
  expect(await engine.skep("rm", "-f", "told")).toMatchObject({ code: 0 });
  expect(await engine.skep("network", "rm", "told")).toMatchObject({ code: 0 });
});

test("a plug-in that is gone holds up no container; its network waits for it", async () => {
  await stopPlugin();
  rmSync(socketOf(NAME), { force: true });
  expect(await engine.skep("rm", "-f", "stays", "goes")).toMatchObject({ code: 0 });
  await engine.logged(/was not heard to let go/);
  const refused = await engine.skep("network", "rm", "lasting");
  expect(refused.stderr).toContain(`failed deleting Network: plugin "${NAME}" not found`);
  await startPlugin();
  // Whoever asks first: the plug-in hears of the containers that ended without it.
  expect(held()).toMatchObject({ endpoints: 2 });
  expect(await engine.skep("network", "rm", "lasting")).toMatchObject({ code: 0 });
  expect(held()).toEqual(NOTHING);
  expect(readdirSync(join(engine.folder, "d/networks-held"))).toEqual([]);
});

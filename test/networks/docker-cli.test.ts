/** `docker network …` and published ports on a real engine, with both docker command lines and ours. */

import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { DOCKERS, EngineProcess } from "../engine/engine-process.ts";
import { enterHost, HOST_ADDRESS, type TestHost } from "./host.ts";

const IMAGE_SCRIPT = fileURLToPath(new URL("../../tools/demo-image/make.sh", import.meta.url));
const IMAGE = "web:demo";
const PAGE = "/cgi-bin/index.cgi";
const SERVE = ["httpd", "-f", "-p", "80", "-h", "/www"];

let host: TestHost;
let engine: EngineProcess;

beforeAll(async () => {
  host = enterHost();
  engine = new EngineProcess();
  await engine.start();
  const archive = join(engine.folder, "web.tar");
  writeFileSync(archive, execFileSync("bash", [IMAGE_SCRIPT], { maxBuffer: 64 * 1024 * 1024 }));
  await engine.skep("import", archive, IMAGE);
});

afterAll(async () => {
  await engine?.destroy();
  await host?.leave();
});

afterEach(async () => {
  const { stdout } = await engine.skep("ps", "-aq");
  const ids = stdout.split("\n").filter((id) => id !== "");
  if (ids.length > 0) await engine.skep("rm", "-f", ...ids);
  const prune = await engine.http("POST", "/networks/prune");
  expect(prune.status).toBe(200);
});

describe.each([...DOCKERS, "skep"])("%s", (program) => {
  const docker = (...args: string[]) =>
    program === "skep" ? engine.skep(...args) : engine.run(program, args);
  /** The output of a command that must succeed. */
  const ok = async (...args: string[]) => {
    const finished = await docker(...args);
    expect(finished, args.join(" ")).toMatchObject({ code: 0 });
    return finished.stdout.trim();
  };
  const refused = async (...args: string[]) => {
    const finished = await docker(...args);
    expect(finished.code, args.join(" ")).not.toBe(0);
    return finished.stderr;
  };
  const field = (container: string, path: string) => ok("inspect", "-f", `{{${path}}}`, container);

  test("create, ls, inspect, rm; by name, id and beginning of an id", async () => {
    const id = await ok("network", "create", "--label", "tier=back", "-o", "x=y", "back");
    expect(id).toMatch(/^[0-9a-f]{64}$/);
    const list = await ok("network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}");
    expect(list.split("\n").sort()).toEqual([
      "back bridge local",
      "bridge bridge local",
      "host host local",
      "none null local",
    ]);
    expect(await ok("network", "ls", "-q", "--no-trunc", "-f", "label=tier=back")).toBe(id);
    expect(await ok("network", "ls", "-q", "-f", "driver=null", "-f", "name=back")).toBe("");
    for (const reference of ["back", id, id.slice(0, 12)]) {
      const format = "{{.Name}} {{.Labels.tier}} {{.Options.x}}";
      expect(await ok("network", "inspect", "-f", format, reference)).toBe("back back y");
    }
    expect(await refused("network", "create", "back")).toContain(
      "network with name back already exists",
    );
    expect(await ok("network", "rm", id.slice(0, 12))).toBe(id.slice(0, 12));
    expect(await refused("network", "inspect", "back")).toMatch(
      /network back not found|No such network: back/,
    );
    expect(await refused("network", "rm", "back")).toMatch(
      /network back not found|No such network: back/,
    );
  });

  test("what is refused, in docker's words", async () => {
    await ok("network", "create", "--subnet", "10.88.0.0/24", "taken");
    const rows: readonly [string[], string][] = [
      [
        ["create", "--subnet", "10.88.0.128/25", "x1"],
        "Pool overlaps with other one on this address space",
      ],
      [
        ["create", "-d", "overlay", "x2"],
        'This node is not a swarm manager. Use "docker swarm init"',
      ],
      [["create", "-d", "nosuch", "x3"], 'plugin "nosuch" not found'],
      [["create", "bridge"], "operation is not permitted on predefined bridge network"],
      [["rm", "bridge"], "bridge is a pre-defined network and cannot be removed"],
      [["connect", "taken", "nosuch"], "No such container: nosuch"],
      [["ls", "-f", "nosuch=1"], "invalid filter 'nosuch'"],
    ];
    for (const [args, message] of rows) {
      expect(await refused("network", ...args), args.join(" ")).toContain(message);
    }
    const names = await ok("network", "ls", "--format", "{{.Name}}");
    expect(names.split("\n").sort()).toEqual(["bridge", "host", "none", "taken"]);
  });

  test("connect and disconnect while it is created, runs, and is stopped", async () => {
    await ok("network", "create", "--subnet", "10.88.0.0/24", "one");
    await ok("network", "create", "two");
    await ok("create", "--name", "ctr", IMAGE, "sleep", "1000");
    await ok("network", "connect", "--ip", "10.88.0.9", "--alias", "nick", "one", "ctr");
    await ok("network", "disconnect", "bridge", "ctr");
    expect(await ok("network", "inspect", "-f", "{{len .Containers}}", "one")).toBe("0");
    await ok("start", "ctr");
    expect(await field("ctr", ".NetworkSettings.Networks.one.IPAddress")).toBe("10.88.0.9");
    const addresses = () => ok("exec", "ctr", "ip", "-4", "-o", "addr");
    expect(await addresses()).toContain("10.88.0.9/24");
    const id = await field("ctr", ".Id");
    const inside = `{{(index .Containers "${id}").IPv4Address}}`;
    expect(await ok("network", "inspect", "-f", inside, "one")).toBe("10.88.0.9/24");
    expect(await refused("network", "rm", "one")).toContain("has active endpoints");

    await ok("network", "connect", "two", "ctr");
    expect(await addresses()).toContain("eth1");
    expect(await refused("network", "connect", "two", "ctr")).toContain(
      "endpoint with name ctr already exists in network two",
    );
    await ok("network", "disconnect", "one", "ctr");
    expect(await addresses()).not.toContain("10.88.0.9");
    const networks = "range $n, $_ := .NetworkSettings.Networks}}{{$n}} {{end";
    expect(await field("ctr", networks)).toBe("two");
    expect(await refused("network", "disconnect", "one", "ctr")).toContain("is not connected to");

    await ok("stop", "-t", "0", "ctr");
    await ok("network", "connect", "one", "ctr");
    await ok("network", "disconnect", "two", "ctr");
    // Stopped, it still tells which network it would be on: compose goes by the id.
    const one = await ok("network", "inspect", "-f", "{{.Id}}", "one");
    expect(await field("ctr", ".NetworkSettings.Networks.one.NetworkID")).toBe(one);
    await ok("start", "ctr");
    expect(await field("ctr", networks)).toBe("one");
    await ok("network", "disconnect", "one", "ctr");
    await ok("network", "rm", "one");
    await ok("restart", "-t", "0", "ctr");
    expect(await field("ctr", networks)).toBe("");
  });

  test("a link on the default bridge brings variables, in execs, too", async () => {
    const database = ["--name", "db", "-e", "PW=x", "--expose", "5432"];
    await ok("run", "-d", ...database, IMAGE, "sleep", "1000");
    const address = await field("db", ".NetworkSettings.Networks.bridge.IPAddress");
    await ok("run", "-d", "--name", "app", "--link", "db:my-db", IMAGE, "sleep", "1000");
    const lines = (await ok("exec", "app", "env")).split("\n");
    expect(lines).toContain(`MY_DB_PORT_5432_TCP=tcp://${address}:5432`);
    expect(lines).toContain("MY_DB_ENV_PW=x");
    expect(await ok("exec", "app", "cat", "/proc/1/environ")).toContain("MY_DB_NAME=/app/my-db");
  });

  test("events tell who came and went", async () => {
    const since = (Date.now() / 1000).toFixed(3);
    await ok("network", "create", "heard");
    await ok("run", "-d", "--name", "ctr", IMAGE, "sleep", "1000");
    await ok("network", "connect", "heard", "ctr");
    await ok("network", "disconnect", "heard", "ctr");
    await ok("network", "rm", "heard");
    const until = (Date.now() / 1000 + 0.2).toFixed(3);
    const format = "{{.Action}} {{.Actor.Attributes.name}} {{.Actor.Attributes.container}}";
    const only = ["--filter", "type=network", "--filter", "network=heard"];
    const events = await ok(
      "events",
      "--since",
      since,
      "--until",
      until,
      ...only,
      "--format",
      format,
    );
    const id = await field("ctr", ".Id");
    expect(events.split("\n").map((line) => line.replace("<no value>", "").trim())).toEqual([
      "create heard",
      `connect heard ${id}`,
      `disconnect heard ${id}`,
      "destroy heard",
    ]);
  });

  test("host and none: who is in them, and what they forbid", async () => {
    await ok("network", "create", "other");
    await ok("run", "-d", "--name", "alone", "--network", "none", IMAGE, "sleep", "1000");
    await ok("run", "-d", "--name", "open", "--network", "host", IMAGE, "sleep", "1000");
    expect(await ok("exec", "open", "ip", "addr")).toContain(HOST_ADDRESS);
    expect(await ok("exec", "alone", "ip", "-o", "-4", "addr")).not.toContain("eth0");
    expect(
      await ok("network", "inspect", "-f", "{{range .Containers}}{{.Name}}{{end}}", "none"),
    ).toBe("alone");
    expect(await refused("network", "connect", "other", "alone")).toContain(
      "container cannot be connected to multiple networks with one of the networks in private (none) mode",
    );
    expect(await refused("network", "connect", "other", "open")).toContain(
      "container cannot be disconnected from host network or connected to host network",
    );
    await ok("network", "disconnect", "none", "alone");
    await ok("network", "connect", "other", "alone");
    expect(await ok("exec", "alone", "ip", "-o", "-4", "addr")).toContain("eth0");
    await ok(
      "run",
      "-d",
      "--name",
      "guest",
      "--network",
      "container:alone",
      IMAGE,
      "sleep",
      "1000",
    );
    expect(await ok("exec", "guest", "ip", "-o", "-4", "addr")).toContain("eth0");
    expect(await refused("network", "connect", "other", "guest")).toContain(
      "container sharing network namespace with another container or host cannot be connected to any other network",
    );
  });

  test("ports: every form, seen from outside; a taken one leaves the container created", async () => {
    const forms = ["8080:80", `${HOST_ADDRESS}:8081:80`, "127.0.0.1::80", "9000-9001:90-91/udp"];
    const flags = forms.flatMap((form) => ["-p", form]);
    await ok("run", "-d", "--name", "web", ...flags, "-P", "--expose", "99", IMAGE, ...SERVE);
    const ports = (await ok("port", "web")).split("\n").sort();
    expect(ports).toEqual([
      "80/tcp -> 0.0.0.0:8080",
      expect.stringMatching(/^80\/tcp -> 127\.0\.0\.1:\d+$/),
      `80/tcp -> ${HOST_ADDRESS}:8081`,
      "90/udp -> 0.0.0.0:9000",
      "91/udp -> 0.0.0.0:9001",
      expect.stringMatching(/^99\/tcp -> 0\.0\.0\.0:\d+$/),
    ]);
    expect(await ok("port", "web", "90/udp")).toBe("0.0.0.0:9000");
    expect(await refused("port", "web", "1234")).toMatch(
      /No public port '1234(\/tcp)?' published for web/,
    );
    for (const port of [8080, 8081]) {
      const page = () => host.get(host.outside, `http://${HOST_ADDRESS}:${port}${PAGE}`);
      await expect.poll(page, { message: String(port), timeout: 30_000 }).toContain("caller");
    }
    const loopback = /127\.0\.0\.1:(\d+)/.exec(ports.join("\n"))?.[1];
    expect(host.get(undefined, `http://127.0.0.1:${loopback}${PAGE}`)).toContain("caller");

    const late = await refused("run", "-d", "--name", "late", "-p", "8080:80", IMAGE, ...SERVE);
    expect(late).toMatch(
      /driver failed programming external connectivity on endpoint late \([0-9a-f]{64}\): Bind for 0\.0\.0\.0:8080 failed: port is already allocated/,
    );
    expect(await field("late", ".State.Status")).toBe("created");
    await ok("rm", "-f", "web");
    await ok("start", "late");
    const again = () => host.get(host.outside, `http://${HOST_ADDRESS}:8080${PAGE}`);
    await expect.poll(again, { timeout: 30_000 }).toContain("caller");
  });

  test("ports follow the network that leads out", async () => {
    await ok("network", "create", "--internal", "inner");
    await ok("network", "create", "outer");
    await ok("run", "-d", "--name", "web", "-p", "8080:80", "--network", "inner", IMAGE, ...SERVE);
    const page = () => host.get(host.outside, `http://${HOST_ADDRESS}:8080${PAGE}`);
    expect(page()).toBeUndefined();
    await ok("network", "connect", "outer", "web");
    expect(page()).toContain("caller");
    expect(await ok("port", "web")).toBe("80/tcp -> 0.0.0.0:8080");
    await ok("network", "disconnect", "outer", "web");
    expect(page()).toBeUndefined();
  });

  test("prune: what a container names stays, running or not", async () => {
    for (const name of ["used", "stopped", "free"]) await ok("network", "create", name);
    await ok("run", "-d", "--network", "used", IMAGE, "sleep", "1000");
    await ok("create", "--network", "stopped", IMAGE, "true");
    expect(await ok("network", "prune", "-f")).toBe("Deleted Networks:\nfree");
  });
});

test("an ambiguous beginning of an id is refused with the number of matches", async () => {
  const ids: string[] = [];
  // Seventeen ids cannot all begin differently.
  for (let index = 0; index < 17; index += 1) {
    const body = { Name: `n${index}`, IPAM: { Config: [{ Subnet: `10.77.${index}.0/24` }] } };
    const { text } = await engine.http("POST", "/networks/create", JSON.stringify(body));
    ids.push((JSON.parse(text) as { Id: string }).Id);
  }
  const count = (first: string) => ids.filter((id) => id.startsWith(first)).length;
  const first = ids.map((id) => id.slice(0, 1)).find((letter) => count(letter) > 1) ?? "";
  const { status, text } = await engine.http("GET", `/networks/${first}`);
  expect(status).toBe(400);
  expect(text).toMatch(/network . is ambiguous \(\d+ matches found based on ID prefix\)/);
});

test("a manager's networks: the swarm's beside this host's, each where it belongs", async () => {
  const run = async (...args: string[]) => {
    const finished = await engine.run(DOCKERS.at(-1) ?? "docker", args);
    expect(finished, args.join(" ")).toMatchObject({ code: 0 });
    return finished.stdout.trim();
  };
  const refused = async (...args: string[]) =>
    (await engine.run(DOCKERS.at(-1) ?? "docker", args)).stderr;
  await run("swarm", "init", "--advertise-addr", HOST_ADDRESS);
  try {
    const id = await run("network", "create", "-d", "overlay", "--label", "a=b", "spread");
    await run("network", "create", "here");
    const list = await run("network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}");
    expect(list.split("\n").sort()).toEqual([
      "bridge bridge local",
      "here bridge local",
      "host host local",
      "ingress overlay swarm",
      "none null local",
      "spread overlay swarm",
    ]);
    expect(await run("network", "ls", "-q", "-f", "scope=swarm", "-f", "label=a=b")).toBe(
      id.slice(0, 12),
    );
    for (const reference of ["spread", id, id.slice(0, 10)]) {
      expect(await run("network", "inspect", "-f", "{{.Scope}}", reference)).toBe("swarm");
    }
    expect(await run("network", "inspect", "-v", "-f", "{{json .Services}}", "spread")).toBe("{}");
    const scoped = await engine.http("GET", "/networks/spread?scope=local");
    expect(scoped).toMatchObject({ status: 404 });
    for (const [name, driver] of [
      ["spread", "bridge"],
      ["here", "overlay"],
    ] as const) {
      expect(await refused("network", "create", "-d", driver, name)).toContain(
        `network with name ${name} already exists`,
      );
    }
    expect(await run("network", "prune", "-f", "--filter", "label=a=b")).toBe(
      "Deleted Networks:\nspread",
    );
    await run("network", "create", "-d", "overlay", "spread");
    expect(await run("network", "rm", "spread", "here")).toBe("spread\nhere");
  } finally {
    await run("swarm", "leave", "--force");
  }
});

test("containers that are no tasks on a network of the swarm, through a crash of the engine", async () => {
  const docker = DOCKERS.at(-1) ?? "docker";
  const run = async (...args: string[]) => {
    const finished = await engine.run(docker, args);
    expect(finished, args.join(" ")).toMatchObject({ code: 0 });
    return finished.stdout.trim();
  };
  const address = (name: string) =>
    run("inspect", "-f", "{{.NetworkSettings.Networks.open.IPAddress}}", name);
  const page = () => host.get(host.outside, `http://${HOST_ADDRESS}:8080${PAGE}`);
  const unknown = await engine.run(docker, ["run", "--network", "nosuch", IMAGE, "true"]);
  expect(unknown.stderr).toContain("network nosuch not found");
  await run("swarm", "init", "--advertise-addr", HOST_ADDRESS);
  try {
    await run("network", "create", "-d", "overlay", "--attachable", "open");
    await run("network", "create", "-d", "overlay", "closed");
    const refused = await engine.run(docker, ["run", "--network", "closed", IMAGE, "true"]);
    expect(refused.stderr).toContain(
      "Could not attach to network closed: rpc error: code = PermissionDenied desc = network closed not manually attachable",
    );
    const web = ["--network", "open", "--ip", "10.0.1.77", "-p", "8080:80"];
    await run("run", "-d", "--name", "web", ...web, IMAGE, ...SERVE);
    expect(await address("web")).toBe("10.0.1.77");
    await run("run", "-d", "--name", "late", IMAGE, "sleep", "1000");
    await run("network", "connect", "open", "late");
    const fetched = ["exec", "late", "busybox", "wget", "-qO-", `http://web${PAGE}`];
    expect(await run(...fetched)).toContain("address 10.0.1.77/24");
    expect(page()).toContain("address 10.0.1.77/24");
    await engine.end("SIGKILL");
    await engine.start();
    expect(page()).toContain("address 10.0.1.77/24");
    expect(await run(...fetched)).toContain("address 10.0.1.77/24");
    const inUse = await engine.run(docker, ["network", "rm", "open"]);
    expect(inUse.stderr).toContain("is in use by task");
    await run("network", "disconnect", "open", "late");
    await run("restart", "-t", "0", "web");
    expect(await address("web")).toBe("10.0.1.77");
    await run("rm", "-f", "web", "late");
    // What was lent goes back when the container has gone; the managers hear of it a little later.
    const removed = () => engine.run(docker, ["network", "rm", "open"]);
    await expect.poll(async () => (await removed()).code, { timeout: 10_000 }).toBe(0);
  } finally {
    await run("swarm", "leave", "--force");
  }
});

test("kill -9: networks, addresses, ports and membership are what they were", async () => {
  const docker = DOCKERS.at(-1) ?? "docker";
  const run = async (...args: string[]) => (await engine.run(docker, args)).stdout.trim();
  await run("network", "create", "--subnet", "10.88.0.0/24", "kept");
  await run("run", "-d", "--name", "web", "--network", "kept", "-p", "8080:80", IMAGE, ...SERVE);
  await run("network", "create", "more");
  await run("network", "connect", "more", "web");
  const before = await run("inspect", "-f", "{{json .NetworkSettings}}", "web");
  const network = await run("network", "inspect", "kept");
  await engine.end("SIGKILL");
  expect(host.get(host.outside, `http://${HOST_ADDRESS}:8080${PAGE}`)).toContain("caller");
  await engine.start();
  expect(await run("inspect", "-f", "{{json .NetworkSettings}}", "web")).toBe(before);
  expect(await run("network", "inspect", "kept")).toBe(network);
  expect(host.get(host.outside, `http://${HOST_ADDRESS}:8080${PAGE}`)).toContain("caller");
  const taken = await engine.run(docker, ["run", "-d", "-p", "8080:80", IMAGE, ...SERVE]);
  expect(taken.stderr).toContain("port is already allocated");
  await run("restart", "-t", "0", "web");
  expect(await run("exec", "web", "ip", "-o", "-4", "addr")).toContain("eth1");
});

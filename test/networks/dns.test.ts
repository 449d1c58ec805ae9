/** DNS inside containers, on a real engine: names, forwarding, and what must not be disturbed. */

import { type ChildProcess, execFile, execFileSync, spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { EngineProcess } from "../engine/engine-process.ts";
import { enterHost, OUTSIDE_ADDRESS, type TestHost } from "./host.ts";

const IMAGE_SCRIPT = fileURLToPath(new URL("../../tools/demo-image/make.sh", import.meta.url));
const NAME_SERVER = fileURLToPath(new URL("name-server.ts", import.meta.url));
const ASK = fileURLToPath(new URL("ask.ts", import.meta.url));
const IMAGE = "web:demo";
const DOCKER = "/usr/bin/docker";
const SILENT_ADDRESS = "192.0.2.3";
/** For the whole of a client, whose own patience is in `ask.ts`. */
const PATIENCE_MS = 40_000;

interface Answered {
  readonly id: number;
  readonly rcode: string;
  readonly truncated: boolean;
  readonly data: readonly string[];
  /** Where the answer came from. */
  readonly from: string;
}

let host: TestHost;
let engine: EngineProcess;
/** The questions that reached the name server outside. */
let asked: string[] = [];
const servers: ChildProcess[] = [];

beforeAll(async () => {
  host = enterHost();
  host.outside.run("ip", "addr", "add", `${SILENT_ADDRESS}/24`, "dev", "down0");
  servers.push(await serve(OUTSIDE_ADDRESS), await serve(SILENT_ADDRESS, "silent"));
  engine = new EngineProcess();
  await engine.start([`--dns=${OUTSIDE_ADDRESS}`]);
  const archive = join(engine.folder, "web.tar");
  writeFileSync(archive, execFileSync("bash", [IMAGE_SCRIPT], { maxBuffer: 64 * 1024 * 1024 }));
  await engine.skep("import", archive, IMAGE);
});

afterAll(async () => {
  await engine?.destroy();
  for (const server of servers) server.kill("SIGKILL");
  await host?.leave();
});

afterEach(async () => {
  const ids = (await docker("ps", "-aq")).split("\n").filter((id) => id !== "");
  if (ids.length > 0) await docker("rm", "-f", ...ids);
  await docker("network", "prune", "-f");
  asked = [];
});

/** Resolves once it answers. */
function serve(...args: readonly string[]): Promise<ChildProcess> {
  const words = [`--net=${host.outside.path}`, process.execPath, "--import", "tsx", NAME_SERVER];
  const child = spawn("nsenter", [...words, ...args], { stdio: ["ignore", "pipe", "inherit"] });
  return new Promise((resolve, reject) => {
    child.on("exit", (code) => reject(new Error(`the name server ended with ${code}`)));
    child.stdout.on("data", (chunk) => {
      const lines = String(chunk).trim().split("\n");
      if (lines.includes("ready")) resolve(child);
      else asked.push(...lines);
    });
  });
}

async function docker(...args: string[]): Promise<string> {
  const finished = await engine.run(DOCKER, args);
  expect(finished, args.join(" ")).toMatchObject({ code: 0 });
  return finished.stdout.trim();
}

/** Starts a container that sleeps; returns its id. */
function run(name: string, ...flags: string[]): Promise<string> {
  return docker("run", "-d", "--name", name, ...flags, IMAGE, "sleep", "1000");
}

async function ask(
  container: string,
  name: string,
  { type = "A", transport = "udp" }: { type?: string; transport?: "udp" | "tcp" } = {},
): Promise<Answered> {
  const pid = await docker("inspect", "-f", "{{.State.Pid}}", container);
  const words = [`--net=/proc/${pid}/ns/net`, process.execPath, "--import", "tsx", ASK];
  return await new Promise((resolve, reject) => {
    const patience = { timeout: PATIENCE_MS };
    execFile("nsenter", [...words, name, type, transport], patience, (error, stdout) => {
      if (error === null) resolve(JSON.parse(stdout) as Answered);
      else reject(new Error(`no answer for ${name} by ${transport}`, { cause: error }));
    });
  });
}

async function addressOf(container: string, network: string): Promise<string> {
  const format = `{{(index .NetworkSettings.Networks "${network}").IPAddress}}`;
  return docker("inspect", "-f", format, container);
}

describe("names", () => {
  test("names, aliases, short ids, of both transports, and their reverse", async () => {
    await docker("network", "create", "front");
    const id = await run("first", "--network", "front", "--network-alias", "nick", "-h", "boxname");
    await run("second", "--network", "front", "--network-alias", "nick");
    const [one, two] = [await addressOf("first", "front"), await addressOf("second", "front")];
    for (const transport of ["udp", "tcp"] as const) {
      const answer = await ask("second", "first", { transport });
      expect(answer).toEqual({
        id: 4711,
        rcode: "NOERROR",
        truncated: false,
        data: [one],
        from: "127.0.0.11:53",
      });
    }
    for (const name of [id.slice(0, 12), "boxname", "FIRST", "first.front"]) {
      expect((await ask("second", name)).data, name).toEqual([one]);
    }
    const both = await ask("first", "nick");
    expect([...both.data].sort()).toEqual([one, two].sort());
    const turned = await ask("first", "nick");
    expect(turned.data).toEqual([...both.data].reverse());
    const reverse = `${one.split(".").reverse().join(".")}.in-addr.arpa`;
    expect((await ask("second", reverse, { type: "PTR" })).data).toEqual(["first.front"]);
    expect(await ask("second", "first", { type: "AAAA" })).toMatchObject({
      rcode: "NOERROR",
      data: [],
    });
    expect(asked).toEqual([]);
    const lookup = await docker("exec", "second", "busybox", "nslookup", "first");
    expect(lookup).toContain(`Address: ${one}`);
    expect(await docker("exec", "second", "cat", "/etc/resolv.conf")).toMatch(
      /^nameserver 127\.0\.0\.11\n[^]*options .*ndots:0/,
    );
  });

  test("are those of the container's networks now: connect, disconnect, stop, rename", async () => {
    for (const name of ["front", "back"]) await docker("network", "create", name);
    await run("asker", "--network", "front");
    await run("other", "--network", "back");
    const forwarded = { rcode: "NXDOMAIN", data: [] };
    expect(await ask("asker", "other")).toMatchObject(forwarded);
    await docker("network", "connect", "back", "asker");
    expect((await ask("asker", "other")).data).toEqual([await addressOf("other", "back")]);
    await docker("rename", "other", "renamed");
    expect((await ask("asker", "renamed")).data).toEqual([await addressOf("renamed", "back")]);
    expect(await ask("asker", "other")).toMatchObject(forwarded);
    await docker("stop", "-t", "0", "renamed");
    expect(await ask("asker", "renamed")).toMatchObject(forwarded);
    await docker("start", "renamed");
    expect((await ask("asker", "renamed")).rcode).toBe("NOERROR");
    await docker("network", "disconnect", "back", "asker");
    expect(await ask("asker", "renamed")).toMatchObject(forwarded);
  });

  test("links: a name that one container alone has for another", async () => {
    await docker("network", "create", "front");
    await run("db", "--network", "front");
    await run("linked", "--network", "front", "--link", "db:database");
    expect((await ask("linked", "database")).data).toEqual([await addressOf("db", "front")]);
    expect((await ask("db", "database")).rcode).toBe("NXDOMAIN");
    await run("olddb");
    await run("oldlinked", "--link", "olddb:database");
    const address = await addressOf("olddb", "bridge");
    expect(await docker("exec", "oldlinked", "cat", "/etc/hosts")).toMatch(
      new RegExp(`^${address} database [0-9a-f]{12} olddb$`, "m"),
    );
  });

  test("IPv6", async () => {
    await docker("network", "create", "--ipv6", "--subnet", "fd00:77::/64", "six");
    await run("first", "--network", "six");
    await run("second", "--network", "six");
    const answer = await ask("second", "first", { type: "AAAA" });
    expect(answer.data).toEqual(["fd00:77::2"]);
    const digits = "2".padEnd(16, "0").split("").join(".");
    const reverse = `${digits}.0.0.0.0.0.0.0.0.7.7.0.0.0.0.d.f.ip6.arpa`;
    expect((await ask("second", reverse, { type: "PTR" })).data).toEqual(["first.six"]);
  });
});

describe("forwarding", () => {
  test("by both transports, cached for as long as the answer says", async () => {
    await docker("network", "create", "front");
    await run("asker", "--network", "front");
    for (let index = 0; index < 3; index += 1) {
      expect((await ask("asker", "fixed.example")).data).toEqual(["198.51.100.1"]);
      expect((await ask("asker", "brief.example")).data).toEqual(["198.51.100.2"]);
    }
    expect(asked.filter((line) => line.includes("fixed.example"))).toHaveLength(1);
    expect(asked.filter((line) => line.includes("brief.example"))).toHaveLength(3);
    expect(await ask("asker", "big.example")).toMatchObject({ truncated: true });
    const big = await ask("asker", "big.example", { transport: "tcp" });
    expect(big).toMatchObject({ truncated: false });
    expect(big.data).toHaveLength(60);
    expect((await ask("asker", "missing.example")).rcode).toBe("NXDOMAIN");
    expect((await ask("asker", "broken.example")).rcode).toBe("SERVFAIL");
  });

  test("a silent server is passed over; the container's own servers and domains are kept", async () => {
    await docker("network", "create", "front");
    const dns = ["--dns", SILENT_ADDRESS, "--dns", OUTSIDE_ADDRESS];
    const more = ["--dns-search", "corp.example", "--dns-opt", "timeout:9"];
    await run("asker", "--network", "front", ...dns, ...more);
    expect((await ask("asker", "fixed.example")).data).toEqual(["198.51.100.1"]);
    expect(asked).toHaveLength(2);
    expect(await docker("exec", "asker", "cat", "/etc/resolv.conf")).toBe(
      "nameserver 127.0.0.11\nsearch corp.example\noptions timeout:9 ndots:0",
    );
  });

  test("when no server answers, it is said before clients give up", async () => {
    await docker("network", "create", "front");
    await run("asker", "--network", "front", "--dns", SILENT_ADDRESS);
    for (const transport of ["udp", "tcp"] as const) {
      expect((await ask("asker", "fixed.example", { transport })).rcode, transport).toBe(
        "SERVFAIL",
      );
    }
    // Names of containers do not wait for it.
    expect((await ask("asker", "asker")).data).toEqual([await addressOf("asker", "front")]);
  });

  test("goes out from the container itself", async () => {
    const bare = "com.docker.network.bridge.enable_ip_masquerade=false";
    await docker("network", "create", "-o", bare, "bare");
    await run("asker", "--network", "bare");
    const address = await addressOf("asker", "bare");
    for (const transport of ["udp", "tcp"] as const) {
      const { data } = await ask("asker", "who.example", { transport });
      expect(data, transport).toEqual([address]);
    }
  });

  test("not from a network that leads nowhere, which still has names", async () => {
    await docker("network", "create", "--internal", "inner");
    await run("asker", "--network", "inner");
    await run("other", "--network", "inner");
    expect((await ask("asker", "other")).data).toEqual([await addressOf("other", "inner")]);
    expect((await ask("asker", "fixed.example")).rcode).toBe("SERVFAIL");
    expect(asked).toEqual([]);
  });
});

test("the default bridge has the host's way: no resolver of ours, --dns as it is", async () => {
  await run("plain");
  await run("chosen", "--dns", "192.0.2.99");
  const file = (name: string) => docker("exec", name, "cat", "/etc/resolv.conf");
  expect(await file("plain")).toMatch(new RegExp(`^nameserver ${OUTSIDE_ADDRESS}$`, "m"));
  expect(await file("chosen")).toMatch(/^nameserver 192\.0\.2\.99$/m);
  await docker("network", "create", "front");
  await docker("network", "connect", "front", "plain");
  expect(await file("plain")).toMatch(/^nameserver 127\.0\.0\.11$/m);
  expect((await ask("plain", "plain")).data).toEqual([await addressOf("plain", "front")]);
  await docker("network", "disconnect", "front", "plain");
  expect(await file("plain")).toMatch(new RegExp(`^nameserver ${OUTSIDE_ADDRESS}$`, "m"));
});

test("a container may serve DNS itself on every address", async () => {
  await docker("network", "create", "front");
  await run("server", "--network", "front");
  const pid = await docker("inspect", "-f", "{{.State.Pid}}", "server");
  const words = [`--net=/proc/${pid}/ns/net`, process.execPath, "--import", "tsx", NAME_SERVER];
  const child = spawn("nsenter", [...words, "0.0.0.0"], { stdio: ["ignore", "pipe", "inherit"] });
  try {
    await new Promise((resolve, reject) => {
      child.stdout.once("data", resolve);
      child.on("exit", () => reject(new Error("port 53 is taken")));
    });
    expect((await ask("server", "server")).data).toEqual([await addressOf("server", "front")]);
  } finally {
    child.kill("SIGKILL");
  }
});

test("what leads to the resolver is put back when a tool in the container flushes it", async () => {
  await docker("network", "create", "front");
  await run("first", "--network", "front");
  const pid = await docker("inspect", "-f", "{{.State.Pid}}", "first");
  execFileSync("nsenter", [`--net=/proc/${pid}/ns/net`, "nft", "flush", "ruleset"]);
  const asked = () =>
    ask("first", "first").then(
      ({ rcode }) => rcode,
      () => "nothing",
    );
  await expect.poll(asked, { timeout: 20_000, interval: 500 }).toBe("NOERROR");
});

test("kill -9 and a new engine: running containers have their names again", async () => {
  await docker("network", "create", "front");
  await run("first", "--network", "front", "--network-alias", "nick");
  await run("second", "--network", "front");
  await engine.end("SIGKILL");
  await engine.start([`--dns=${OUTSIDE_ADDRESS}`]);
  const address = await addressOf("first", "front");
  for (const transport of ["udp", "tcp"] as const) {
    expect((await ask("second", "nick", { transport })).data, transport).toEqual([address]);
    const { data } = await ask("second", "fixed.example", { transport });
    expect(data, transport).toEqual(["198.51.100.1"]);
  }
});

/** Log drivers that hand lines on, against receivers of our own; `docker logs` reads all the same. */

import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { existsSync, readFileSync, statSync } from "node:fs";
import { type AddressInfo, createServer, type Server } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Host } from "./engine-host.ts";
import { DOCKERS, docker, type Harness, IMAGE, makeHarness } from "./harness.ts";
import { UnixReceiver } from "./unix-receiver.ts";

const DOCKER = DOCKERS.find((path) => existsSync(path)) ?? "docker";

let harness: Harness;
let host: Host;

beforeAll(async () => {
  harness = await makeHarness();
  host = await harness.open();
});

afterAll(async () => {
  await host?.close();
  await harness?.remove();
});

const cli = (...args: string[]) => docker(DOCKER, harness.socket, args);

async function run(name: string, options: readonly string[], script: string) {
  const log = options.flatMap((option) => ["--log-opt", option]);
  const [driver = "", ...rest] = log.splice(0, 2).slice(1);
  const flags = ["--name", name, "--network=none", "--log-driver", driver, ...rest, ...log];
  return cli("run", ...flags, IMAGE, "sh", "-c", script);
}

async function eventually<T>(read: () => T | undefined): Promise<T> {
  for (let i = 0; i < 200; i++) {
    const value = read();
    if (value !== undefined) return value;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error("it did not come in 5 s");
}

test("syslog to a datagram socket of the host", async () => {
  const path = join(harness.folder, "log.sock");
  const receiver = new UnixReceiver(path);
  try {
    const options = ["syslog", `syslog-address=unixgram://${path}`, "tag={{.Name}}"];
    expect(await run("s1", options, "echo out; echo err >&2")).toMatchObject({ code: 0 });
    const lines = await eventually(() =>
      receiver.messages.length > 1 ? receiver.messages : undefined,
    );
    expect(lines.toSorted()).toEqual([
      expect.stringMatching(/^<27>\w{3} [ \d]\d [\d:]{8} s1\[\d+\]: err$/),
      expect.stringMatching(/^<30>\w{3} [ \d]\d [\d:]{8} s1\[\d+\]: out$/),
    ]);
    const logs = await cli("logs", "s1");
    expect([logs.stdout, logs.stderr]).toEqual(["out\n", "err\n"]);
    expect(
      (await cli("inspect", "-f", "{{.LogPath}}|{{.HostConfig.LogConfig.Type}}", "s1")).stdout,
    ).toBe("|syslog\n");
  } finally {
    receiver.close();
  }
});

test("syslog over TCP and UDP", async () => {
  let received = "";
  const tcp: Server = createServer((socket) =>
    socket.on("data", (chunk) => (received += String(chunk))),
  );
  await new Promise<void>((resolve) => tcp.listen(0, "127.0.0.1", resolve));
  const udp: UdpSocket = createSocket("udp4");
  const datagrams: string[] = [];
  udp.on("message", (message) => datagrams.push(message.toString()));
  await new Promise<void>((resolve) => udp.bind(0, "127.0.0.1", resolve));
  try {
    const { port } = tcp.address() as AddressInfo;
    const address = `syslog-address=tcp://127.0.0.1:${port}`;
    await run(
      "s2",
      ["syslog", address, "syslog-format=rfc5424", "syslog-facility=local0"],
      "echo one; echo two",
    );
    await eventually(() => (received.includes("two\n") ? received : undefined));
    expect(received.split("\n")[0]).toMatch(
      /^<134>1 \S+Z \S+ [0-9a-f]{12} \d+ [0-9a-f]{12} - one$/,
    );
    await run(
      "s3",
      ["syslog", `syslog-address=udp://127.0.0.1:${udp.address().port}`],
      "echo three",
    );
    expect(await eventually(() => datagrams[0])).toMatch(/^<30>.*: three$/);
  } finally {
    tcp.close();
    udp.close();
  }
});

test("nobody there: the container does not start, and says why", async () => {
  const gone = await run("s4", ["syslog", "syslog-address=tcp://127.0.0.1:1"], "echo x");
  expect(gone.code).toBe(125);
  expect(gone.stderr).toContain("failed to initialize logging driver: connect ECONNREFUSED");
  if (existsSync("/run/systemd/journal/socket")) return;
  const journal = await run("s5", ["journald"], "echo x");
  expect(journal.stderr).toContain(
    "failed to initialize logging driver: journald is not enabled on this host",
  );
});

test("json-file: sizes and numbers of files are kept, packed where asked for", async () => {
  const options = ["json-file", "max-size=4k", "max-file=3", "compress=true"];
  await run("j1", options, "i=0; while [ $i -lt 400 ]; do echo line number $i; i=$((i+1)); done");
  const path = (await cli("inspect", "-f", "{{.LogPath}}", "j1")).stdout.trim();
  expect(existsSync(`${path}.1.gz`) && existsSync(`${path}.2.gz`)).toBe(true);
  expect(existsSync(`${path}.1`) || existsSync(`${path}.3.gz`)).toBe(false);
  expect(statSync(path).size).toBeLessThan(5_000);
  const lines = (await cli("logs", "j1")).stdout.trim().split("\n");
  expect(lines.at(-1)).toBe("line number 399");
  expect(lines.length).toBeGreaterThan(60);
  expect((await cli("logs", "--tail", "70", "j1")).stdout.trim().split("\n")).toEqual(
    lines.slice(-70),
  );
});

test("local and none; labels and env in the file", async () => {
  await run("l1", ["local"], "echo x");
  expect((await cli("logs", "l1")).stdout).toBe("x\n");
  await run("n1", ["none"], "echo x");
  expect((await cli("logs", "n1")).stderr).toContain(
    "configured logging driver does not support reading",
  );
  await cli(
    "run",
    "--name",
    "a1",
    "--network=none",
    "--label=role=front",
    "--log-opt=labels=role",
    "--log-opt=tag={{.Name}}",
    IMAGE,
    "echo",
    "x",
  );
  const path = (await cli("inspect", "-f", "{{.LogPath}}", "a1")).stdout.trim();
  expect(JSON.parse(readFileSync(path, "utf8"))).toMatchObject({
    log: "x\n",
    stream: "stdout",
    attrs: { role: "front", tag: "a1" },
  });
  expect((await cli("logs", "--details", "a1")).stdout).toBe("role=front,tag=a1 x\n");
});

test("refusals", async () => {
  const refused = async (...options: string[]) => (await run("x1", options, "true")).stderr;
  expect(await refused("splunk")).toContain(
    'error looking up logging plugin splunk: plugin "splunk" not found',
  );
  expect(await refused("json-file", "colour=red")).toContain(
    "unknown log opt 'colour' for json-file log driver",
  );
  expect(await refused("syslog", "syslog-address=ftp://x")).toContain(
    "unsupported syslog address: ftp://x",
  );
  expect(await refused("json-file", "max-size=lots")).toContain("max-size");
  expect((await cli("ps", "-aq", "--filter", "name=x1")).stdout).toBe("");
});

/**
 * Hosts on one switch, each a network namespace with an engine's networks in a process of its own,
 * and a client beside them. Containers are sleeping processes with their own namespaces, servers and
 * clients small processes in those. Everything ends with `end`.
 */

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, type MessageInitShape, toJson } from "@bufbuild/protobuf";
import type { OverlayStatus } from "#engine/overlay/overlay.ts";
import type { NetworkSandbox } from "#engine/ports.ts";
import { type NetworkTable, NetworkTableSchema } from "#wire/gen/skep/dataplane_pb.js";
import { TaskSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { makeNetns, type ScratchNetns } from "../networks/scratch.ts";
import type { Order } from "./host-process.ts";

export interface FabricHost {
  readonly number: number;
  readonly nodeId: string;
  /** On the switch. */
  readonly v4: string;
  readonly v6: string;
  readonly netns: ScratchNetns;
  /** Of its WireGuard; empty without. */
  readonly publicKey: Uint8Array;
  /** `port`: of VXLAN; the usual one unless given. */
  tables(tables: readonly NetworkTable[], port?: number): Promise<void>;
  /** Starts a container with addresses on networks. */
  container(networks: Readonly<Record<string, readonly string[]>>): Promise<NetworkSandbox>;
  /** What a task's container waits for before it is made. */
  ensure(task: MessageInitShape<typeof TaskSchema>): Promise<void>;
  detach(container: NetworkSandbox): Promise<void>;
  audit(): Promise<void>;
  status(): Promise<OverlayStatus>;
  /** Closes the engine's networks and opens them again. */
  restart(): Promise<void>;
  leave(): Promise<void>;
  lookup(network: string, name: string): Promise<readonly string[] | undefined>;
}

export interface Fabric {
  readonly hosts: readonly FabricHost[];
  readonly client: Place & { readonly v4: string; readonly v6: string };
  /** Answers TCP and UDP with its name and the address that it sees. */
  serve(where: Place, port: number, name: string): Promise<void>;
  /** A Node program that says something when it is ready. */
  start(where: Place, source: string, ...args: readonly string[]): Promise<void>;
  /** A program that runs until the end; what it has written so far. */
  watch(where: Place, ...command: readonly string[]): { text(): string };
  end(): Promise<void>;
}

/** Where a process runs. */
export interface Place {
  readonly netnsPath: string;
}

const SWITCH4 = "192.0.2";
const SWITCH6 = "2001:db8::";

/** `wireguardPort`: of the host with that number; the usual one unless given. */
export async function makeFabric(
  count: number,
  wireguardPort: (number: number) => number = () => 51_820,
): Promise<Fabric> {
  const folder = mkdtempSync(join(tmpdir(), "skep-overlay-"));
  const children = new Set<ChildProcess>();
  const spaces: ScratchNetns[] = [];
  const end = async () => {
    await Promise.all([...children].map(stop));
    for (const netns of spaces) {
      // wireguard-go outlives its engine, and ends with its interface.
      const links = run({ netnsPath: netns.path }, "ip", "-br", "link");
      for (const [device] of links.matchAll(/^wg-\w+/gm)) netns.run("ip", "link", "del", device);
      netns.remove();
    }
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    const middle = makeNetns();
    spaces.push(middle);
    middle.run("ip", "link", "add", "br0", "type", "bridge");
    middle.run("ip", "link", "set", "br0", "up");
    const plug = (number: number): ScratchNetns => {
      const netns = makeNetns();
      spaces.push(netns);
      middle.run(
        "ip",
        "link",
        "add",
        `p${number}`,
        "type",
        "veth",
        "peer",
        "eth0",
        "netns",
        netns.name,
      );
      middle.run("ip", "link", "set", `p${number}`, "master", "br0", "up");
      netns.run("ip", "addr", "add", `${SWITCH4}.${number}/24`, "dev", "eth0");
      netns.run("ip", "-6", "addr", "add", `${SWITCH6}${number}/64`, "dev", "eth0", "nodad");
      netns.run("ip", "link", "set", "eth0", "up");
      return netns;
    };
    const hosts: FabricHost[] = [];
    for (let number = 1; number <= count; number += 1) {
      const netns = plug(number);
      const place = { folder: join(folder, `h${number}`), port: wireguardPort(number) };
      hosts.push(await startHost(number, netns, place, children));
    }
    const client = plug(99);
    return {
      hosts,
      client: { netnsPath: client.path, v4: `${SWITCH4}.99`, v6: `${SWITCH6}99` },
      serve: (where, port, name) => start(children, where, SERVER, String(port), name),
      start: (where, source, ...args) => start(children, where, source, ...args),
      watch: ({ netnsPath }, ...command) => {
        const child = spawn("nsenter", [`--net=${netnsPath}`, ...command], {
          stdio: ["ignore", "pipe", "inherit"],
        });
        children.add(child);
        let text = "";
        child.stdout.on("data", (data) => {
          text += String(data);
        });
        return { text: () => text };
      },
      end,
    };
  } catch (error) {
    await end();
    throw error;
  }
}

async function startHost(
  number: number,
  netns: ScratchNetns,
  { folder, port }: { readonly folder: string; readonly port: number },
  children: Set<ChildProcess>,
): Promise<FabricHost> {
  mkdirSync(folder);
  const nodeId = `node${number}`;
  const program = join(import.meta.dirname, "host-process.ts");
  const words = [
    `--net=${netns.path}`,
    process.execPath,
    "--import",
    "tsx",
    program,
    folder,
    nodeId,
    String(port),
  ];
  const child = spawn("nsenter", words, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  children.add(child);
  const ask = channel(child);
  const publicKey = new Uint8Array(Buffer.from(String(await ask(undefined)), "hex"));
  return {
    publicKey,
    number,
    nodeId,
    v4: `${SWITCH4}.${number}`,
    v6: `${SWITCH6}${number}`,
    netns,
    tables: async (tables, port = 4789) => {
      const json = tables.map((table) => toJson(NetworkTableSchema, table));
      await ask({ do: "tables", tables: json, port });
    },
    container: async (networks) => {
      const sandbox = await startContainer(children);
      await ask({ do: "attach", sandbox, networks });
      return sandbox;
    },
    ensure: async (task) => {
      await ask({ do: "ensure", task: toJson(TaskSchema, create(TaskSchema, task)) });
    },
    detach: async ({ containerId, pid }) => {
      await ask({ do: "detach", containerId });
      const sleeper = [...children].find((one) => one.pid === pid);
      if (sleeper !== undefined) await stop(sleeper);
    },
    audit: async () => void (await ask({ do: "audit" })),
    status: async () => (await ask({ do: "status" })) as OverlayStatus,
    restart: async () => void (await ask({ do: "restart" })),
    leave: async () => void (await ask({ do: "leave" })),
    lookup: async (network, name) =>
      (await ask({ do: "lookup", network, name })) as readonly string[] | undefined,
  };
}

interface Answer {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: string;
}

/** Orders and their answers; undefined waits for the process to be ready. */
function channel(child: ChildProcess): (order: Order | undefined) => Promise<unknown> {
  const waiting = new Map<number, (answer: Answer) => void>();
  let last = 0;
  child.on("message", (answer: Answer) => waiting.get(answer.id)?.(answer));
  child.on("exit", (code) => {
    for (const [id, tell] of waiting) tell({ id, error: `the host's process ended with ${code}` });
  });
  return (order) =>
    new Promise((resolve, reject) => {
      const id = order === undefined ? 0 : ++last;
      waiting.set(id, ({ value, error }) => {
        waiting.delete(id);
        if (error === undefined) resolve(value);
        else reject(new Error(error));
      });
      if (order !== undefined) child.send({ id, order });
    });
}

async function startContainer(children: Set<ChildProcess>): Promise<NetworkSandbox> {
  const child = spawn("unshare", ["--net", "sleep", "1000"], { stdio: "ignore" });
  children.add(child);
  const pid = child.pid ?? 0;
  // It has its own namespace only when it has become `sleep`.
  while (readFileSync(`/proc/${pid}/comm`, "utf8").trim() !== "sleep") {
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  const containerId = randomBytes(32).toString("hex");
  const name = containerId.slice(0, 12);
  const netnsPath = `/proc/${pid}/ns/net`;
  return { containerId, containerName: name, hostname: name, netnsPath, pid };
}

const SERVER = `
const [port, name] = [Number(process.argv[1]), process.argv[2]];
const plain = (address) => address.replace(/^::ffff:/, "");
const answer = (address) => name + " " + plain(address) + "\\n";
const tcp = require("net").createServer((socket) => {
  socket.on("error", () => {});
  socket.write(answer(socket.remoteAddress));
  socket.on("data", (data) => {
    if (String(data) === "stay\\n") socket.write("here\\n"); else socket.end();
  });
});
const udp = require("dgram").createSocket("udp6");
udp.on("message", (_, from) => udp.send(answer(from.address), from.port, from.address));
tcp.listen(port, "::", () => udp.bind(port, "::", () => console.log("ready")));
`;

async function start(
  children: Set<ChildProcess>,
  { netnsPath }: Place,
  source: string,
  ...args: readonly string[]
): Promise<void> {
  const words = [`--net=${netnsPath}`, process.execPath, "-e", source, ...args];
  const child = spawn("nsenter", words, { stdio: ["ignore", "pipe", "inherit"] });
  children.add(child);
  await new Promise<void>((resolve, reject) => {
    child.stdout.once("data", () => resolve());
    child.once("exit", (code) => reject(new Error(`the server ended with ${code}`)));
  });
}

function stop(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve();
    child.once("exit", () => resolve());
    child.kill("SIGKILL");
  });
}

/** Runs a program in a namespace; its output, or what it said when it failed. */
export function run({ netnsPath }: Place, ...command: readonly string[]): string {
  try {
    return execFileSync("nsenter", [`--net=${netnsPath}`, ...command], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
  } catch (error) {
    return String((error as { stderr?: unknown }).stderr ?? error);
  }
}

/** What a server answers: "name address"; "refused", or "" when there is no answer in a second. */
export function ask(where: Place, protocol: "tcp" | "udp", address: string, port: number): string {
  const script = `exec 3<>/dev/${protocol}/${address}/${port} && echo >&3 && dd bs=1500 count=1 status=none <&3`;
  const words = ["timeout", "2", "bash", "-c", script];
  const text = run(where, ...words);
  // A datagram that is refused where it was sent from fails the sending itself.
  return /refused|not permitted/i.test(text) ? "refused" : (text.trim().split("\n").at(-1) ?? "");
}

/** A client that stays: says what comes, line by line, and is told what to send. */
export interface Stayer {
  /** What comes within a second; "" for nothing, "closed" when the connection ended. */
  say(text: string): Promise<string>;
  end(): void;
}

const STAYER = `
const [protocol, address, port] = process.argv.slice(1);
const out = (text) => process.stdout.write(text);
if (protocol === "tcp") {
  const socket = require("net").connect(Number(port), address);
  socket.on("data", (data) => out(data)).on("error", () => {}).on("close", () => out("closed\\n"));
  process.stdin.on("data", (data) => socket.write(data));
} else {
  const socket = require("dgram").createSocket(address.includes(":") ? "udp6" : "udp4");
  socket.on("message", (data) => out(data)).on("error", () => out("refused\\n"));
  process.stdin.on("data", (data) => socket.send(data, Number(port), address, (e) => e && out("refused\\n")));
}
process.stdin.on("end", () => process.exit());
`;

export function stay(
  { netnsPath }: Place,
  protocol: "tcp" | "udp",
  address: string,
  port: number,
): Stayer {
  const words = [
    `--net=${netnsPath}`,
    process.execPath,
    "-e",
    STAYER,
    protocol,
    address,
    `${port}`,
  ];
  const child = spawn("nsenter", words, { stdio: ["pipe", "pipe", "inherit"] });
  let text = "";
  let wake = () => {};
  child.stdout.on("data", (data) => {
    text += String(data);
    wake();
  });
  return {
    say: async (line) => {
      if (line !== "") child.stdin.write(`${line}\n`);
      if (text === "") {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, 2000);
          wake = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
      const lines = text.trim().split("\n");
      text = "";
      return lines.join("|");
    },
    end: () => void child.kill("SIGKILL"),
  };
}

export function table(init: MessageInitShape<typeof NetworkTableSchema>): NetworkTable {
  return create(NetworkTableSchema, { driver: "overlay", attachable: true, ...init });
}

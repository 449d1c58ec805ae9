/**
 * What the swarm's data path costs: the same client and server with a connection of their own, and
 * through the routing mesh, a virtual address, and an encrypted network. Hosts are network namespaces
 * on one switch; rounds of the paths alternate. Both ends are small Node programs, which are slower
 * than the kernel between them: the ratio tells more than the figure. Then how soon
 * all know of a task (`propagation.ts`), and, in memory, what one change of the tables costs (`tables.ts`).
 */

import { spawn } from "node:child_process";
import {
  type Fabric,
  type FabricHost,
  makeFabric,
  type Place,
  table,
} from "../test/overlay/fabric.ts";
import { run as propagation } from "./propagation.ts";
import type { Report } from "./report.ts";
import { run as tables } from "./tables.ts";

const ROUNDS = 6;
const STREAM_SECONDS = 1.5;
const CONNECTIONS = 1_000;

const SERVER = `
const [short, stream] = process.argv.slice(1).map(Number);
const net = require("net");
net.createServer((s) => { s.on("error", () => {}); s.end("x"); }).listen(short, "::", () =>
  net.createServer((s) => { s.on("error", () => {}); s.resume(); }).listen(stream, "::", () => console.log("ready")));
`;

/** Prints MB/s. */
const STREAM = `
const [address, port, seconds] = process.argv.slice(1);
const chunk = Buffer.alloc(256 * 1024);
const socket = require("net").connect(Number(port), address, () => {
  const start = performance.now();
  const write = () => {
    while (performance.now() - start < Number(seconds) * 1000) if (!socket.write(chunk)) return socket.once("drain", write);
    socket.end(() => { console.log(socket.bytesWritten / 1e3 / (performance.now() - start)); process.exit(); });
  };
  write();
});
`;

/** Prints milliseconds of each connection: from connect to its end. */
const SHORT = `
const [address, port, count] = process.argv.slice(1);
const took = [];
const next = () => {
  if (took.length === Number(count)) return console.log(took.join(" "));
  const start = performance.now();
  const socket = require("net").connect(Number(port), address);
  socket.resume().on("close", () => { took.push(performance.now() - start); next(); });
};
next();
`;

interface Path {
  readonly from: Place;
  readonly address: string;
  readonly short: number;
  readonly stream: number;
}

interface Comparison {
  readonly name: string;
  readonly ours: Path;
  readonly direct: Path;
}

export async function run(report: Report): Promise<void> {
  const fabric = await makeFabric(2);
  try {
    for (const comparison of await prepare(fabric)) await measure(comparison, report);
  } finally {
    await fabric.end();
  }
  await propagation(report);
  await tables(report);
}

async function measure({ name, ours, direct }: Comparison, report: Report): Promise<void> {
  const [mine, theirs] = [
    { stream: [] as number[], short: [] as number[] },
    { stream: [] as number[], short: [] as number[] },
  ];
  for (let round = 0; round <= ROUNDS; round += 1) {
    const both = [
      [direct, theirs],
      [ours, mine],
    ] as const;
    // Who goes second is slower on some machines, also against himself.
    for (const [path, into] of round % 2 === 0 ? both : both.toReversed()) {
      const stream = await throughput(path);
      const short = await latencies(path);
      // The first round warms both up.
      if (round === 0) continue;
      into.stream.push(stream);
      into.short.push(...short);
    }
  }
  const [rate, direct1] = [quantile(mine.stream, 0.5), quantile(theirs.stream, 0.5)];
  report({
    name: `${name}: throughput`,
    ours: Math.round(rate),
    peer: Math.round(direct1),
    unit: "MB/s",
    ratio: rate / direct1,
  });
  for (const [label, at] of [
    ["p50", 0.5],
    ["p99", 0.99],
  ] as const) {
    const [own, other] = [quantile(mine.short, at), quantile(theirs.short, at)];
    report({
      name: `${name}: short connection, ${label}`,
      ours: Number(own.toFixed(3)),
      peer: Number(other.toFixed(3)),
      unit: "ms",
      ratio: other / own,
    });
  }
}

async function throughput({ from, address, stream }: Path): Promise<number> {
  return Number(await inside(from, STREAM, address, String(stream), String(STREAM_SECONDS)));
}

async function latencies({ from, address, short }: Path): Promise<number[]> {
  const text = await inside(from, SHORT, address, String(short), String(CONNECTIONS));
  return text.trim().split(" ").map(Number);
}

/** The ways that are compared: a server on the second host, a client outside or in a container. */
async function prepare(fabric: Fabric): Promise<readonly Comparison[]> {
  const [h1, h2] = fabric.hosts as [FabricHost, FabricHost];
  await Promise.all([h1, h2].map((host) => host.tables(networks(fabric))));
  const server = await h2.container({
    ingress: ["10.0.0.12"],
    ov: ["10.0.1.12"],
    sec: ["10.0.2.12"],
  });
  const user = await h1.container({ ov: ["10.0.1.11"], sec: ["10.0.2.11"] });
  for (const where of [server, { netnsPath: h2.netns.path }]) {
    await fabric.start(where, SERVER, "7001", "7002");
  }
  const { client } = fabric;
  const path = (from: Place, address: string, published = false): Path => ({
    from,
    address,
    short: published ? 8001 : 7001,
    stream: published ? 8002 : 7002,
  });
  const plain = path(client, h2.v4);
  return [
    { name: "mesh, task on the host", ours: path(client, h2.v4, true), direct: plain },
    { name: "mesh, task on another host", ours: path(client, h1.v4, true), direct: plain },
    {
      name: "mesh from the host, against the task's own address",
      ours: path({ netnsPath: h1.netns.path }, h1.v4, true),
      direct: path({ netnsPath: h1.netns.path }, "10.0.0.12"),
    },
    {
      name: "virtual address over hosts",
      ours: path(user, "10.0.1.2"),
      direct: path(user, "10.0.1.12"),
    },
    {
      name: "encrypted network (wireguard-go)",
      ours: path(user, "10.0.2.2"),
      direct: path(user, "10.0.1.12"),
    },
  ];
}

function networks({ hosts }: Fabric) {
  const network = (id: string, subnet: number, more = {}) =>
    table({
      networkId: `${id}00000000000000`,
      name: id,
      subnets: [{ subnet: `10.0.${subnet}.0/24`, gateway: `10.0.${subnet}.1`, vni: 4096 + subnet }],
      peers: hosts.map(({ number, nodeId, v4, publicKey }) => ({
        nodeId,
        dataPathAddr: v4,
        addresses: [`10.0.${subnet}.20${number}`],
        publicKey,
      })),
      endpoints: [11, 12].map((last) => ({
        taskId: `t${last}`,
        nodeId: last === 12 ? "node2" : "node1",
        serviceId: last === 12 ? "web" : "user",
        addresses: [`10.0.${subnet}.${last}`],
        ready: true,
      })),
      services: [
        {
          serviceId: "web",
          name: "web",
          virtualIps: [`10.0.${subnet}.2`],
          ports: [1, 2].map((at) => ({ publishedPort: 8000 + at, targetPort: 7000 + at })),
        },
      ],
      ...more,
    });
  return [
    network("ingress", 0, { ingress: true }),
    network("ov", 1),
    network("sec", 2, { encrypted: true }),
  ];
}

function inside({ netnsPath }: Place, source: string, ...args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const words = [`--net=${netnsPath}`, process.execPath, "-e", source, ...args];
    const child = spawn("nsenter", words, { stdio: ["ignore", "pipe", "inherit"] });
    let text = "";
    child.stdout.on("data", (data) => {
      text += String(data);
    });
    child.on("error", reject);
    child.on("close", (code) => {
      if (code === 0 && text !== "") resolve(text);
      else reject(new Error(`the client ended with ${code}: ${args.join(" ")}`));
    });
  });
}

function quantile(values: readonly number[], at: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * at))] ?? Number.NaN;
}

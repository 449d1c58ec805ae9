/**
 * How long one member takes from its start after a crash until it answers, how much memory it then
 * has, and how large its disk has become: with 100,000 objects, and after 1,000,000 writes to them.
 */

import { lstat, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { UnaryClient } from "#platform/grpc/testing/unary.ts";
import {
  bundleManager,
  formSwarm,
  ManagerProcess,
  until,
} from "../test/raft/processes/managers.ts";
import { type EtcdMember, etcdGroup, etcdLeader, installEtcd } from "./raft/etcd.ts";
import { PUT } from "./raft/requests.ts";
import type { Report } from "./report.ts";

const OBJECTS = 100_000;
const WRITES = Number(process.env["BENCH_WRITES"] ?? 1_000_000);
const VALUE_BYTES = 256;
const CLIENTS = 256;
const START_TIMEOUT_MS = 120_000;

interface Recovery {
  readonly readyMs: number;
  readonly memoryMb: number;
  readonly diskMb: number;
}

export async function run(report: Report): Promise<void> {
  const hasPeer = installEtcd();
  const dir = await mkdtemp(join(tmpdir(), "skep-bench-recovery-"));
  const bundle = await bundleManager();
  const manager = await ManagerProcess.make({ bundle, dir, name: "m1" });
  const [peer] = hasPeer ? await etcdGroup(dir, 1) : [];
  try {
    await formSwarm([manager]);
    peer?.start();
    let done = 0;
    for (const writes of [OBJECTS, WRITES]) {
      await manager.ask({ op: "fill", from: done, to: writes, objects: OBJECTS });
      if (peer !== undefined) await fillPeer(peer, done, writes);
      done = writes;
      const name = `recovery: ${OBJECTS} objects after ${writes} writes`;
      const ours = await recoverOurs(manager);
      tell(report, name, ours, peer === undefined ? undefined : await recoverPeer(peer, dir));
    }
  } finally {
    await manager.kill();
    await peer?.kill();
    await rm(dir, { recursive: true });
  }
}

async function recoverOurs(manager: ManagerProcess): Promise<Recovery> {
  await manager.kill();
  const begun = performance.now();
  await manager.start();
  await until(START_TIMEOUT_MS, "a leader", async () => (await manager.info()).leads);
  const readyMs = performance.now() - begun;
  return {
    readyMs,
    memoryMb: await memoryMbOf(manager.pid),
    diskMb: await sizeMbOf(join(manager.dataRoot, "swarm")),
  };
}

async function recoverPeer(peer: EtcdMember, dir: string): Promise<Recovery> {
  await peer.kill();
  const begun = performance.now();
  peer.start();
  await etcdLeader([peer], START_TIMEOUT_MS);
  const readyMs = performance.now() - begun;
  return {
    readyMs,
    memoryMb: await memoryMbOf(peer.pid),
    diskMb: await sizeMbOf(join(dir, "e1")),
  };
}

/** Overwrites the same keys again and again, as ours does with its objects. */
async function fillPeer(peer: EtcdMember, from: number, to: number): Promise<void> {
  const socket = await etcdLeader([peer]);
  const connections = Array.from({ length: 4 }, () => new UnaryClient(socket));
  const value = Buffer.alloc(VALUE_BYTES, "v");
  let next = from;
  const client = async (n: number) => {
    while (next < to) {
      const request = PUT.write(`fill-${next++ % OBJECTS}`, value);
      const answer = await connections[n % connections.length]?.call(PUT.path, request);
      if (answer?.status !== 0) throw new Error(`a write failed: ${answer?.message}`);
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, (_, n) => client(n)));
  for (const connection of connections) connection.close();
}

async function memoryMbOf(pid: number | undefined): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? Number.NaN) / 1024;
}

async function sizeMbOf(dir: string): Promise<number> {
  let bytes = 0;
  for (const name of await readdir(dir, { recursive: true })) {
    const stat = await lstat(join(dir, name)).catch(() => undefined);
    if (stat?.isFile()) bytes += stat.blocks * 512;
  }
  return bytes / 2 ** 20;
}

function tell(report: Report, name: string, ours: Recovery, peer: Recovery | undefined): void {
  const figures = [
    { what: "ready", unit: "ms", of: (one: Recovery) => one.readyMs },
    { what: "memory", unit: "MB", of: (one: Recovery) => one.memoryMb },
    { what: "disk", unit: "MB", of: (one: Recovery) => one.diskMb },
  ];
  for (const { what, unit, of } of figures) {
    const mine = of(ours);
    const theirs = peer === undefined ? undefined : of(peer);
    report({
      name: `${name}, ${what}`,
      ours: Math.round(mine),
      peer: theirs === undefined ? "no etcd here" : Math.round(theirs),
      unit,
      ratio: theirs === undefined ? undefined : theirs / mine,
    });
  }
}

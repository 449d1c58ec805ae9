/**
 * The leader is lost: how long until the next write is accepted. Three members in processes of their
 * own, in each round the leader ends, and clients of the two others write until one is answered.
 *
 * Two ways to end. Killed: its sockets close, the others can notice. Power cut: it is stopped, so
 * that its sockets stay open and silent, as when a machine or its cable is gone.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { UnaryClient } from "#platform/grpc/testing/unary.ts";
import {
  bundleManager,
  formSwarm,
  leaderOf,
  ManagerProcess,
  until,
} from "../test/raft/processes/managers.ts";
import { etcdGroup, etcdLeader, installEtcd } from "./raft/etcd.ts";
import { CREATE_CONFIG, type Dialect, PUT } from "./raft/requests.ts";
import type { Report } from "./report.ts";

const ROUNDS = Number(process.env["BENCH_ROUNDS"] ?? 50);
const MEMBERS = 3;
const RETRY_MS = 10;
const CALL_TIMEOUT_MS = 250;
const GIVE_UP_MS = 30_000;

type Way = "killed" | "power cut";

/** A group whose leader can be ended. */
interface Group {
  readonly dialect: Dialect;
  /** The sockets of all members, that of the leader first, once the group is whole and leads. */
  settled(): Promise<readonly string[]>;
  /** Ends the member at once. */
  end(socket: string, way: Way): void;
  /** Brings the ended member back. */
  revive(socket: string): Promise<void>;
  stop(): Promise<void>;
}

export async function run(report: Report): Promise<void> {
  const hasPeer = installEtcd();
  const dir = await mkdtemp(join(tmpdir(), "skep-bench-leader-"));
  const groups: Group[] = [];
  try {
    const ours = await ourGroup(dir);
    groups.push(ours);
    const peer = hasPeer ? await peerGroup(dir) : undefined;
    if (peer !== undefined) groups.push(peer);
    for (const way of ["killed", "power cut"] as const) {
      const theirs = peer === undefined ? undefined : await rounds(peer, way);
      tell(report, way, await rounds(ours, way), theirs);
    }
  } finally {
    await Promise.all(groups.map((group) => group.stop()));
    await rm(dir, { recursive: true });
  }
}

async function rounds(group: Group, way: Way): Promise<readonly number[]> {
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const [leader = "", ...others] = await group.settled();
    await firstAccepted(group.dialect, [leader, ...others]);
    group.end(leader, way);
    times.push(await firstAccepted(group.dialect, others));
    await group.revive(leader);
  }
  return times.toSorted((a, b) => a - b);
}

let names = 0;

/** Milliseconds until one of the members accepts a write that began after the call. */
async function firstAccepted(dialect: Dialect, sockets: readonly string[]): Promise<number> {
  const clients = sockets.map((socket) => new UnaryClient(socket));
  const begun = performance.now();
  const done = new AbortController();
  // One client for each member, which asks again when it is not answered.
  const insist = async (client: UnaryClient) => {
    while (!done.signal.aborted && performance.now() - begun < GIVE_UP_MS) {
      names += 1;
      const request = dialect.write(`leader-${names}`, Buffer.from("x"));
      const { status } = await client.call(dialect.path, request, CALL_TIMEOUT_MS);
      if (status === 0) return performance.now() - begun;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
    throw new Error(`no write was accepted in ${GIVE_UP_MS} ms`);
  };
  try {
    return await Promise.any(clients.map(insist));
  } finally {
    done.abort();
    for (const client of clients) client.close();
  }
}

async function ourGroup(dir: string): Promise<Group> {
  const bundle = await bundleManager();
  const managers = await Promise.all(
    Array.from({ length: MEMBERS }, (_, n) =>
      ManagerProcess.make({ bundle, dir, name: `m${n + 1}` }),
    ),
  );
  const owner = (socket: string) => {
    const found = managers.find(({ controlSocket }) => controlSocket === socket);
    if (found === undefined) throw new Error(`nobody owns ${socket}`);
    return found;
  };
  await formSwarm(managers);
  return {
    dialect: CREATE_CONFIG,
    settled: async () => {
      const leader = await leaderOf(managers);
      const others = managers.filter((one) => one !== leader);
      await until(GIVE_UP_MS, "followers that are up to date", async () => {
        const { index } = await leader.info();
        const infos = await Promise.all(others.map((one) => one.info()));
        return infos.every(
          (info) => info.active && info.leader !== undefined && info.index >= index,
        );
      });
      return [leader, ...others].map(({ controlSocket }) => controlSocket);
    },
    end: (socket, way) => owner(socket).signal(way === "killed" ? "SIGKILL" : "SIGSTOP"),
    revive: async (socket) => {
      const manager = owner(socket);
      await manager.kill();
      await manager.start();
    },
    stop: async () => {
      await Promise.all(managers.map((manager) => manager.kill()));
    },
  };
}

async function peerGroup(dir: string): Promise<Group> {
  const members = await etcdGroup(dir, MEMBERS);
  for (const member of members) member.start();
  const owner = (socket: string) => {
    const found = members.find((one) => one.socket === socket);
    if (found === undefined) throw new Error(`nobody owns ${socket}`);
    return found;
  };
  return {
    dialect: PUT,
    settled: async () => {
      const leader = await etcdLeader(members);
      const others = members.filter(({ socket }) => socket !== leader);
      // A member answers a write only when it follows.
      for (const { socket } of others) await firstAccepted(PUT, [socket]);
      return [leader, ...others.map(({ socket }) => socket)];
    },
    end: (socket, way) => owner(socket).signal(way === "killed" ? "SIGKILL" : "SIGSTOP"),
    revive: async (socket) => {
      await owner(socket).kill();
      owner(socket).start();
    },
    stop: async () => {
      await Promise.all(members.map((member) => member.kill()));
    },
  };
}

function tell(
  report: Report,
  way: Way,
  ours: readonly number[],
  theirs: readonly number[] | undefined,
): void {
  const at = (times: readonly number[], share: number) =>
    times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? Number.NaN;
  for (const [name, share] of [
    ["p50", 0.5],
    ["p99", 0.99],
    ["max", 1],
  ] as const) {
    const mine = at(ours, share);
    const peer = theirs === undefined ? undefined : at(theirs, share);
    report({
      name: `leader ${way}, next write accepted, ${name} of ${ROUNDS}`,
      ours: Math.round(mine),
      peer: peer === undefined ? "no etcd here" : Math.round(peer),
      unit: "ms",
      ratio: peer === undefined ? undefined : peer / mine,
    });
  }
}

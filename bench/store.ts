/**
 * Durable writes: how many per second, and how long each takes, with more and more clients at once;
 * one manager alone, and three in processes of their own. Each write is one raft entry that a
 * majority has on disk (fdatasync) and the leader has applied when it is answered, at ours as at
 * etcd's. Both are driven by the same client over a unix socket at the leader, with the same value;
 * the members speak TLS among themselves.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  bundleManager,
  formSwarm,
  leaderOf,
  ManagerProcess,
} from "../test/raft/processes/managers.ts";
import { type EtcdMember, etcdGroup, etcdLeader, installEtcd } from "./raft/etcd.ts";
import { type LoadResult, load } from "./raft/load.ts";
import { CREATE_CONFIG, PUT } from "./raft/requests.ts";
import type { Report } from "./report.ts";

const CLIENTS = [1, 16, 256, 1_000];
const SECONDS = Number(process.env["BENCH_SECONDS"] ?? 5);

export async function run(report: Report): Promise<void> {
  const hasPeer = installEtcd();
  const bundle = await bundleManager();
  for (const members of [1, 3]) {
    const dir = await mkdtemp(join(tmpdir(), "skep-bench-store-"));
    const managers = await Promise.all(
      Array.from({ length: members }, (_, n) =>
        ManagerProcess.make({ bundle, dir, name: `m${n + 1}` }),
      ),
    );
    const peers: readonly EtcdMember[] = hasPeer ? await etcdGroup(dir, members) : [];
    try {
      await formSwarm(managers);
      for (const peer of peers) peer.start();
      const ourSocket = (await leaderOf(managers)).controlSocket;
      const peerSocket = hasPeer ? await etcdLeader(peers) : undefined;
      // Code that is compiled as it runs, caches, segments of the log: neither starts cold.
      if (peerSocket !== undefined) await load(peerSocket, PUT, 256, 2);
      await load(ourSocket, CREATE_CONFIG, 256, 2);
      for (const clients of CLIENTS) {
        const peer =
          peerSocket === undefined ? undefined : await load(peerSocket, PUT, clients, SECONDS);
        const ours = await load(ourSocket, CREATE_CONFIG, clients, SECONDS);
        tell(report, `${members} member${members > 1 ? "s" : ""}, ${clients} clients`, ours, peer);
      }
    } finally {
      await Promise.all([...managers.map((one) => one.kill()), ...peers.map((one) => one.kill())]);
      await rm(dir, { recursive: true });
    }
  }
}

function tell(report: Report, name: string, ours: LoadResult, peer: LoadResult | undefined): void {
  const figures = [
    { what: "writes", unit: "1/s", of: (one: LoadResult) => one.perSecond, isMoreBetter: true },
    { what: "p50", unit: "ms", of: (one: LoadResult) => one.p50Ms, isMoreBetter: false },
    { what: "p99", unit: "ms", of: (one: LoadResult) => one.p99Ms, isMoreBetter: false },
  ];
  for (const { what, unit, of, isMoreBetter } of figures) {
    const mine = of(ours);
    const theirs = peer === undefined ? undefined : of(peer);
    const quotient = theirs === undefined ? undefined : mine / theirs;
    report({
      name: `store: ${name}, ${what}`,
      ours: Number(mine.toFixed(2)),
      peer: theirs === undefined ? "no etcd here" : Number(theirs.toFixed(2)),
      unit,
      ratio: quotient === undefined || isMoreBetter ? quotient : 1 / quotient,
    });
  }
}

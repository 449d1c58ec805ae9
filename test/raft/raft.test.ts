/** Members over real sockets and disks: what is acknowledged stays, whoever dies. */

import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test } from "vitest";
import { EngineError } from "#base/error.ts";
import { openDisk } from "#manager/raft/disk.ts";
import type { RaftNodeOptions } from "#manager/raft/node.ts";
import { NotMade } from "#manager/state.ts";
import { realRandom } from "#platform/real-ports.ts";
import { beforeDurableWrites } from "#platform/wal/testing/hooked-fs.ts";
import { TaskSchema } from "#wire/gen/swarmkit/objects_pb.js";
import {
  RaftMemberStatus_Reachability as Reachability,
  TaskStatusSchema,
} from "#wire/gen/swarmkit/types_pb.js";
import { eventually, service, TestCluster, type TestMember, write } from "./cluster.ts";

/** Numbers of etcd's raftpb. */
const MESSAGE = { APPEND_RESPONSE: 4, HEARTBEAT_RESPONSE: 9 };

let cluster: TestCluster;
beforeEach(async () => {
  cluster = await TestCluster.make();
});
afterEach(async () => {
  await cluster.stop();
});

async function three(options: Partial<RaftNodeOptions> = {}): Promise<TestMember[]> {
  const a = await cluster.start("a", options);
  await cluster.leader();
  const b = await cluster.start("b", { joins: ["a"], ...options });
  const c = await cluster.start("c", { joins: ["a"], ...options });
  for (const member of [a, b, c]) {
    await eventually(10_000, "three voters", () => member.node.status().voters.length === 3);
  }
  return [a, b, c];
}

function has(member: TestMember, id: string): boolean {
  return member.node.state.view().get("service", id) !== undefined;
}

/** The same objects, in the same versions. */
function sameState(members: readonly TestMember[]): boolean {
  const [first, ...others] = members.map(({ node }) => {
    const view = node.state.view();
    return JSON.stringify(
      [...view.all("service")].map((one) => [one.id, `${one.meta?.version?.index}`]),
    );
  });
  return others.every((other) => other === first);
}

test("a single member leads at once, and its state survives a crash", async () => {
  const a = await cluster.start("a");
  await write(cluster, "s1");
  expect(a.node.state.leader()).toEqual({ nodeId: "a", addr: "a:1" });
  await a.kill();
  const again = await cluster.start("a");
  await cluster.leader();
  expect(has(again, "s1")).toBe(true);
  expect(again.failure()).toBeUndefined();
});

test("an update is replicated to all, with the same version everywhere", async () => {
  const members = await three();
  for (let i = 0; i < 20; i++) await write(cluster, `s${i}`);
  await eventually(5_000, "replication", () => members.every((member) => has(member, "s19")));
  expect(sameState(members)).toBe(true);
  const follower = members.find(({ node }) => !node.state.isLeader());
  await expect(follower?.node.state.update("api", () => 1)).rejects.toMatchObject({
    code: "unavailable",
  });
});

test("a follower's linearizable read sees what was acknowledged just before", async () => {
  const members = await three();
  for (let i = 0; i < 10; i++) {
    await write(cluster, `s${i}`);
    const views = await Promise.all(members.map(({ node }) => node.state.linearizable()));
    for (const view of views) expect(view.get("service", `s${i}`)).toBeDefined();
  }
});

test("many transactions at once: each sees those before it, and watchers see each once", async () => {
  const members = await three();
  const leader = await cluster.leader();
  const watched: number[] = [];
  const abort = new AbortController();
  const other = members.find((member) => member !== leader) ?? leader;
  const watching = (async () => {
    for await (const batch of other.node.state.watch({ signal: abort.signal })) {
      for (const change of batch.changes) {
        if (change.kind === "service" && change.action === "update") watched.push(batch.index);
      }
    }
  })();
  await leader.node.state.update("api", (tx) => tx.create("service", service("counter")));
  const counts = await Promise.all(
    Array.from({ length: 200 }, () =>
      leader.node.state.update("api", (tx) => {
        const before = tx.get("service", "counter");
        if (before === undefined) throw new Error("gone");
        const count = Number(before.spec?.annotations?.labels["n"] ?? "0") + 1;
        const annotations = { ...before.spec?.annotations, labels: { n: `${count}` } };
        tx.update("service", { ...before, spec: { ...before.spec, annotations } } as never);
        return count;
      }),
    ),
  );
  expect(counts).toEqual(Array.from({ length: 200 }, (_, i) => i + 1));
  await eventually(5_000, "all updates at the watcher", () => watched.length >= 200);
  expect(new Set(watched).size).toBe(200);
  abort.abort();
  await watching;
});

test("leaders hand over under writes: of each it is known what became of it", async () => {
  await three();
  const over = new AbortController();
  const made: string[] = [];
  const refused: string[] = [];
  const writing = Array.from({ length: 8 }, async (_, client) => {
    for (let at = 0; !over.signal.aborted; at++) {
      const id = `s${client}-${at}`;
      const leader = await cluster.leader();
      try {
        await leader.node.state.update("api", (tx) => tx.create("service", service(id)));
        made.push(id);
      } catch (error) {
        if (!(error instanceof NotMade)) throw error;
        refused.push(id);
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    }
  });
  const all = Promise.all(writing);
  // Told below.
  all.catch(() => undefined);
  for (let at = 0; at < 10; at++) {
    const before = made.length;
    await eventually(5_000, "writes", () => made.length > before + 100);
    await (await cluster.leader()).node.membership.transferLeadership();
  }
  over.abort();
  await all;
  const view = await (await cluster.leader()).node.state.linearizable();
  expect(made.filter((id) => view.get("service", id) === undefined)).toEqual([]);
  expect(refused.filter((id) => view.get("service", id) !== undefined)).toEqual([]);
});

test("a leader that is replaced learns what became of its last changes", async () => {
  await three();
  await write(cluster, "s0");
  const old = await cluster.leader();
  const { APPEND_RESPONSE, HEARTBEAT_RESPONSE } = MESSAGE;
  cluster.onStreamed = (to, { message }) =>
    to === old.name && [APPEND_RESPONSE, HEARTBEAT_RESPONSE].includes(Number(message?.type))
      ? "lost"
      : undefined;
  // The others have it on disk and say so; that is heard of only when one of them leads.
  const written = old.node.state.update("api", (tx) => tx.create("service", service("s1")));
  await cluster.leader(10_000, old.name);
  await written;
  expect(has(old, "s1")).toBe(true);
  expect(old.node.state.isLeader()).toBe(false);
});

test("the leader is killed: the next write is accepted within 3 s, and nothing is lost", async () => {
  const members = await three();
  for (let i = 0; i < 10; i++) await write(cluster, `s${i}`);
  const leader = await cluster.leader();
  await leader.kill();
  const start = performance.now();
  await write(cluster, "after");
  expect(performance.now() - start).toBeLessThan(3_000);
  const rest = members.filter((member) => member !== leader);
  await eventually(5_000, "replication", () => rest.every((member) => has(member, "after")));
  for (const member of rest) for (let i = 0; i < 10; i++) expect(has(member, `s${i}`)).toBe(true);
  // The dead one comes back with its old disk and catches up.
  const again = await cluster.start(leader.name);
  await eventually(5_000, "catching up", () => has(again, "after"));
  expect(sameState([again, ...rest])).toBe(true);
});

test("a leader that stops hands over: the next write waits for no election", async () => {
  await three();
  const leader = await cluster.leader();
  await leader.close();
  const start = performance.now();
  await write(cluster, "after");
  expect(performance.now() - start).toBeLessThan(900);
});

test("all members crash at once and come back: no acknowledged write is lost", async () => {
  const names = ["a", "b", "c"];
  await three();
  const acknowledged: string[] = [];
  const enough = new AbortController();
  const writers = [0, 1, 2, 3].map(async (writer) => {
    for (let i = 0; !enough.signal.aborted; i++) {
      const id = `w${writer}-${i}`;
      const leader = await cluster.leader();
      await leader.node.state
        .update("api", (tx) => tx.create("service", service(id)))
        .then(
          () => acknowledged.push(id),
          () => undefined,
        );
    }
  });
  await eventually(20_000, "some writes", () => acknowledged.length > 300);
  enough.abort();
  const crashed = cluster.members();
  await Promise.all(crashed.map((member) => member.kill()));
  const kept = [...acknowledged];
  const back = await Promise.all(names.map((name) => cluster.start(name)));
  await write(cluster, "after");
  await Promise.all(writers);
  await eventually(5_000, "replication", () => back.every((member) => has(member, "after")));
  for (const member of back) {
    expect(kept.filter((id) => !has(member, id))).toEqual([]);
  }
  expect(sameState(back)).toBe(true);
});

test("nothing is acknowledged that a majority does not have on disk", async () => {
  const gate = new Gate();
  await cluster.start("a");
  await cluster.leader();
  const fs = beforeDurableWrites(() => gate.pass());
  const b = await cluster.start("b", { joins: ["a"], fs });
  await cluster.start("c", { joins: ["a"], fs });
  await eventually(10_000, "three voters", () => b.node.status().voters.length === 3);
  const leader = await cluster.leader();
  expect(leader.name).toBe("a");
  gate.close();
  let acknowledged = false;
  const update = (async () => {
    await leader.node.state.update("api", (tx) => tx.create("service", service("s1")));
    acknowledged = true;
  })();
  // Both followers are in the middle of their write: what could be told has been told.
  await gate.reached(2);
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(acknowledged).toBe(false);
  expect(leader.node.state.view().get("service", "s1")).toBeUndefined();
  gate.open();
  await update;
});

test("nobody is refused for what is not committed yet", async () => {
  const gate = new Gate();
  await cluster.start("a");
  await cluster.leader();
  const fs = beforeDurableWrites(() => gate.pass());
  const b = await cluster.start("b", { joins: ["a"], fs });
  await cluster.start("c", { joins: ["a"], fs });
  await eventually(10_000, "three voters", () => b.node.status().voters.length === 3);
  const { state } = (await cluster.leader()).node;
  gate.close();
  const first = state.update("api", (tx) => tx.create("service", service("s1")));
  let answered = false;
  const second = state
    .update("api", (tx) => tx.create("service", service("s1")))
    .finally(() => {
      answered = true;
    });
  second.catch(() => undefined);
  try {
    await gate.reached(2);
    // The name is taken by an object that may never come to be: that is no answer yet.
    expect(answered).toBe(false);
  } finally {
    gate.open();
  }
  await first;
  await expect(second).rejects.toMatchObject({ code: "already-exists" });
});

test("a member that lagged behind the log gets a snapshot, and keeps it over a restart", async () => {
  const options = { snapshotEvery: 50, keepEntries: 5 };
  const members = await three(options);
  const leader = await cluster.leader();
  const lagging = members.find((member) => member !== leader);
  if (lagging === undefined) throw new Error("nobody follows");
  await lagging.kill();
  for (let i = 0; i < 200; i++) await write(cluster, `s${i}`);
  const { applied } = lagging.node.status();
  await eventually(5_000, "a shorter log", () => leader.node.status().firstIndex > applied + 1);
  const again = await cluster.start(lagging.name, options);
  await eventually(10_000, "the snapshot", () => has(again, "s199"));
  expect(again.node.status().voters).toHaveLength(3);
  await write(cluster, "more");
  await eventually(5_000, "replication", () => has(again, "more"));
  await again.kill();
  const third = await cluster.start(lagging.name, options);
  await eventually(5_000, "its own disk", () => has(third, "more"));
  expect(sameState([third, await cluster.leader()])).toBe(true);
});

test("a member that joins when the log has been cut gets a snapshot that knows it", async () => {
  const options = { snapshotEvery: 20, keepEntries: 0 };
  const a = await cluster.start("a", options);
  for (let n = 0; n < 22; n++) await write(cluster, `s${n}`);
  await eventually(10_000, "a snapshot", () => a.node.status().firstIndex > 1);
  // Nothing more is written: no other snapshot would be due.
  const b = await cluster.start("b", { joins: ["a"], ...options });
  await eventually(10_000, "the vote", () => a.node.status().voters.length === 2);
  await eventually(10_000, "all of it", () => has(b, "s0") && has(b, "s21"));
});

test("disk and log stay bounded however much is written to a few objects", async () => {
  const segmentBytes = 64 * 1024;
  const options = { snapshotEvery: 100, keepEntries: 20, segmentBytes };
  const { node } = await cluster.start("a", options);
  await cluster.leader();
  const status = async (task: number, round: number) => {
    await node.state.update("dispatcher", (tx) => {
      const id = `t${task}`;
      const before = tx.get("task", id);
      const message = `round ${round} ${"x".repeat(200)}`;
      const status = create(TaskStatusSchema, { message });
      if (before === undefined) tx.create("task", create(TaskSchema, { id, status }));
      else tx.update("task", { ...before, status });
    });
  };
  let written = 0;
  for (let round = 0; round < 300; round++) {
    await Promise.all(Array.from({ length: 10 }, (_, task) => status(task, round)));
    written += 10 * 300;
    if (round % 50 !== 49) continue;
    await eventually(5_000, "a snapshot", () => {
      const { applied, firstIndex } = node.status();
      return applied - firstIndex < 3 * options.snapshotEvery;
    });
    // The segment in use, the next one, those that hold the entries since the last snapshots.
    const bytes = await sizeOf(cluster.dir);
    expect(bytes).toBeLessThan(6 * segmentBytes);
  }
  expect(written).toBeGreaterThan(10 * segmentBytes);
});

test("a member that was cut off does not disturb the others, and what it took in is refused", async () => {
  await three();
  const leader = await cluster.leader();
  cluster.cut(leader.name, true);
  const lost = leader.node.state.update("api", (tx) => tx.create("service", service("lost")));
  const outcome = expect(lost).rejects.toMatchObject({ code: "unavailable" });
  const next = await cluster.leader(10_000, leader.name);
  await next.node.state.update("api", (tx) => tx.create("service", service("kept")));
  await outcome;
  await expect(leader.node.state.linearizable()).rejects.toMatchObject({ code: "unavailable" });
  const term = next.node.status().term;
  cluster.cut(leader.name, false);
  await eventually(5_000, "healing", () => has(leader, "kept"));
  expect(has(leader, "lost")).toBe(false);
  expect(leader.node.state.isLeader()).toBe(false);
  expect(next.node.status().term).toBe(term);
  // The name is free again: nothing of the lost transaction is held.
  await write(cluster, "lost");
});

test("a removed member learns it, and the rest go on", async () => {
  const members = await three();
  const leader = await cluster.leader();
  const gone = members.find((member) => member !== leader);
  if (gone === undefined) throw new Error("nobody follows");
  await leader.node.membership.remove(gone.name);
  await gone.node.removed;
  await gone.close();
  expect(leader.node.status().voters).not.toContain(gone.name);
  await write(cluster, "after");
  // It comes back as somebody new.
  await cluster.forget(gone.name);
  const again = await cluster.start(gone.name, { joins: [leader.name] });
  await eventually(10_000, "the vote", () => again.node.status().voters.includes(gone.name));
  expect(again.node.status().raftId).not.toBe(gone.node.status().raftId);
});

test("a leader of two that is removed goes once the other can lead alone", async () => {
  const a = await cluster.start("a");
  await cluster.leader();
  const b = await cluster.start("b", { joins: ["a"] });
  await eventually(10_000, "two voters", () => b.node.status().voters.length === 2);
  await write(cluster, "before");
  // It is committed by b's word, to whom a, no leader any more, does not pass that on.
  await a.node.membership.remove("a");
  await a.node.removed;
  await a.close();
  expect(await cluster.leader()).toBe(b);
  await write(cluster, "after");
  expect(b.node.status().voters).toEqual(["b"]);
});

test("a member removed while it was away is told when it comes back", async () => {
  const members = await three();
  const leader = await cluster.leader();
  const gone = members.find((member) => member !== leader);
  if (gone === undefined) throw new Error("nobody follows");
  await gone.kill();
  await eventually(5_000, "silence", () => {
    const list = leader.node.membership.list();
    return list.some(
      ({ nodeId, reachability }) =>
        nodeId === gone.name && reachability === Reachability.UNREACHABLE,
    );
  });
  await leader.node.membership.remove(gone.name);
  const again = await cluster.start(gone.name);
  await again.node.removed;
});

test("a removal that would leave no quorum is refused", async () => {
  const members = await three();
  const leader = await cluster.leader();
  const [dead, alive] = members.filter((member) => member !== leader);
  await dead?.kill();
  const name = alive?.name ?? "";
  await eventually(5_000, "silence", () => !leader.node.membership.canRemove(name));
  await expect(leader.node.membership.remove(name)).rejects.toMatchObject({
    code: "failed-precondition",
  });
  expect(leader.node.membership.canRemove(dead?.name ?? "")).toBe(true);
});

test("a joiner that dies before it caught up never counts", async () => {
  const a = await cluster.start("a");
  await cluster.leader();
  const b = await cluster.start("b", { joins: ["a"] });
  const learning = b.node.status().raftId;
  await b.kill();
  await write(cluster, "s1");
  // Without its disk it is somebody else, and the old one is gone.
  await cluster.forget("b");
  const again = await cluster.start("b", { joins: ["a"] });
  await eventually(10_000, "the vote", () => a.node.status().voters.length === 2);
  expect(again.node.status().raftId).not.toBe(learning);
  expect(a.node.membership.list()).toHaveLength(2);
});

test("a joiner that dies before it has stored anything comes anew, and gets its vote", async () => {
  const a = await cluster.start("a");
  await write(cluster, "s1");
  const disk = { dir: join(cluster.dir, "b"), keys: cluster.keys, random: realRandom };
  const { disk: blank } = await openDisk({
    ...disk,
    onFailure: (error) => expect.unreachable(error.message),
  });
  await blank.identify({ raftId: 4711, nodeId: "b", addr: "b:1" });
  await blank.close();
  const b = await cluster.start("b", { joins: ["a"] });
  await eventually(10_000, "two voters", () => a.node.status().voters.length === 2);
  await eventually(10_000, "the state", () => has(b, "s1"));
  expect(b.node.status().raftId).not.toBe(4711);
});

test("a member that was away follows a leader that came in meanwhile", async () => {
  const [, , c] = await three();
  cluster.cut("c", true);
  await eventually(10_000, "two that lead", () =>
    cluster.members().some(({ name, node }) => name !== "c" && node.state.isLeader()),
  );
  const d = await cluster.start("d", { joins: ["a", "b"] });
  await eventually(10_000, "a vote", () => d.node.status().voters.includes("d"));
  const old = await cluster.leader(10_000, "c");
  const other = cluster.members().find(({ name }) => !["c", "d", old.name].includes(name));
  if (other === undefined) throw new Error("nobody else");
  // With it gone there is only one who can take the leadership.
  await old.node.membership.remove(other.name);
  await old.node.membership.transferLeadership();
  expect(await cluster.leader(10_000, "c")).toBe(d);
  await write(cluster, "s1");
  cluster.cut("c", false);
  await eventually(10_000, "what the new leader wrote", () => c !== undefined && has(c, "s1"));
});

test("a leader that was cut off refuses nothing by what it knew", async () => {
  await three();
  const old = await cluster.leader();
  cluster.cut(old.name, true);
  const refusal = new EngineError("not-found", "no such service");
  const refused = old.node.state.update("api", () => {
    throw refusal;
  });
  const unchanged = old.node.state.update("api", (tx) => tx.get("service", "s1"));
  await expect(refused).rejects.toMatchObject({ code: "unavailable" });
  await expect(unchanged).rejects.toMatchObject({ code: "unavailable" });
  cluster.cut(old.name, false);
  const next = await cluster.leader();
  const again = next.node.state.update("api", () => {
    throw refusal;
  });
  await expect(again).rejects.toBe(refusal);
});

test("leadership functions run on one member at a time and follow the leader", async () => {
  const members = await three();
  const leading = new Set<string>();
  let most = 0;
  for (const { name, node } of members) {
    node.state.onLeadership(async (signal) => {
      leading.add(name);
      most = Math.max(most, leading.size);
      await new Promise<void>((resolve) => {
        signal.addEventListener("abort", () => resolve(), { once: true });
      });
      leading.delete(name);
    });
  }
  const first = await cluster.leader();
  await eventually(5_000, "the first reign", () => leading.has(first.name));
  await first.node.membership.transferLeadership();
  const second = await cluster.leader(5_000, first.name);
  await eventually(5_000, "the second reign", () => leading.has(second.name));
  expect(most).toBe(1);
});

test("a leader whose work fails gives way to another", async () => {
  const members = await three();
  const first = await cluster.leader();
  first.node.state.onLeadership(async () => {
    throw new Error("a bug in a planner");
  });
  const second = await cluster.leader(5_000, first.name);
  expect(members).toContain(second);
  await write(cluster, "after");
});

test("after the majority is lost, one member can go on alone with all that was committed", async () => {
  const members = await three();
  for (let i = 0; i < 10; i++) await write(cluster, `s${i}`);
  const follower = members.find(({ node }) => !node.state.isLeader());
  const name = follower?.name ?? "";
  await eventually(5_000, "replication", () => follower !== undefined && has(follower, "s9"));
  await Promise.all(members.map((member) => member.close()));
  const alone = await cluster.start(name, { forceNewCluster: true });
  await write(cluster, "after");
  expect(alone.node.status().voters).toEqual([name]);
  for (let i = 0; i < 10; i++) expect(has(alone, `s${i}`)).toBe(true);
  const joined = await cluster.start("d", { joins: [name] });
  await eventually(10_000, "the vote", () => joined.node.status().voters.length === 2);
  await eventually(5_000, "replication", () => has(joined, "after"));
});

test("going on alone after a crash keeps what was acknowledged just before it", async () => {
  const members = await three();
  for (let i = 0; i < 10; i++) await write(cluster, `s${i}`);
  const follower = members.find(({ node }) => !node.state.isLeader());
  await eventually(5_000, "replication", () => follower !== undefined && has(follower, "s9"));
  // That the last ones are committed was told to it, and is not on its disk yet.
  await Promise.all(members.map((member) => member.kill()));
  const alone = await cluster.start(follower?.name ?? "", { forceNewCluster: true });
  await write(cluster, "after");
  for (let i = 0; i < 10; i++) expect(has(alone, `s${i}`)).toBe(true);
});

test("members come, go and are replaced while clients write, and nothing acknowledged is lost", async () => {
  await three();
  const acknowledged: string[] = [];
  const enough = new AbortController();
  const writers = [0, 1, 2, 3].map(async (writer) => {
    for (let i = 0; !enough.signal.aborted; i++) {
      const id = `w${writer}-${i}`;
      await write(cluster, id);
      acknowledged.push(id);
    }
  });
  const more = async (what: string) => {
    const before = acknowledged.length;
    await eventually(20_000, `writes ${what}`, () => acknowledged.length > before + 50);
  };
  const voters = async (count: number) => {
    await eventually(20_000, `${count} voters`, () =>
      cluster.members().some(({ node }) => {
        return node.state.isLeader() && node.status().voters.length === count;
      }),
    );
  };
  const first = await cluster.leader();
  await cluster.start("d", { joins: [first.name] });
  await voters(4);
  await more("with a fourth");
  // One leaves in order.
  const gone = cluster.members().find(({ node }) => !node.state.isLeader());
  await first.node.membership.remove(gone?.name ?? "");
  await gone?.node.removed;
  await gone?.close();
  await more("with three again");
  // One dies for good and is replaced.
  const dead = cluster.members().find(({ node }) => !node.state.isLeader());
  await dead?.kill();
  const leader = await cluster.leader();
  const replacement = await cluster.start("e", { joins: [leader.name] });
  await leader.node.membership.remove(dead?.name ?? "");
  await voters(3);
  await more("with the replacement");
  // The leader itself goes.
  await leader.close();
  await more("after the leader");
  enough.abort();
  await Promise.all(writers);
  const kept = [...acknowledged];
  await write(cluster, "last");
  await eventually(10_000, "replication", () => has(replacement, "last"));
  expect(kept.filter((id) => !has(replacement, id))).toEqual([]);
  for (const member of cluster.members()) expect(member.failure()).toBeUndefined();
});

test("a member that comes back under another address is found there", async () => {
  const members = await three();
  const leader = await cluster.leader();
  const moved = members.find((member) => member !== leader);
  const name = moved?.name ?? "";
  await moved?.kill();
  await write(cluster, "meanwhile");
  const again = await cluster.start(name, { addr: () => `${name}:2` });
  await eventually(10_000, "the new address", () =>
    leader.node.membership.list().some(({ addr }) => addr === `${name}:2`),
  );
  await eventually(5_000, "catching up", () => has(again, "meanwhile"));
});

async function sizeOf(dir: string): Promise<number> {
  let bytes = 0;
  for (const name of await readdir(dir, { recursive: true })) {
    // What is deleted meanwhile takes no room.
    const found = await stat(join(dir, name)).catch(() => undefined);
    if (found?.isFile()) bytes += found.size;
  }
  return bytes;
}

/** Holds up writes to the disk while closed. */
class Gate {
  #held: (() => void)[] | undefined;

  async pass(): Promise<void> {
    if (this.#held !== undefined) await new Promise<void>((resolve) => this.#held?.push(resolve));
  }

  close(): void {
    this.#held = [];
  }

  open(): void {
    for (const go of this.#held ?? []) go();
    this.#held = undefined;
  }

  async reached(count: number): Promise<void> {
    await eventually(5_000, "a write", () => (this.#held?.length ?? 0) >= count);
  }
}

/** Snapshots from one member to another: in pieces, on from where they broke, or refused. */

import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openDisk } from "#manager/raft/disk.ts";
import { toRaftpb } from "#manager/raft/raftpb.ts";
import { openChannel } from "#platform/grpc/client.ts";
import { realRandom } from "#platform/real-ports.ts";
import { message as raftMessage } from "#raft/index.ts";
import { RaftSnapshots } from "#wire/gen/skep/raft_pb.js";
import { ConfigSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { Raft } from "#wire/gen/swarmkit/raft_pb.js";
import { eventually, TestCluster, type TestMember, write } from "./cluster.ts";

const OPTIONS = { snapshotEvery: 20, keepEntries: 2 };
const CONFIGS = 24;
const CONFIG_BYTES = 400_000;
let cluster: TestCluster;

beforeEach(async () => {
  cluster = await TestCluster.make();
});
afterEach(() => cluster.stop());

/** A leader with some megabytes, and a follower that lacks them and stands still. */
async function lagging(): Promise<{ leader: TestMember; name: string }> {
  await cluster.start("a", OPTIONS);
  await cluster.leader();
  const b = await cluster.start("b", { ...OPTIONS, joins: ["a"] });
  await cluster.start("c", { ...OPTIONS, joins: ["a"] });
  await eventually(10_000, "three voters", () => b.node.status().voters.length === 3);
  await b.kill();
  const leader = await cluster.leader();
  const { state } = leader.node;
  for (let i = 0; i < CONFIGS; i++) {
    const data = Buffer.alloc(CONFIG_BYTES, realRandom.bytes(CONFIG_BYTES));
    await state.update("api", (tx) =>
      tx.create("config", create(ConfigSchema, { id: `c${i}`, spec: { data } })),
    );
  }
  for (let i = 0; i < 2 * OPTIONS.snapshotEvery; i++) await write(cluster, `s${i}`);
  const { applied } = b.node.status();
  await eventually(10_000, "a shorter log", () => leader.node.status().firstIndex > applied + 1);
  return { leader, name: "b" };
}

/** Sees the pieces of snapshots: where they come from, and how many bytes. */
function watched(breakAt: (bytesOfStream: number) => boolean) {
  const streams: { from: number; bytes: number }[] = [];
  const seen = new Map<unknown, { from: number; bytes: number }>();
  cluster.onStreamed = (_, { message }, context) => {
    const data = message?.snapshot?.data;
    if (data === undefined) return undefined;
    let stream = seen.get(context);
    if (stream === undefined) {
      const from = Number(context.metadata["skep-snapshot"]?.split(" ")[1] ?? 0);
      stream = { from, bytes: 0 };
      seen.set(context, stream);
      streams.push(stream);
    }
    if (breakAt(stream.from + stream.bytes)) throw new Error("the cable is cut");
    stream.bytes += data.length;
    return undefined;
  };
  return streams;
}

function has(member: TestMember): boolean {
  const view = member.node.state.view();
  return (
    view.get("config", `c${CONFIGS - 1}`) !== undefined && view.get("service", "s9") !== undefined
  );
}

async function filesOf(name: string): Promise<string[]> {
  return (await readdir(join(cluster.dir, name, "snap"))).map((file) => file.split(".")[1] ?? "");
}

test("a transfer that breaks goes on from the last chunk that is on disk", async () => {
  const { name } = await lagging();
  let isBroken = false;
  const streams = watched((bytes) => {
    if (isBroken || bytes < 4_000_000) return false;
    isBroken = true;
    return true;
  });
  const b = await cluster.start(name, OPTIONS);
  await eventually(20_000, "the snapshot", () => has(b));
  expect(isBroken).toBe(true);
  const [first, second] = streams;
  expect(first?.from).toBe(0);
  // What had come as whole chunks is not sent again.
  expect(second?.from).toBeGreaterThanOrEqual(3_000_000);
  const total = (second?.from ?? 0) + (second?.bytes ?? 0);
  // All that it was to be; the newest objects may be left to the log.
  expect(total).toBeGreaterThan((CONFIGS / 2) * CONFIG_BYTES);
  expect(second?.bytes).toBeLessThan(total - 3_000_000 + 1);
  expect(await filesOf(name)).not.toContain("part");
});

test("it goes on after the receiver was killed, too", async () => {
  const { name } = await lagging();
  let killed: Promise<void> | undefined;
  const streams = watched((bytes) => {
    if (killed === undefined && bytes >= 4_000_000) killed = b.kill();
    return killed !== undefined && bytes >= 4_000_000 && streams.length === 1;
  });
  const b = await cluster.start(name, OPTIONS);
  await eventually(20_000, "the kill", () => killed !== undefined);
  await killed;
  expect(await filesOf(name)).toContain("part");
  const again = await cluster.start(name, OPTIONS);
  await eventually(20_000, "the snapshot", () => has(again));
  expect(streams.some(({ from }) => from >= 3_000_000)).toBe(true);
  expect(await filesOf(name)).not.toContain("part");
});

test("managers that cannot go on are sent all of it", async () => {
  cluster.missing.add(RaftSnapshots);
  const { name } = await lagging();
  let isBroken = false;
  const streams = watched((bytes) => {
    if (isBroken || bytes < 4_000_000) return false;
    isBroken = true;
    return true;
  });
  const b = await cluster.start(name, OPTIONS);
  await eventually(20_000, "the snapshot", () => has(b));
  expect(streams.map(({ from }) => from)).toEqual(streams.map(() => 0));
  expect(streams.length).toBeGreaterThan(1);
  expect(await filesOf(name)).not.toContain("part");
});

test("a leader whose snapshot is damaged says so, makes another, and the follower gets that", async () => {
  const { leader, name } = await lagging();
  const dir = join(cluster.dir, leader.name, "snap");
  const [file = ""] = await readdir(dir);
  const bytes = await readFile(join(dir, file));
  const middle = Math.floor(bytes.length / 2);
  bytes[middle] = (bytes[middle] ?? 0) ^ 1;
  await writeFile(join(dir, file), bytes);
  const b = await cluster.start(name, OPTIONS);
  await eventually(20_000, "the snapshot", () => has(b));
  expect(leader.failure()).toBeUndefined();
});

/** What a stopped member has as its snapshot. */
async function storedSnapshotOf(name: string) {
  const { disk, loaded } = await openDisk({
    dir: join(cluster.dir, name),
    keys: cluster.keys,
    random: realRandom,
    onFailure: () => undefined,
  });
  const { snapshot } = loaded;
  const pieces: Uint8Array[] = [];
  for await (const chunk of snapshot?.chunks() ?? []) pieces.push(chunk);
  await snapshot?.close();
  await disk.close();
  if (snapshot === undefined) throw new Error("no snapshot");
  return { metadata: snapshot.metadata, pieces };
}

test.each(["a stream", "one message"])(
  "a snapshot as SwarmKit's managers send it is taken, in %s",
  async (way) => {
    const { leader, name } = await lagging();
    const members = cluster.members();
    await Promise.all(members.map((member) => member.kill()));
    const { metadata, pieces } = await storedSnapshotOf(leader.name);
    const b = await cluster.start(name, OPTIONS);
    const target = `unix://${join(cluster.dir, `${name}.sock`)}`;
    const channel = openChannel({ target, metadata: { "test-node": leader.name } });
    const messageOf = (data: Uint8Array) => ({
      message: toRaftpb(
        raftMessage({
          type: "MsgSnap",
          from: leader.node.status().raftId ?? 0,
          to: b.node.status().raftId ?? 0,
          term: 1000,
          snapshot: { metadata, data },
        }),
      ),
    });
    try {
      if (way === "a stream") {
        const stream = (async function* () {
          for (const piece of pieces) yield messageOf(piece);
        })();
        await channel.client(Raft).streamRaftMessage(stream, {});
      } else {
        await channel.client(Raft).processRaftMessage(messageOf(Buffer.concat(pieces)), {});
      }
      await eventually(10_000, "the snapshot", () => b.node.status().applied >= metadata.index);
      expect(b.node.state.view().get("config", "c0")).toBeDefined();
      // Cut off in the middle it is refused, and nothing of it stays.
      const cutOff = messageOf(Buffer.concat(pieces).subarray(0, 1_000_000));
      await expect(channel.client(Raft).processRaftMessage(cutOff, {})).rejects.toMatchObject({
        code: "data-loss",
      });
      expect(await filesOf(name)).not.toContain("part");
    } finally {
      channel.close();
    }
  },
);

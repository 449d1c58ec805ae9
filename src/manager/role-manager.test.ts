import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { silentLog } from "#platform/log.ts";
import { realClock, realRandom } from "#platform/real-ports.ts";
import { type Node, NodeSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { NodeRole, RaftMemberStatus_Reachability } from "#wire/gen/swarmkit/types_pb.js";
import type { Member } from "./manager-ports.ts";
import { createLocalState } from "./raft/local-state.ts";
import { nextRoleSteps, runRoleManager } from "./role-manager.ts";

const { MANAGER, WORKER } = NodeRole;

function node(id: string, role: NodeRole, desiredRole: NodeRole): Node {
  return create(NodeSchema, { id, role, spec: { desiredRole } });
}

function member(nodeId: string): Member {
  const { REACHABLE } = RaftMemberStatus_Reachability;
  return { nodeId, raftId: 1n, addr: "", leader: false, voter: true, reachability: REACHABLE };
}

test("a promotion is a word, a demotion takes the member out first", () => {
  const nodes = [
    node("a", MANAGER, MANAGER),
    node("b", WORKER, MANAGER),
    node("c", MANAGER, WORKER),
    node("d", MANAGER, WORKER),
  ];
  expect(nextRoleSteps(nodes, [member("a"), member("c")], "a")).toEqual([
    { kind: "set-role", nodeId: "b", role: MANAGER },
    { kind: "remove-member", nodeId: "c" },
    { kind: "set-role", nodeId: "d", role: WORKER },
  ]);
});

test("a worker that came in as a member goes", () => {
  const nodes = [node("a", MANAGER, MANAGER), node("b", WORKER, WORKER)];
  expect(nextRoleSteps(nodes, [member("a"), member("b")], "a")).toEqual([
    { kind: "remove-member", nodeId: "b" },
  ]);
});

test("the leader itself goes last, and only by handing over", () => {
  const nodes = [node("a", MANAGER, WORKER), node("c", MANAGER, WORKER)];
  expect(nextRoleSteps(nodes, [member("a"), member("c")], "a")).toEqual([
    { kind: "remove-member", nodeId: "c" },
    { kind: "hand-over" },
  ]);
});

test("members of deleted nodes go, but an empty store deletes nobody", () => {
  const members = [member("a"), member("gone")];
  expect(nextRoleSteps([node("a", MANAGER, MANAGER)], members, "a")).toEqual([
    { kind: "remove-member", nodeId: "gone" },
  ]);
  expect(nextRoleSteps([], members, "a")).toEqual([]);
});

test("what cannot be done yet is done when it can, without anything changing in the store", async () => {
  const state = createLocalState({ clock: realClock, random: realRandom, nodeId: "a" });
  await state.update("api", (tx) => {
    tx.create("node", node("a", MANAGER, MANAGER));
    tx.create("node", node("b", MANAGER, WORKER));
  });
  const members = new Map([member("a"), member("b")].map((each) => [each.nodeId, each]));
  let removable = false;
  const asked: boolean[] = [];
  const end = new AbortController();
  const running = runRoleManager(
    {
      state,
      nodeId: "a",
      membership: {
        list: () => [...members.values()],
        hasVote: () => true,
        canRemove: () => {
          asked.push(removable);
          return removable;
        },
        remove: async (nodeId) => void members.delete(nodeId),
        transferLeadership: () => Promise.reject(new Error("alone")),
        onChange: () => () => undefined,
      },
      // Its pauses of seconds are over in milliseconds.
      clock: { ...realClock, setTimer: (ms, call) => realClock.setTimer(ms / 100, call) },
      log: silentLog,
    },
    end.signal,
  );
  await expect.poll(() => asked.length).toBeGreaterThan(0);
  expect(state.view().get("node", "b")?.role).toBe(MANAGER);
  removable = true;
  await expect.poll(() => state.view().get("node", "b")?.role).toBe(WORKER);
  expect([...members.keys()]).toEqual(["a"]);
  await state.update("api", (tx) => {
    const back = tx.get("node", "b");
    if (back !== undefined) tx.update("node", { ...back, spec: node("", WORKER, MANAGER).spec });
  });
  await expect.poll(() => state.view().get("node", "b")?.role).toBe(MANAGER);
  end.abort();
  await running;
  await state.stop();
});

test("a member that comes in against its node's role is taken out when it comes", async () => {
  const state = createLocalState({ clock: realClock, random: realRandom, nodeId: "a" });
  await state.update("api", (tx) => {
    tx.create("node", node("a", MANAGER, MANAGER));
    tx.create("node", node("b", WORKER, WORKER));
  });
  const members = new Map([["a", member("a")]]);
  const listeners = new Set<() => void>();
  const end = new AbortController();
  const running = runRoleManager(
    {
      state,
      nodeId: "a",
      membership: {
        list: () => [...members.values()],
        hasVote: () => true,
        canRemove: () => true,
        remove: async (nodeId) => void members.delete(nodeId),
        transferLeadership: () => Promise.reject(new Error("alone")),
        onChange: (listener) => {
          listeners.add(listener);
          return () => listeners.delete(listener);
        },
      },
      clock: realClock,
      log: silentLog,
    },
    end.signal,
  );
  members.set("b", member("b"));
  for (const tell of listeners) tell();
  await expect.poll(() => members.has("b")).toBe(false);
  end.abort();
  await running;
  expect(listeners.size).toBe(0);
  await state.stop();
});

test("a reign that ends while a step is taken ends the loop", async () => {
  const state = createLocalState({ clock: realClock, random: realRandom, nodeId: "a" });
  await state.update("api", (tx) => {
    tx.create("node", node("a", MANAGER, MANAGER));
    tx.create("node", node("b", MANAGER, WORKER));
  });
  const end = new AbortController();
  const members = [member("a"), member("b")];
  await runRoleManager(
    {
      state,
      nodeId: "a",
      membership: {
        list: () => members,
        hasVote: () => true,
        canRemove: () => true,
        remove: async () => end.abort(),
        transferLeadership: () => Promise.reject(new Error("alone")),
        onChange: () => () => undefined,
      },
      clock: realClock,
      log: silentLog,
    },
    end.signal,
  );
  expect(end.signal.aborted).toBe(true);
  await state.stop();
});

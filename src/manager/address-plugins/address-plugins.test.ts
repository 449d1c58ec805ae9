/** A leader and its address plug-in: what is asked, when, and what becomes of it without the leader. */

import { create } from "@bufbuild/protobuf";
import { afterEach, expect, it, vi } from "vitest";
import { EngineError } from "#base/error.ts";
import { changedLease, LeaseState, newLease } from "#model/lease.ts";
import { silentLog } from "#platform/log.ts";
import { realClock, realRandom } from "#platform/real-ports.ts";
import { NetworkSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { createLocalState, type LocalState } from "../raft/local-state.ts";
import { addressPluginsPart } from "./part.ts";
import type { AddressDrivers } from "./ports.ts";
import { leasesIn } from "./records.ts";
import { POOL } from "./testing/fixtures.ts";

let state: LocalState | undefined;
afterEach(() => state?.stop());

function newManager(changes: Partial<AddressDrivers>): LocalState {
  const drivers: AddressDrivers = {
    check: async () => undefined,
    forgets: async () => false,
    replay: async () => undefined,
    requestPools: async () => [POOL],
    requestAddress: async () => ({ refused: "none is left" }),
    releaseAddress: async () => undefined,
    releasePool: async () => undefined,
    ...changes,
  };
  const made = createLocalState({ clock: realClock, random: realRandom });
  state = made;
  const part = addressPluginsPart({
    state: made,
    drivers,
    clock: realClock,
    random: realRandom,
    log: silentLog,
  });
  made.onLeadership((signal) => part.lead?.(signal) ?? Promise.resolve());
  return made;
}

async function addNetwork(on: LocalState): Promise<void> {
  await on.update("api", (tx) => {
    const spec = { annotations: { name: "net" }, ipam: { driver: { name: "plug" } } };
    tx.create("network", create(NetworkSchema, { id: "net", spec }));
  });
  await vi.waitFor(() => expect(on.view().get("network", "net")?.ipam).toBeDefined(), 10_000);
}

const want = (on: LocalState) =>
  on.update("allocator", (tx) => {
    const lease = { state: LeaseState.WANTED, driver: "plug", networkId: "net", family: 4 };
    tx.create("resource", newLease("lease", lease));
  });

const leaseNow = (on: LocalState) => leasesIn(on.view()).find(({ id }) => id === "lease")?.lease;

it("writes down what the plug-in gives, and forgets it when the plug-in has it back", async () => {
  const released: string[] = [];
  const on = newManager({
    requestAddress: async () => ({ address: "10.60.0.7/24" }),
    releaseAddress: async (_name, _pool, address) => void released.push(address),
  });
  await addNetwork(on);
  await want(on);
  await vi.waitFor(() => expect(leaseNow(on)?.state).toBe(LeaseState.GIVEN), 10_000);
  expect(leaseNow(on)).toMatchObject({ address: "10.60.0.7", poolId: "p" });
  await on.update("allocator", (tx) => {
    const before = tx.get("resource", "lease");
    if (before === undefined) throw new Error("no lease");
    tx.update("resource", changedLease(before, { state: LeaseState.RELEASING }));
  });
  await vi.waitFor(() => expect(leaseNow(on)).toBeUndefined(), 10_000);
  expect(released).toEqual(["10.60.0.7"]);
});

it("asks again, and says why on the pool, while the plug-in is not there", async () => {
  let there = false;
  const on = newManager({
    requestAddress: async () => {
      if (!there) throw new EngineError("unavailable", "connection refused");
      return { address: "10.60.0.8/24" };
    },
  });
  await addNetwork(on);
  await want(on);
  const error = () => leasesIn(on.view()).find(({ lease }) => lease.pool)?.lease.error;
  await vi.waitFor(() => expect(error()).toBe("connection refused"), 10_000);
  expect(leaseNow(on)?.state).toBe(LeaseState.WANTED);
  there = true;
  await vi.waitFor(() => expect(leaseNow(on)?.state).toBe(LeaseState.GIVEN), 20_000);
  expect(error()).toBe("");
}, 40_000);

it("gives back what came after it had lost its place", async () => {
  const released: string[] = [];
  let asked = 0;
  let answer: (value: { readonly address: string }) => void = () => undefined;
  const on = newManager({
    requestAddress: () => {
      asked += 1;
      if (asked > 1) return Promise.resolve({ address: "10.60.0.10/24" });
      return new Promise((resolve) => {
        answer = resolve;
      });
    },
    releaseAddress: async (_name, _pool, address) => void released.push(address),
  });
  await addNetwork(on);
  await want(on);
  await vi.waitFor(() => expect(asked).toBe(1), 10_000);
  on.setLeader(false);
  answer({ address: "10.60.0.9/24" });
  // Until there is a leader again nobody knows whether it is written.
  await new Promise((go) => setImmediate(go));
  expect(released).toEqual([]);
  on.setLeader(true);
  await vi.waitFor(() => expect(released).toEqual(["10.60.0.9"]), 20_000);
  await vi.waitFor(() => expect(leaseNow(on)?.address).toBe("10.60.0.10"), 20_000);
}, 60_000);

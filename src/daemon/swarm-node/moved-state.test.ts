/** Machines that come back with another address. */

import { expect, test } from "vitest";
import type { HostAddresses } from "./addresses.ts";
import { movedState } from "./moved-state.ts";

const STATE = {
  localAddr: "192.0.2.5",
  remoteAddr: "192.0.2.1:2377",
  listenAddr: "192.0.2.5:2377",
  advertiseAddr: "192.0.2.5:2377",
  dataPathAddr: "192.0.2.5",
  dataPathPort: 4789,
};

function machine(...addresses: readonly string[]): HostAddresses {
  return {
    interfaces: {
      lo: [{ address: "127.0.0.1", internal: true }],
      eth0: addresses.map((address) => ({ address, internal: false })),
    },
    devices: new Set(),
    ownSubnets: [],
    defaultAdvertiseAddr: "",
  };
}

test("one that has its address still is left as it is", async () => {
  expect(await movedState(STATE, [], machine("192.0.2.5", "192.0.2.6"))).toBe(STATE);
});

test("what was said by the old address is said by the new one", async () => {
  expect(await movedState(STATE, [], machine("192.0.2.99"))).toEqual({
    ...STATE,
    localAddr: "192.0.2.99",
    listenAddr: "192.0.2.99:2377",
    advertiseAddr: "192.0.2.99:2377",
    dataPathAddr: "192.0.2.99",
  });
  const open = { ...STATE, listenAddr: "0.0.0.0:2377", advertiseAddr: "", dataPathAddr: "" };
  expect(await movedState(open, [], machine("192.0.2.99"))).toEqual({
    ...open,
    localAddr: "192.0.2.99",
  });
});

test("of several, the one towards another manager is taken", async () => {
  const here = machine("192.0.2.98", "127.0.0.1");
  // The loopback stands in for the network that the managers are on.
  const managers = [{ nodeId: "n2", addr: "127.0.0.2:2377" }];
  expect((await movedState(STATE, managers, here)).localAddr).toBe("127.0.0.1");
});

test("an address that the machine never had is the operator's, and stays", async () => {
  const outside = { ...STATE, advertiseAddr: "198.51.100.7:2377", listenAddr: "0.0.0.0:2377" };
  const moved = await movedState(outside, [], machine("192.0.2.99"));
  expect(moved.advertiseAddr).toBe("198.51.100.7:2377");
  expect(moved.localAddr).toBe("192.0.2.99");
});

test("without a way to the other managers nothing is made up", async () => {
  const managers = [{ nodeId: "n2", addr: "127.0.0.2:2377" }];
  const lonely = { ...machine("192.0.2.99"), interfaces: {} };
  expect(await movedState(STATE, managers, lonely)).toBe(STATE);
});

test("where there are several to choose from and nothing to choose by, nothing is made up", async () => {
  expect(await movedState(STATE, [], machine("192.0.2.98", "192.0.2.99"))).toBe(STATE);
});

import fc from "fast-check";
import { expect, test } from "vitest";
import { type Prefix, parseIp, parsePrefix, prefixContains } from "#model/ip.ts";
import {
  canonicalAddress,
  cutSubnet,
  DEFAULT_POOLS,
  isUsable,
  macOf,
  networkOf,
  nextAddress,
  overlaps,
} from "./ipam.ts";

function prefix(text: string): Prefix {
  const parsed = parsePrefix(text);
  if (parsed === undefined) throw new Error(text);
  return parsed;
}

test("subnets are cut lowest first, around what is taken, until the pools are empty", () => {
  expect(cutSubnet(DEFAULT_POOLS, [])).toBe("172.17.0.0/16");
  expect(cutSubnet(DEFAULT_POOLS, [prefix("172.17.4.1/24")])).toBe("172.18.0.0/16");
  expect(cutSubnet(DEFAULT_POOLS, [prefix("172.16.0.0/12")])).toBe("192.168.0.0/20");
  expect(
    cutSubnet(DEFAULT_POOLS, [prefix("172.16.0.0/12"), prefix("192.168.0.0/16")]),
  ).toBeUndefined();
  expect(cutSubnet([{ base: "fd00::/48", size: 64 }], [prefix("fd00::/64")])).toBe(
    "fd00:0:0:1::/64",
  );
  const taken: Prefix[] = [];
  for (;;) {
    const subnet = cutSubnet(DEFAULT_POOLS, taken);
    if (subnet === undefined) break;
    expect(taken.some((other) => overlaps(other, prefix(subnet)))).toBe(false);
    taken.push(prefix(subnet));
  }
  expect(taken.length).toBe(15 + 16);
});

test("addresses: lowest free, never the network's own nor the broadcast one", () => {
  const space = (subnet: string, range?: string) => ({
    subnet: prefix(subnet),
    range: range === undefined ? undefined : prefix(range),
  });
  const take = (subnet: string, range?: string) => {
    const taken = new Set<string>();
    for (;;) {
      const address = nextAddress(space(subnet, range), (text) => taken.has(text));
      if (address === undefined) return [...taken];
      taken.add(address);
    }
  };
  expect(take("10.0.0.0/29")).toEqual([1, 2, 3, 4, 5, 6].map((n) => `10.0.0.${n}`));
  expect(take("10.0.0.0/24", "10.0.0.252/30")).toEqual(["10.0.0.252", "10.0.0.253", "10.0.0.254"]);
  expect(take("10.0.0.0/24", "10.0.0.0/30")).toEqual(["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
  expect(take("10.0.0.8/31")).toEqual(["10.0.0.8", "10.0.0.9"]);
  expect(take("fd00::/126")).toEqual(["fd00::1", "fd00::2", "fd00::3"]);
});

test("whatever is free is found, and is usable", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 20, max: 30 }),
      fc.integer({ min: 0, max: 2 ** 32 - 1 }),
      fc.array(fc.integer({ min: 0, max: 40 })),
      (length, value, offsets) => {
        const subnet = networkOf({ family: 4, value, length });
        const taken = new Set<string>();
        for (const offset of offsets) {
          const address = nextAddress({ subnet, range: undefined }, (text) => taken.has(text));
          if (address === undefined) return;
          expect(taken.has(address)).toBe(false);
          expect(isUsable(subnet, address)).toBe(true);
          taken.add(address);
          if (offset % 3 === 0) taken.delete([...taken][offset % taken.size] ?? "");
        }
      },
    ),
  );
});

test("overlap is containment either way, and only within a family", () => {
  expect(overlaps(prefix("10.0.0.0/8"), prefix("10.9.0.0/16"))).toBe(true);
  expect(overlaps(prefix("10.9.0.0/16"), prefix("10.0.0.0/8"))).toBe(true);
  expect(overlaps(prefix("10.0.0.0/16"), prefix("10.1.0.0/16"))).toBe(false);
  expect(overlaps(prefix("0.0.0.0/0"), prefix("::/0"))).toBe(false);
});

test("a network contains its own addresses only", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 2 ** 32 - 1 }),
      fc.integer({ min: 0, max: 32 }),
      (value, length) => {
        const network = networkOf({ family: 4, value, length });
        expect(prefixContains(network, { family: 4, value })).toBe(true);
        expect(networkOf(network)).toEqual(network);
      },
    ),
  );
});

test("addresses have one way to be written; MACs follow from them", () => {
  expect(canonicalAddress("FD00:0:0::1")).toBe("fd00::1");
  expect(canonicalAddress("10.0.0.256")).toBeUndefined();
  expect(macOf("172.17.0.2")).toBe("02:42:ac:11:00:02");
  expect(parseIp(canonicalAddress("::ffff:10.0.0.1") ?? "")?.family).toBe(4);
});

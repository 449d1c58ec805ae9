import { create } from "@bufbuild/protobuf";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parsePrefix } from "#model/ip.ts";
import { IPAMConfigSchema } from "#wire/gen/swarmkit/types_pb.js";
import { AddressPool } from "./address-pool.ts";
import { NumberPool } from "./number-pool.ts";
import { SubnetSpace } from "./subnet-space.ts";
import { ulaPool } from "./ula.ts";

describe("NumberPool", () => {
  it("does what a plain set does", () => {
    const command = fc.oneof(
      fc.record({ kind: fc.constant("take" as const), number: fc.integer({ min: 5, max: 90 }) }),
      fc.record({ kind: fc.constant("release" as const), number: fc.integer({ min: 5, max: 90 }) }),
      fc.record({ kind: fc.constant("next" as const), number: fc.constant(0) }),
      fc.record({ kind: fc.constant("lowest" as const), number: fc.constant(0) }),
    );
    fc.assert(
      fc.property(fc.array(command, { maxLength: 300 }), (commands) => {
        const pool = new NumberPool(10, 80);
        const model = new Set<number>();
        for (const { kind, number } of commands) {
          const inside = number >= 10 && number <= 80;
          if (kind === "take") {
            expect(pool.take(number)).toBe(inside && !model.has(number));
            if (inside) model.add(number);
          } else if (kind === "release") {
            expect(pool.release(number)).toBe(model.delete(number));
          } else {
            const taken = kind === "next" ? pool.takeNext() : pool.takeLowest();
            if (model.size === 71) expect(taken).toBeUndefined();
            else {
              expect(taken).toBeDefined();
              expect(model.has(taken ?? 0)).toBe(false);
              model.add(taken ?? 0);
            }
          }
          expect(pool.used).toBe(model.size);
        }
      }),
    );
  });

  it("uses again as late as possible what was let go", () => {
    const pool = new NumberPool(1, 4);
    expect([pool.takeNext(), pool.takeNext()]).toEqual([1, 2]);
    pool.release(1);
    expect([pool.takeNext(), pool.takeNext(), pool.takeNext()]).toEqual([3, 4, 1]);
    expect(pool.takeNext()).toBeUndefined();
  });
});

describe("AddressPool", () => {
  const pool = (subnet: string, range = "") => {
    const prefix = parsePrefix(subnet);
    if (prefix === undefined) throw new Error("bad subnet");
    return new AddressPool(prefix, create(IPAMConfigSchema, { subnet, range }));
  };

  it("gives every address once, without network, gateway and broadcast", () => {
    const small = pool("10.0.5.0/29");
    const given = Array.from({ length: 6 }, () => small.takeNext());
    expect(given).toEqual([
      "10.0.5.2/29",
      "10.0.5.3/29",
      "10.0.5.4/29",
      "10.0.5.5/29",
      "10.0.5.6/29",
      undefined,
    ]);
    expect(small.gateway).toBe("10.0.5.1");
    expect(small.release("10.0.5.4/29")).toBe(true);
    expect(small.takeNext()).toBe("10.0.5.4/29");
  });

  it("keeps to a range, and takes others only when asked for by name", () => {
    const ranged = pool("10.0.5.0/24", "10.0.5.64/30");
    const given = Array.from({ length: 5 }, () => ranged.takeNext());
    expect(given).toEqual([
      "10.0.5.64/24",
      "10.0.5.65/24",
      "10.0.5.66/24",
      "10.0.5.67/24",
      undefined,
    ]);
    expect(ranged.occupy("10.0.5.9")).toBe(true);
    expect(ranged.occupy("10.0.6.9")).toBe(false);
  });

  it("counts IPv6 as well", () => {
    expect(pool("fd00:1::/64").takeNext()).toBe("fd00:1::2/64");
  });
});

describe("SubnetSpace", () => {
  it("cuts in order, around what users chose", () => {
    const space = new SubnetSpace(["20.20.0.0/16", "20.30.0.0/24"], 24);
    expect(space.cut()).toBe("20.20.0.0/24");
    expect(space.occupy("20.20.1.128/26")).toBe(true);
    expect(space.occupy("20.20.1.0/25")).toBe(true);
    expect(space.occupy("20.20.1.130/32")).toBe(false);
    expect(space.cut()).toBe("20.20.2.0/24");
    space.release("20.20.1.128/26");
    expect(space.cut()).toBe("20.20.3.0/24");
    space.release("20.20.1.0/25");
    expect(space.cut()).toBe("20.20.1.0/24");
  });

  it("ends when the pools do", () => {
    const space = new SubnetSpace(["10.9.0.0/23"], 24);
    expect([space.cut(), space.cut(), space.cut()]).toEqual([
      "10.9.0.0/24",
      "10.9.1.0/24",
      undefined,
    ]);
  });
});

describe("ulaPool", () => {
  it("is a unique local prefix that follows from the swarm's id", () => {
    const pools = Array.from({ length: 200 }, (_, at) => ulaPool(`cluster-${at}`));
    for (const pool of pools) expect(pool).toMatch(/^fd[0-9a-f]{2}:[0-9a-f:]*::\/48$/);
    expect(new Set(pools).size).toBe(200);
    expect(ulaPool("x")).toBe(ulaPool("x"));
  });
});

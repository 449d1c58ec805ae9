import { describe, expect, it } from "vitest";
import { type IpamFlags, ipamPools } from "./ipam.ts";

const NONE: IpamFlags = { subnets: [], ranges: [], gateways: [], auxiliary: {} };
const pools = (flags: Partial<IpamFlags>) => ipamPools({ ...NONE, ...flags });

describe("the pools of a network", () => {
  it("take ranges, gateways and taken addresses by the subnet that they are in", () => {
    expect(
      pools({
        subnets: ["10.1.0.0/16", "fd00::/64", "10.2.0.0/16"],
        ranges: ["10.2.3.0/24"],
        gateways: ["fd00::1", "10.1.0.9"],
        auxiliary: { printer: "10.2.0.5" },
      }),
    ).toEqual([
      { Subnet: "10.1.0.0/16", Gateway: "10.1.0.9" },
      { Subnet: "fd00::/64", Gateway: "fd00::1" },
      {
        Subnet: "10.2.0.0/16",
        IPRange: "10.2.3.0/24",
        AuxiliaryAddresses: { printer: "10.2.0.5" },
      },
    ]);
  });

  it.each([
    [{ gateways: ["10.1.0.1"] }, "every ip-range or gateway must have a corresponding subnet"],
    [{ subnets: ["10.1.0.0"] }, "invalid CIDR address: 10.1.0.0"],
    [
      { subnets: ["10.1.0.0/16", "10.1.2.0/24"] },
      "multiple overlapping subnet configuration is not supported",
    ],
    [
      { subnets: ["10.1.0.0/16"], gateways: ["10.2.0.1"] },
      "no matching subnet for gateway 10.2.0.1",
    ],
    [
      { subnets: ["10.1.0.0/16"], ranges: ["10.2.0.0/24"] },
      "no matching subnet for range 10.2.0.0/24",
    ],
    [
      { subnets: ["10.1.0.0/16"], auxiliary: { a: "10.2.0.1" } },
      "no matching subnet for aux-address 10.2.0.1",
    ],
    [
      { subnets: ["10.1.0.0/16", "10.3.0.0/16"], gateways: ["10.1.0.1", "10.1.0.2"] },
      "cannot configure multiple gateways (10.1.0.2, 10.1.0.1) for the same subnet (10.1.0.0/16)",
    ],
  ])("%j are refused", (flags, message) => {
    expect(() => pools(flags)).toThrow(message);
  });
});

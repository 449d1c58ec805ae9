/** What of a plug-in's answer is taken up, and what is refused. */

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { EngineError } from "#base/error.ts";
import type { EndpointRecord } from "./records.ts";
import { withAnswered, withJoin } from "./remote-answers.ts";
import { routeCommands, takeCommands } from "./remote-link.ts";

const PLANNED: EndpointRecord = {
  endpointId: "e",
  networkId: "n",
  networkName: "far",
  bridge: "",
  hostInterface: "",
  interface: "eth0",
  mac: "",
  ipv4: "10.0.0.2/24",
  priority: 0,
  settings: {},
  names: [],
  remote: { driver: "p", stage: "planned" },
};

const free = () => false;
const named = (InterfaceName: object, more = {}) => ({ InterfaceName, ...more });

describe("CreateEndpoint", () => {
  test("what nobody has chosen is the plug-in's to choose, what is chosen stays", () => {
    const Interface = { AddressIPv6: "fd00::2/64", MacAddress: "02:AA:00:00:00:01" };
    expect(withAnswered(PLANNED, { Interface })).toMatchObject({
      ipv4: "10.0.0.2/24",
      ipv6: "fd00::2/64",
      mac: "02:aa:00:00:00:01",
    });
    expect(withAnswered(PLANNED, {})).toEqual(PLANNED);
    expect(() => withAnswered(PLANNED, { Interface: { Address: "10.0.0.3/24" } })).toThrow(
      "driver modified interface address",
    );
  });
});

describe("Join", () => {
  test("the interface is named by its prefix and the first free number, or as a whole", () => {
    const names = { SrcName: "veth1", DstPrefix: "net" };
    const second = withJoin(PLANNED, named(names), (name) => name === "net0");
    expect(second).toMatchObject({ interface: "net1", remote: { source: "veth1" } });
    const whole = withJoin(PLANNED, named({ SrcName: "veth1", DstName: "lan" }), free);
    expect(whole.interface).toBe("lan");
    expect(withJoin(PLANNED, {}, free)).toMatchObject({
      interface: "",
      remote: { stage: "joined" },
    });
  });

  test("routes by a neighbour and on the link", () => {
    const StaticRoutes = [
      { Destination: "10.1.0.0/16", RouteType: 0, NextHop: "10.0.0.9" },
      { Destination: "fd01::/64", RouteType: 1, NextHop: "" },
    ];
    const joined = withJoin(PLANNED, named({ SrcName: "v" }, { StaticRoutes }), free);
    expect(routeCommands(joined)).toEqual([
      "route replace 10.1.0.0/16 via 10.0.0.9 dev eth0",
      "route replace fd01::/64 dev eth0",
    ]);
  });

  test.each([
    [named({ SrcName: "a\nlink del eth0" }), "no usable interface"],
    [named({ SrcName: "v", DstPrefix: "much-too-long-for-it" }), "no usable interface"],
    [named({ SrcName: "v" }, { Gateway: "10.0.0.1; rm" }), "no usable gateway"],
    [named({ SrcName: "v" }, { Gateway: "fd00::1" }), "no usable gateway"],
    [named({ SrcName: "v" }, { StaticRoutes: [{ Destination: "all" }] }), "no usable route"],
  ])("%j is refused: %s", (answer, message) => {
    expect(() => withJoin(PLANNED, answer, free)).toThrow(message);
  });
});

test("whatever comes, the commands that follow have the words that they shall have", () => {
  const text = fc.oneof(fc.string(), fc.constantFrom("10.0.0.1", "10.1.0.0/16", "veth1", ""));
  const answer = fc.record(
    {
      Interface: fc.oneof(fc.json(), fc.record({ Address: text, MacAddress: text })),
      InterfaceName: fc.oneof(fc.json(), fc.record({ SrcName: text, DstPrefix: text })),
      Gateway: text,
      StaticRoutes: fc.array(fc.record({ Destination: text, RouteType: fc.nat(2), NextHop: text })),
    },
    { requiredKeys: [] },
  );
  const word = /^[\w:./-]+$/;
  fc.assert(
    fc.property(answer, (given) => {
      try {
        const joined = withJoin(withAnswered(PLANNED, given), given, free);
        for (const line of [...takeCommands(joined, 1), ...routeCommands(joined)]) {
          for (const one of line.split(" ")) expect(one).toMatch(word);
        }
      } catch (error) {
        expect(error).toBeInstanceOf(EngineError);
      }
    }),
  );
});

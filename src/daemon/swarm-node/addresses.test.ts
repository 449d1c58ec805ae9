import * as fc from "fast-check";
import { expect, test } from "vitest";
import {
  checkAddressPool,
  dataPathPort,
  formatHostPort,
  type HostAddresses,
  localAddress,
  resolveAdvertiseAddr,
  resolveListenAddr,
  splitHostPort,
} from "./addresses.ts";

function machine(
  interfaces: Readonly<Record<string, readonly string[]>>,
  more: Partial<HostAddresses> = {},
): HostAddresses {
  return {
    interfaces: Object.fromEntries(
      Object.entries(interfaces).map(([name, addresses]) => [
        name,
        addresses.map((address) => ({ address, internal: name === "lo" })),
      ]),
    ),
    devices: new Set(["eth0", "eth1"]),
    ownSubnets: [],
    defaultAdvertiseAddr: "",
    ...more,
  };
}

const one = machine({ lo: ["127.0.0.1", "::1"], eth0: ["192.0.2.5", "fe80::1"] });

test("addresses are read as they are written", () => {
  expect(splitHostPort("eth0")).toEqual({ host: "eth0" });
  expect(splitHostPort("[::1]:80")).toEqual({ host: "::1", port: 80 });
  expect(splitHostPort("2001:db8::1")).toEqual({ host: "2001:db8::1" });
  expect(splitHostPort(":2378")).toEqual({ host: "", port: 2378 });
  expect(splitHostPort("a:b:c")).toBeUndefined();
  expect(splitHostPort("a:70000")).toBeUndefined();
  fc.assert(
    fc.property(
      fc.oneof(fc.ipV4(), fc.ipV6()),
      fc.integer({ min: 0, max: 65_535 }),
      (host, port) => {
        expect(splitHostPort(formatHostPort({ host, port }))).toEqual({ host, port });
      },
    ),
  );
  fc.assert(fc.property(fc.string(), (text) => void splitHostPort(text)));
});

test("where to listen: everywhere, an address, or the address of an interface", () => {
  expect(resolveListenAddr("", one)).toEqual({ host: "0.0.0.0", port: 2377 });
  expect(resolveListenAddr("eth0:1234", one)).toEqual({ host: "192.0.2.5", port: 1234 });
  expect(resolveListenAddr("192.0.2.5", one)).toEqual({ host: "192.0.2.5", port: 2377 });
  expect(() => resolveListenAddr("nosuch:1", one)).toThrow("listen address must be an IP address");
});

test("what to advertise: what was said, else the default, else the one address there is", () => {
  const advertise = (specified: string, host: HostAddresses) =>
    resolveAdvertiseAddr(specified, 2377, host);
  expect(advertise("", one)).toEqual({ host: "192.0.2.5", port: 2377 });
  expect(advertise("198.51.100.1:99", one)).toEqual({ host: "198.51.100.1", port: 99 });
  expect(advertise("", { ...one, defaultAdvertiseAddr: "198.51.100.2" }).host).toBe("198.51.100.2");
  for (const bad of ["0.0.0.0", "nosuch"]) {
    expect(() => advertise(bad, one)).toThrow("advertise address must be a non-zero IP address");
  }
  expect(() => advertise("", { ...one, defaultAdvertiseAddr: "0.0.0.0" })).toThrow(
    "default advertise address must be a non-zero",
  );
  expect(() => advertise("", machine({ lo: ["127.0.0.1"] }))).toThrow(
    "could not find the system's IP address",
  );
});

test("between several addresses the operator chooses, and is told between which", () => {
  const two = machine({ eth0: ["192.0.2.5"], eth1: ["198.51.100.5"] });
  expect(() => resolveAdvertiseAddr("", 1, two)).toThrow(
    "could not choose an IP address to advertise since this system has multiple addresses on different interfaces (192.0.2.5 on eth0 and 198.51.100.5 on eth1)",
  );
  const both = machine({ eth0: ["192.0.2.5", "192.0.2.6"] });
  expect(() => resolveAdvertiseAddr("", 1, both)).toThrow(
    "multiple addresses on interface eth0 (192.0.2.5 and 192.0.2.6)",
  );
});

test("interfaces that software made do not count beside a device; our own networks never do", () => {
  const withBridge = machine({ eth0: ["192.0.2.5"], br0: ["172.17.0.1"] });
  expect(resolveAdvertiseAddr("", 1, withBridge).host).toBe("192.0.2.5");
  const lab = machine({ veth0: ["10.0.0.5"], skep0: ["172.17.0.1"] });
  expect(resolveAdvertiseAddr("", 1, { ...lab, ownSubnets: ["172.17.0.0/16"] }).host).toBe(
    "10.0.0.5",
  );
});

test("the local address is one that the system has", () => {
  expect(localAddress("0.0.0.0", "192.0.2.5", one)).toBe("192.0.2.5");
  expect(localAddress("0.0.0.0", "203.0.113.9", one)).toBe("192.0.2.5");
  expect(localAddress("192.0.2.5", "203.0.113.9", one)).toBe("192.0.2.5");
  expect(() => localAddress("0.0.0.0", "203.0.113.9", machine({}))).toThrow(
    "must specify a listening address",
  );
});

test("pools and ports are within docker's bounds", () => {
  expect(() => checkAddressPool(["10.0.0.0/8"], 0)).not.toThrow();
  expect(() => checkAddressPool(["10.0.0.0/8"], 30)).toThrow("subnet size is out of range: 30");
  expect(() => checkAddressPool(["10.0.0.0/26"], 0)).toThrow(
    'invalid CIDR: "10.0.0.0/26". Subnet size is too small for pool: 24',
  );
  expect(() => checkAddressPool(["10.0.0.0"], 0)).toThrow("invalid base pool 10.0.0.0");
  expect(dataPathPort(0)).toBe(4789);
  expect(() => dataPathPort(80)).toThrow("not in valid range (1024-49151) : 80");
});

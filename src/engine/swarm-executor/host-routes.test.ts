import { expect, test } from "vitest";
import { ipv4Routes, ipv6Routes, routesToTell } from "./host-routes.ts";

const V4 = `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	010200C0	0003	0	0	0	00000000	0	0	0
vpn0	0000000A	00000000	0001	0	0	0	000000FF	0	0	0
br0	0001630A	00000000	0001	0	0	0	00FFFFFF	0	0	0
eth0	0000FEA9	00000000	0001	0	0	0	0000FFFF	0	0	0
eth1	0001630A	00000000	0001	0	0	0	00FFFFFF	0	0	0
ov-abc	0001000A	00000000	0001	0	0	0	00FFFFFF	0	0	0
`;
const ZEROS = "0".repeat(32);
const V6 = `fd000000000000000000000000000000 40 ${ZEROS} 00 ${ZEROS} 00000100 00000001 00000000 00000001     eth0
fe800000000000000000000000000000 40 ${ZEROS} 00 ${ZEROS} 00000100 00000002 00000000 00000001     eth0
${ZEROS} 00 ${ZEROS} 00 fd000000000000000000000000000001 00000400 00000002 00000000 00000003     eth0
fd000000000000000000000000000002 80 ${ZEROS} 00 ${ZEROS} 00000000 00000003 00000000 80200001     eth0
ff000000000000000000000000000000 08 ${ZEROS} 00 ${ZEROS} 00000100 00000004 00000000 00000001     eth0
`;

test("routes are told once, the widest first, without what is everybody's or our own", () => {
  const routes = [...ipv4Routes(V4), ...ipv6Routes(V6)];
  expect(routesToTell(routes, (device) => device.startsWith("ov-"))).toEqual([
    "10.0.0.0/8",
    "10.99.1.0/24",
    "fd00::/64",
  ]);
});

test("lists that are empty or odd have no routes", () => {
  expect([...ipv4Routes(""), ...ipv4Routes("Iface\nx\n\n"), ...ipv6Routes("z\n")]).toEqual([]);
});

test("a router tells of so many and no more", () => {
  const many = Array.from({ length: 1_000 }, (_, at) => ({
    family: 4 as const,
    length: 24,
    cidr: `10.${at >> 8}.${at & 255}.0/24`,
    device: "eth0",
  }));
  expect(routesToTell(many, () => false)).toHaveLength(256);
});

import { expect, test } from "vitest";
import { asListed, liveParts } from "./flows.ts";

test("addresses as the kernel's table of connections has them", () => {
  expect(asListed("10.0.1.12")).toBe("10.0.1.12");
  expect(asListed("fd00:1::12")).toBe("fd00:0001:0000:0000:0000:0000:0000:0012");
});

test("of a listing, what has not ended is cut by protocol and state", () => {
  const line = (kind: string) => `${kind} src=10.9.9.1 dst=10.9.9.9 sport=1 dport=80 mark=0 use=1`;
  const listing = [
    "tcp      6 25 TIME_WAIT",
    "tcp      6 431999 ESTABLISHED",
    "tcp      6 431998 ESTABLISHED",
    "tcp      6 9 CLOSE",
    "tcp      6 119 SYN_SENT",
    "udp      17 29",
    "sctp     132 3 CLOSED",
  ];
  expect(liveParts(`${listing.map(line).join("\n")}\n`)).toEqual([
    ["-p", "tcp", "--state", "ESTABLISHED"],
    ["-p", "tcp", "--state", "SYN_SENT"],
    ["-p", "udp"],
    ["-p", "sctp"],
  ]);
  expect(liveParts("")).toEqual([]);
});

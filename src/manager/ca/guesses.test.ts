import { expect, test } from "vitest";
import { Guesses, guesserOf } from "./guesses.ts";

function guesses() {
  const clock = { nowMs: () => 0, monotonicMs: () => 0, setTimer: () => ({ cancel: () => {} }) };
  return new Guesses(clock);
}

test("whoever has a network of IPv6 to choose from is one guesser", () => {
  const counted = guesses();
  for (let guess = 0; guess < 11; guess += 1)
    counted.failed(`2001:db8:0:7:${guess}::1:4000${guess}`);
  expect(counted.waitMs("2001:db8:0:7:ffff:ffff:ffff:ffff:50000")).toBeGreaterThan(0);
  expect(counted.waitMs("2001:db8:0:8::1:50000")).toBe(0);
});

test("neighbours in IPv4 are not, and an address is the same however it is written", () => {
  const counted = guesses();
  for (let guess = 0; guess < 11; guess += 1) counted.failed(`::ffff:192.0.2.7:4000${guess}`);
  expect(counted.waitMs("192.0.2.7:50000")).toBeGreaterThan(0);
  expect(counted.waitMs("192.0.2.8:50000")).toBe(0);
  for (const address of ["[fe80::1]:2377", "fe80::2%eth0:2377", "fe80:0:0:0::3:2377"]) {
    expect(guesserOf(address)).toBe("fe80::/64");
  }
  expect(guesserOf("nonsense")).toBe("nonsense");
});

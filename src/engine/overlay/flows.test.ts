import { expect, test } from "vitest";
import { asListed } from "./flows.ts";

test("addresses as the kernel's table of connections has them", () => {
  expect(asListed("10.0.1.12")).toBe("10.0.1.12");
  expect(asListed("fd00:1::12")).toBe("fd00:0001:0000:0000:0000:0000:0000:0012");
});

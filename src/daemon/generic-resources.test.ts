import { expect, test } from "vitest";
import { parseGenericResources } from "./generic-resources.ts";

test("numbers are counts, everything else is a name", () => {
  const parsed = parseGenericResources(["ssd=3", "gpu=UUID1,gpu=UUID2"]);
  expect(parsed.map(({ resource }) => [resource.case, resource.value])).toMatchObject([
    ["discreteResourceSpec", { kind: "ssd", value: 3n }],
    ["namedResourceSpec", { kind: "gpu", value: "UUID1" }],
    ["namedResourceSpec", { kind: "gpu", value: "UUID2" }],
  ]);
});

test.each([["gpu"], ["gpu="], ["=1"], ["gpu=1,gpu=UUID1"], ["ssd=1,ssd=2"]])("%j", (item) => {
  expect(() => parseGenericResources([item])).toThrow(/invalid generic resource specification/);
});

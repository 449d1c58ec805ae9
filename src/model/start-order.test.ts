import { create } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import { StartCondition_Kind as Kind } from "#wire/gen/swarmkit/objects_pb.js";
import { ServiceSpecSchema } from "#wire/gen/swarmkit/specs_pb.js";
import { START_LABEL } from "./service-labels.ts";
import { readStartRules } from "./start-order.ts";

const read = (value: string) =>
  readStartRules(
    create(ServiceSpecSchema, { annotations: { name: "web", labels: { [START_LABEL]: value } } }),
  );

describe("the label of what a service waits for", () => {
  it("names services and what they must be", () => {
    expect(read(" db=healthy, st_migrate=completed,db=healthy")).toEqual({
      ok: true,
      value: [
        { service: "db", kind: Kind.HEALTHY },
        { service: "st_migrate", kind: Kind.COMPLETED },
      ],
    });
    expect(read("")).toEqual({ ok: true, value: [] });
    expect(readStartRules(undefined)).toEqual({ ok: true, value: [] });
  });

  it.each([
    "db",
    "db=started",
    "=healthy",
    "db=healthy=now",
    "d b=healthy",
    "web=healthy",
    "db=constructor",
  ])("is refused: %s", (value) => {
    const rules = read(value);
    expect(rules.ok ? "" : rules.error).toContain(START_LABEL);
  });

  it("takes no longer to be refused when it is long", { timeout: 5_000 }, () => {
    expect(read(`${"a".repeat(60)}!=healthy`).ok).toBe(false);
  });
});

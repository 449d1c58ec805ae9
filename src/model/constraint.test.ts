import { create } from "@bufbuild/protobuf";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { NodeSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { NodeRole } from "#wire/gen/swarmkit/types_pb.js";
import { nodeMatches, parseConstraints } from "./constraint.ts";

const node = create(NodeSchema, {
  identityLabels: { vault: "yes" },
  id: "abc",
  role: NodeRole.MANAGER,
  spec: { annotations: { labels: { disk: "SSD", Zone: "a" } } },
  description: {
    hostname: "host1",
    platform: { os: "linux", architecture: "x86_64" },
    engine: { labels: { rack: "7" } },
  },
  status: { addr: "10.1.2.3" },
});

function matches(text: string): boolean {
  const parsed = parseConstraints([text]);
  if (!parsed.ok) throw new Error(parsed.error);
  return nodeMatches(parsed.value, node);
}

describe("parseConstraints", () => {
  it.each([
    ["node.id", "constraint expected one operator from ==, !="],
    ["node.id=abc", "constraint expected one operator from ==, !="],
    ["1x==2", "key '1x' is invalid"],
    ["a==b", "key 'a' is invalid"],
    ["node.id==", "value '' is invalid"],
    ["node.id== a,b", "value 'a,b' is invalid"],
  ])("refuses %s", (text, error) => {
    expect(parseConstraints([text])).toEqual({ ok: false, error });
  });

  it("refuses or parses anything, without throwing", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const parsed = parseConstraints([text]);
        if (parsed.ok) nodeMatches(parsed.value, node);
      }),
    );
  });
});

describe("nodeMatches", () => {
  it.each([
    ["node.id==ABC", true],
    ["NODE.ID != abc", false],
    ["node.role==manager", true],
    ["node.role==worker", false],
    ["node.role==nosuchrole", false],
    ["node.hostname==host1", true],
    ["node.platform.os==Linux", true],
    ["node.platform.arch!=x86_64", false],
    ["node.labels.disk==ssd", true],
    ["node.labels.Zone==a", true],
    ["node.labels.zone==a", false],
    ["node.labels.missing!=x", true],
    ["node.labels.missing==x", false],
    ["engine.labels.rack==7", true],
    ["node.identity.vault==yes", true],
    ["node.identity.vault==no", false],
    ["node.identity.disk==ssd", false],
    ["node.ip==10.1.2.3", true],
    ["node.ip==10.1.0.0/16", true],
    ["node.ip!=10.1.0.0/16", false],
    ["node.ip==nonsense", false],
    ["node.ip!=nonsense", false],
    ["node.unknown!=x", false],
  ])("%s is %s", (text, expected) => expect(matches(text)).toBe(expected));
});

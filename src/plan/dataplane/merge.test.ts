import { create } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import {
  NetworkTableSchema,
  TablesMessageSchema,
  TablesMessage_Type as Type,
} from "#wire/gen/skep/dataplane_pb.js";
import { joinParts } from "#wire/tables-parts.ts";
import { applyMessage, type NetworkTables } from "./merge.ts";

const INCREMENTAL = Type.INCREMENTAL;

function tables(...ids: string[]): NetworkTables {
  return new Map(
    ids.map((id) => [
      id,
      create(NetworkTableSchema, {
        networkId: id,
        endpoints: [{ taskId: "t1" }, { taskId: "t3" }],
        peers: [{ nodeId: "n1" }],
        services: [{ serviceId: "s1", name: "web" }],
      }),
    ]),
  );
}

function endpointsOf(known: NetworkTables, id: string): string[] {
  return known.get(id)?.endpoints.map(({ taskId, ready }) => (ready ? `${taskId}!` : taskId)) ?? [];
}

describe("applyMessage", () => {
  it("replaces everything by what is complete", () => {
    const message = create(TablesMessageSchema, {
      type: Type.COMPLETE,
      networks: [{ networkId: "b", endpoints: [{ taskId: "t2" }, { taskId: "t1" }] }],
    });
    const next = applyMessage(tables("a"), message);
    expect([...next.keys()]).toEqual(["b"]);
    expect(endpointsOf(next, "b")).toEqual(["t1", "t2"]);
  });

  it("replaces, adds and removes rows, in order of their ids", () => {
    const before = tables("a", "b");
    const message = create(TablesMessageSchema, {
      type: INCREMENTAL,
      changes: [
        {
          networkId: "a",
          endpoints: [{ taskId: "t3", ready: true }, { taskId: "t2" }],
          removedEndpoints: ["t1"],
          removedPeers: ["n1"],
          services: [{ serviceId: "s0", name: "api" }],
        },
      ],
    });
    const after = applyMessage(before, message);
    expect(endpointsOf(after, "a")).toEqual(["t2", "t3!"]);
    expect(after.get("a")?.peers).toEqual([]);
    expect(after.get("a")?.services.map(({ name }) => name)).toEqual(["api", "web"]);
    // Tables are values, and what nobody touched is the same one.
    expect(endpointsOf(before, "a")).toEqual(["t1", "t3"]);
    expect(after.get("b")).toBe(before.get("b"));
  });

  it("takes networks away, brings them whole, and passes over changes of strangers", () => {
    const message = create(TablesMessageSchema, {
      type: INCREMENTAL,
      networks: [{ networkId: "b", endpoints: [{ taskId: "t9" }] }],
      changes: [
        { networkId: "b", endpoints: [{ taskId: "t8" }] },
        { networkId: "a", endpoints: [{ taskId: "t7" }] },
        { networkId: "z", endpoints: [{ taskId: "t7" }] },
      ],
      removedNetworks: ["a"],
    });
    const after = applyMessage(tables("a", "b"), message);
    expect([...after.keys()]).toEqual(["b"]);
    expect(endpointsOf(after, "b")).toEqual(["t8", "t9"]);
  });
});

describe("joinParts", () => {
  it("makes one message of its parts", () => {
    const part = (continued: boolean, taskId: string) =>
      create(TablesMessageSchema, {
        type: continued ? Type.COMPLETE : INCREMENTAL,
        revision: 7n,
        continued,
        networks: continued ? [{ networkId: "a" }] : [],
        changes: [{ networkId: "a", endpoints: [{ taskId }] }],
        releasedTasks: [taskId],
      });
    const whole = joinParts(part(true, "t1"), [part(false, "t2")]);
    expect(whole.type).toBe(Type.COMPLETE);
    expect(whole.continued).toBe(false);
    expect(whole.releasedTasks).toEqual(["t1", "t2"]);
    expect(endpointsOf(applyMessage(tables("b"), whole), "a")).toEqual(["t1", "t2"]);
  });
});

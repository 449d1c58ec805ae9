import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { NetworkTableSchema } from "#wire/gen/skep/dataplane_pb.js";
import { TableNames } from "./names.ts";

const OV = create(NetworkTableSchema, {
  networkId: "ov",
  services: [
    { serviceId: "s1", name: "Web", aliases: ["shop"], virtualIps: ["10.0.1.2", "fd00::2"] },
    { serviceId: "s2", name: "rr", aliases: ["shop"] },
    { serviceId: "s3", name: "idle" },
  ],
  endpoints: [
    {
      taskId: "a",
      serviceId: "s1",
      slot: 1n,
      name: "web.1.a",
      addresses: ["10.0.1.11", "fd00::b"],
      ready: true,
    },
    {
      taskId: "b",
      serviceId: "s1",
      slot: 2n,
      name: "web.2.b",
      addresses: ["10.0.1.12"],
      ready: false,
    },
    {
      taskId: "c",
      serviceId: "s2",
      slot: 1n,
      name: "rr.1.c",
      addresses: ["10.0.1.13"],
      ready: true,
      aliases: ["own"],
    },
    { taskId: "d", name: "byhand", addresses: ["10.0.1.14"], ready: true },
  ],
});
const names = new TableNames((id) =>
  id === "ov" ? OV : id === "ing" ? { ...OV, ingress: true } : undefined,
);

test.each([
  ["web", ["10.0.1.2"]],
  ["tasks.web", ["10.0.1.11"]],
  ["rr", ["10.0.1.13"]],
  // An alias of two services finds both.
  ["shop", ["10.0.1.2", "10.0.1.13"]],
  ["tasks.shop", ["10.0.1.11", "10.0.1.13"]],
  ["web.1", ["10.0.1.11"]],
  // A task that is not ready is found by its own names only.
  ["web.2", ["10.0.1.12"]],
  ["web.2.b", ["10.0.1.12"]],
  ["own", ["10.0.1.13"]],
  ["byhand", ["10.0.1.14"]],
  ["idle", []],
  ["nobody", undefined],
])("%s is %j", (name, addresses) => {
  expect(names.lookup("ov", name, 4)).toEqual(addresses);
});

test("a service that asks for it is found by its tasks before they are ready, not when they end", () => {
  const services = OV.services.map((one) => ({ ...one, earlyNames: true }));
  const [ready, starting] = OV.endpoints;
  if (ready === undefined || starting === undefined) throw new Error("endpoints");
  const ending = { ...ready, taskId: "e", addresses: ["10.0.1.15"], ready: false, withdrawn: true };
  const early = { ...OV, services, endpoints: [...OV.endpoints, ending] };
  const found = new TableNames(() => early);
  expect(found.lookup("ov", "tasks.web", 4)).toEqual(["10.0.1.11", "10.0.1.12"]);
  expect(found.lookup("ov", "rr", 4)).toEqual(["10.0.1.13"]);
});

test("IPv6, the way back, and networks that have no names", () => {
  expect(names.lookup("ov", "web", 6)).toEqual(["fd00::2"]);
  expect(names.lookup("ov", "rr", 6)).toEqual([]);
  expect(names.reverse("ov", "10.0.1.2")).toBe("Web");
  expect(names.reverse("ov", "10.0.1.12")).toBe("web.2.b");
  expect(names.reverse("ov", "10.0.1.99")).toBeUndefined();
  expect(names.lookup("ing", "web", 4)).toBeUndefined();
  expect(names.lookup("other", "web", 4)).toBeUndefined();
});

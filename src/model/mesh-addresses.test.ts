import { expect, test } from "vitest";
import { meshAddressesOf, meshLabelProblem, parseMeshAddresses } from "./mesh-addresses.ts";

test.each<[string, readonly string[]]>([
  ["10.0.0.0/8", ["10.0.0.0/8"]],
  [" 127.0.0.1 ,::1", ["127.0.0.1/32", "::1/128"]],
  ["10.1.0.0/16,10.0.0.0/8,10.0.0.0/8", ["10.0.0.0/8"]],
  ["0.0.0.0/0,::/0,10.0.0.1", ["0.0.0.0/0", "::/0"]],
])("%s", (text, cidrs) => {
  expect(parseMeshAddresses(text)).toEqual({ ok: true, value: cidrs });
});

test("the narrowest label counts", () => {
  const labels = {
    "skep.mesh.addresses": "10.0.0.0/8",
    "skep.mesh.addresses.9090": "127.0.0.1",
    "skep.mesh.addresses.9090/udp": "192.0.2.1",
  };
  expect(meshAddressesOf(labels, "tcp", 80)).toEqual(["10.0.0.0/8"]);
  expect(meshAddressesOf(labels, "tcp", 9090)).toEqual(["127.0.0.1/32"]);
  expect(meshAddressesOf(labels, "udp", 9090)).toEqual(["192.0.2.1/32"]);
  expect(meshAddressesOf({}, "tcp", 80)).toEqual([]);
  expect(meshLabelProblem(labels)).toBeUndefined();
});

test.each([
  ["skep.mesh.addresses", "", '"" is neither an address nor a CIDR'],
  ["skep.mesh.addresses", "eth0", '"eth0" is neither an address nor a CIDR'],
  ["skep.mesh.addresses", "10.0.0.0/33", '"10.0.0.0/33" is neither an address nor a CIDR'],
  ["skep.mesh.addresses", "1.1.1.1; drop", '"1.1.1.1; drop" is neither an address nor a CIDR'],
  ["skep.mesh.addresses.web", "10.0.0.1", 'must be ".PORT" or ".PORT/PROTOCOL"'],
  ["skep.mesh.addressess", "10.0.0.1", 'must be ".PORT" or ".PORT/PROTOCOL"'],
  ["skep.mesh.addresses", Array(65).fill("10.0.0.1").join(), "more than 64 addresses"],
])("%s=%s is refused", (label, text, message) => {
  expect(meshLabelProblem({ [label]: text })).toContain(message);
});

import { expect, test } from "vitest";
import { bridgeOf, isLinkOf, labHost, labName, labOf } from "./lab.ts";

const IFNAMSIZ = 15;
const SUN_PATH = 107;

test("the longest names fit the kernel's limits", () => {
  const lab = { ...labOf("n".repeat(32)), number: 255 };
  const host = labHost(lab, 50);
  expect(host.veth.length).toBeLessThanOrEqual(IFNAMSIZ);
  expect(host.bridge.length).toBeLessThanOrEqual(IFNAMSIZ);
  expect(`${host.execRoot}/containerd/containerd.sock.ttrpc`.length).toBeLessThanOrEqual(SUN_PATH);
});

test("two labs share no name of the kernel's and no folder", () => {
  const [one, two] = [
    labHost({ ...labOf("one"), number: 1 }, 1),
    labHost({ ...labOf("two"), number: 11 }, 1),
  ];
  for (const field of [
    "address",
    "bridge",
    "netns",
    "veth",
    "execRoot",
    "dataRoot",
    "cgroup",
  ] as const) {
    expect(one[field], field).not.toBe(two[field]);
  }
  expect(isLinkOf(1, one.veth)).toBe(true);
  expect(isLinkOf(1, two.veth)).toBe(false);
  expect(isLinkOf(1, bridgeOf(11))).toBe(false);
});

test("the flag wins over the environment; names that cannot be used are refused", () => {
  expect(labName(undefined, {})).toBe("default");
  expect(labName(undefined, { SKEP_LAB: "env" })).toBe("env");
  expect(labName("flag", { SKEP_LAB: "env" })).toBe("flag");
  for (const name of ["", "../up", "A", ".networks", "n".repeat(33)]) {
    expect(() => labName(name, {}), name).toThrow(/invalid lab name/);
  }
});

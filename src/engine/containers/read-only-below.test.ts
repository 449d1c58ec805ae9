import { expect, test } from "vitest";
import { planMounts } from "./mounts.ts";
import { hasReadOnlyBelow, kernelReadsOnlyBelow } from "./read-only-below.ts";

test.each([
  ["4.19.0", false],
  ["5.11.22-generic", false],
  ["5.12.0", true],
  ["5.4.12", false],
  ["6.1.0-18-amd64", true],
])("Linux %s: %s", (kernelRelease, can) => {
  expect(kernelReadsOnlyBelow({ kernelRelease })).toBe(can);
});

test.each([
  ['{"mountOptions": ["ro", "rprivate", "rro"], "linux": {}}', true],
  ['{"mountOptions": ["ro", "rprivate"], "other": ["rro"]}', false],
  ["", false],
])("features %s: %s", (features, can) => {
  expect(hasReadOnlyBelow(features)).toBe(can);
});

const BINDS = ["/a:/rw", "/a:/short:ro", "vol:/volume:ro"];
const bind = { Type: "bind", Source: "/a", ReadOnly: true } as const;
const MOUNTS = [
  { ...bind, Target: "/plain" },
  { ...bind, Target: "/writable", BindOptions: { ReadOnlyNonRecursive: true } },
  { ...bind, Target: "/forced", BindOptions: { ReadOnlyForceRecursive: true } },
];

test.each([
  [
    false,
    { rw: "-", short: "possible", volume: "possible", plain: "possible", writable: "top" },
    "below",
  ],
  [true, { rw: "-", short: "top", volume: "possible", plain: "top", writable: "top" }, "below"],
])("reach, with writableBelow = %s", (writableBelow, expected, forced) => {
  const hostConfig = { Binds: BINDS, Mounts: MOUNTS };
  const planned = planMounts({ config: {}, hostConfig, inherited: [], writableBelow });
  const found = planned.map((mount) => [mount.destination.slice(1), mount.readOnlyReach ?? "-"]);
  expect(Object.fromEntries(found)).toEqual({ ...expected, forced });
});

test("what another container lends keeps its reach", () => {
  const given = { config: {}, inherited: [] };
  const lent = planMounts({ ...given, hostConfig: { Binds: ["/a:/b:ro"] }, writableBelow: true });
  const inherited = [{ mounts: lent, mode: "" }];
  const planned = planMounts({ config: {}, hostConfig: {}, inherited, writableBelow: false });
  expect(planned.map(({ readOnlyReach }) => readOnlyReach)).toEqual(["top"]);
});

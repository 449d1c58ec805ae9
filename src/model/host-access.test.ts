import { expect, test } from "vitest";
import { HOST_ACCESS_LABELS, notAllowed, parseDevice, readHostAccess } from "./host-access.ts";

function read(labels: Readonly<Record<string, string>>) {
  const access = readHostAccess(labels);
  return access.ok ? access.value : access.error;
}

test("without labels nothing is asked for", () => {
  expect(read({ "com.example": "1", "skep.privileged": "false" })).toMatchObject({
    privileged: false,
    devices: [],
    needs: [],
    shmBytes: undefined,
  });
});

test("each label asks for one thing, and only the memory of its own needs no leave", () => {
  expect(
    read({
      "skep.privileged": "true",
      "skep.devices": "/dev/fuse,/dev/sda:/dev/xvda:r,/dev/snd:rw",
      "skep.pid": "host",
      "skep.ipc": "host",
      "skep.shm-size": "64m",
    }),
  ).toEqual({
    privileged: true,
    devices: [
      { PathOnHost: "/dev/fuse", PathInContainer: "/dev/fuse", CgroupPermissions: "rwm" },
      { PathOnHost: "/dev/sda", PathInContainer: "/dev/xvda", CgroupPermissions: "r" },
      { PathOnHost: "/dev/snd", PathInContainer: "/dev/snd", CgroupPermissions: "rw" },
    ],
    hostPid: true,
    hostIpc: true,
    shmBytes: 64 << 20,
    needs: ["privileged", "devices", "pid", "ipc"],
  });
  expect(read({ "skep.shm-size": "1g" })).toMatchObject({ needs: [] });
});

test.each([
  [{ "skep.privileged": "yes" }, 'label skep.privileged: "yes" is not true or false'],
  [{ "skep.pid": "container:x" }, 'label skep.pid: "container:x" is not "host"'],
  [{ "skep.devices": "fuse" }, 'label skep.devices: "fuse" is not a list of /dev/NAME[:/dev/NAME]'],
  [{ "skep.shm-size": "0" }, 'label skep.shm-size: "0" is not a size'],
])("%j is refused", (labels, message) => {
  expect(read(labels as Record<string, string>)).toContain(message);
});

test.each(["", "dev", "/dev/a:b:r", "/dev/a:/dev/b:q", "/dev/a:/dev/b:r:x"])(
  "%j is no device",
  (text) => expect(parseDevice(text)).toBeUndefined(),
);

test("a node allows what its engine's label names, by default nothing", () => {
  expect(notAllowed(["privileged", "devices"], undefined)).toEqual(["privileged", "devices"]);
  expect(notAllowed(["privileged", "devices"], { "skep.allow": "pid, devices" })).toEqual([
    "privileged",
  ]);
  expect(notAllowed(["devices"], { "skep.allow": "alldevices" })).toEqual(["devices"]);
});

test.each([
  [{ [HOST_ACCESS_LABELS.cgroupParent]: "/batch" }, ["cgroup"]],
  [{ [HOST_ACCESS_LABELS.cgroupNamespace]: "host" }, ["cgroup"]],
  [{ [HOST_ACCESS_LABELS.cgroupNamespace]: "private" }, []],
  [{ [HOST_ACCESS_LABELS.domainName]: "example.org" }, []],
])("cgroups and names: %j needs %j", (labels, needs) => {
  const access = readHostAccess(labels);
  expect(access.ok ? access.value.needs : access.error).toEqual(needs);
});

test.each([
  { [HOST_ACCESS_LABELS.cgroupParent]: "/a/../b" },
  { [HOST_ACCESS_LABELS.cgroupParent]: "" },
  { [HOST_ACCESS_LABELS.cgroupNamespace]: "other" },
  { [HOST_ACCESS_LABELS.domainName]: "a b" },
])("cgroups and names that are none: %j", (labels) => {
  expect(readHostAccess(labels as Record<string, string>).ok).toBe(false);
});

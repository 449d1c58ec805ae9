import { expect, test } from "vitest";
import { mountOf } from "./propagation.ts";

const MOUNTINFO = [
  "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw",
  "23 22 0:5 / /mnt rw shared:7 - tmpfs tmpfs rw",
  "24 23 0:6 / /mnt/with\\040space rw master:7 propagate_from:2 - tmpfs tmpfs rw",
  "25 22 0:7 / /mn rw - tmpfs tmpfs rw",
  "",
].join("\n");

test.each([
  ["/home", "/", false, false],
  ["/mnt", "/mnt", true, false],
  ["/mnt/a/b", "/mnt", true, false],
  ["/mnt/with space/x", "/mnt/with space", false, true],
  ["/mntx", "/", false, false],
  ["/mn/x", "/mn", false, false],
])("%s lies on %s", (path, mountPoint, shared, slave) => {
  expect(mountOf(path, MOUNTINFO)).toEqual({ mountPoint, shared, slave });
});

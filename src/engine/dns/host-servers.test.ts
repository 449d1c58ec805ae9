/** Which servers a container's questions go to, and from where. */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ManualClock } from "#platform/testing/manual-clock.ts";
import { hostServers } from "./host-servers.ts";
import { upstreamsOf } from "./resolver.ts";

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "skep-resolv-"));
});

afterAll(() => rm(folder, { recursive: true, force: true }));

test("the host's servers follow its file, and are none without one", async () => {
  const path = join(folder, "resolv.conf");
  const clock = new ManualClock();
  const servers = hostServers(clock, path);
  expect(await servers()).toEqual([]);
  await writeFile(path, "# by hand\nnameserver 192.0.2.53\nnameserver 127.0.0.53\n");
  // Not looked at for every question.
  expect(await servers()).toEqual([]);
  await clock.advance(2_000);
  expect(await servers()).toEqual(["192.0.2.53", "127.0.0.53"]);
  await writeFile(path, "nameserver 198.51.100.1\n");
  await clock.advance(2_000);
  expect(await servers()).toEqual(["198.51.100.1"]);
});

const HOST = ["192.0.2.53", "127.0.0.53", "::1", "fe80::1%eth0", "2001:db8::53"];

test.each([
  [
    "the host's from the container, its loopback ones from the host",
    { exit: "container", servers: [] },
    [
      { address: "192.0.2.53", netns: "/ns" },
      { address: "127.0.0.53", netns: undefined },
      { address: "::1", netns: undefined },
      { address: "2001:db8::53", netns: "/ns" },
    ],
  ],
  [
    "its own from the container, also on loopback: that is the container's",
    { exit: "container", servers: ["127.0.0.1", "10.0.0.53"] },
    [
      { address: "127.0.0.1", netns: "/ns" },
      { address: "10.0.0.53", netns: "/ns" },
    ],
  ],
  [
    "from the engine where the container's networks lead nowhere else",
    { exit: "engine", servers: ["10.0.0.53"] },
    [{ address: "10.0.0.53", netns: undefined }],
  ],
  ["nobody from an internal network", { exit: "none", servers: ["10.0.0.53"] }, []],
] as const)("%s", (_, view, wanted) => {
  expect(upstreamsOf(view, HOST, "/ns")).toEqual(wanted);
});

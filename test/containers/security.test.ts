/**
 * What a container may and may not do to the kernel, tried by really doing it: forbidden system
 * calls, capabilities, masked and read-only paths, new privileges.
 */

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Host } from "./engine-host.ts";
import { DOCKERS, docker, type Harness, IMAGE, makeHarness } from "./harness.ts";

const DOCKER = DOCKERS.find((path) => existsSync(path)) ?? "docker";

/** Makes the system call that its arguments say, and prints the errno's name or what it returned. */
const CALLER = `
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int count, char **words) {
  long a[7] = {0};
  for (int i = 0; i < 7 && i + 1 < count; i++) a[i] = strtol(words[i + 1], 0, 0);
  long result = syscall(a[0], a[1], a[2], a[3], a[4], a[5], a[6]);
  puts(result < 0 ? strerrorname_np(errno) : "done");
}
`;

/** Numbers on x86-64; the last few are the same everywhere. */
const CALLS = {
  personality: 135,
  chroot: 161,
  mount: 165,
  keyctl: 250,
  unshare: 272,
  bpf: 321,
  userfaultfd: 323,
  io_uring_setup: 425,
  clone3: 435,
  socket: 41,
} as const;

const NEW_USER_NAMESPACE = "0x10000000";
const compiler = ["/usr/bin/gcc", "/usr/bin/cc"].find((path) => existsSync(path));

let harness: Harness;
let host: Host;
let tools: string;

beforeAll(async () => {
  harness = await makeHarness();
  host = await harness.open();
  tools = join(harness.folder, "tools");
  mkdirSync(tools);
  if (compiler === undefined) return;
  writeFileSync(join(tools, "call.c"), CALLER);
  execFileSync(compiler, ["-static", "-o", join(tools, "call"), join(tools, "call.c")]);
});

afterAll(async () => {
  await host?.close();
  await harness?.remove();
});

async function run(flags: readonly string[], command: readonly string[]): Promise<string> {
  const words = ["run", "--rm", "--network=none", "-v", `${tools}:/tools:ro`, ...flags, IMAGE];
  const { stdout, stderr } = await docker(DOCKER, harness.socket, [...words, ...command]);
  return (stdout + stderr).trim();
}

const call = (flags: readonly string[], name: keyof typeof CALLS, ...args: readonly string[]) =>
  run(flags, ["/tools/call", String(CALLS[name]), ...args]);

describe.skipIf(compiler === undefined || process.arch !== "x64")("system calls", () => {
  test.each([
    // What the kernel would let root (or anybody) do, and the default list does not.
    [[], "unshare", [NEW_USER_NAMESPACE], "EPERM"],
    [[], "mount", [], "EPERM"],
    [[], "keyctl", ["0", "0"], "EPERM"],
    [[], "userfaultfd", [], "EPERM"],
    [[], "io_uring_setup", ["1", "0"], "EPERM"],
    [[], "bpf", [], "EPERM"],
    [[], "personality", ["0x40000"], "EPERM"],
    [[], "personality", ["0x8"], "done"],
    [[], "socket", ["40", "1", "0"], "EPERM"],
    [[], "socket", ["1", "1", "0"], "done"],
    // "No such call", so that C libraries fall back to clone.
    [[], "clone3", [], "ENOSYS"],
    [["--user", "ann"], "unshare", [NEW_USER_NAMESPACE], "EPERM"],
    // A capability opens its own calls, and only those.
    [["--cap-add", "SYS_ADMIN"], "unshare", [NEW_USER_NAMESPACE], "done"],
    [["--cap-add", "SYS_ADMIN"], "clone3", [], "EINVAL"],
    [["--cap-add", "SYS_ADMIN"], "keyctl", ["0", "0"], "EPERM"],
    [["--cap-add", "BPF"], "bpf", [], "EINVAL"],
    [["--cap-drop", "SYS_CHROOT"], "chroot", [], "EPERM"],
    // No filter at all, by two ways; a filter all the same when it is asked for.
    [["--security-opt", "seccomp=unconfined"], "unshare", [NEW_USER_NAMESPACE], "done"],
    [["--privileged"], "unshare", [NEW_USER_NAMESPACE], "done"],
    [["--privileged"], "userfaultfd", [], "done"],
  ] as const)("%j %s %j: %s", async (flags, name, args, expected) => {
    expect(await call(flags, name, ...args)).toBe(expected);
  });

  test("exec is under the container's filter, also with --privileged", async () => {
    const name = "held";
    const flags = ["-d", "--name", name, "--network=none", "-v", `${tools}:/tools:ro`];
    await docker(DOCKER, harness.socket, ["run", ...flags, IMAGE, "sleep", "100"]);
    const exec = async (...words: string[]) =>
      (await docker(DOCKER, harness.socket, ["exec", ...words])).stdout.trim();
    const unshare = ["/tools/call", String(CALLS.unshare), NEW_USER_NAMESPACE];
    expect(await exec(name, ...unshare)).toBe("EPERM");
    expect(await exec("--privileged", name, ...unshare)).toBe("EPERM");
    await docker(DOCKER, harness.socket, ["rm", "-f", name]);
  });
});

test("a profile of the user's, and one that is none", async () => {
  const profile = join(tools, "profile.json");
  const deny = (name: string, errnoRet: number) => ({
    names: [name],
    action: "SCMP_ACT_ERRNO",
    errnoRet,
  });
  const syscalls = [deny("mkdir", 38), deny("rmdir", 1)];
  writeFileSync(profile, JSON.stringify({ defaultAction: "SCMP_ACT_ALLOW", syscalls }));
  const command = ["sh", "-c", "busybox mkdir /x; busybox rmdir /data"];
  const option = ["--security-opt", `seccomp=${profile}`];
  expect((await run(option, command)).split("\n")).toEqual([
    expect.stringContaining("Function not implemented"),
    expect.stringContaining("Operation not permitted"),
  ]);
  expect(await run([...option, "--privileged"], command)).toContain("Function not implemented");
  // The docker command itself refuses what is no JSON.
  writeFileSync(profile, "[]");
  expect(await run(option, command)).toContain("Decoding seccomp profile failed");
  expect(await run(["--security-opt", "seccomp=/nosuch.json"], command)).toContain(
    "opening seccomp profile (/nosuch.json) failed",
  );
});

const STATUS = ["cat", "/proc/self/status"];

test.each([
  [[], "a80425fb"],
  [["--cap-drop", "ALL"], "0"],
  [["--cap-drop", "all", "--cap-add", "chown", "--cap-add", "CAP_NET_ADMIN"], "1001"],
  [["--cap-drop", "NET_RAW", "--cap-drop", "mknod"], "a00405fb"],
])("capabilities with %j: %s", async (flags, mask) => {
  const text = await run(flags, STATUS);
  for (const set of ["CapEff", "CapPrm", "CapBnd"]) {
    expect(text).toContain(`${set}:\t${mask.padStart(16, "0")}`);
  }
  expect(text).toContain("CapInh:\t0000000000000000");
});

test("everything the engine has: privileged, and ALL", async () => {
  const own = /CapEff:\t(\w+)/.exec(
    execFileSync("cat", ["/proc/self/status"], { encoding: "utf8" }),
  );
  const mask = own?.[1] ?? "";
  expect(await run(["--privileged"], STATUS)).toContain(`CapEff:\t${mask}`);
  const chown = (BigInt(`0x${mask}`) & ~1n).toString(16).padStart(16, "0");
  expect(await run(["--cap-add", "ALL", "--cap-drop", "CHOWN"], STATUS)).toContain(
    `CapEff:\t${chown}`,
  );
});

test("no-new-privileges, and the filter, as the kernel reports them", async () => {
  expect(await run([], STATUS)).toMatch(/NoNewPrivs:\t0[^]*Seccomp:\t2/);
  expect(await run(["--security-opt", "no-new-privileges"], STATUS)).toMatch(/NoNewPrivs:\t1/);
  const open = await run(["--security-opt", "seccomp=unconfined"], STATUS);
  expect(open).toMatch(/NoNewPrivs:\t0[^]*Seccomp:\t0/);
});

test("masked and read-only paths; systempaths=unconfined and --privileged open them", async () => {
  const look = ["sh", "-c", "busybox wc -c < /proc/keys; echo 60 > /proc/sys/vm/swappiness"];
  expect(await run([], look)).toMatch(/^0\n.*Read-only file system/);
  expect(await run(["--privileged"], look)).toMatch(/^\d\d+$/);
  expect(await run(["--security-opt", "systempaths=unconfined"], look)).toMatch(/^\d\d+/);
  expect(await run([], ["busybox", "ls", "-A", "/sys/firmware"])).toBe("");
});

test("refusals, in docker's words", async () => {
  const error = "docker: Error response from daemon: ";
  expect(await run(["--cap-add", "foo"], ["true"])).toContain(
    `${error}invalid CapAdd: unknown capability: "CAP_FOO"`,
  );
  expect(await run(["--security-opt", "foo=bar"], ["true"])).toContain(
    `${error}invalid --security-opt 2: "foo=bar"`,
  );
  if (!existsSync("/sys/module/apparmor")) {
    expect(await run(["--security-opt", "apparmor=mine"], ["true"])).toBe(
      "WARNING: Your kernel does not support AppArmor. Profile mine discarded.",
    );
  }
});

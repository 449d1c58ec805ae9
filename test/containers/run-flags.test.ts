/**
 * The flags of `docker run`, a row each: what the container sees, or how the flag is refused. What is
 * expected is what dockerd does on the same machine.
 */

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { removeCgroup } from "#cli/lab/power.ts";
import { SKEP } from "../../bench/lib/skep.ts";
import type { Host } from "./engine-host.ts";
import { DOCKERS, docker, type Harness, IMAGE, makeHarness } from "./harness.ts";

const DOCKER = DOCKERS.filter((path) => existsSync(path)).at(-1) ?? "docker";
/** Debian's, of API 1.41. */
const OLDEST = "/usr/bin/docker";
const V1 = existsSync("/sys/fs/cgroup/memory/memory.limit_in_bytes");

let harness: Harness;
let host: Host;

beforeAll(async () => {
  harness = await makeHarness();
  host = await harness.open();
  mkdirSync(join(harness.folder, "given"));
  writeFileSync(join(harness.folder, "given/file"), "given\n");
  writeFileSync(join(harness.folder, "env"), "A=1\n# no\nUNSET_ON_HOST\n");
  writeFileSync(join(harness.folder, "labels"), "one=1\ntwo=\n");
});

afterAll(async () => {
  await host?.close();
  await harness?.remove();
  removeCgroup("/skep-flags");
});

const here = (text: string) => text.replaceAll("HERE", harness.folder);

/** `flags` in one string, parted by spaces; the script runs in busybox' shell. */
async function run(flags: string, script: string) {
  const words = here(flags)
    .split(" ")
    .filter((word) => word !== "");
  const command = ["run", "--rm", "--network=none", ...words, IMAGE, "sh", "-c", script];
  return docker(DOCKER, harness.socket, command);
}

const bb = (script: string) =>
  script.replaceAll(/\b(stat|grep|cut|touch|ls|id|head)\b/g, "busybox $1");

type Row = readonly [flags: string, script: string, expected: string | RegExp];

const CGROUP_V1: readonly Row[] = [
  ["--cpus 0.5", "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n"],
  ["--cpu-shares 512", "cat /sys/fs/cgroup/cpu/cpu.shares", "512\n"],
  ["--cpu-period 50000 --cpu-quota 25000", "cat /sys/fs/cgroup/cpu/cpu.cfs_period_us", "50000\n"],
  ["--cpuset-cpus 0 --cpuset-mems 0", "cat /sys/fs/cgroup/cpuset/cpuset.cpus", "0\n"],
  ["-m 20m", "cat /sys/fs/cgroup/memory/memory.limit_in_bytes", "20971520\n"],
  [
    "-m 20m --memory-reservation 10m",
    "cat /sys/fs/cgroup/memory/memory.soft_limit_in_bytes",
    "10485760\n",
  ],
  ["--memory-swappiness 10", "cat /sys/fs/cgroup/memory/memory.swappiness", "10\n"],
  [
    "-m 20m --oom-kill-disable",
    "head -1 /sys/fs/cgroup/memory/memory.oom_control",
    "oom_kill_disable 1\n",
  ],
  ["--pids-limit 20", "cat /sys/fs/cgroup/pids/pids.max", "20\n"],
  ["--pids-limit -1", "cat /sys/fs/cgroup/pids/pids.max", "max\n"],
];

const SEEN: readonly Row[] = [
  ["--oom-score-adj 500", "cat /proc/self/oom_score_adj", "500\n"],
  ["--ulimit nofile=100:200 --ulimit core=0", "ulimit -n; ulimit -Hn; ulimit -c", "100\n200\n0\n"],
  ["--sysctl net.ipv4.ip_forward=1", "cat /proc/sys/net/ipv4/ip_forward", "1\n"],
  ["--device /dev/null:/dev/mynull:r", "ls -l /dev/mynull | cut -c1-10", "crw-rw-rw-\n"],
  [
    "--tmpfs /t:size=1m,mode=700",
    "stat -c %a /t; grep ' /t ' /proc/mounts | cut -d' ' -f3",
    "700\ntmpfs\n",
  ],
  ["--mount type=tmpfs,dst=/t,tmpfs-mode=1770", "stat -c %a /t", "1770\n"],
  ["--mount type=bind,src=HERE/given,dst=/x,ro", "cat /x/file; touch /x/y", /^given\n.*Read-only/s],
  ["-v HERE/given:/x:ro", "cat /x/file", "given\n"],
  ["-v HERE/made/by/engine:/x", "touch /x/y && echo made", "made\n"],
  ["--mount type=volume,src=nc,dst=/data,volume-nocopy", "ls /data | cat", ""],
  ["--mount type=volume,src=cp,dst=/data", "cat /data/seed", "from the image\n"],
  [
    "--read-only --tmpfs /tmp",
    "touch /tmp/x && echo ok; touch /x || echo refused",
    /^ok\n.*refused\n$/s,
  ],
  ["-u ann", "id -u; id -g", "1000\n100\n"],
  ["-u 1000:10", "id -u; id -g", "1000\n10\n"],
  ["-u 77:88", "id -u; id -g", "77\n88\n"],
  ["-u ann --group-add wheel --group-add 777", "id -G", "100 10 777\n"],
  ["-w /new/folder", "pwd", "/new/folder\n"],
  ["-e X=1 --env-file HERE/env", "echo $X $A $UNSET_ON_HOST", "1 1\n"],
  ["--init", "cat /proc/1/comm", /^(docker-init|tini)/],
  ["--pid host", "test $$ -gt 20 && echo many", "many\n"],
  ["--uts host", "cat /proc/sys/kernel/hostname", /^\S+\n/],
  ["--ipc none", "grep -c /dev/shm /proc/mounts", "0\n"],
  ["--ipc host", "grep -c /dev/shm /proc/mounts", "1\n"],
  ["--shm-size 2m", "grep /dev/shm /proc/mounts | grep -o size=2048k", "size=2048k\n"],
  [
    "--cgroup-parent /skep-flags",
    "head -1 /proc/self/cgroup | grep -o skep-flags || echo private",
    /skep-flags|private/,
  ],
  [
    "-h myhost --domainname example.org",
    "cat /etc/hostname /proc/sys/kernel/domainname",
    "myhost\nexample.org\n",
  ],
  ["--add-host foo:1.2.3.4", "grep foo /etc/hosts", "1.2.3.4\tfoo\n"],
  [
    "--dns 9.9.9.9 --dns-search ex.org --dns-option ndots:3",
    "cat /etc/resolv.conf",
    /nameserver 9\.9\.9\.9\n[^]*search ex\.org\n[^]*options ndots:3/,
  ],
  ["--privileged", "ls /dev | busybox wc -l | busybox awk '{print ($1>15)}'", "1\n"],
  ["--platform linux/amd64 --isolation default --userns host", "echo on", "on\n"],
  ["--stop-signal USR1 --stop-timeout 3 --no-healthcheck --annotation a=b", "echo on", "on\n"],
];

describe.skipIf(!V1)("limits", () => {
  test.each(CGROUP_V1)("%s", async (flags, script, expected) => {
    expect((await run(flags, bb(script))).stdout).toBe(expected);
  });
});

test.each(SEEN.filter(([flags]) => !flags.includes("amd64") || process.arch === "x64"))(
  "%s",
  async (flags, script, expected) => {
    const { stdout, stderr } = await run(flags, bb(script));
    if (typeof expected === "string") expect(stdout, stderr).toBe(expected);
    // Lines of the two streams come in any order.
    else expect(`${stdout}${stderr}${stdout}`).toMatch(expected);
  },
);

const REFUSED: readonly (readonly [flags: string, message: string])[] = [
  ["--cpus 500", "ange of CPUs is from 0.01 to"],
  ["--cpuset-cpus 4095", "Requested CPUs are not available - requested 4095, available: 0"],
  ["--cpuset-cpus x", "Invalid value x for cpuset cpus"],
  ["--cpu-period 10", "CPU cfs period can not be less than 1ms"],
  ["-m 4m", "Minimum memory limit allowed is 6MB"],
  ["-m 20m --memory-swap 10m", "Minimum memoryswap limit should be larger than memory limit"],
  ["--memory-swap 10m", "You should always set the Memory limit when using Memoryswap limit"],
  ["--oom-score-adj 5000", "range for oom score adj is [-1000, 1000]"],
  ["--ulimit nofile=300:200", "ulimit soft limit must be less than or equal to hard limit"],
  ["--sysctl vm.swappiness=1", "sysctl"],
  [
    "--device /dev/nope",
    'error gathering device information while adding custom device "/dev/nope"',
  ],
  ["--device-cgroup-rule bad", "invalid device cgroup"],
  ["--tmpfs t", "mount path must be absolute"],
  ["--mount type=bind,src=/nope/x,dst=/x", "bind source path does not exist: /nope/x"],
  ["--mount type=foo,dst=/x", 'invalid mount config for type "foo": mount type unknown'],
  ["--mount type=volume,src=one1,dst=/x,volume-driver=nope", 'plugin "nope" not found'],
  ["-v HERE/given:/x:bad", "invalid mode: bad"],
  ["-v /x:/", "destination can't be '/'"],
  ["-v rel/path:/x", "includes invalid characters for a local volume name"],
  ["-v one1:/x -v two2:/x", "Duplicate mount point: /x"],
  ["-u nobody2", "unable to find user nobody2: no matching entries in passwd file"],
  ["-u root:nogrp", "unable to find group nogrp: no matching entries in group file"],
  ["-w rel", "the working directory 'rel' is invalid, it needs to be an absolute path"],
  ["--ipc bad", "nvalid IPC mode: bad"],
  ["--pid bad", "invalid PID mode"],
  ["--uts bad", "invalid UTS mode"],
  ["--gpus all", 'could not select device driver "" with capabilities: [[gpu]]'],
  ["--runtime bad", "unknown or invalid runtime name: bad"],
  [
    "--storage-opt size=1G",
    "--storage-opt is supported only for overlay over xfs with 'pquota' mount option",
  ],
  ["--isolation hyperv", `Invalid isolation: "hyperv" - linux only supports 'default'`],
  ["--stop-signal BAD", "invalid signal: BAD"],
  ["--health-interval 1us --health-cmd x", "in Healthcheck cannot be less than 1ms"],
  ["--volumes-from nope", "No such container: nope"],
  ["--cap-add foo", 'unknown capability: "CAP_FOO"'],
];

test.each(REFUSED)("%s is refused", async (flags, message) => {
  const { code, stderr } = await run(flags, "true");
  expect(stderr.toLowerCase()).toContain(here(message).toLowerCase());
  // Not taken for an image that is not there, which the command would go and pull.
  expect(stderr).not.toContain("Unable to find image");
  expect(code).toBeGreaterThanOrEqual(125);
});

test("what the kernel cannot do is discarded with a warning", async () => {
  const known = existsSync("/sys/fs/cgroup/blkio/blkio.weight");
  const { code, stderr } = await run("--blkio-weight 300", "true");
  expect(code).toBe(0);
  expect(stderr).toContain(V1 && !known ? "Weight discarded." : "");
});

test("what is mounted below a read-only bind is read-only, too, for clients since API 1.44", async () => {
  const below = join(harness.folder, "given/below");
  mkdirSync(below);
  execFileSync("mount", ["-t", "tmpfs", "below", below]);
  try {
    const write = async (program: string, flags: string) => {
      const words = ["run", "--rm", "--network=none", ...here(flags).split(" "), IMAGE];
      return (await docker(program, harness.socket, [...words, "sh", "-c", "echo >/x/below/y"]))
        .stderr;
    };
    const mount = "--mount type=bind,src=HERE/given,dst=/x,ro";
    const forced = `${mount},bind-propagation=rprivate,bind-recursive=readonly`;
    expect(await write(SKEP, mount)).toMatch(/Read-only/);
    expect(await write(SKEP, "-v HERE/given:/x:ro")).toMatch(/Read-only/);
    expect(await write(SKEP, `${mount},bind-recursive=writable`)).toBe("");
    expect(await write(SKEP, forced)).toMatch(/Read-only/);
    expect(await write(OLDEST, mount)).toBe("");
    expect(await write(OLDEST, "-v HERE/given:/x:ro")).toBe("");
  } finally {
    execFileSync("umount", [below]);
  }
});

test("a bind cannot share mounts with the host where the host keeps them private", async () => {
  const shared = /^\d+ \d+ \S+ \/ \/ \S+ .*shared:/m.test(
    readFileSync("/proc/self/mountinfo", "utf8"),
  );
  const bind = "--mount type=bind,src=HERE/given,dst=/x,bind-propagation=rslave";
  const { code, stderr } = await run(bind, "true");
  if (shared) expect(code).toBe(0);
  else expect(stderr).toMatch(/is mounted on \/.* but it is not a shared or slave mount/);
});

test("cidfile, label files, entrypoints, names", async () => {
  const cli = (...args: string[]) => docker(DOCKER, harness.socket, args.map(here));
  const create = (...args: string[]) => cli("create", "--network=none", ...args);
  const made = await create(
    "--cidfile=HERE/cid",
    "--label-file=HERE/labels",
    "-l",
    "z=3",
    "--name=lab",
    IMAGE,
    "true",
  );
  expect(readFileSync(join(harness.folder, "cid"), "utf8")).toBe(made.stdout.trim());
  const labels = await cli("inspect", "-f", "{{json .Config.Labels}}", "lab");
  expect(JSON.parse(labels.stdout)).toEqual({ one: "1", two: "", z: "3" });
  expect((await create("--name=lab", IMAGE, "true")).stderr).toContain(
    'The container name "/lab" is already in use by container',
  );
  expect((await create("--name=bad name", IMAGE, "true")).stderr).toContain(
    "Invalid container name (bad name)",
  );
  const flags = ["run", "--rm", "--network=none"];
  expect((await cli(...flags, "--entrypoint", "echo", IMAGE, "hi")).stdout).toBe("hi\n");
  expect((await cli(...flags, "--entrypoint", "", IMAGE, "echo", "hi")).stdout).toBe("hi\n");
  await cli("rm", "lab");
});

test("inspect has every field that SDKs read, with docker's empty values", async () => {
  const cli = (...args: string[]) => docker(DOCKER, harness.socket, args);
  await cli("create", "--network=none", "--name=plain", IMAGE, "true");
  const [found] = JSON.parse((await cli("inspect", "plain")).stdout) as [
    Record<string, Record<string, unknown>>,
  ];
  expect(found["HostConfig"]).toMatchObject({
    Binds: null,
    CapAdd: null,
    Devices: [],
    Dns: [],
    ExtraHosts: null,
    IpcMode: "private",
    LogConfig: { Type: "json-file", Config: {} },
    MemorySwappiness: null,
    NanoCpus: 0,
    OomKillDisable: false,
    PidsLimit: null,
    PortBindings: {},
    RestartPolicy: { Name: "no", MaximumRetryCount: 0 },
    Runtime: "runc",
    SecurityOpt: null,
    ShmSize: 67108864,
    Ulimits: [],
    VolumesFrom: null,
  });
  expect(found["Config"]).toMatchObject({ OnBuild: null, Volumes: null, Cmd: ["true"] });
  await cli("rm", "plain");
});

test("a folder in a volume, and one that a link would lead out of it", async () => {
  const volume = (more: string) => `--mount type=volume,src=sub,dst=/x${more}`;
  const script =
    "busybox mkdir -p /x/in/side; echo found > /x/in/side/f; busybox ln -s /etc /x/out; busybox ln -s in/side /x/ok";
  expect((await run(volume(""), script)).stderr).toBe("");
  const read = (subpath: string, file: string) =>
    run(volume(`,volume-subpath=${subpath}`), `cat /x${file}`);
  expect((await read("in/side", "/f")).stdout).toBe("found\n");
  expect((await read("ok", "/f")).stdout).toBe("found\n");
  expect((await read("in/side/f", "")).stdout).toBe("found\n");
  // The host's /etc, if the link were followed from outside.
  expect((await read("out", "/hostname")).stderr).toMatch(/cannot access path .*\/out/);
  expect((await read("nope", "/f")).stderr).toMatch(/cannot access path .*\/nope/);
  expect((await read("../..", "/f")).stderr).toContain("subpath must be a relative path");
  const mounts = readFileSync("/proc/self/mounts", "utf8");
  expect(mounts).not.toContain(join(harness.folder, "run/mounts"));
});

/** The container service on a real containerd and kernel. */

import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import type { ContainerEngine } from "#engine/containers/service.ts";
import { parseNs } from "#engine/logs/timestamps.ts";
import type { LogOptions } from "#engine/ports.ts";
import type { ContainerCreateBody, HostConfig } from "#wire/docker/containers.ts";
import type { Host } from "./engine-host.ts";
import { type Harness, IMAGE, makeHarness } from "./harness.ts";

let harness: Harness;
let host: Host;
let containers: ContainerEngine;

beforeAll(async () => {
  harness = await makeHarness();
});

afterAll(() => harness?.remove());

beforeEach(async () => {
  host = await harness.open();
  containers = host.containers;
});

afterEach(async () => {
  for (const { Id } of await containers.list({ all: true, filters: new Map() })) {
    await containers.remove(Id, { force: true, volumes: true });
  }
  await host.close();
});

async function make(
  Cmd: readonly string[],
  body: Partial<ContainerCreateBody> = {},
  hostConfig: HostConfig = {},
): Promise<string> {
  const HostConfig = { NetworkMode: "none", ...hostConfig };
  const { id } = await containers.create(undefined, { Image: IMAGE, Cmd, ...body, HostConfig });
  return id;
}

async function finish(id: string): Promise<number> {
  const ended = containers.wait(id, "next-exit");
  await containers.start(id);
  return (await ended).statusCode;
}

async function output(id: string, options: Partial<LogOptions> = {}): Promise<string> {
  let text = "";
  const all = { stdout: true, stderr: true, follow: false, ...options };
  for await (const { line } of containers.logs(id, all)) text += Buffer.from(line).toString();
  return text;
}

async function run(
  Cmd: readonly string[],
  body: Partial<ContainerCreateBody> = {},
  hostConfig: HostConfig = {},
): Promise<{ code: number; text: string; id: string }> {
  const id = await make(Cmd, body, hostConfig);
  const code = await finish(id);
  return { code, text: await output(id), id };
}

test("echo: output, exit code, state, files that are bound in", async () => {
  const { code, text, id } = await run(
    ["sh", "-c", "echo out; echo err >&2; cat /etc/hostname; exit 7"],
    { Hostname: "web" },
  );
  expect(code).toBe(7);
  expect(text.split("\n").sort()).toEqual(["", "err", "out", "web"]);
  const { State, Name } = await containers.inspect(id);
  expect(State).toMatchObject({ Status: "exited", ExitCode: 7, Pid: 0, Running: false, Error: "" });
  expect(Name).toMatch(/^\/[a-z]+_[a-z]+$/);
});

test("a container starts again, and its file system is still its own", async () => {
  const id = await make(["sh", "-c", "ls /new 2>/dev/null; echo x > /new"]);
  expect(await finish(id)).toBe(0);
  expect(await finish(id)).toBe(0);
  expect(await output(id)).toBe("/new\n");
});

test("what a start lets out at once is of the time since the start", async () => {
  for (const round of [1, 2, 3, 4, 5]) {
    const { id } = await run(["echo", `round ${round}`]);
    const { StartedAt, FinishedAt } = (await containers.inspect(id)).State;
    const since = parseNs(StartedAt) ?? 0n;
    expect(parseNs(FinishedAt)).toBeGreaterThan(since);
    expect(await output(id, { since })).toBe(`round ${round}\n`);
  }
});

test("a program that is not there: 127, docker's words, and the state remembers", async () => {
  const id = await make(["/nope"]);
  await expect(containers.start(id)).rejects.toMatchObject({
    code: "invalid-argument",
    message: expect.stringMatching(/OCI runtime create failed.*(no such file|not found)/),
  });
  const { State } = await containers.inspect(id);
  expect(State).toMatchObject({ Status: "created", ExitCode: 127 });
  expect(State.Error).toContain("/nope");
  const other = await make(["/etc/motd"]);
  await expect(containers.start(other)).rejects.toThrow(/permission denied/);
  expect((await containers.inspect(other)).State.ExitCode).toBe(126);
});

test("user, groups, environment, working directory, capabilities", async () => {
  const command = ["sh", "-c", "id; pwd; echo $PATH $A; cat /proc/self/status"];
  const { text } = await run(command, { User: "ann", WorkingDir: "/made/here", Env: ["A=b"] });
  expect(text).toContain("uid=1000(ann) gid=100(users) groups=10(wheel),100(users)");
  expect(text).toContain("/made/here\n/bin b\n");
  expect(text).toMatch(/CapEff:\t0000000000000000/);
  expect(text).toMatch(/CapBnd:\t00000000a80425fb/);
  expect(text).toMatch(/NoNewPrivs:\t0/);
  const missing = await make(["true"], { User: "bob" });
  await expect(containers.start(missing)).rejects.toThrow(
    "unable to find user bob: no matching entries in passwd file",
  );
});

test("limits arrive in the cgroup; too much memory is an OOM kill", async () => {
  const { text } = await run(
    [
      "sh",
      "-c",
      "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/memory/memory.limit_in_bytes || cat /sys/fs/cgroup/pids.max",
    ],
    {},
    { PidsLimit: 33, Memory: 64 * 1024 * 1024, NanoCpus: 5e8 },
  );
  expect(text).toContain("33\n");
  const hog = await run(
    ["sh", "-c", "x=a; while true; do x=$x$x; done"],
    {},
    { Memory: 32 * 1024 * 1024, MemorySwap: 32 * 1024 * 1024 },
  );
  expect(hog.code).toBe(137);
  expect((await containers.inspect(hog.id)).State.OOMKilled).toBe(true);
});

test("binds, tmpfs, read-only root, and a volume that starts with the image's content", async () => {
  const folder = await mkdtemp(join(tmpdir(), "skep-ctr-bind-"));
  try {
    await writeFile(join(folder, "given"), "hello");
    const { text } = await run(
      [
        "sh",
        "-c",
        "cat /b/given; touch /b/x || echo ro; touch /t/x && echo tmp; cat /data/seed; touch /y || echo rootro; echo more > /data/added; ls -ld /data",
      ],
      {},
      {
        Binds: [`${folder}:/b:ro`, "seeded:/data"],
        Tmpfs: { "/t": "size=1m" },
        ReadonlyRootfs: true,
      },
    );
    expect(text).toContain("hello");
    expect(text).toContain("ro\n");
    // Lines of the two streams come in any order.
    expect(text).toContain("tmp\n");
    expect(text).toContain("from the image\n");
    expect(text).toContain("rootro");
    expect(text).toContain("drwxr-x---");
    const again = await run(["cat", "/v/added"], {}, { Binds: ["seeded:/v"] });
    expect(again.text).toBe("more\n");
    await expect(host.volumes.remove("seeded", {})).rejects.toMatchObject({ code: "conflict" });
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("stop: the grace is given, then SIGKILL; who obeys ends at once", async () => {
  const deaf = await make(["sh", "-c", "trap '' TERM; echo up; while true; do sleep 1; done"]);
  await containers.start(deaf);
  await untilOutput(deaf, "up");
  const before = Date.now();
  await containers.stop(deaf, { timeoutSeconds: 1 });
  expect(Date.now() - before).toBeGreaterThanOrEqual(1_000);
  expect((await containers.inspect(deaf)).State).toMatchObject({ ExitCode: 137, OOMKilled: false });
  const good = await make([
    "sh",
    "-c",
    "trap 'exit 3' TERM; echo up; while true; do sleep 0.05; done",
  ]);
  await containers.start(good);
  await untilOutput(good, "up");
  await containers.stop(good, {});
  expect((await containers.inspect(good)).State.ExitCode).toBe(3);
  await expect(containers.stop(good, {})).rejects.toMatchObject({ code: "not-modified" });
  await expect(containers.kill(good, "KILL")).rejects.toMatchObject({ code: "conflict" });
});

async function untilOutput(id: string, text: string): Promise<void> {
  const stop = new AbortController();
  let seen = "";
  const options = { stdout: true, stderr: true, follow: true, signal: stop.signal };
  for await (const { line } of containers.logs(id, options)) {
    seen += Buffer.from(line).toString();
    if (seen.includes(text)) break;
  }
  stop.abort();
}

test("pause freezes, a stop thaws; what may not be is refused with docker's words", async () => {
  const id = await make(["sleep", "100"]);
  await expect(containers.pause(id)).rejects.toMatchObject({ code: "conflict" });
  await containers.start(id);
  await expect(containers.start(id)).rejects.toMatchObject({ code: "not-modified" });
  await containers.pause(id);
  expect((await containers.inspect(id)).State).toMatchObject({ Status: "paused", Running: true });
  await expect(containers.remove(id, {})).rejects.toThrow(/container is paused/);
  await containers.unpause(id);
  await containers.pause(id);
  await containers.stop(id, { timeoutSeconds: 0 });
  expect((await containers.inspect(id)).State).toMatchObject({ Status: "exited", ExitCode: 137 });
});

test("names: conflict, rename, lookup by prefix", async () => {
  const { id } = await containers.create("one", {
    Image: IMAGE,
    HostConfig: { NetworkMode: "none" },
  });
  await expect(
    containers.create("/one", { Image: IMAGE, HostConfig: { NetworkMode: "none" } }),
  ).rejects.toMatchObject({
    code: "already-exists",
    message: `Conflict. The container name "/one" is already in use by container "${id}". You have to remove (or rename) that container to be able to reuse that name.`,
  });
  await containers.rename("one", "two");
  expect((await containers.inspect("/two")).Id).toBe(id);
  expect((await containers.inspect(id.slice(0, 6))).Name).toBe("/two");
  await expect(containers.inspect("one")).rejects.toMatchObject({
    code: "not-found",
    message: "No such container: one",
  });
});

test("a failed create leaves nothing: no name, no snapshot, no folder", async () => {
  const bad = { Image: IMAGE, HostConfig: { NetworkMode: "none", Binds: ["x:relative"] } };
  await expect(containers.create("ghost", bad)).rejects.toMatchObject({ code: "invalid-argument" });
  await expect(
    containers.create("ghost", { Image: IMAGE, HostConfig: { NetworkMode: "nowhere" } }),
  ).rejects.toMatchObject({ code: "invalid-argument", message: "network nowhere not found" });
  const { id } = await containers.create("ghost", {
    Image: IMAGE,
    HostConfig: { NetworkMode: "none" },
  });
  expect(id).toHaveLength(64);
});

test("--rm: removed with its anonymous volumes, and whoever waits for that is told", async () => {
  const id = await make(["true"], { Volumes: { "/data": {} } }, { AutoRemove: true });
  const [mount] = (await containers.inspect(id)).Mounts;
  const removed = containers.wait(id, "removed");
  await containers.start(id);
  expect((await removed).statusCode).toBe(0);
  await expect(containers.inspect(id)).rejects.toMatchObject({ code: "not-found" });
  await expect(host.volumes.inspect(mount?.Name ?? "")).rejects.toMatchObject({
    code: "not-found",
  });
});

test("--rm: a restart is not the end; the next stop is", async () => {
  const id = await make(["sleep", "1000"], {}, { AutoRemove: true });
  await containers.start(id);
  await containers.restart(id, { timeoutSeconds: 0 });
  expect((await containers.inspect(id)).State.Running).toBe(true);
  const removed = containers.wait(id, "removed");
  await containers.stop(id, { timeoutSeconds: 0 });
  await removed;
  await expect(containers.inspect(id)).rejects.toMatchObject({ code: "not-found" });
});

test("a volume over /etc does not hide the files that the engine puts there", async () => {
  const script = ["cat /etc/hostname", "cat /etc/hosts", "cat /etc/resolv.conf", "echo > /etc/x"];
  const { code, text } = await run(
    ["sh", "-c", script.join(" && ")],
    { Hostname: "web" },
    { Binds: ["etc:/etc"] },
  );
  expect({ code, text }).toMatchObject({ code: 0, text: expect.stringMatching(/^web\n127/) });
});

test("an anonymous volume goes with the last container that has it", async () => {
  const first = await make(["true"], { Volumes: { "/data": {} } });
  const name = (await containers.inspect(first)).Mounts[0]?.Name ?? "";
  const second = await make(["true"], {}, { VolumesFrom: [first] });
  await containers.remove(first, { volumes: true });
  expect((await host.volumes.inspect(name)).Name).toBe(name);
  await containers.remove(second, { volumes: true });
  await expect(host.volumes.inspect(name)).rejects.toMatchObject({ code: "not-found" });
});

test("an exec has the limits of its container", async () => {
  const Ulimits = [{ Name: "core", Soft: 100, Hard: 200 }];
  const id = await make(["sleep", "100"], {}, { Ulimits });
  await containers.start(id);
  const exec = containers.execs.create(id, {
    Cmd: ["busybox", "grep", "-q", "core file size *100 *200", "/proc/self/limits"],
  });
  await containers.execs.start(exec, undefined);
  expect(await exec.ended.promise).toBe(0);
});

test("who joins a container's network has its names, and none of his own", async () => {
  const other = await make(["sleep", "100"], { Hostname: "shared" });
  await containers.start(other);
  const joined = { NetworkMode: `container:${other}` };
  expect((await run(["cat", "/proc/sys/kernel/hostname"], {}, joined)).text).toBe("shared\n");
  await expect(make(["true"], {}, { ...joined, Dns: ["9.9.9.9"] })).rejects.toThrow(
    "conflicting options: dns and the network mode",
  );
  await expect(make(["true"], { ExposedPorts: { "80/tcp": {} } }, joined)).rejects.toThrow(
    "conflicting options: port exposing and the container type network mode",
  );
});

test("restart policy: on-failure counts to its end; a stop ends always", async () => {
  const failing = await make(
    ["sh", "-c", "echo again; exit 1"],
    {},
    {
      RestartPolicy: { Name: "on-failure", MaximumRetryCount: 2 },
    },
  );
  const ended = containers.wait(failing, "next-exit");
  await containers.start(failing);
  await ended;
  expect((await containers.wait(failing, "not-running")).statusCode).toBe(1);
  expect(await output(failing)).toBe("again\n".repeat(3));
  expect((await containers.inspect(failing)).RestartCount).toBe(2);
  const always = await make(["true"], {}, { RestartPolicy: { Name: "always" } });
  const first = containers.wait(always, "next-exit");
  await containers.start(always);
  await first;
  await containers.stop(always, {});
  const { State } = await containers.inspect(always);
  expect(State).toMatchObject({ Status: "exited", Restarting: false });
});

test("exec: output, exit code, user, failures; and it ends with its container", async () => {
  const id = await make(["sleep", "100"]);
  expect(() => containers.execs.create(id, { Cmd: ["true"] })).toThrow(/is not running/);
  await containers.start(id);
  const exec = async (Cmd: readonly string[], User?: string) => {
    const made = containers.execs.create(id, {
      Cmd,
      AttachStdout: true,
      AttachStderr: true,
      ...(User === undefined ? {} : { User }),
    });
    let text = "";
    const client = {
      stdin: undefined,
      stdout: true,
      stderr: true,
      detachKeys: "",
      signal: new AbortController().signal,
      write: (_stream: string, chunk: Uint8Array) => {
        text += Buffer.from(chunk).toString();
        return undefined;
      },
    };
    const { ended } = await containers.execs.start(made, client);
    await ended;
    return { text, code: containers.execs.inspect(made).ExitCode };
  };
  expect(await exec(["sh", "-c", "echo hi; id -u; exit 4"], "ann")).toEqual({
    text: "hi\n1000\n",
    code: 4,
  });
  await expect(exec(["/nope"])).rejects.toThrow(/OCI runtime exec failed/);
  const long = containers.execs.create(id, { Cmd: ["sleep", "100"] });
  await containers.execs.start(long, undefined);
  await containers.stop(id, { timeoutSeconds: 0 });
  expect(await long.ended.promise).toBe(137);
});

test("health: starting, healthy, unhealthy, and the events that say so", async () => {
  const stop = new AbortController();
  const events = host.events.subscribe({
    filters: new Map([["event", ["health_status"]]]),
    signal: stop.signal,
  });
  const id = await make(["sleep", "100"], {
    Healthcheck: {
      Test: ["CMD-SHELL", "echo probing; test ! -e /sick"],
      Interval: 100e6,
      Timeout: 5e9,
      Retries: 2,
    },
  });
  await containers.start(id);
  expect((await containers.inspect(id)).State.Health?.Status).toBe("starting");
  const seen: string[] = [];
  for await (const event of events) {
    seen.push(event.Action);
    if (seen.length === 1) {
      const sick = containers.execs.create(id, { Cmd: ["sh", "-c", "echo > /sick"] });
      await containers.execs.start(sick, undefined);
    }
    if (seen.length === 2) break;
  }
  stop.abort();
  expect(seen).toEqual(["health_status: healthy", "health_status: unhealthy"]);
  const { Health } = (await containers.inspect(id)).State;
  expect(Health).toMatchObject({ Status: "unhealthy", FailingStreak: 2 });
  expect(Health?.Log[0]?.Output).toBe("probing\n");
});

test("stats and top of what runs; list with filters", async () => {
  const id = await make(["sleep", "100"], { Labels: { app: "web" } });
  await containers.start(id);
  const signal = new AbortController().signal;
  for await (const sample of containers.stats(id, { stream: false, oneShot: true, signal })) {
    expect(sample.pids_stats.current).toBe(1);
    expect(sample.memory_stats.usage).toBeGreaterThan(0);
    expect(sample.cpu_stats.cpu_usage.total_usage).toBeGreaterThan(0);
    expect(sample.cpu_stats.system_cpu_usage).toBeGreaterThan(1e9);
  }
  const { Titles, Processes } = await containers.top(id, "");
  expect(Titles).toContain("PID");
  expect(Processes.map((fields) => fields.at(-1))).toEqual(["sleep 100"]);
  const listed = await containers.list({ filters: new Map([["label", ["app=web"]]]) });
  expect(listed).toMatchObject(
    [{ Id: id, State: "running", Status: "Less than a second", Command: "sleep 100" }].map(
      (row) => ({ ...row, Status: expect.stringMatching(/^Up /) }),
    ),
  );
  expect(await containers.list({ filters: new Map([["label", ["app=db"]]]) })).toEqual([]);
  await expect(containers.list({ filters: new Map([["colour", ["red"]]]) })).rejects.toThrow(
    "invalid filter 'colour'",
  );
});

test("ten containers start side by side", async () => {
  const ids = await Promise.all(Array.from({ length: 10 }, () => make(["echo", "x"])));
  const codes = await Promise.all(ids.map(finish));
  expect(codes).toEqual(ids.map(() => 0));
  for (const id of ids) expect(await output(id)).toBe("x\n");
});

test("output of a fast writer arrives whole, at the log and at who is attached", async () => {
  const id = await make([
    "sh",
    "-c",
    "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done",
  ]);
  let attached = 0;
  const session = containers.attach(id, {
    stdin: undefined,
    stdout: true,
    stderr: true,
    detachKeys: "",
    signal: new AbortController().signal,
    write: (_stream, chunk) => {
      attached += chunk.length;
      return new Promise((resolve) => setImmediate(resolve));
    },
  });
  expect(await finish(id)).toBe(0);
  expect(await session.ended).toBe("process-ended");
  const text = await output(id);
  expect(text.split("\n")).toHaveLength(20_001);
  expect(attached).toBe(text.length);
});

test("update changes the limits of what runs, and its policy", async () => {
  const id = await make(["sleep", "100"], {}, { PidsLimit: 20 });
  await containers.start(id);
  await containers.update(id, { PidsLimit: 40, RestartPolicy: { Name: "always" } });
  const { State, HostConfig } = await containers.inspect(id);
  expect(HostConfig).toMatchObject({ PidsLimit: 40, RestartPolicy: { Name: "always" } });
  const cgroup = await readFile(`/proc/${State.Pid}/cgroup`, "utf8");
  expect(cgroup).toContain(`/skep/${id}`);
});

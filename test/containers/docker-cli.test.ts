/** Both docker command lines, unmodified, against the engine's socket. */

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { Host } from "./engine-host.ts";
import { DOCKERS, docker, type Harness, IMAGE, makeHarness } from "./harness.ts";

let harness: Harness;
let host: Host;

beforeAll(async () => {
  harness = await makeHarness();
  host = await harness.open();
});

afterAll(async () => {
  await host?.close();
  await harness?.remove();
});

afterEach(async () => {
  for (const { Id } of await host.containers.list({ all: true, filters: new Map() })) {
    await host.containers.remove(Id, { force: true, volumes: true });
  }
});

describe.each(DOCKERS.filter((path) => existsSync(path)))("%s", (program) => {
  const cli = (args: readonly string[], input?: string) =>
    docker(program, harness.socket, args, input);
  const run = (...args: string[]) => cli(["run", "--network", "none", ...args]);

  test("run: output, errors apart, exit code, --rm", async () => {
    const finished = await run("--rm", IMAGE, "sh", "-c", "echo out; echo err >&2; exit 3");
    expect(finished).toEqual({ code: 3, stdout: "out\n", stderr: "err\n" });
    expect((await cli(["ps", "-aq"])).stdout).toBe("");
  });

  test("run -i: input, and its end", async () => {
    const finished = await cli(["run", "--network", "none", "--rm", "-i", IMAGE, "cat"], "a\nb\n");
    expect(finished).toEqual({ code: 0, stdout: "a\nb\n", stderr: "" });
  });

  test("run of what is not there: 127 and docker's words", async () => {
    const missing = await run("--rm", IMAGE, "/nope");
    expect(missing.code).toBe(127);
    expect(missing.stderr).toMatch(/Error response from daemon: .*no such file or directory/);
    const noImage = await run("--pull=never", "nothing:1", "true");
    expect(noImage.code).toBe(125);
    expect(noImage.stderr).toContain("No such image: nothing:1");
    expect((await run("--rm", IMAGE, "nope")).stderr).toContain(
      "executable file not found in $PATH",
    );
  });

  test("run -t: a terminal of the client's, one stream", async () => {
    const finished = await terminal(program, [
      "run",
      "--network",
      "none",
      "--rm",
      "-t",
      IMAGE,
      "tty",
    ]);
    expect(finished.output).toContain("/dev/pts/0");
    expect(finished.code).toBe(0);
  });

  test("ps, inspect, logs, top, stats, port, rename, pause, kill, rm", async () => {
    await run("-d", "--name", "web", "--label", "a=b", IMAGE, "sh", "-c", "echo hello; sleep 100");
    const ps = await cli(["ps", "--format", "{{.Names}} {{.Image}} {{.Status}} {{.Command}}"]);
    expect(ps.stdout).toMatch(/^web busybox:test Up .* "sh -c 'echo hello; …"/);
    const state = await cli(["inspect", "-f", "{{.State.Status}} {{.Config.Labels.a}}", "web"]);
    expect(state.stdout).toBe("running b\n");
    expect((await cli(["logs", "web"])).stdout).toBe("hello\n");
    expect((await cli(["logs", "-t", "web"])).stdout).toMatch(/^\d{4}-.*Z hello\n$/);
    expect((await cli(["top", "web"])).stdout).toContain("sleep 100");
    const stats = await cli(["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "web"]);
    expect(stats.stdout).toMatch(/^web [12]\n$/);
    expect((await cli(["rename", "web", "vvv"])).code).toBe(0);
    expect((await cli(["pause", "vvv"])).code).toBe(0);
    expect((await cli(["ps", "--format", "{{.Status}}"])).stdout).toContain("(Paused)");
    expect((await cli(["unpause", "vvv"])).code).toBe(0);
    const refused = await cli(["rm", "vvv"]);
    expect(refused.stderr).toMatch(/container is running|running container/);
    expect((await cli(["kill", "vvv"])).code).toBe(0);
    expect((await cli(["wait", "vvv"])).stdout).toBe("137\n");
    expect((await cli(["rm", "vvv"])).stdout).toBe("vvv\n");
    expect((await cli(["inspect", "vvv"])).stderr).toMatch(/No such (object|container): v/);
  });

  test("logs -f ends with the container; --tail, --since", async () => {
    await run(
      "-d",
      "--name",
      "fff",
      IMAGE,
      "sh",
      "-c",
      "for i in 1 2 3 4; do echo $i; sleep 0.1; done",
    );
    expect((await cli(["logs", "-f", "fff"])).stdout).toBe("1\n2\n3\n4\n");
    expect((await cli(["logs", "--tail", "2", "fff"])).stdout).toBe("3\n4\n");
    expect((await cli(["logs", "--since", "1h", "fff"])).stdout).toBe("1\n2\n3\n4\n");
    expect((await cli(["logs", "--until", "1h", "fff"])).stdout).toBe("");
  });

  test("exec: output, code, input, terminal", async () => {
    await run("-d", "--name", "eee", IMAGE, "sleep", "100");
    const plain = await cli(["exec", "eee", "sh", "-c", "echo o; echo e >&2; exit 9"]);
    expect(plain).toEqual({ code: 9, stdout: "o\n", stderr: "e\n" });
    expect((await cli(["exec", "-i", "eee", "cat"], "input")).stdout).toBe("input");
    const shell = await terminal(program, ["exec", "-it", "eee", "sh", "-c", "stty size; tty"]);
    expect(shell.output).toContain("/dev/pts/0");
    expect((await cli(["exec", "-d", "eee", "true"])).code).toBe(0);
    expect((await cli(["exec", "eee", "nope"])).stdout).toContain("executable file not found");
    await cli(["stop", "-t", "0", "eee"]);
    expect((await cli(["exec", "eee", "true"])).stderr).toMatch(/is not running/);
  });

  test("start -a, attach, and restart", async () => {
    await cli([
      "create",
      "--network",
      "none",
      "--name",
      "sss",
      IMAGE,
      "sh",
      "-c",
      "echo started; exit 2",
    ]);
    expect(await cli(["start", "-a", "sss"])).toEqual({ code: 2, stdout: "started\n", stderr: "" });
    await cli(["create", "--network", "none", "-i", "--name", "iii", IMAGE, "cat"]);
    expect((await cli(["start", "-ai", "iii"], "again")).stdout).toBe("again");
    await run("-d", "--name", "rrr", IMAGE, "sleep", "100");
    const pid = (await cli(["inspect", "-f", "{{.State.Pid}}", "rrr"])).stdout;
    expect((await cli(["restart", "-t", "0", "rrr"])).stdout).toBe("rrr\n");
    expect((await cli(["inspect", "-f", "{{.State.Pid}}", "rrr"])).stdout).not.toBe(pid);
  });

  test("events, container prune, update", async () => {
    const since = Date.now() / 1000;
    await run("--rm", "--name", "ev", IMAGE, "true");
    const events = await cli([
      "events",
      "--since",
      since.toFixed(3),
      "--until",
      (Date.now() / 1000 + 0.2).toFixed(3),
      "--filter",
      "container=ev",
      "--format",
      "{{.Action}}",
    ]);
    expect(events.stdout.trim().split("\n")).toEqual([
      "create",
      "attach",
      "start",
      "die",
      "destroy",
    ]);
    await run("--name", "dead", IMAGE, "true");
    expect((await cli(["container", "prune", "-f"])).stdout).toContain("Deleted Containers:");
    await run("-d", "--name", "uuu", IMAGE, "sleep", "100");
    expect((await cli(["update", "--pids-limit", "50", "uuu"])).stdout).toBe("uuu\n");
  });

  test("host network, environment, hostname, init, volumes", async () => {
    const host = await cli(["run", "--rm", "--network", "host", IMAGE, "cat", "/proc/net/dev"]);
    expect(host.stdout).toContain("lo:");
    const env = await run(
      "--rm",
      "-e",
      "X=y",
      "-h",
      "box",
      IMAGE,
      "sh",
      "-c",
      "echo $X $HOSTNAME; cat /etc/hostname",
    );
    expect(env.stdout).toBe("y box\nbox\n");
    const init = await run("--rm", "--init", IMAGE, "sh", "-c", "cat /proc/1/cmdline");
    expect(init.stdout).toContain("/sbin/docker-init");
    await run("--rm", "-v", "vol1:/v", IMAGE, "sh", "-c", "echo kept > /v/f");
    expect((await run("--rm", "-v", "vol1:/v", IMAGE, "cat", "/v/f")).stdout).toBe("kept\n");
    expect((await cli(["volume", "rm", "vol1"])).stdout).toBe("vol1\n");
  });
});

/** Runs the command line inside a terminal, which `script` provides. */
function terminal(
  program: string,
  args: readonly string[],
): Promise<{ code: number | null; output: string }> {
  const command = [program, "-H", `unix://${harness.socket}`, ...args]
    .map((text) => `'${text}'`)
    .join(" ");
  return new Promise((resolve) => {
    const child = spawn("script", ["-qefc", command, "/dev/null"], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    let output = "";
    child.stdout.on("data", (chunk: Buffer) => {
      output += chunk.toString();
    });
    child.once("close", (code) => resolve({ code, output }));
  });
}

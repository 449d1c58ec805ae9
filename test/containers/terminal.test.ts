/** Terminals through both docker command lines: detach keys, hang-ups, sizes, attach again. */

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { Host } from "./engine-host.ts";
import { DOCKERS, docker, type Harness, IMAGE, makeHarness } from "./harness.ts";

let harness: Harness;
let host: Host;
const open = new Set<Terminal>();

beforeAll(async () => {
  harness = await makeHarness();
  host = await harness.open();
});

afterAll(async () => {
  await host?.close();
  await harness?.remove();
});

afterEach(async () => {
  for (const terminal of open) terminal.hangUp();
  open.clear();
  for (const { Id } of await host.containers.list({ all: true, filters: new Map() })) {
    await host.containers.remove(Id, { force: true, volumes: true });
  }
});

/** A docker command under a terminal of its own, which script(1) makes. */
class Terminal {
  output = "";
  readonly ended: Promise<number>;
  readonly #child: ChildProcess;

  constructor(program: string, args: readonly string[], env: NodeJS.ProcessEnv = {}) {
    const command = [program, "-H", `unix://${harness.socket}`, ...args];
    const line = `stty rows 33 cols 111; exec ${command.map((word) => `'${word}'`).join(" ")}`;
    this.#child = spawn("script", ["-qec", line, "/dev/null"], {
      stdio: ["pipe", "pipe", "inherit"],
      env: { ...process.env, TERM: "dumb", ...env },
    });
    this.#child.stdout?.on("data", (chunk) => (this.output += String(chunk)));
    this.ended = new Promise((resolve) => this.#child.on("close", (code) => resolve(code ?? -1)));
    open.add(this);
  }

  type(text: string): void {
    this.#child.stdin?.write(text);
  }

  hangUp(): void {
    this.#child.kill("SIGKILL");
  }

  async shows(pattern: RegExp): Promise<void> {
    for (let i = 0; i < 400; i++) {
      if (pattern.test(this.output)) return;
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    throw new Error(`${pattern} did not come: ${JSON.stringify(this.output)}`);
  }
}

/** Types again and again: what is typed before the attachment stands is lost with the old reader. */
async function typeUntil<T>(terminal: Terminal, text: string, done: Promise<T>): Promise<T> {
  const over = done.then((value) => ({ value }));
  for (;;) {
    terminal.type(text);
    const pause = new Promise<void>((resolve) => setTimeout(resolve, 300));
    const outcome = await Promise.race([over, pause]);
    if (typeof outcome === "object") return outcome.value;
  }
}

const SKEP = fileURLToPath(new URL("../../bin/skep", import.meta.url));

describe.each([...DOCKERS.filter((path) => existsSync(path)), SKEP])("%s", (program) => {
  const cli = (...args: string[]) => docker(program, harness.socket, args);
  const stateOf = async (name: string) =>
    (await cli("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name)).stdout.trim();

  async function shell(): Promise<Terminal> {
    const terminal = new Terminal(program, [
      "run",
      "-it",
      "--name=tt",
      "--network=none",
      IMAGE,
      "sh",
    ]);
    await terminal.shows(/# /);
    return terminal;
  }

  test("the detach keys leave the shell running; attach comes back; its exit is the command's", async () => {
    const first = await shell();
    // What is typed just before the keys is the shell's.
    first.type("A=kept\n\u0010\u0011");
    expect(await first.ended).toBe(0);
    expect(await stateOf("tt")).toBe("running 0");
    const again = new Terminal(program, ["attach", "--detach-keys=ctrl-a,z", "tt"]);
    await typeUntil(again, "echo is-$A\n", again.shows(/is-kept/));
    again.type("\u0001z");
    expect(await again.ended).toBe(1);
    expect(again.output).toContain("read escape sequence");
    expect(await stateOf("tt")).toBe("running 0");
    const last = new Terminal(program, ["attach", "tt"]);
    expect(await typeUntil(last, "exit 3\n", last.ended)).toBe(3);
    expect(await stateOf("tt")).toBe("exited 3");
  });

  test("the detach keys of the configuration file are for run, attach, exec and start", async () => {
    const folder = mkdtempSync(join(tmpdir(), "skep-keys-"));
    try {
      writeFileSync(join(folder, "config.json"), '{"detachKeys": "ctrl-x,x"}');
      const env = { DOCKER_CONFIG: folder };
      const leave = async (code: number, words: readonly string[]) => {
        const terminal = new Terminal(program, words, env);
        await terminal.shows(/# /);
        terminal.type(": \u0010\u0011 \u0018y\n: \u0018x");
        expect(await terminal.ended, words.join(" ")).toBe(code);
      };
      await leave(0, ["run", "-it", "--name=tt", "--network=none", IMAGE, "sh"]);
      await leave(1, ["exec", "-it", "tt", "sh"]);
      await cli("kill", "tt");
      await leave(0, ["start", "-ai", "tt"]);
      expect(await stateOf("tt")).toBe("running 0");
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  test("a terminal that hangs up leaves the shell running", async () => {
    const terminal = await shell();
    terminal.hangUp();
    await terminal.ended;
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(await stateOf("tt")).toBe("running 0");
  });

  test("the size of the client's terminal is the container's, also in exec", async () => {
    const terminal = await shell();
    terminal.type("stty size\n");
    await terminal.shows(/33 111/);
    const exec = new Terminal(program, ["exec", "-it", "tt", "sh"]);
    await exec.shows(/# /);
    exec.type("stty size; tty\n");
    await exec.shows(/33 111\r\n\/dev\/pts\/1/);
    exec.type("exit 5\n");
    expect(await exec.ended).toBe(5);
  });

  test("start -ai runs it again with a terminal; without one, the end of input is the end", async () => {
    await cli("create", "-it", "--name=tt", "--network=none", IMAGE, "sh");
    for (const code of [4, 5]) {
      const terminal = new Terminal(program, ["start", "-ai", "tt"]);
      await terminal.shows(/# /);
      terminal.type(`exit ${code}\n`);
      expect(await terminal.ended).toBe(code);
    }
    const piped = await docker(
      program,
      harness.socket,
      ["run", "--rm", "-i", "--network=none", IMAGE, "cat"],
      "x\n",
    );
    expect(piped).toEqual({ code: 0, stdout: "x\n", stderr: "" });
  });

  test("exec: user, folder, variables, and the codes of what cannot run", async () => {
    await cli("run", "-d", "--name=ee", "--network=none", "-e", "BASE=1", IMAGE, "sleep", "1000");
    const exec = (...args: string[]) => cli("exec", ...args);
    expect(
      (
        await exec(
          "-e",
          "A=b",
          "-w",
          "/data",
          "-u",
          "ann",
          "ee",
          "sh",
          "-c",
          "echo $A $BASE; pwd; id -u",
        )
      ).stdout,
    ).toBe("b 1\n/data\n1000\n");
    expect((await exec("ee", "sh", "-c", "exit 9")).code).toBe(9);
    expect(await exec("ee", "nope")).toMatchObject({ code: 127 });
    for (const args of [
      ["-w", "/nodir", "ee", "true"],
      ["-u", "nobody9", "ee", "true"],
      ["ee", "/etc/passwd"],
    ]) {
      expect(await exec(...args), args.join(" ")).toMatchObject({ code: 126 });
    }
    expect((await exec("--detach-keys=bad,keys", "ee", "true")).stderr).toContain("(bad,keys)");
  });
});

test("what this engine does not have is said", async () => {
  const program = DOCKERS.filter((path) => existsSync(path)).at(-1) ?? "docker";
  const cli = (...args: string[]) => docker(program, harness.socket, args);
  expect((await cli("plugin", "ls", "-q")).stdout).toBe("");
  expect((await cli("plugin", "install", "foo/bar")).stderr).toContain(
    "managed plugins are not run",
  );
});

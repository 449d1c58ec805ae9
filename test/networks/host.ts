/**
 * A host to try networks on: this process moves into a network namespace of its own, with a
 * neighbour behind a veth pair as "the outside". Containers are sleeping processes with their own
 * namespaces. Everything ends with `leave`.
 */

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import koffi from "koffi";
import type { NetworkSandbox } from "#engine/ports.ts";
import { makeNetns, type ScratchNetns } from "./scratch.ts";

export interface TestHost {
  readonly folder: string;
  readonly outside: ScratchNetns;
  /** Starts a "container"; it has loopback and nothing else. */
  container(name: string): Promise<NetworkSandbox>;
  end(sandbox: NetworkSandbox): Promise<void>;
  /** A web server in a namespace that answers with `text`; undefined = on the host. */
  serve(where: NetworkSandbox | undefined, port: number, text: string): Promise<void>;
  /** What a GET answers, run in a container, outside, or on the host; undefined = no answer. */
  get(where: NetworkSandbox | ScratchNetns | undefined, url: string): string | undefined;
  run(where: NetworkSandbox | ScratchNetns | undefined, ...command: string[]): string;
  /** A Node program in a namespace. */
  script(where: NetworkSandbox | ScratchNetns | undefined, source: string): ChildProcess;
  leave(): Promise<void>;
}

export const HOST_ADDRESS = "192.0.2.1";
export const OUTSIDE_ADDRESS = "192.0.2.2";

export function enterHost(): TestHost {
  const home = openSync("/proc/thread-self/ns/net", "r");
  const setns = koffi.load("libc.so.6").func("int setns(int fd, int nstype)") as (
    fd: number,
    kind: number,
  ) => number;
  const [inside, outside] = [makeNetns(), makeNetns()];
  setns(openSync(inside.path, "r"), 0x40000000);
  const folder = mkdtempSync(join(tmpdir(), "skep-net-"));
  const children = new Map<number, ChildProcess>();
  const run = (program: string, ...args: string[]) =>
    execFileSync(program, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "down0", "netns", outside.name);
  run("ip", "addr", "add", `${HOST_ADDRESS}/24`, "dev", "up0");
  run("ip", "-6", "addr", "add", "2001:db8::1/64", "dev", "up0", "nodad");
  run("ip", "link", "set", "up0", "up");
  run("ip", "route", "add", "default", "via", OUTSIDE_ADDRESS);
  outside.run("ip", "addr", "add", `${OUTSIDE_ADDRESS}/24`, "dev", "down0");
  outside.run("ip", "-6", "addr", "add", "2001:db8::2/64", "dev", "down0", "nodad");
  outside.run("ip", "link", "set", "down0", "up");
  outside.run("ip", "route", "add", "default", "via", HOST_ADDRESS);
  const within = (where: NetworkSandbox | ScratchNetns | undefined): string[] => {
    if (where === undefined) return [];
    return ["nsenter", `--net=${"netnsPath" in where ? where.netnsPath : where.path}`];
  };
  const host: TestHost = {
    folder,
    outside,
    container: async (name) => {
      const child = spawn("unshare", ["--net", "sleep", "1000"], { stdio: "ignore" });
      const pid = child.pid ?? 0;
      children.set(pid, child);
      await untilNamespace(pid);
      const containerId = randomBytes(32).toString("hex");
      const netnsPath = `/proc/${pid}/ns/net`;
      return { containerId, containerName: name, hostname: name, netnsPath, pid };
    },
    end: async ({ pid }) => {
      const child = children.get(pid);
      children.delete(pid);
      if (child !== undefined) await stop(child);
    },
    serve: async (where, port, text) => {
      const root = mkdtempSync(join(folder, "www-"));
      writeFileSync(join(root, "index.html"), text);
      const command = ["busybox", "httpd", "-f", "-p", String(port), "-h", root];
      const [program = "", ...args] = [...within(where), ...command];
      const child = spawn(program, args, { stdio: "ignore" });
      children.set(child.pid ?? 0, child);
      const probe = `http://127.0.0.1:${port}/`;
      for (let attempt = 0; host.get(where, probe) === undefined; attempt += 1) {
        if (attempt > 100) throw new Error(`no answer from ${probe}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    },
    get: (where, url) => {
      try {
        return host.run(where, "curl", "-N", "-s", "-f", "-g", "--noproxy", "*", "-m", "2", url);
      } catch {
        return undefined;
      }
    },
    run: (where, ...command) => {
      const [program = "", ...args] = [...within(where), ...command];
      return run(program, ...args);
    },
    script: (where, source) => {
      const command = [...within(where), process.execPath, "-e", source];
      const child = spawn("env", command, { stdio: ["ignore", "pipe", "ignore"] });
      children.set(child.pid ?? 0, child);
      return child;
    },
    leave: async () => {
      await Promise.all([...children.values()].map(stop));
      setns(home, 0x40000000);
      inside.remove();
      outside.remove();
      rmSync(folder, { recursive: true, force: true });
    },
  };
  return host;
}

function stop(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve();
    child.once("exit", () => resolve());
    child.kill("SIGKILL");
  });
}

/** `unshare` has its own namespace only when it has become `sleep`. */
async function untilNamespace(pid: number): Promise<void> {
  for (;;) {
    const command = readFileSync(`/proc/${pid}/comm`, "utf8").trim();
    if (command === "sleep") return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

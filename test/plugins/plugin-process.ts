/** Plug-ins as processes of their own, in the place where Docker looks for them, and what they leave. */

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import type { EngineProcess } from "../engine/engine-process.ts";

const SOCKETS = "/run/docker/plugins";
const IMAGE_SCRIPT = fileURLToPath(new URL("../../tools/demo-image/make.sh", import.meta.url));

export function socketOf(name: string): string {
  return join(SOCKETS, `${name}.sock`);
}

/** Runs a script of this folder as the plug-in of that name; resolves when it listens. */
export async function spawnPlugin(
  script: string,
  name: string,
  ...args: readonly string[]
): Promise<ChildProcess> {
  const program = fileURLToPath(new URL(script, import.meta.url));
  const socket = socketOf(name);
  mkdirSync(SOCKETS, { recursive: true });
  rmSync(socket, { force: true });
  const child = spawn(process.execPath, [program, socket, ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await new Promise((resolve) => child.stdout?.once("data", resolve));
  return child;
}

export async function endPlugin(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined) return;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill();
  await ended;
}

export interface Call {
  readonly method: string;
  readonly body?: Readonly<Record<string, unknown>>;
}

/** The calls that a plug-in noted in its folder since the last time this was asked. */
export function takeCalls(folder: string): readonly Call[] {
  const path = join(folder, "calls");
  const lines = existsSync(path) ? readFileSync(path, "utf8").trim().split("\n") : [];
  rmSync(path, { force: true });
  return lines.filter((line) => line !== "").map((line) => JSON.parse(line) as Call);
}

/** Removes the interfaces of a network plug-in whose names begin with the tag. */
export function removeLinks(tag: string): void {
  const links = JSON.parse(execFileSync("ip", ["-json", "link"]).toString()) as {
    ifname: string;
  }[];
  for (const { ifname } of links) {
    if (!new RegExp(`^${tag}[hc]?\\d+$`).test(ifname)) continue;
    try {
      execFileSync("ip", ["link", "del", ifname], { stdio: "ignore" });
    } catch {
      // Its other end went before it.
    }
  }
}

export async function importDemoImage(engine: EngineProcess): Promise<void> {
  const archive = join(engine.folder, "web.tar");
  writeFileSync(archive, execFileSync("bash", [IMAGE_SCRIPT], { maxBuffer: 64 * 1024 * 1024 }));
  expect(await engine.skep("import", archive, "web:demo")).toMatchObject({ code: 0 });
}

/** A network namespace of its own for one test file, gone however the tests end. */

import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";

export interface ScratchNetns {
  readonly name: string;
  readonly path: string;
  /** Runs a program in the namespace, synchronously; its standard output. */
  run(program: string, ...args: readonly string[]): string;
  remove(): void;
}

export function makeNetns(): ScratchNetns {
  const name = `skep-test-${randomBytes(4).toString("hex")}`;
  const path = `/run/netns/${name}`;
  execFileSync("ip", ["netns", "add", name]);
  const run = (program: string, ...args: readonly string[]) =>
    execFileSync("nsenter", [`--net=${path}`, program, ...args], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
  run("ip", "link", "set", "lo", "up");
  return { name, path, run, remove: () => void execFileSync("ip", ["netns", "del", name]) };
}

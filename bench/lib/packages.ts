/** Installs the peers that a bench needs from the distribution's packages. */

import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, rmSync, writeFileSync } from "node:fs";

const POLICY = "/usr/sbin/policy-rc.d";

/** Makes programs available, given as program → package; returns why it could not. */
export function ensurePackages(programs: Readonly<Record<string, string>>): string | undefined {
  const missing = Object.entries(programs).flatMap(([program, name]) =>
    isInstalled(program) ? [] : [name],
  );
  if (missing.length === 0) return undefined;
  process.stderr.write(`installing Debian packages: ${missing.join(" ")}\n`);
  // The peer's service is not ours to start: the bench runs it on a host of its own.
  const makesPolicy = !existsSync(POLICY);
  try {
    if (makesPolicy) writeFileSync(POLICY, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
    aptGet("update", "-qq");
    aptGet("install", "-y", "-qq", "--no-install-recommends", ...missing);
    return undefined;
  } catch (error) {
    return `not installed: ${missing.join(" ")} (${String(error)})`;
  } finally {
    if (makesPolicy) rmSync(POLICY, { force: true });
  }
}

function isInstalled(program: string): boolean {
  return spawnSync("sh", ["-c", 'command -v "$0"', program]).status === 0;
}

function aptGet(...args: readonly string[]): void {
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  execFileSync("apt-get", args, { env, stdio: ["ignore", "ignore", "inherit"] });
}

/**
 * One engine per run root. The pid file names the process that holds it; a file whose process is
 * gone (a crash, a reboot) is taken over. Two starts at the same moment are told apart by the
 * exclusive creation of the file.
 */

import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { EngineError } from "#base/error.ts";

export interface PidLock {
  release(): void;
}

export function takePidLock(path: string): PidLock {
  mkdirSync(dirname(path), { recursive: true, mode: 0o711 });
  const mine = `${path}.${process.pid}`;
  writeFileSync(mine, `${process.pid}\n`);
  try {
    for (let attempt = 0; attempt < 3; attempt += 1) {
      try {
        // A link fails if the name exists: the file appears whole or not at all.
        linkSync(mine, path);
        return { release: () => releaseIfMine(path) };
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      }
      const holder = holderOf(path);
      if (holder !== undefined) {
        throw new EngineError(
          "conflict",
          `another engine runs here already: process ${holder} holds ${path}; stop it, or give this one its own --exec-root`,
        );
      }
      rmSync(path, { force: true });
    }
    throw new EngineError("conflict", `could not take ${path}: another engine is starting`);
  } finally {
    rmSync(mine, { force: true });
  }
}

/** The live engine process named in the file. */
function holderOf(path: string): number | undefined {
  try {
    const pid = Number(readFileSync(path, "utf8").trim());
    if (!Number.isInteger(pid) || pid <= 1 || pid === process.pid) return undefined;
    const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
    return words.includes("engine") ? pid : undefined;
  } catch {
    return undefined;
  }
}

function releaseIfMine(path: string): void {
  try {
    if (Number(readFileSync(path, "utf8").trim()) === process.pid) rmSync(path, { force: true });
  } catch {
    // It is gone already.
  }
}

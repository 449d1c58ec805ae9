/**
 * A pid file that survives reuse of pids: beside the pid it holds the start time of the process in
 * clock ticks since boot and the boot id. Who has all three is the process that was meant.
 */

import { readdir, readFile, rename, rm, writeFile } from "node:fs/promises";

export interface ProcessIdentity {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat. */
  readonly startTicks: string;
}

/** The identity of a running process; undefined when there is none with this pid, or a zombie. */
export async function identityOf(pid: number): Promise<ProcessIdentity | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  if (stat === undefined) return undefined;
  // The command name may hold spaces and brackets; what follows the last bracket is well-formed.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [state, startTicks] = [fields[0], fields[19]];
  if (startTicks === undefined || state === "Z" || state === "X") return undefined;
  return { pid, startTicks };
}

/** The first process whose command line is meant; undefined when there is none. */
export async function findProcess(
  isMeant: (words: readonly string[]) => boolean,
): Promise<ProcessIdentity | undefined> {
  for (const name of await readdir("/proc")) {
    if (!/^[1-9]\d*$/.test(name)) continue;
    const text = await readFile(`/proc/${name}/cmdline`, "utf8").catch(() => "");
    if (isMeant(text.split("\0"))) return identityOf(Number(name));
  }
  return undefined;
}

export async function writePidFile(path: string, identity: ProcessIdentity): Promise<void> {
  const content = `${identity.pid} ${identity.startTicks} ${await bootId()}\n`;
  await writeFile(`${path}.new`, content, { mode: 0o644 });
  await rename(`${path}.new`, path);
}

/** The process that the file names, if that very process still runs. */
export async function readPidFile(path: string): Promise<ProcessIdentity | undefined> {
  const content = await readFile(path, "utf8").catch(() => "");
  const [pid, startTicks, boot] = content.trim().split(" ");
  if (!/^[1-9]\d*$/.test(pid ?? "") || boot !== (await bootId())) return undefined;
  const identity = await identityOf(Number(pid));
  return identity?.startTicks === startTicks ? identity : undefined;
}

export async function isRunning(identity: ProcessIdentity): Promise<boolean> {
  return (await identityOf(identity.pid))?.startTicks === identity.startTicks;
}

export async function removePidFile(path: string): Promise<void> {
  await rm(path, { force: true });
}

async function bootId(): Promise<string> {
  return (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim();
}

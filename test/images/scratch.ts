/** A private containerd under /tmp for one test file, and its removal however the tests end. */

import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Containerd, connectContainerd } from "#platform/containerd/client.ts";
import { type ContainerdServer, startContainerd } from "#platform/containerd/server.ts";
import { silentLog } from "#platform/log.ts";
import { realClock } from "#platform/real-ports.ts";

export interface Scratch {
  readonly folder: string;
  readonly server: ContainerdServer;
  readonly containerd: Containerd;
  remove(): Promise<void>;
}

export async function makeScratch(namespace = "skep-test"): Promise<Scratch> {
  const folder = await mkdtemp(join(tmpdir(), "skep-img-"));
  let server: ContainerdServer | undefined;
  try {
    server = await startContainerd(serverOptions(folder));
    const { address } = server;
    const containerd = await connectContainerd({ address, namespace, clock: realClock });
    return { folder, server, containerd, remove: () => remove(folder, server, containerd) };
  } catch (error) {
    await remove(folder, server, undefined);
    throw error;
  }
}

export function serverOptions(folder: string) {
  return {
    root: join(folder, "root"),
    state: join(folder, "state"),
    clock: realClock,
    log: silentLog,
  };
}

async function remove(
  folder: string,
  server: ContainerdServer | undefined,
  containerd: Containerd | undefined,
): Promise<void> {
  containerd?.close();
  await server?.stop();
  await unmountUnder(folder);
  await rm(folder, { recursive: true, force: true });
}

/** Mounts that a failed test left under a folder; deleting through them would empty their source. */
export async function unmountUnder(folder: string): Promise<void> {
  const mounts = (await readFile("/proc/self/mounts", "utf8"))
    .split("\n")
    .map((line) => line.split(" ")[1] ?? "")
    .filter((path) => path.startsWith(`${folder}/`));
  for (const path of mounts.reverse()) execFileSync("umount", ["-l", path]);
}

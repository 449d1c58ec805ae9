/** Where a node keeps what it must not forget: docker's own layout below `<data root>/swarm`. */

import { mkdir, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { replaceFile } from "#platform/replace-file.ts";

export interface SwarmPaths {
  readonly root: string;
  readonly certificates: string;
  readonly rootCert: string;
  readonly nodeCert: string;
  readonly nodeKey: string;
  /** What `init` and `join` were told; its presence means: this node is in a swarm. */
  readonly startState: string;
  /** Of a node that is not in yet: what it asks the swarm for. */
  readonly joinRequest: string;
  /** Managers known to this node. */
  readonly managers: string;
  readonly raft: string;
  readonly worker: string;
}

export function swarmPaths(dataRoot: string): SwarmPaths {
  const root = join(dataRoot, "swarm");
  const certificates = join(root, "certificates");
  return {
    root,
    certificates,
    rootCert: join(certificates, "swarm-root-ca.crt"),
    nodeCert: join(certificates, "swarm-node.crt"),
    nodeKey: join(certificates, "swarm-node.key"),
    startState: join(root, "docker-state.json"),
    joinRequest: join(root, "join-request.json"),
    managers: join(root, "state.json"),
    raft: join(root, "raft"),
    worker: join(root, "worker"),
  };
}

/** Writes so that after a crash the file holds either the old content or the new. */
export async function writeAtomically(
  path: string,
  content: string | Uint8Array,
  mode: number,
): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await replaceFile(path, content, { mode, sync: "name" });
}

/** Forgets the swarm; the directory itself stays, because others may watch it. */
export async function clearSwarm(paths: SwarmPaths): Promise<void> {
  // The start state goes first: without it the rest is leftover, never half a swarm.
  await rm(paths.startState, { force: true });
  await rm(paths.root, { recursive: true, force: true });
  await mkdir(paths.root, { recursive: true, mode: 0o700 });
}

/** Credentials as a thief or a forger has them, and channels that show them. */

import { readFile } from "node:fs/promises";
import { parseNodeKey } from "#daemon/swarm-node/key-file.ts";
import { swarmPaths } from "#daemon/swarm-node/paths.ts";
import { type LeafSubject, leafProfile } from "#pki/profile.ts";
import { openChannel, type RpcChannel } from "#platform/grpc/client.ts";
import { realRandom } from "#platform/real-ports.ts";
import {
  type Authority,
  createRequest,
  generateKey,
  issueCertificate,
  readRequest,
} from "#platform/x509/issue.ts";
import type { TestNode } from "./fixtures.ts";

export interface Shown {
  readonly cert: string;
  readonly key: string;
}

/** What is on a node's disk. */
export async function stolenFrom(node: TestNode): Promise<Shown> {
  const paths = swarmPaths(node.dataRoot);
  const key = parseNodeKey(await readFile(paths.nodeKey, "utf8"), undefined);
  return { cert: await readFile(paths.nodeCert, "utf8"), key: key.privateKey };
}

/** A certificate for a new key, made `ageMs` ago; of an hour unless said otherwise. */
export async function forged(
  authority: Authority,
  subject: LeafSubject,
  ageMs = 0,
  lifetimeMs = 3_600_000,
): Promise<Shown> {
  const key = generateKey();
  const request = await readRequest(await createRequest(key, ""));
  const profile = leafProfile(subject, Date.now() - ageMs, lifetimeMs);
  const cert = await issueCertificate(authority, request, profile, realRandom);
  return { cert, key: key.export({ type: "pkcs8", format: "pem" }) as string };
}

/** A connection to a manager by somebody who shows this, or nothing. */
export function channelShowing(
  address: string,
  root: string,
  shown: Shown | undefined,
): RpcChannel {
  return openChannel({
    target: address,
    serverName: "swarm-manager",
    tls: shown === undefined ? { ca: root } : { ca: root, cert: shown.cert, key: shown.key },
  });
}

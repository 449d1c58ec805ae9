/**
 * How a node gets its certificates: the root, downloaded and recognised by the digest in the join
 * token; its first certificate, for that token; the next ones, for the certificate or at least the
 * key that it has. The private key never leaves the node.
 */

import { createPublicKey, type KeyObject } from "node:crypto";
import { EngineError, isErrorCode } from "#base/error.ts";
import { toHex } from "#base/ids.ts";
import type { Clock, Random } from "#base/ports.ts";
import { nodeLifetimeMs } from "#manager/ca/cluster.ts";
import { msOfTimestamp } from "#model/time.ts";
import { clockSkewMs } from "#pki/clock-skew.ts";
import { parseJoinToken } from "#pki/join-token.ts";
import { leafProfile } from "#pki/profile.ts";
import { signerOf } from "#pki/rotation.ts";
import { sleep } from "#platform/async.ts";
import type { RpcChannel } from "#platform/grpc/client.ts";
import { asGoShows, CallError } from "#platform/grpc/status.ts";
import {
  digestOfPem,
  fingerprintOf,
  readCertificate,
  verifyChain,
} from "#platform/x509/certificate.ts";
import {
  createRequest,
  generateKey,
  issueCertificate,
  readPrivateKey,
  readRequest,
} from "#platform/x509/issue.ts";
import type { ReadView } from "#store/types.ts";
import { CA, NodeCA } from "#wire/gen/swarmkit/ca_pb.js";
import { NodeSpec_Availability, NodeSpec_Membership } from "#wire/gen/swarmkit/specs_pb.js";
import { IssuanceStatus_State } from "#wire/gen/swarmkit/types_pb.js";
import { anonymousChannel, blindChannel } from "./channels.ts";
import { badRequest } from "./errors.ts";
import type { Credentials, NodeIdentity } from "./identity.ts";
import type { AskedSwarm, JoinAttempt } from "./join-request.ts";
import { newRaftKey } from "./key-file.ts";

const CALL_TIMEOUT_MS = 5_000;
const RETRY_MS = 1_000;
/** A manager that does not know the request yet may be asked; one that has forgotten it, rejected it. */
const UNKNOWN_ANSWERS = 5;
/** A manager may be starting or just demoted; after this many failures the error is shown. */
const DOWNLOAD_ATTEMPTS = 5;

export interface JoinOptions {
  readonly address: string;
  /** Where an earlier attempt came further, this one goes on. */
  readonly attempt: JoinAttempt;
  readonly clock: Clock;
  /** Told before anything is waited for, and waited for itself: so far the attempt has come. */
  readonly onAsked: (asked: AskedSwarm) => Promise<void>;
  /** Told once: the node waits for an operator to accept it. */
  readonly onPending?: (waiting: Waiting) => void;
  readonly onSkew?: OnSkew;
}

/** Told with each certificate: by how much this node's clock is ahead of the leader's, milliseconds. */
export type OnSkew = (skewMs: number) => void;

/** What an operator compares before the node is let in. */
export interface Waiting {
  readonly nodeId: string;
  /** Of the node's public key. */
  readonly fingerprint: string;
  /** PEM of the root that the node was shown; without a token nobody has vouched for it. */
  readonly rootCert: string;
}

/** Ends with the node's first credentials; rejects with docker's words when it is not let in. */
export async function joinCluster(options: JoinOptions, signal: AbortSignal): Promise<Credentials> {
  const { address, attempt, clock } = options;
  try {
    const asked = attempt.asked ?? (await ask(options, signal));
    const { rootCert, privateKey, nodeId } = asked;
    if (asked.pending) {
      const fingerprint = fingerprintOf(publicKeyOf(privateKey));
      options.onPending?.({ nodeId, fingerprint, rootCert });
    }
    const channel = anonymousChannel(address, rootCert);
    try {
      const waiting = { clock, mayBeRejected: true };
      const nodeCert = await awaitCertificate(channel, nodeId, waiting, signal);
      verifyChain(nodeCert, rootCert, clock.nowMs());
      return {
        rootCert,
        nodeCert,
        key: { privateKey, raftKey: newRaftKey(), lockVersion: 0n },
      };
    } finally {
      channel.close();
    }
  } catch (error) {
    throw error instanceof CallError ? asGoShows(error) : error;
  }
}

/** Asks the swarm for a certificate, and keeps with what key. */
async function ask(options: JoinOptions, signal: AbortSignal): Promise<AskedSwarm> {
  const { address, attempt, clock, onSkew } = options;
  const rootCert = await downloadRoot(address, attempt.token, clock, signal);
  const key = generateKey();
  const channel = anonymousChannel(address, rootCert);
  try {
    const { token, availability } = attempt;
    const request = { csr: await createRequest(key, ""), token, availability };
    const { nodeId, pending } = await issue(channel, request, { clock, onSkew }, signal);
    const asked = { rootCert, privateKey: pemOf(key), nodeId, pending };
    await options.onAsked(asked);
    return asked;
  } finally {
    channel.close();
  }
}

/** A root that nobody vouches for but the digest in the token; without a token, nobody at all. */
async function downloadRoot(
  address: string,
  tokenText: string,
  clock: Clock,
  signal: AbortSignal,
): Promise<string> {
  const token = tokenText === "" ? undefined : parseJoinToken(tokenText);
  if (token?.ok === false) throw badRequest(token.error);
  if (token?.value.fips) {
    throw badRequest("node is not FIPS-enabled but cluster requires FIPS");
  }
  const channel = blindChannel(address);
  try {
    const rootCert = await attempt(channel, clock, signal);
    const digest = toHex(digestOfPem(rootCert));
    if (token !== undefined && digest !== token.value.rootDigest) {
      throw badRequest(`remote CA does not match fingerprint. Expected: ${token.value.rootDigest}`);
    }
    // Refuses what is no certificate.
    readCertificate(rootCert);
    return rootCert;
  } finally {
    channel.close();
  }
}

async function attempt(channel: RpcChannel, clock: Clock, signal: AbortSignal): Promise<string> {
  for (let attempts = 1; ; attempts += 1) {
    try {
      const options = { timeoutMs: CALL_TIMEOUT_MS, signal };
      const answer = await channel.client(CA).getRootCACertificate({}, options);
      return Buffer.from(answer.certificate).toString("utf8");
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      if (attempts >= DOWNLOAD_ATTEMPTS) throw asGoShows(error);
    }
    await sleep(clock, RETRY_MS, signal);
  }
}

/**
 * A new certificate for the node that we are: over a connection that shows our certificate, or, if
 * that has expired, by the key in it.
 */
export async function renewIdentity(
  identity: NodeIdentity,
  channel: RpcChannel,
  clock: Clock,
  onSkew: OnSkew,
  signal: AbortSignal,
): Promise<void> {
  const expired = identity.expired(clock);
  const key = expired ? readPrivateKey(identity.nodeKey.privateKey) : generateKey();
  const csr = await createRequest(key, identity.nodeId);
  const request = { csr, token: "", availability: NodeSpec_Availability.ACTIVE };
  const { nodeId } = await issue(channel, request, { clock, onSkew }, signal);
  const nodeCert = await awaitCertificate(channel, nodeId, { clock }, signal);
  await identity.renew(nodeCert, pemOf(key));
}

/**
 * A certificate from this manager's own copy of the store, for the day on which those of all managers
 * have expired: nobody trusts anybody then, so no leader can come about who could sign. It grants
 * only what the store says that this node is.
 */
export async function renewFromStore(
  identity: NodeIdentity,
  view: ReadView,
  clock: Clock,
  random: Random,
): Promise<void> {
  const { nodeId, clusterId } = identity;
  const cluster = view.get("cluster", clusterId);
  const node = view.get("node", nodeId);
  const signer = cluster?.rootCa && signerOf(cluster.rootCa);
  const removed = cluster?.blacklistedCertificates[nodeId] !== undefined;
  if (cluster === undefined || signer === undefined || node === undefined || removed) {
    throw new EngineError("unavailable", "this manager cannot sign a certificate for itself");
  }
  const key = generateKey();
  const request = await readRequest(await createRequest(key, nodeId));
  const subject = { nodeId, role: node.role, clusterId };
  const profile = leafProfile(subject, clock.nowMs(), nodeLifetimeMs(cluster));
  const authority = { cert: textOf(signer.cert), key: textOf(signer.key) };
  const leaf = await issueCertificate(authority, request, profile, random);
  await identity.renew(leaf + textOf(signer.intermediate), pemOf(key));
}

interface Request {
  readonly csr: string;
  readonly token: string;
  readonly availability: NodeSpec_Availability;
}

async function issue(
  channel: RpcChannel,
  request: Request,
  { clock, onSkew }: { readonly clock: Clock; readonly onSkew?: OnSkew | undefined },
  signal: AbortSignal,
): Promise<{ readonly nodeId: string; readonly pending: boolean }> {
  const askedMs = clock.nowMs();
  const { nodeId, nodeMembership, leaderTime } = await channel
    .client(NodeCA)
    .issueNodeCertificate(
      { ...request, csr: Buffer.from(request.csr) },
      { timeoutMs: CALL_TIMEOUT_MS, signal },
    );
  const leaderMs = msOfTimestamp(leaderTime);
  if (leaderMs !== undefined) onSkew?.(clockSkewMs(askedMs, leaderMs, clock.nowMs()));
  return { nodeId, pending: nodeMembership === NodeSpec_Membership.PENDING };
}

interface WaitOptions {
  readonly clock: Clock;
  /** A request of somebody new, which an operator may reject. */
  readonly mayBeRejected?: boolean;
}

async function awaitCertificate(
  channel: RpcChannel,
  nodeId: string,
  options: WaitOptions,
  signal: AbortSignal,
): Promise<string> {
  const client = channel.client(NodeCA);
  for (let unknown = 0; ; ) {
    try {
      const options = { timeoutMs: CALL_TIMEOUT_MS, signal };
      const { status, certificate } = await client.nodeCertificateStatus({ nodeId }, options);
      if (status?.state === IssuanceStatus_State.FAILED) {
        throw new EngineError("failed-precondition", status.err);
      }
      if (certificate?.certificate.length) {
        return Buffer.from(certificate.certificate).toString("utf8");
      }
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      if (!isErrorCode(error, ...TEMPORARY)) throw error;
      unknown = isErrorCode(error, "not-found") ? unknown + 1 : 0;
      if (options.mayBeRejected && unknown >= UNKNOWN_ANSWERS) throw new RejectedError(nodeId);
    }
    await sleep(options.clock, RETRY_MS, signal);
  }
}

const TEMPORARY = ["deadline-exceeded", "unavailable", "aborted", "unknown", "not-found"] as const;

/** An operator does not want this node: asking again is of no use. */
export class RejectedError extends EngineError {
  constructor(nodeId: string) {
    const reason = "an operator removed its request to join";
    super("permission-denied", `the swarm has rejected this node (${nodeId}): ${reason}`);
  }
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("utf8");
}

function pemOf(key: KeyObject): string {
  return key.export({ type: "pkcs8", format: "pem" }) as string;
}

/** SubjectPublicKeyInfo, DER. */
function publicKeyOf(privateKey: string): Uint8Array {
  return createPublicKey(readPrivateKey(privateKey)).export({ type: "spki", format: "der" });
}

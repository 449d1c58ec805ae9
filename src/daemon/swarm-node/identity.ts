/**
 * Who this node is: its root, certificate and key, on disk and in memory. Whoever holds TLS state
 * follows `onChange`; nothing of it is copied elsewhere. What is on disk is always a certificate and
 * the key that fits it, also after a crash in the middle of a renewal.
 */

import { hkdfSync } from "node:crypto";
import { readFile, rename, rm } from "node:fs/promises";
import { create } from "@bufbuild/protobuf";
import type { TaskKeys } from "#agent/task-file.ts";
import { EngineError, messageOf } from "#base/error.ts";
import { must } from "#base/invariant.ts";
import type { Clock } from "#base/ports.ts";
import { roleOfUnit, type Validity } from "#pki/profile.ts";
import { KeyedLock } from "#platform/async.ts";
import type { PeerIdentity, TlsMaterial } from "#platform/grpc/server.ts";
import { isMissing } from "#platform/missing.ts";
import { type DataKey, dataKey, type KeyRing } from "#platform/wal/key-ring.ts";
import {
  issuerOf,
  keyFits,
  normalizePem,
  readCertificate,
  verifyChain,
} from "#platform/x509/certificate.ts";
import { readPrivateKey } from "#platform/x509/issue.ts";
import { splitCertificates } from "#platform/x509/pem.ts";
import { NodeRole, type NodeTLSInfo, NodeTLSInfoSchema } from "#wire/gen/swarmkit/types_pb.js";
import { formatNodeKey, isLocked, type NodeKey, newRaftKey, parseNodeKey } from "./key-file.ts";
import { type SwarmPaths, writeAtomically } from "./paths.ts";

/** A node's credentials as they are on disk and on the wire. */
export interface Credentials {
  /** PEM of the trusted root or roots. */
  readonly rootCert: string;
  /** PEM, leaf first, then intermediates. */
  readonly nodeCert: string;
  readonly key: NodeKey;
}

/** What a lock has changed: nothing, the unlock key, or an open file into a locked one. */
export type LockChange = "none" | "changed" | "locked";

export class NodeIdentity {
  readonly #paths: SwarmPaths;
  readonly #listeners = new Set<() => void>();
  /** One change of the files after another: each begins with what the one before it has left. */
  readonly #lock = new KeyedLock();
  #raftKeys: KeyList;
  #taskKeys: KeyList;
  #credentials: Credentials;
  #unlockKey: Uint8Array | undefined;
  #peer: PeerIdentity;
  #role: NodeRole;
  #validity: Validity;

  /** Throws `invalid-argument` when the parts do not fit each other; expiry is not looked at. */
  constructor(paths: SwarmPaths, credentials: Credentials, unlockKey?: Uint8Array) {
    this.#paths = paths;
    this.#credentials = credentials;
    this.#unlockKey = unlockKey;
    this.#raftKeys = raftKeysOf(credentials.key);
    this.#taskKeys = taskKeysOf(this.#raftKeys);
    const facts = checked(credentials);
    this.#peer = facts.peer;
    this.#role = facts.role;
    this.#validity = facts.validity;
  }

  get nodeId(): string {
    return this.#peer.nodeId;
  }

  get clusterId(): string {
    return this.#peer.clusterId;
  }

  get role(): NodeRole {
    return this.#role;
  }

  get peer(): PeerIdentity {
    return this.#peer;
  }

  get validity(): Validity {
    return this.#validity;
  }

  get rootCert(): string {
    return this.#credentials.rootCert;
  }

  get nodeKey(): NodeKey {
    return this.#credentials.key;
  }

  expired(clock: Clock): boolean {
    return clock.nowMs() > this.#validity.notAfterMs;
  }

  /**
   * For TLS in both directions. Our own intermediates are among the trusted: a peer whose chain
   * ends in a root that ours vouches for is one of the cluster, at any moment of a root rotation.
   */
  tls(): TlsMaterial {
    const { rootCert, nodeCert, key } = this.#credentials;
    const intermediates = splitCertificates(nodeCert).slice(1).join("");
    return { cert: nodeCert, key: key.privateKey, ca: rootCert + intermediates };
  }

  /** What the node reports, so that a root rotation can see who has moved. */
  tlsInfo(): NodeTLSInfo {
    const { rootCert, nodeCert } = this.#credentials;
    const issuer = issuerOf(nodeCert, rootCert);
    return create(NodeTLSInfoSchema, {
      trustRoot: Buffer.from(rootCert),
      certIssuerSubject: issuer?.subject ?? new Uint8Array(),
      certIssuerPublicKey: issuer?.publicKey ?? new Uint8Array(),
    });
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The keys of the raft log, as they are at each moment. */
  readonly raftKeys: KeyRing = {
    current: () => this.#raftKeys[0],
    find: (id) => this.#raftKeys.find((key) => key.id === id),
  };

  /**
   * What seals the files of this node's tasks: keys that follow from those of the raft log, and change
   * with them. Where the key file is open, those files are, too.
   */
  readonly taskKeys: TaskKeys = {
    current: () => (this.isLocked ? this.#taskKeys[0] : undefined),
    find: (id) => this.#taskKeys.find((key) => key.id === id),
  };

  /** Whether the key file opens only with the unlock key. */
  get isLocked(): boolean {
    return this.#unlockKey !== undefined;
  }

  /** Whether the raft log is to be sealed anew: what is written is, what was written may not be. */
  get rotatesRaftKey(): boolean {
    return this.#credentials.key.nextRaftKey !== undefined;
  }

  /** Takes a renewed certificate, and its key, into use. */
  renew(nodeCert: string, privateKey: string): Promise<void> {
    return this.#exclusively(async () => {
      const key = { ...this.#credentials.key, privateKey };
      await this.#replace({ ...this.#credentials, nodeCert, key });
    });
  }

  /** Trusts another root; refused unless our own certificate is good under it. */
  trust(rootCert: string): Promise<void> {
    return this.#exclusively(async () => {
      const normal = normalizePem(rootCert);
      if (normal === normalizePem(this.#credentials.rootCert)) return;
      await this.#replace({ ...this.#credentials, rootCert: normal });
    });
  }

  /**
   * Locks the key file with `unlockKey`, or opens it for good. What is older than what the file
   * knows is passed over: a manager that starts sees its past again. A change makes the raft log's
   * key one that is to be exchanged, because it lay there as the new lock does not want it.
   */
  setLock(unlockKey: Uint8Array | undefined, lockVersion: bigint): Promise<LockChange> {
    return this.#exclusively(async () => {
      const { key } = this.#credentials;
      if (lockVersion <= key.lockVersion || sameKey(unlockKey, this.#unlockKey)) return "none";
      const next =
        key.nextRaftKey === undefined ? { nextRaftKey: newRaftKey() } : { rotateAgain: true };
      const wasOpen = this.#unlockKey === undefined;
      await this.#keep({ ...key, ...next, lockVersion }, unlockKey);
      return wasOpen ? "locked" : "changed";
    });
  }

  /** Nothing is sealed any more with the old key of the raft log, or what follows from it: it may be forgotten. */
  finishRaftKey(): Promise<void> {
    return this.#exclusively(async () => {
      const { nextRaftKey, rotateAgain, ...key } = this.#credentials.key;
      if (nextRaftKey === undefined) return;
      const next = rotateAgain === true ? { nextRaftKey: newRaftKey() } : {};
      await this.#keep({ ...key, raftKey: nextRaftKey, ...next }, this.#unlockKey);
    });
  }

  async save(): Promise<void> {
    const { rootCert, nodeCert, key } = this.#credentials;
    await writeAtomically(this.#paths.rootCert, rootCert, 0o644);
    // The key first, beside the old one; the certificate decides which of the two is the right one.
    const nextKey = nextKeyPath(this.#paths);
    await writeAtomically(nextKey, formatNodeKey(key, this.#unlockKey), 0o600);
    await writeAtomically(this.#paths.nodeCert, nodeCert, 0o644);
    await rename(nextKey, this.#paths.nodeKey);
  }

  #exclusively<T>(change: () => Promise<T>): Promise<T> {
    return this.#lock.run("files", change);
  }

  /** The keys are used when they are on the disk, never earlier: what they seal must be readable. */
  async #keep(key: NodeKey, unlockKey: Uint8Array | undefined): Promise<void> {
    await writeAtomically(this.#paths.nodeKey, formatNodeKey(key, unlockKey), 0o600);
    this.#unlockKey = unlockKey;
    this.#credentials = { ...this.#credentials, key };
    this.#raftKeys = raftKeysOf(key);
    this.#taskKeys = taskKeysOf(this.#raftKeys);
  }

  async #replace(credentials: Credentials): Promise<void> {
    const facts = checked(credentials);
    if (facts.peer.nodeId !== this.#peer.nodeId || facts.peer.clusterId !== this.#peer.clusterId) {
      throw new EngineError("invalid-argument", "the new certificate is for another node");
    }
    this.#credentials = credentials;
    // A worker asks nobody for a key when it starts, also one that was a manager.
    if (facts.role === NodeRole.WORKER) this.#unlockKey = undefined;
    await this.save();
    this.#peer = facts.peer;
    this.#role = facts.role;
    this.#validity = facts.validity;
    for (const listener of this.#listeners) listener();
  }
}

export type LoadedIdentity =
  | { readonly kind: "found"; readonly identity: NodeIdentity }
  | { readonly kind: "locked" }
  | { readonly kind: "none"; readonly rootCert: string | undefined };

/** What is on disk. A wrong unlock key reads as "locked". */
export async function loadIdentity(
  paths: SwarmPaths,
  unlockKey: Uint8Array | undefined,
): Promise<LoadedIdentity> {
  const [rootCert, nodeCert, key, nextKey] = await Promise.all([
    read(paths.rootCert),
    read(paths.nodeCert),
    read(paths.nodeKey),
    read(nextKeyPath(paths)),
  ]);
  if (rootCert === undefined || nodeCert === undefined || (key ?? nextKey) === undefined) {
    return { kind: "none", rootCert };
  }
  const candidates = [key, nextKey].filter((text) => text !== undefined);
  for (const text of candidates) {
    const parsed = tryParse(text, unlockKey, paths.nodeKey);
    if (parsed === "locked") return { kind: "locked" };
    if (!keyFits(nodeCert, readPrivateKey(parsed.privateKey))) continue;
    // A crash came between writing the certificate and moving its key into place.
    if (text === nextKey && text !== key) await rename(nextKeyPath(paths), paths.nodeKey);
    else await rm(nextKeyPath(paths), { force: true });
    const lock = isLocked(text) ? unlockKey : undefined;
    const identity = identityOf(paths, { rootCert, nodeCert, key: parsed }, lock);
    return { kind: "found", identity };
  }
  throw damaged(`the key in ${paths.nodeKey} does not fit the certificate in ${paths.nodeCert}`);
}

function identityOf(
  paths: SwarmPaths,
  credentials: Credentials,
  unlockKey: Uint8Array | undefined,
): NodeIdentity {
  try {
    return new NodeIdentity(paths, credentials, unlockKey);
  } catch (error) {
    const reason = messageOf(error);
    throw damaged(
      `the certificate in ${paths.nodeCert} is not good under the root in ${paths.rootCert} (${reason})`,
      error,
    );
  }
}

/** What is on disk was good when it was written. */
function damaged(what: string, cause?: unknown): EngineError {
  return new EngineError(
    "data-loss",
    `${what}. Put back the file that is damaged, or leave the swarm with --force and join again.`,
    { cause },
  );
}

function tryParse(
  text: string,
  unlockKey: Uint8Array | undefined,
  path: string,
): NodeKey | "locked" {
  try {
    const parsed = parseNodeKey(text, unlockKey);
    readPrivateKey(parsed.privateKey);
    return parsed;
  } catch (error) {
    if (isLocked(text)) return "locked";
    throw damaged(`${path} cannot be read (${messageOf(error)})`, error);
  }
}

/** The one for everything new comes first. */
type KeyList = readonly [DataKey, ...DataKey[]];

function raftKeysOf({ raftKey, nextRaftKey }: NodeKey): KeyList {
  return nextRaftKey === undefined ? [dataKey(raftKey)] : [dataKey(nextRaftKey), dataKey(raftKey)];
}

function taskKeysOf([current, ...earlier]: KeyList): KeyList {
  const derive = ({ key }: DataKey) =>
    dataKey(new Uint8Array(hkdfSync("sha256", key, "", "skep task files", key.length)));
  return [derive(current), ...earlier.map(derive)];
}

function sameKey(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return Buffer.from(a).equals(b);
}

function checked(credentials: Credentials) {
  const facts = readCertificate(credentials.nodeCert);
  const { commonName: nodeId, organizationalUnit: unit, organization: clusterId } = facts;
  const role = roleOfUnit(unit);
  if (role === undefined || nodeId === "" || clusterId === "") {
    throw new EngineError(
      "invalid-argument",
      "the certificate does not name node, role and cluster",
    );
  }
  if (!keyFits(credentials.nodeCert, readPrivateKey(credentials.key.privateKey))) {
    throw new EngineError("invalid-argument", "certificate key mismatch");
  }
  // Judged at a moment at which it was valid: that it expired is for the caller to see.
  verifyChain(credentials.nodeCert, credentials.rootCert, facts.notAfterMs - 1);
  const { notBeforeMs, notAfterMs } = facts;
  return {
    peer: { nodeId, role: unit, clusterId },
    role: must(role, "role"),
    validity: { notBeforeMs, notAfterMs },
  };
}

function nextKeyPath(paths: SwarmPaths): string {
  return `${paths.nodeKey}.next`;
}

async function read(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/**
 * `swarm-node.key`: the node's private key and, in the headers of the same PEM block, the key that
 * encrypts a manager's raft log; while that key is being exchanged, also the one that follows it. In
 * a swarm with autolock all of them are encrypted with the unlock key, which is nowhere on the disk;
 * then the file says so and nothing else can be read of it. Headers are SwarmKit's.
 */

import { createCipheriv, createDecipheriv, createPrivateKey, randomBytes } from "node:crypto";
import { EngineError } from "#base/error.ts";
import { formatPem, parsePem } from "#platform/x509/pem.ts";

const RAFT_KEY = "raft-dek";
const NEXT_RAFT_KEY = "raft-dek-pending";
const ROTATE_AGAIN = "raft-dek-needs-rotation";
const LOCK_VERSION = "kek-version";
const CIPHER = "aes-256-gcm";
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

export interface NodeKey {
  /** PKCS #8, PEM, not encrypted. */
  readonly privateKey: string;
  /** 32 bytes; made with the node's first key, so that it is there when the node is promoted. */
  readonly raftKey: Buffer;
  /** Takes its place: what is written from now on is sealed with it. */
  readonly nextRaftKey?: Buffer | undefined;
  /** The next one lay on the disk as the lock does not want it: another one comes after it. */
  readonly rotateAgain?: boolean;
  /** Version of the cluster object that said how to lock; 0 if none has yet. */
  readonly lockVersion: bigint;
}

/** Reading without the right unlock key. */
export class LockedKeyError extends EngineError {
  constructor() {
    super("unauthenticated", "swarm could not be unlocked: invalid key provided");
  }
}

export function newRaftKey(): Buffer {
  return randomBytes(32);
}

export function formatNodeKey(key: NodeKey, unlockKey: Uint8Array | undefined): string {
  const parsed = createPrivateKey(key.privateKey);
  const stored = (raftKey: Buffer) =>
    (unlockKey === undefined ? raftKey : seal(raftKey, unlockKey)).toString("base64");
  const headers = {
    [RAFT_KEY]: stored(key.raftKey),
    ...(key.nextRaftKey === undefined ? {} : { [NEXT_RAFT_KEY]: stored(key.nextRaftKey) }),
    ...(key.rotateAgain === true ? { [ROTATE_AGAIN]: "true" } : {}),
    ...(key.lockVersion === 0n ? {} : { [LOCK_VERSION]: key.lockVersion.toString() }),
  };
  if (unlockKey === undefined) {
    return formatPem("PRIVATE KEY", parsed.export({ type: "pkcs8", format: "der" }), headers);
  }
  const der = parsed.export({
    type: "pkcs8",
    format: "der",
    cipher: "aes-256-cbc",
    passphrase: passphraseOf(unlockKey),
  });
  return formatPem("ENCRYPTED PRIVATE KEY", der, headers);
}

export function isLocked(text: string): boolean {
  return parsePem(text)[0]?.label === "ENCRYPTED PRIVATE KEY";
}

/** Throws `LockedKeyError` for a locked file without the right unlock key. */
export function parseNodeKey(text: string, unlockKey: Uint8Array | undefined): NodeKey {
  const block = parsePem(text)[0];
  if (block === undefined) throw new EngineError("data-loss", "the node's key file holds no key");
  const { headers } = block;
  const stored = (name: string) => Buffer.from(headers[name] ?? "", "base64");
  const facts = {
    lockVersion: BigInt(headers[LOCK_VERSION] ?? "0"),
    ...(headers[ROTATE_AGAIN] === "true" ? { rotateAgain: true } : {}),
  };
  const next = stored(NEXT_RAFT_KEY);
  if (block.label !== "ENCRYPTED PRIVATE KEY") {
    const raftKey = stored(RAFT_KEY);
    return {
      ...facts,
      privateKey: formatPem(block.label, block.der),
      raftKey: raftKey.length > 0 ? raftKey : newRaftKey(),
      ...(next.length > 0 ? { nextRaftKey: next } : {}),
    };
  }
  if (unlockKey === undefined) throw new LockedKeyError();
  try {
    const key = createPrivateKey({
      key: block.der,
      format: "der",
      type: "pkcs8",
      passphrase: passphraseOf(unlockKey),
    });
    return {
      ...facts,
      privateKey: key.export({ type: "pkcs8", format: "pem" }) as string,
      raftKey: unseal(stored(RAFT_KEY), unlockKey),
      ...(next.length > 0 ? { nextRaftKey: unseal(next, unlockKey) } : {}),
    };
  } catch {
    throw new LockedKeyError();
  }
}

function passphraseOf(unlockKey: Uint8Array): string {
  return Buffer.from(unlockKey).toString("base64");
}

function seal(plain: Uint8Array, key: Uint8Array): Buffer {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(CIPHER, key, nonce);
  return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

function unseal(sealed: Buffer, key: Uint8Array): Buffer {
  const decipher = createDecipheriv(CIPHER, key, sealed.subarray(0, NONCE_BYTES));
  decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
  return Buffer.concat([
    decipher.update(sealed.subarray(NONCE_BYTES, -TAG_BYTES)),
    decipher.final(),
  ]);
}

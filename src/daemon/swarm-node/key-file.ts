/**
 * `swarm-node.key`: the node's private key and, in the headers of the same PEM block, the key that
 * encrypts a manager's raft log. In a swarm with autolock both are encrypted with the unlock key,
 * which is nowhere on the disk; then the file says so and nothing else can be read of it.
 */

import { createCipheriv, createDecipheriv, createPrivateKey, randomBytes } from "node:crypto";
import { EngineError } from "#base/error.ts";
import { formatPem, parsePem } from "#platform/x509/pem.ts";

const RAFT_KEY = "raft-dek";
const LOCK_VERSION = "kek-version";
const CIPHER = "aes-256-gcm";
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

export interface NodeKey {
  /** PKCS #8, PEM, not encrypted. */
  readonly privateKey: string;
  /** 32 bytes; made with the node's first key, so that it is there when the node is promoted. */
  readonly raftKey: Buffer;
  /** Version of the cluster object that the unlock key came from; 0 without a lock. */
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
  if (unlockKey === undefined) {
    const der = parsed.export({ type: "pkcs8", format: "der" });
    return formatPem("PRIVATE KEY", der, { [RAFT_KEY]: key.raftKey.toString("base64") });
  }
  const der = parsed.export({
    type: "pkcs8",
    format: "der",
    cipher: "aes-256-cbc",
    passphrase: passphraseOf(unlockKey),
  });
  return formatPem("ENCRYPTED PRIVATE KEY", der, {
    [RAFT_KEY]: seal(key.raftKey, unlockKey).toString("base64"),
    [LOCK_VERSION]: key.lockVersion.toString(),
  });
}

export function isLocked(text: string): boolean {
  return parsePem(text)[0]?.label === "ENCRYPTED PRIVATE KEY";
}

/** Throws `LockedKeyError` for a locked file without the right unlock key. */
export function parseNodeKey(text: string, unlockKey: Uint8Array | undefined): NodeKey {
  const block = parsePem(text)[0];
  if (block === undefined) throw new EngineError("data-loss", "the node's key file holds no key");
  const stored = Buffer.from(block.headers[RAFT_KEY] ?? "", "base64");
  const locked = block.label === "ENCRYPTED PRIVATE KEY";
  if (!locked) {
    const privateKey = formatPem(block.label, block.der);
    return { privateKey, raftKey: stored.length > 0 ? stored : newRaftKey(), lockVersion: 0n };
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
      privateKey: key.export({ type: "pkcs8", format: "pem" }) as string,
      raftKey: unseal(stored, unlockKey),
      lockVersion: BigInt(block.headers[LOCK_VERSION] ?? "0"),
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

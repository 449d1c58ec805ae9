/**
 * This node's WireGuard key. A file keeps it over reboots, except on a manager whose swarm locks its
 * managers' disks: there it is in memory and in the device only. The device outlives the engine, which
 * reads it there when it starts again; after a reboot there is no device, and the node gets another key.
 * Others hear of a new key as they heard of the old one; until then, encrypted networks do without.
 */

import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
} from "node:crypto";
import { mkdir, readFile, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { EngineError, messageOf } from "#base/error.ts";
import type { Log } from "#base/ports.ts";
import { KeyedLock } from "#platform/async.ts";
import { isMissing } from "#platform/missing.ts";
import { runCommand } from "#platform/net/command.ts";
import { replaceFile, syncFolder } from "#platform/replace-file.ts";
import { ALIAS } from "./host-diff.ts";

/** What our device is marked with. */
export const WIREGUARD_ALIAS = `${ALIAS}wireguard`;

/** X25519 keys in DER end with the key itself. */
const KEY_BYTES = 32;
/** What comes before it in PKCS #8 (RFC 8410). */
const PKCS8_PREFIX = Buffer.from("302e020100300506032b656e04220420", "hex");

export class WireguardKey {
  readonly publicKey: Uint8Array;
  /** As `wg` wants it. */
  readonly base64: string;
  /** The device that has this key: named by it. */
  readonly device: string;
  readonly #key: KeyObject;
  readonly #path: string;
  readonly #log: Log;
  readonly #lock = new KeyedLock();
  #isOnDisk: boolean | undefined;

  private constructor(key: KeyObject, path: string, log: Log, isOnDisk: boolean | undefined) {
    this.#key = key;
    this.#path = path;
    this.#log = log;
    this.#isOnDisk = isOnDisk;
    this.base64 = Buffer.from(rawKey(key.export({ type: "pkcs8", format: "der" }))).toString(
      "base64",
    );
    this.publicKey = rawKey(createPublicKey(key).export({ type: "spki", format: "der" }));
    this.device = `wg-${Buffer.from(this.publicKey).toString("hex").slice(0, 12)}`;
  }

  /** From the disk, else out of the device, else a new one; nothing is written yet. */
  static async open(path: string, log: Log): Promise<WireguardKey> {
    const text = await readFile(path, "utf8").catch((error: unknown) => {
      if (isMissing(error)) return undefined;
      throw new EngineError(
        "internal",
        `WireGuard's key ${path} cannot be read: ${messageOf(error)}`,
      );
    });
    const stored = text === undefined ? undefined : parseKey(text);
    if (stored !== undefined) return new WireguardKey(stored, path, log, true);
    for (const key of await keysOfDevices(log)) {
      const running = new WireguardKey(key.key, path, log, undefined);
      if (running.device === key.device) return running;
    }
    if (text !== undefined) {
      log.error("WireGuard's key cannot be read, this node gets another one", { path });
    }
    const { privateKey } = generateKeyPairSync("x25519");
    return new WireguardKey(privateKey, path, log, undefined);
  }

  /** What fails is logged, and done when it is asked for again. */
  keepOnDisk(onDisk: boolean): Promise<void> {
    return this.#lock.run("file", async () => {
      if (onDisk === this.#isOnDisk) return;
      try {
        await (onDisk ? this.#write() : this.#erase());
        this.#isOnDisk = onDisk;
      } catch (error) {
        const what = onDisk
          ? "WireGuard's key is not on the disk"
          : "WireGuard's key is on the disk";
        this.#log.error(what, { path: this.#path, reason: messageOf(error) });
      }
    });
  }

  async #write(): Promise<void> {
    await mkdir(dirname(this.#path), { recursive: true, mode: 0o700 });
    const pem = this.#key.export({ type: "pkcs8", format: "pem" });
    await replaceFile(this.#path, pem, { mode: 0o600, sync: "name" });
  }

  async #erase(): Promise<void> {
    for (const path of [this.#path, `${this.#path}.tmp`]) await rm(path, { force: true });
    await syncFolder(dirname(this.#path)).catch((error: unknown) => {
      if (!isMissing(error)) throw error;
    });
  }
}

interface DeviceKey {
  readonly device: string;
  readonly key: KeyObject;
}

/** Of our devices in this network namespace: an engine before this one may have left one. */
async function keysOfDevices(log: Log): Promise<readonly DeviceKey[]> {
  try {
    const links: unknown = JSON.parse(await runCommand("ip", ["-json", "link", "show"]));
    const devices = (links as readonly { ifname: string; ifalias?: string }[])
      .filter(({ ifalias }) => ifalias === WIREGUARD_ALIAS)
      .map(({ ifname }) => ifname);
    const keys: DeviceKey[] = [];
    for (const device of devices) {
      const text = (await runCommand("wg", ["show", device, "private-key"])).trim();
      const raw = Buffer.from(text, "base64");
      if (raw.length !== KEY_BYTES) continue;
      const der = Buffer.concat([PKCS8_PREFIX, raw]);
      keys.push({ device, key: createPrivateKey({ key: der, format: "der", type: "pkcs8" }) });
    }
    return keys;
  } catch (error) {
    log.warn("WireGuard's key could not be read from its device", { reason: messageOf(error) });
    return [];
  }
}

function parseKey(text: string): KeyObject | undefined {
  try {
    const key = createPrivateKey(text);
    return key.asymmetricKeyType === "x25519" ? key : undefined;
  } catch {
    return undefined;
  }
}

function rawKey(der: Buffer): Uint8Array {
  return new Uint8Array(der.subarray(der.length - KEY_BYTES));
}

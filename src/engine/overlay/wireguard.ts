/**
 * WireGuard on this host, for encrypted networks: the kernel's own where it has it, else the program
 * wireguard-go. The device outlives the engine, as containers do. One interface serves all networks;
 * who may send from which address is WireGuard's business, and there is no way around it.
 */

import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
} from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { EngineError, messageOf } from "#base/error.ts";
import type { Log } from "#base/ports.ts";
import type { Encryption, WireguardPeer, WireguardPlan } from "#plan/dataplane/encryption.ts";
import { runCommand } from "#platform/net/command.ts";
import type { DumpedLink } from "#platform/net/dump.ts";
import { ipBatch } from "#platform/net/ip.ts";
import { realFileSystem } from "#platform/wal/file-system.ts";
import { writeDurably } from "#platform/wal/files.ts";
import { ALIAS } from "./host-diff.ts";

/** X25519 keys in DER end with the key itself. */
const KEY_BYTES = 32;

export class Wireguard {
  readonly encryption: Encryption;
  readonly #privateKey: string;
  readonly #log: Log;

  private constructor(encryption: Encryption, privateKey: string, log: Log) {
    this.encryption = encryption;
    this.#privateKey = privateKey;
    this.#log = log;
  }

  /** Undefined on a host that has no WireGuard. `keyPath`: this node's key, made when it is not there. */
  static async open(options: {
    readonly keyPath: string;
    readonly log: Log;
  }): Promise<Wireguard | undefined> {
    if (!(await isAvailable())) return undefined;
    const key = await loadKey(options.keyPath);
    const publicKey = rawKey(createPublicKey(key).export({ type: "spki", format: "der" }));
    const privateKey = rawKey(key.export({ type: "pkcs8", format: "der" }));
    // With wireguard-go, the names of interfaces are the host's, whatever network namespace.
    const device = `wg-${Buffer.from(publicKey).toString("hex").slice(0, 12)}`;
    const base64 = Buffer.from(privateKey).toString("base64");
    return new Wireguard({ device, publicKey }, base64, options.log);
  }

  /** Brings device and peers to the plan; how much was changed. */
  async ensure(plan: WireguardPlan, links: ReadonlyMap<string, DumpedLink>): Promise<number> {
    const changed = await this.#ensureDevice(plan, links.get(plan.device));
    const found = await showPeers(plan.device);
    const wanted = plan.peers.map(lineOf).sort();
    if (found.port === plan.port && found.peers.sort().join() === wanted.join()) return changed;
    // `wg` opens the file by its name, which a socket, as our pipes are, does not allow.
    await runCommand("sh", ["-c", 'cat | wg syncconf "$0" /dev/stdin', plan.device], {
      input: this.#configuration(plan),
    });
    return changed + 1;
  }

  async #ensureDevice(
    { device, address, mtu }: WireguardPlan,
    link: DumpedLink | undefined,
  ): Promise<number> {
    if (link === undefined) await this.#create(device);
    const held = (link?.addr_info ?? []).some(({ local }) => local === address);
    const commands = [
      ...(link?.ifalias === `${ALIAS}wireguard`
        ? []
        : [`link set dev ${device} alias ${ALIAS}wireguard`]),
      ...(link?.mtu === mtu ? [] : [`link set dev ${device} mtu ${mtu}`]),
      ...(held ? [] : [`addr add ${address}/128 dev ${device} nodad`]),
      ...(link?.flags.includes("UP") === true ? [] : [`link set dev ${device} up`]),
    ];
    await ipBatch(commands);
    return commands.length;
  }

  async #create(device: string): Promise<void> {
    try {
      await ipBatch([`link add name ${device} type wireguard`]);
      return;
    } catch (error) {
      this.#log.debug("the kernel has no WireGuard", { reason: messageOf(error) });
    }
    await runCommand("wireguard-go", [device]);
  }

  #configuration({ port, peers }: WireguardPlan): string {
    const lines = ["[Interface]", `PrivateKey = ${this.#privateKey}`, `ListenPort = ${port}`];
    for (const { publicKey, endpoint, address } of peers) {
      lines.push("[Peer]", `PublicKey = ${base64Of(publicKey)}`);
      lines.push(`Endpoint = ${endpoint}`, `AllowedIPs = ${address}/128`);
    }
    return `${lines.join("\n")}\n`;
  }
}

async function isAvailable(): Promise<boolean> {
  try {
    await runCommand("wg", ["--version"]);
    await runCommand("wireguard-go", ["--version"]).catch(() => kernelHasIt());
    return true;
  } catch {
    return false;
  }
}

async function kernelHasIt(): Promise<void> {
  const probe = "wg-probe";
  await ipBatch([`link add name ${probe} type wireguard`, `link del dev ${probe}`]);
}

async function loadKey(path: string): Promise<KeyObject> {
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new EngineError(
      "internal",
      `WireGuard's key ${path} cannot be read: ${messageOf(error)}`,
    );
  });
  if (text !== undefined) return createPrivateKey(text);
  const { privateKey } = generateKeyPairSync("x25519");
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const pem = privateKey.export({ type: "pkcs8", format: "pem" });
  await writeDurably(realFileSystem, path, [Buffer.from(pem)]);
  return privateKey;
}

function rawKey(der: Buffer): Uint8Array {
  return new Uint8Array(der.subarray(der.length - KEY_BYTES));
}

function base64Of(hex: string): string {
  return Buffer.from(hex, "hex").toString("base64");
}

/** What matters of a peer; its endpoint may have moved, and is WireGuard's to know. */
function lineOf({ publicKey, address }: WireguardPeer): string {
  return `${base64Of(publicKey)} ${address}/128`;
}

async function showPeers(
  device: string,
): Promise<{ readonly port: number; readonly peers: string[] }> {
  const [own = "", ...rows] = (await runCommand("wg", ["show", device, "dump"])).trim().split("\n");
  return {
    port: Number(own.split("\t")[2]),
    peers: rows.map((row) => {
      const [publicKey = "", , , allowed = ""] = row.split("\t");
      return `${publicKey} ${allowed}`;
    }),
  };
}

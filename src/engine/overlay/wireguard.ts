/**
 * WireGuard on this host, for encrypted networks: the kernel's own where it has it, else the program
 * wireguard-go. The device outlives the engine, as containers do. One interface serves all networks;
 * who may send from which address is WireGuard's business, and there is no way around it. The node's key
 * is `wireguard-key.ts`'s.
 */

import { messageOf } from "#base/error.ts";
import type { Clock, Log } from "#base/ports.ts";
import type { Encryption, WireguardPeer, WireguardPlan } from "#plan/dataplane/encryption.ts";
import { runCommand } from "#platform/net/command.ts";
import type { DumpedLink } from "#platform/net/dump.ts";
import { ipBatch } from "#platform/net/ip.ts";
import { ALIAS } from "./host-diff.ts";
import { WIREGUARD_ALIAS, WireguardKey } from "./wireguard-key.ts";

/**
 * How often each peer is sent something: under the half minute after which NATs and firewalls forget
 * UDP flows. It also tells a peer, with proof, that this node has moved.
 */
const KEEPALIVE_S = 25;
/** WireGuard shakes hands anew every two minutes of use; a peer that has not is not reached. */
const STALE_MS = 180_000;

export class Wireguard {
  readonly encryption: Encryption;
  readonly #key: WireguardKey;
  readonly #clock: Clock;
  readonly #log: Log;
  /** By public key: where peers were said to be when they were last told to WireGuard. */
  #told: ReadonlyMap<string, string> = new Map();
  /** This host's own addresses, as they were last seen. */
  #own: string | undefined;

  private constructor(encryption: Encryption, key: WireguardKey, clock: Clock, log: Log) {
    this.encryption = encryption;
    this.#key = key;
    this.#clock = clock;
    this.#log = log;
  }

  /** Undefined on a host that has no WireGuard. `keyPath`: where this node's key is, or may be kept. */
  static async open(options: {
    readonly keyPath: string;
    readonly port: number;
    readonly clock: Clock;
    readonly log: Log;
  }): Promise<Wireguard | undefined> {
    if (!(await isAvailable())) return undefined;
    const { keyPath, port, clock, log } = options;
    const key = await WireguardKey.open(keyPath, log);
    const { device, publicKey } = key;
    return new Wireguard({ device, publicKey, port }, key, clock, log);
  }

  /** Whether the key may lie on the disk, so that it is the same after a reboot. */
  keepKeyOnDisk(onDisk: boolean): Promise<void> {
    return this.#key.keepOnDisk(onDisk);
  }

  /** Brings device and peers to the plan; how much was changed. */
  async ensure(
    plan: WireguardPlan,
    links: ReadonlyMap<string, DumpedLink>,
    { audit }: { readonly audit: boolean },
  ): Promise<number> {
    const changed = await this.#ensureDevice(plan, links.get(plan.device));
    const found = await showPeers(plan.device);
    const wanted = plan.peers.map(lineOf).sort();
    const lines = found.peers.map(({ line }) => line).sort();
    if (found.port === plan.port && lines.join() === wanted.join()) {
      await this.#lead(plan, found.peers, this.#hasMoved(links));
      if (audit) await keepAlive(plan.device, found.peers);
      return changed;
    }
    this.#told = new Map(plan.peers.map(({ publicKey, endpoint }) => [publicKey, endpoint]));
    // `wg` opens the file by its name, which a socket, as our pipes are, does not allow.
    await runCommand("sh", ["-c", 'cat | wg syncconf "$0" /dev/stdin', plan.device], {
      input: this.#configuration(plan),
    });
    return changed + 1;
  }

  /** Whether this host's addresses are others than before. */
  #hasMoved(links: ReadonlyMap<string, DumpedLink>): boolean {
    const before = this.#own;
    this.#own = [...links.values()]
      .filter(({ ifalias }) => ifalias?.startsWith(ALIAS) !== true)
      .flatMap(({ addr_info }) => (addr_info ?? []).map(({ local }) => local))
      .toSorted()
      .join();
    return before !== undefined && before !== this.#own;
  }

  /**
   * Where a peer is, it tells by what it sends. It is led back to where managers say if they say so
   * anew, or if nothing has come of where it was heard last. Told the same place again, wireguard-go
   * forgets from which address it sent there, which it may have lost.
   */
  async #lead(
    { device, peers }: WireguardPlan,
    found: readonly FoundPeer[],
    moved: boolean,
  ): Promise<void> {
    const known = new Map(found.map((peer) => [peer.publicKey, peer]));
    const told = new Map<string, string>();
    for (const { publicKey, endpoint } of peers) {
      told.set(publicKey, endpoint);
      const key = base64Of(publicKey);
      const peer = known.get(key);
      if (peer === undefined) continue;
      const before = this.#told.get(publicKey);
      const isAnew = before !== undefined && before !== endpoint;
      const isSilent = this.#clock.nowMs() - peer.handshakeMs > STALE_MS;
      if (!isAnew && !isSilent && !moved) continue;
      const to = isAnew || isSilent ? endpoint : peer.endpoint;
      if (to !== peer.endpoint) {
        const from = peer.endpoint;
        this.#log.info("a WireGuard peer is led to where managers say it is", { to, from });
      }
      await runCommand("wg", ["set", device, "peer", key, "endpoint", to]);
    }
    this.#told = told;
  }

  async #ensureDevice(
    { device, address, mtu }: WireguardPlan,
    link: DumpedLink | undefined,
  ): Promise<number> {
    if (link === undefined) await this.#create(device);
    const held = (link?.addr_info ?? []).some(({ local }) => local === address);
    const commands = [
      ...(link?.ifalias === WIREGUARD_ALIAS
        ? []
        : [`link set dev ${device} alias ${WIREGUARD_ALIAS}`]),
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
    const lines = ["[Interface]", `PrivateKey = ${this.#key.base64}`, `ListenPort = ${port}`];
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

function base64Of(hex: string): string {
  return Buffer.from(hex, "hex").toString("base64");
}

/** What matters of a peer; its endpoint may have moved, and is WireGuard's to know. */
function lineOf({ publicKey, address }: WireguardPeer): string {
  return `${base64Of(publicKey)} ${address}/128`;
}

interface FoundPeer {
  readonly publicKey: string;
  readonly endpoint: string;
  /** Since the epoch; 0 = never. */
  readonly handshakeMs: number;
  /** It is sent something now and then. */
  readonly isKept: boolean;
  /** As `lineOf` makes it. */
  readonly line: string;
}

/**
 * Not with the configuration: both ends of a new pair would begin a handshake in the same moment,
 * spoil each other's, and try again only after five seconds.
 */
async function keepAlive(device: string, found: readonly FoundPeer[]): Promise<void> {
  const settings = found
    .filter(({ isKept }) => !isKept)
    .flatMap(({ publicKey }) => ["peer", publicKey, "persistent-keepalive", `${KEEPALIVE_S}`]);
  if (settings.length > 0) await runCommand("wg", ["set", device, ...settings]);
}

async function showPeers(
  device: string,
): Promise<{ readonly port: number; readonly peers: readonly FoundPeer[] }> {
  const [own = "", ...rows] = (await runCommand("wg", ["show", device, "dump"])).trim().split("\n");
  return {
    port: Number(own.split("\t")[2]),
    peers: rows.map((row) => {
      const [publicKey = "", , endpoint = "", allowed = "", handshake = "", , , keepalive = ""] =
        row.split("\t");
      const line = `${publicKey} ${allowed}`;
      const isKept = keepalive === String(KEEPALIVE_S);
      return { publicKey, endpoint, handshakeMs: Number(handshake) * 1000, isKept, line };
    }),
  };
}

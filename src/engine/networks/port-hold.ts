/**
 * Ports of the host that are given to containers. A held port is a bound socket that never listens:
 * no other program gets it, and who asks for a taken one hears of it at once, while the packets
 * themselves go by nftables. Holds end with the process; a restarted engine takes them again.
 */

import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import { closeSocket, holdSocket } from "#platform/net/socket.ts";

export type Protocol = "tcp" | "udp" | "sctp";

export interface PortHold {
  readonly protocol: Protocol;
  readonly address: string;
  readonly port: number;
}

const FIRST_FREE = 32_768;
const LAST_FREE = 60_999;

export class HostPorts {
  /** Every held port of a protocol with the addresses it is held on. */
  readonly #held = new Map<string, Map<string, number | undefined>>();
  readonly #next = new Map<Protocol, number>();

  /** Holds one port; `internal` with docker's words when it is taken. */
  hold(hold: PortHold): void {
    const { address, port } = hold;
    if (this.#clashes(hold)) {
      throw new EngineError(
        "internal",
        `Bind for ${bracketed(address)}:${port} failed: port is already allocated`,
      );
    }
    this.#remember(hold, this.#bind(hold));
  }

  /** Like `hold`, for what is in the kernel already: whoever else has the port now, it stays ours. */
  adopt(hold: PortHold): void {
    if (this.#clashes(hold)) return;
    let socket: number | undefined;
    try {
      socket = this.#bind(hold);
    } catch {
      socket = undefined;
    }
    this.#remember(hold, socket);
  }

  /** The first free port of a range, or of the ephemeral ones, on all the addresses. */
  holdFree(
    protocol: Protocol,
    addresses: readonly string[],
    range?: { readonly first: number; readonly last: number },
  ): number {
    const first = range?.first ?? FIRST_FREE;
    const last = range?.last ?? LAST_FREE;
    const count = last - first + 1;
    const start = range === undefined ? (this.#next.get(protocol) ?? first) : first;
    for (let offset = 0; offset < count; offset += 1) {
      const port = first + ((start - first + offset) % count);
      if (!this.#tryHold(protocol, addresses, port)) continue;
      if (range === undefined) this.#next.set(protocol, port === last ? first : port + 1);
      return port;
    }
    throw new EngineError(
      "internal",
      range === undefined
        ? "all ports are allocated"
        : `Bind for ${bracketed(addresses[0] ?? "")}:${first}-${last} failed: port is already allocated`,
    );
  }

  release({ protocol, address, port }: PortHold): void {
    const key = keyOf(protocol, port);
    const holders = this.#held.get(key);
    const socket = holders?.get(address);
    holders?.delete(address);
    if (holders?.size === 0) this.#held.delete(key);
    if (socket !== undefined) closeSocket(socket);
  }

  close(): void {
    for (const holders of this.#held.values()) {
      for (const socket of holders.values()) if (socket !== undefined) closeSocket(socket);
    }
    this.#held.clear();
  }

  #tryHold(protocol: Protocol, addresses: readonly string[], port: number): boolean {
    const done: PortHold[] = [];
    try {
      for (const address of addresses) {
        const hold = { protocol, address, port };
        this.hold(hold);
        done.push(hold);
      }
      return true;
    } catch {
      for (const hold of done) this.release(hold);
      return false;
    }
  }

  /** A wildcard clashes with every address of its family. */
  #clashes({ protocol, address, port }: PortHold): boolean {
    const holders = this.#held.get(keyOf(protocol, port));
    if (holders === undefined) return false;
    const six = address.includes(":");
    return [...holders.keys()].some(
      (other) =>
        other.includes(":") === six &&
        (other === address || isWildcard(other) || isWildcard(address)),
    );
  }

  #bind({ protocol, address, port }: PortHold): number | undefined {
    try {
      return holdSocket({ protocol, address, port });
    } catch (error) {
      // A kernel without SCTP has no programs that could take the port; it is led on all the same.
      if (protocol === "sctp" && isErrorCode(error, "unimplemented")) return undefined;
      const reason = isErrorCode(error, "already-exists")
        ? "address already in use"
        : isErrorCode(error, "not-found")
          ? "cannot assign requested address"
          : messageOf(error);
      throw new EngineError(
        "internal",
        `failed to bind host port for ${bracketed(address)}:${port}/${protocol}: ${reason}`,
        { cause: error },
      );
    }
  }

  #remember({ protocol, address, port }: PortHold, socket: number | undefined): void {
    const key = keyOf(protocol, port);
    const holders = this.#held.get(key) ?? new Map<string, number | undefined>();
    holders.set(address, socket);
    this.#held.set(key, holders);
  }
}

function keyOf(protocol: Protocol, port: number): string {
  return `${protocol}/${port}`;
}

function isWildcard(address: string): boolean {
  return address === "0.0.0.0" || address === "::";
}

function bracketed(address: string): string {
  return address.includes(":") ? `[${address}]` : address;
}

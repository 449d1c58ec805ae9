/**
 * Connections to managers under this node's identity. `shared` keeps one per address, for the calls
 * between managers; all of them are replaced when the identity changes, so that no connection
 * outlives the certificate it was made with by much. Managers are known by role, not by host name.
 */

import type { Clock, Timer } from "#base/ports.ts";
import { CA_NAME, MANAGER_OU } from "#pki/profile.ts";
import { openChannel, type RpcChannel } from "#platform/grpc/client.ts";
import type { TlsMaterial } from "#platform/grpc/server.ts";

/** Calls that began on a replaced connection may finish within this time. */
const LINGER_MS = 30_000;

/** A connection that proves both identities; the caller closes it. */
export function managerChannel(address: string, tls: TlsMaterial): RpcChannel {
  return openChannel({
    target: address,
    serverName: MANAGER_OU,
    tls,
  });
}

/** For a node that has no (valid) certificate: only the manager proves who it is. */
export function anonymousChannel(address: string, rootCert: string): RpcChannel {
  return openChannel({
    target: address,
    serverName: CA_NAME,
    tls: { ca: rootCert },
  });
}

/** Nobody proves anything: good for downloading a root whose digest is known, and nothing else. */
export function blindChannel(address: string): RpcChannel {
  return openChannel({
    target: address,
    serverName: CA_NAME,
    tls: {},
  });
}

export class SharedChannels {
  readonly #tls: () => TlsMaterial;
  readonly #clock: Clock;
  readonly #open = new Map<string, RpcChannel>();
  readonly #lingering = new Map<RpcChannel, Timer>();

  constructor(tls: () => TlsMaterial, clock: Clock) {
    this.#tls = tls;
    this.#clock = clock;
  }

  to(address: string): RpcChannel {
    const known = this.#open.get(address);
    if (known !== undefined) return known;
    const opened = managerChannel(address, this.#tls());
    this.#open.set(address, opened);
    return opened;
  }

  /** New connections from now on. */
  renew(): void {
    for (const channel of this.#open.values()) this.#retire(channel);
    this.#open.clear();
  }

  /** Forgets the addresses that are no longer those of managers. */
  retain(addresses: ReadonlySet<string>): void {
    for (const [address, channel] of this.#open) {
      if (addresses.has(address)) continue;
      this.#open.delete(address);
      this.#retire(channel);
    }
  }

  close(): void {
    for (const channel of this.#open.values()) channel.close();
    for (const [channel, timer] of this.#lingering) {
      timer.cancel();
      channel.close();
    }
    this.#open.clear();
    this.#lingering.clear();
  }

  #retire(channel: RpcChannel): void {
    const timer = this.#clock.setTimer(LINGER_MS, () => {
      this.#lingering.delete(channel);
      channel.close();
    });
    this.#lingering.set(channel, timer);
  }
}

/**
 * Published ports of the mesh, held on this host by sockets that are bound and never listen: no
 * program gets them by mistake. One that a program has already stays that program's, and the mesh
 * does not answer on it here.
 */

import { networkInterfaces } from "node:os";
import { isErrorCode, messageOf } from "#base/error.ts";
import type { Log } from "#base/ports.ts";
import { type MeshPort, portKey } from "#plan/dataplane/mesh.ts";
import { contains } from "#plan/dataplane/placed-network.ts";
import { closeSocket, holdSocket } from "#platform/net/socket.ts";

const ANY = ["0.0.0.0", "::"];

export class MeshPorts {
  readonly #log: Log;
  readonly #held = new Map<string, Held>();
  #refused = new Map<string, string>();

  constructor(log: Log) {
    this.#log = log;
  }

  /** Ports that somebody else has: "tcp/22". */
  get refused(): ReadonlySet<string> {
    return new Set(this.#refused.keys());
  }

  /** Holds these and lets go of all others; those refused before are tried again. */
  hold(ports: readonly MeshPort[]): void {
    const wanted = new Map(
      ports.map((port) => [portKey(port), { port, addresses: addressesOf(port) }]),
    );
    for (const [key, { addresses, sockets }] of this.#held) {
      if (wanted.get(key)?.addresses.join() === addresses.join()) continue;
      for (const socket of sockets) closeSocket(socket);
      this.#held.delete(key);
    }
    const refused = new Map<string, string>();
    for (const [key, { port, addresses }] of wanted) {
      if (this.#held.has(key)) continue;
      try {
        this.#held.set(key, { addresses, sockets: bindAll(port, addresses) });
      } catch (error) {
        refused.set(key, messageOf(error));
      }
    }
    this.#report(refused);
    this.#refused = refused;
  }

  #report(refused: ReadonlyMap<string, string>): void {
    for (const [key, reason] of refused) {
      if (this.#refused.has(key)) continue;
      this.#log.error(
        "a published port is in use by a program of this host, which keeps it: the service is not reached by it here",
        { port: key, reason },
      );
    }
    for (const key of this.#refused.keys()) {
      if (!refused.has(key)) this.#log.info("a published port is free now", { port: key });
    }
  }

  close(): void {
    for (const { sockets } of this.#held.values())
      for (const socket of sockets) closeSocket(socket);
    this.#held.clear();
  }
}

interface Held {
  readonly addresses: readonly string[];
  readonly sockets: readonly number[];
}

/** Those of this host that the port answers on. */
function addressesOf({ on }: MeshPort): readonly string[] {
  if (on.length === 0) return ANY;
  const all = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  return all
    .filter(
      ({ address, scopeid }) => (scopeid ?? 0) === 0 && on.some((cidr) => contains(cidr, address)),
    )
    .map(({ address }) => address)
    .toSorted();
}

/** A host without one of the families, or without SCTP, has nothing to hold there. */
function bindAll({ protocol, port }: MeshPort, addresses: readonly string[]): readonly number[] {
  const sockets: number[] = [];
  try {
    for (const address of addresses) {
      try {
        sockets.push(holdSocket({ protocol, address, port }));
      } catch (error) {
        if (isErrorCode(error, "already-exists")) throw error;
      }
    }
    return sockets;
  } catch (error) {
    for (const socket of sockets) closeSocket(socket);
    throw error;
  }
}

/**
 * Published ports of the mesh, held on this host by sockets that are bound and never listen: no
 * program gets them by mistake. One that a program has already stays that program's, and the mesh
 * does not answer on it here.
 */

import { isErrorCode, messageOf } from "#base/error.ts";
import type { Log } from "#base/ports.ts";
import { type MeshPort, portKey } from "#plan/dataplane/mesh.ts";
import { bindSocket, closeSocket } from "#platform/net/socket.ts";

const ANY = ["0.0.0.0", "::"];

export class MeshPorts {
  readonly #log: Log;
  readonly #held = new Map<string, readonly number[]>();
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
    const wanted = new Map(ports.map((port) => [portKey(port), port]));
    for (const [key, sockets] of this.#held) {
      if (wanted.has(key)) continue;
      for (const socket of sockets) closeSocket(socket);
      this.#held.delete(key);
    }
    const refused = new Map<string, string>();
    for (const [key, port] of wanted) {
      if (this.#held.has(key)) continue;
      try {
        this.#held.set(key, bindAll(port));
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
    for (const sockets of this.#held.values()) for (const socket of sockets) closeSocket(socket);
    this.#held.clear();
  }
}

/** On both families; a host without one of them, or without SCTP, has nothing to hold there. */
function bindAll({ protocol, port }: MeshPort): readonly number[] {
  const sockets: number[] = [];
  try {
    for (const address of ANY) {
      try {
        sockets.push(bindSocket({ protocol, address, port }));
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

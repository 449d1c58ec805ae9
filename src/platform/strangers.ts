/**
 * Connections of callers who have not shown who they are. Whoever reaches the port can open them, so
 * there are so many and no more. One too many costs the oldest of the host that has the most: a host
 * that floods the port pushes itself out, and a node that is a moment from showing its certificate has
 * that moment.
 */

import type { Socket } from "node:net";

export class Strangers {
  readonly #max: number;
  /** By host, then by "host:port", the oldest first. */
  readonly #hosts = new Map<string, Map<string, Socket>>();
  #size = 0;

  constructor(max: number) {
    this.#max = max;
  }

  get size(): number {
    return this.#size;
  }

  /** Somebody has connected; one that is over already is nobody. */
  add(socket: Socket): void {
    const { remoteAddress: host, remotePort } = socket;
    if (host === undefined || remotePort === undefined) return;
    const name = addressOf(host, remotePort);
    const sockets = this.#hosts.get(host) ?? new Map<string, Socket>();
    this.#hosts.set(host, sockets);
    if (!sockets.has(name)) this.#size += 1;
    sockets.set(name, socket);
    socket.once("close", () => {
      if (sockets.get(name) === socket) this.#forget(host, name);
    });
    if (this.#size > this.#max) this.#pushOut();
  }

  /** The connection has shown a certificate that is known. */
  introduced(host: string | undefined, port: number | undefined): void {
    if (host !== undefined && port !== undefined) this.#forget(host, addressOf(host, port));
  }

  #forget(host: string, name: string): void {
    const sockets = this.#hosts.get(host);
    if (sockets?.delete(name) !== true) return;
    this.#size -= 1;
    if (sockets.size === 0) this.#hosts.delete(host);
  }

  #pushOut(): void {
    let most: Map<string, Socket> | undefined;
    let host = "";
    for (const [name, sockets] of this.#hosts) {
      if (most !== undefined && sockets.size <= most.size) continue;
      most = sockets;
      host = name;
    }
    const [oldest] = most ?? [];
    if (oldest === undefined) return;
    const [name, socket] = oldest;
    this.#forget(host, name);
    socket.destroy();
  }
}

function addressOf(host: string, port: number): string {
  return `${host}:${port}`;
}

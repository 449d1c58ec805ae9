/**
 * Published ports of the routing mesh: one service per port and protocol in the whole swarm. Ports
 * that a service does not name are taken from the dynamic range; it keeps them over updates.
 * Ports published in host mode belong to their nodes and are none of the allocator's business.
 */

import { DYNAMIC_PORT_FIRST, DYNAMIC_PORT_LAST } from "#model/defaults.ts";
import { type PortConfig, PortConfig_Protocol as Protocol } from "#wire/gen/swarmkit/types_pb.js";
import { NumberPool } from "./number-pool.ts";

const PROTOCOLS = [Protocol.TCP, Protocol.UDP, Protocol.SCTP] as const;

export class PortSpace {
  readonly #owners = new Map<Protocol, Map<number, string>>();
  readonly #dynamic = new Map<Protocol, NumberPool>();

  constructor() {
    for (const protocol of PROTOCOLS) {
      this.#owners.set(protocol, new Map());
      this.#dynamic.set(protocol, new NumberPool(DYNAMIC_PORT_FIRST, DYNAMIC_PORT_LAST));
    }
  }

  get used(): number {
    let used = 0;
    for (const owners of this.#owners.values()) used += owners.size;
    return used;
  }

  /** The service that holds a port. */
  ownerOf(port: PortConfig): string | undefined {
    return this.#owners.get(port.protocol)?.get(port.publishedPort);
  }

  /** Takes a port for a service; false if another one holds it. Taking it twice is fine. */
  take(port: PortConfig, serviceId: string): boolean {
    const owners = this.#owners.get(port.protocol);
    if (owners === undefined) return false;
    const owner = owners.get(port.publishedPort);
    if (owner !== undefined) return owner === serviceId;
    owners.set(port.publishedPort, serviceId);
    this.#dynamic.get(port.protocol)?.take(port.publishedPort);
    return true;
  }

  /** Takes the lowest free port of the dynamic range. */
  takeDynamic(protocol: Protocol, serviceId: string): number | undefined {
    const port = this.#dynamic.get(protocol)?.takeLowest();
    if (port !== undefined) this.#owners.get(protocol)?.set(port, serviceId);
    return port;
  }

  /** Lets a port go, if it is this service's. */
  release(port: PortConfig, serviceId: string): boolean {
    const owners = this.#owners.get(port.protocol);
    if (owners?.get(port.publishedPort) !== serviceId) return false;
    owners.delete(port.publishedPort);
    this.#dynamic.get(port.protocol)?.release(port.publishedPort);
    return true;
  }
}

/**
 * The names that containers know each other by. A `NameSource` answers for some networks: this
 * host's containers are one, the swarm's services another. A resolver asks all of them, one network
 * after the other in the order of the asking container's endpoints, and never mixes their answers.
 */

import { canonicalAddress } from "../networks/ipam.ts";
import { addressesOf } from "../networks/network.ts";
import type { EndpointRecord } from "../networks/records.ts";

export type AddressFamily = 4 | 6;

/** Called for every question: no waiting, no scan of everything there is. */
export interface NameSource {
  /**
   * All addresses of `name` on a network, in any order: whoever asks gets them turned round, so that
   * clients who take the first spread. `name` is in lower case without a final dot; it may contain
   * dots ("tasks.web", "web.1"). Empty means that the name exists and has no address of this family:
   * the question ends there, and is not forwarded. Undefined means that it is nobody's here.
   */
  lookup(networkId: string, name: string, family: AddressFamily): readonly string[] | undefined;
  /** The name that an address has on a network, without a final dot; written canonically. */
  reverse(networkId: string, address: string): string | undefined;
}

/** Asks in order; the first that knows the name speaks for it alone. */
export function firstOf(sources: Iterable<NameSource>): NameSource {
  return {
    lookup: (networkId, name, family) => {
      for (const source of sources) {
        const addresses = source.lookup(networkId, name, family);
        if (addresses !== undefined) return addresses;
      }
      return undefined;
    },
    reverse: (networkId, address) => {
      for (const source of sources) {
        const name = source.reverse(networkId, address);
        if (name !== undefined) return name;
      }
      return undefined;
    },
  };
}

interface NetworkNames {
  /** Name to the containers that bear it; several share an alias. */
  readonly holders: Map<string, Map<string, EndpointRecord>>;
  /** Address to its container's own name. */
  readonly reverse: Map<string, { readonly containerId: string; readonly name: string }>;
}

/** Names and aliases of this host's containers, as their endpoints say. */
export class ContainerNames implements NameSource {
  readonly #networks = new Map<string, NetworkNames>();
  readonly #byContainer = new Map<string, readonly EndpointRecord[]>();

  /** Replaces what is known of a container; no endpoints = it is forgotten. */
  set(containerId: string, endpoints: readonly EndpointRecord[]): void {
    for (const endpoint of this.#byContainer.get(containerId) ?? []) {
      this.#forget(containerId, endpoint);
    }
    if (endpoints.length === 0) this.#byContainer.delete(containerId);
    else this.#byContainer.set(containerId, endpoints);
    for (const endpoint of endpoints) this.#add(containerId, endpoint);
  }

  lookup(networkId: string, name: string, family: AddressFamily): readonly string[] | undefined {
    const holders = this.#networks.get(networkId)?.holders.get(name);
    if (holders === undefined) return undefined;
    return [...holders.values()]
      .flatMap(addressesOf)
      .filter((address) => address.includes(":") === (family === 6));
  }

  reverse(networkId: string, address: string): string | undefined {
    return this.#networks.get(networkId)?.reverse.get(address)?.name;
  }

  #add(containerId: string, endpoint: EndpointRecord): void {
    const { networkId, names } = endpoint;
    const [own] = names;
    if (own === undefined) return;
    const network = this.#networks.get(networkId) ?? { holders: new Map(), reverse: new Map() };
    this.#networks.set(networkId, network);
    for (const name of new Set(names.map((text) => text.toLowerCase()))) {
      const holders = network.holders.get(name) ?? new Map<string, EndpointRecord>();
      network.holders.set(name, holders.set(containerId, endpoint));
    }
    for (const address of addressesOf(endpoint)) {
      network.reverse.set(canonicalAddress(address) ?? address, { containerId, name: own });
    }
  }

  #forget(containerId: string, endpoint: EndpointRecord): void {
    const network = this.#networks.get(endpoint.networkId);
    if (network === undefined) return;
    for (const name of endpoint.names.map((text) => text.toLowerCase())) {
      const holders = network.holders.get(name);
      holders?.delete(containerId);
      if (holders?.size === 0) network.holders.delete(name);
    }
    for (const address of addressesOf(endpoint)) {
      const key = canonicalAddress(address) ?? address;
      // An address that has moved on is somebody else's by now.
      if (network.reverse.get(key)?.containerId === containerId) network.reverse.delete(key);
    }
    if (network.holders.size === 0) this.#networks.delete(endpoint.networkId);
  }
}

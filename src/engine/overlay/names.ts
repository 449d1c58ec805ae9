/** Names on the swarm's networks, from the same tables as the balance. */

import { servedElsewhere } from "#plan/dataplane/reachability.ts";
import type { NetworkTable } from "#wire/gen/skep/dataplane_pb.js";
import { canonicalAddress } from "../networks/ipam.ts";

const NOBODY: ReadonlySet<string> = new Set();

/** The ends of a name on one network, and the names of addresses. */
interface NetworkIndex {
  readonly names: ReadonlyMap<string, ReadonlySet<string>>;
  readonly reverse: ReadonlyMap<string, string>;
}

/**
 * A service's name and aliases are its virtual addresses, or without those its ready tasks;
 * "tasks.NAME" always the ready tasks, or those that will be, too, if the service
 * asks for it; a task is found by its container's name, "SERVICE.SLOT", and its own
 * aliases as long as it has a row.
 */
export class TableNames {
  #indexes = new WeakMap<NetworkTable, NetworkIndex>();
  #indexed: ReadonlySet<string> | undefined;
  readonly #table: (networkId: string) => NetworkTable | undefined;
  readonly #silent: () => ReadonlySet<string>;

  /** `table` gives the newest one, `silent` the nodes that do not answer; both are values. */
  constructor(
    table: (networkId: string) => NetworkTable | undefined,
    silent: () => ReadonlySet<string> = () => NOBODY,
  ) {
    this.#table = table;
    this.#silent = silent;
  }

  lookup(networkId: string, name: string, family: 4 | 6): readonly string[] | undefined {
    const found = this.#index(networkId)?.names.get(name);
    if (found === undefined) return undefined;
    return [...found].filter((address) => address.includes(":") === (family === 6));
  }

  reverse(networkId: string, address: string): string | undefined {
    return this.#index(networkId)?.reverse.get(address);
  }

  #index(networkId: string): NetworkIndex | undefined {
    const table = this.#table(networkId);
    // Nobody finds a service on the network that only carries the mesh.
    if (table === undefined || table.ingress) return undefined;
    const silent = this.#silent();
    if (this.#indexed !== silent) this.#indexes = new WeakMap();
    this.#indexed = silent;
    const known = this.#indexes.get(table);
    if (known !== undefined) return known;
    const index = indexOf(table, silent);
    this.#indexes.set(table, index);
    return index;
  }
}

function indexOf({ endpoints, services }: NetworkTable, silent: ReadonlySet<string>): NetworkIndex {
  const names = new Map<string, Set<string>>();
  const reverse = new Map<string, string>();
  const add = (name: string, addresses: readonly string[]) => {
    if (name === "") return;
    const key = name.toLowerCase();
    const known = names.get(key) ?? new Set();
    names.set(key, known);
    for (const address of addresses) known.add(canonicalAddress(address) ?? address);
  };
  const ready = new Map<string, string[]>();
  const present = new Map<string, string[]>();
  const served = servedElsewhere(endpoints, silent);
  for (const { serviceId, nodeId, addresses, ready: isReady, withdrawn } of endpoints) {
    if (silent.has(nodeId) && served.has(serviceId)) continue;
    if (isReady) ready.set(serviceId, [...(ready.get(serviceId) ?? []), ...addresses]);
    if (!withdrawn) present.set(serviceId, [...(present.get(serviceId) ?? []), ...addresses]);
  }
  const serviceNames = new Map<string, string>();
  for (const { serviceId, name, aliases, virtualIps, earlyNames } of services) {
    serviceNames.set(serviceId, name);
    const tasks = ready.get(serviceId) ?? [];
    const listed = earlyNames ? (present.get(serviceId) ?? []) : tasks;
    for (const one of new Set([name, ...aliases])) {
      add(one, virtualIps.length > 0 ? virtualIps : tasks);
      add(`tasks.${one}`, listed);
    }
    for (const address of virtualIps) reverse.set(canonicalAddress(address) ?? address, name);
  }
  for (const { name, aliases, addresses, serviceId, slot } of endpoints) {
    add(name, addresses);
    for (const alias of aliases) add(alias, addresses);
    const service = serviceNames.get(serviceId);
    if (service !== undefined && slot !== 0n) add(`${service}.${slot}`, addresses);
    for (const address of addresses) reverse.set(canonicalAddress(address) ?? address, name);
  }
  return { names, reverse };
}

/**
 * No address, virtual address or published port is given twice, and subnets do not overlap: in what
 * is committed at any time, and between the containers that really run.
 */

import { parsePrefix, prefixesOverlap } from "#model/ip.ts";
import { hasLetGo } from "#model/task.ts";
import type { NetworkAttachment, Task } from "#wire/gen/swarmkit/objects_pb.js";
import { PortConfig_PublishMode as PublishMode } from "#wire/gen/swarmkit/types_pb.js";
import { Violation } from "../../checker.ts";
import type { Delta, Ledger, StoreLaw } from "../ledger.ts";

/** How many objects of a kind hold something: what the allocator must count as well. */
export interface Held {
  readonly addresses: number;
  readonly ports: number;
}

export class NothingGivenTwice implements StoreLaw {
  /** Owner by what is held. */
  readonly #owners = new Map<string, string>();
  /** Subnets by network. */
  readonly #subnets = new Map<string, readonly string[]>();

  begins(ledger: Ledger): void {
    this.#owners.clear();
    this.#subnets.clear();
    const kinds = ["network", "service", "task", "node"] as const;
    for (const kind of kinds) {
      for (const object of ledger.all(kind)) {
        const delta = { kind, id: object.id, before: undefined, after: object };
        this.#take(delta as Delta);
      }
    }
  }

  sees(deltas: readonly Delta[]): void {
    for (const { kind, id, before } of deltas) {
      for (const claim of claimsOf({ kind, object: before })) {
        if (this.#owners.get(claim) === `${kind} ${id}`) this.#owners.delete(claim);
      }
      if (kind === "network") this.#subnets.delete(id);
    }
    for (const delta of deltas) this.#take(delta);
  }

  held(): Held {
    const ports = [...this.#owners.keys()].filter((claim) => claim.startsWith("port")).length;
    return { addresses: this.#owners.size - ports, ports };
  }

  #take({ kind, id, after }: Delta): void {
    const owner = `${kind} ${id}`;
    for (const claim of claimsOf({ kind, object: after })) {
      const other = this.#owners.get(claim);
      if (other !== undefined && other !== owner) {
        throw new Violation("allocation", `${other} and ${owner} both have ${claim}`);
      }
      this.#owners.set(claim, owner);
    }
    if (kind === "network" && after !== undefined) {
      this.#takeSubnets(id, after.ipam?.configs.map(({ subnet }) => subnet) ?? []);
    }
  }

  #takeSubnets(id: string, subnets: readonly string[]): void {
    for (const [other, theirs] of this.#subnets) {
      for (const a of subnets) {
        const overlapped = theirs.find((b) => overlap(a, b));
        if (overlapped === undefined || other === id) continue;
        throw new Violation("allocation", `networks ${id} and ${other} overlap in ${overlapped}`);
      }
    }
    this.#subnets.set(id, subnets);
  }
}

/** Addresses that packets come from: containers that run, whatever the store says of them. */
export class AddressesInUse {
  readonly #users = new Map<string, string>();

  begins(nodeId: string, task: Task): void {
    for (const address of addressesOf(task.networks)) {
      const other = this.#users.get(address);
      if (other !== undefined && other !== task.id) {
        throw new Violation(
          "allocation",
          `${nodeId} starts ${task.id} with ${address}, which ${other} uses`,
        );
      }
      this.#users.set(address, task.id);
    }
  }

  ends(task: Task): void {
    for (const address of addressesOf(task.networks)) {
      if (this.#users.get(address) === task.id) this.#users.delete(address);
    }
  }
}

function claimsOf({ kind, object }: { kind: Delta["kind"]; object: Delta["after"] }): string[] {
  // Kind and object of a delta belong together.
  const delta = { kind, after: object } as Delta;
  if (delta.after === undefined) return [];
  if (delta.kind === "task") return hasLetGo(delta.after) ? [] : addressesOf(delta.after.networks);
  if (delta.kind === "node") return addressesOf(delta.after.attachments);
  if (delta.kind !== "service") return [];
  const { ports = [], virtualIps = [] } = delta.after.endpoint ?? {};
  const published = ports
    .filter(({ publishMode }) => publishMode === PublishMode.INGRESS)
    .map(({ protocol, publishedPort }) => `port ${protocol}/${publishedPort}`);
  return [...published, ...virtualIps.map(({ addr }) => withoutMask(addr))];
}

function addressesOf(attachments: readonly NetworkAttachment[]): string[] {
  return attachments.flatMap(({ addresses }) => addresses.map(withoutMask));
}

function withoutMask(address: string): string {
  const slash = address.indexOf("/");
  return slash === -1 ? address : address.slice(0, slash);
}

function overlap(a: string, b: string): boolean {
  const [one, other] = [parsePrefix(a), parsePrefix(b)];
  return one !== undefined && other !== undefined && prefixesOverlap(one, other);
}

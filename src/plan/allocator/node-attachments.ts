/**
 * The address that a node itself has on each overlay network: where what its tasks send to a virtual
 * address seems to come from, and what the routing mesh returns to. A node has one on each network
 * that a task on it uses, and on the ingress network once anything is published. On networks of
 * plug-ins it is attached without an address.
 */

import { create } from "@bufbuild/protobuf";
import { holdsNode } from "#model/task.ts";
import {
  type Network,
  type NetworkAttachment,
  NetworkAttachmentSchema,
  type Node,
  type Task,
} from "#wire/gen/swarmkit/objects_pb.js";
import type { Need } from "./lease-desk.ts";
import { isOfPlugin, type NetworkTable } from "./network-table.ts";
import { occupyAddresses, releaseAddresses } from "./task-networks.ts";

export interface AttachNodeOptions {
  /** The ingress network, if nodes need to be on it. */
  readonly ingress: Network | undefined;
  readonly find: (networkId: string) => Network | undefined;
}

export interface AttachedNode {
  readonly node: Node;
  readonly full: string | undefined;
  /** What address plug-ins have to give before the node has all of its addresses. */
  readonly needs: readonly Need[];
}

export class NodeAttachments {
  readonly #table: NetworkTable;
  /** How many tasks on a node use a network: node id → network id → tasks. */
  readonly #uses = new Map<string, Map<string, number>>();

  constructor(table: NetworkTable) {
    this.#table = table;
  }

  /** Counts what a task uses; true if the node may now need other attachments. */
  countTask(before: Task | undefined, after: Task | undefined): boolean {
    if (sameUse(before, after)) return false;
    const removed = this.#count(before, -1);
    const added = this.#count(after, 1);
    return removed || added;
  }

  restore(node: Node): void {
    occupyAddresses(this.#table, node.attachments);
  }

  /** Lets go the addresses that `before` has and `after` has not; ids of networks with room. */
  letGo(before: Node, after: Node | undefined): string[] {
    if (after === undefined) this.#uses.delete(before.id);
    if (before.attachments === after?.attachments) return [];
    const kept = new Set((after?.attachments ?? []).map(keyOf));
    return releaseAddresses(
      this.#table,
      before.attachments.filter((one) => !kept.has(keyOf(one))),
    );
  }

  /**
   * The node with the attachments that it needs, the same object if it has them; `full` names a
   * network that had no address left for it.
   */
  attach(node: Node, { ingress, find }: AttachNodeOptions): AttachedNode {
    const wanted = new Set(this.#uses.get(node.id)?.keys());
    if (ingress !== undefined) wanted.add(ingress.id);
    const attachments = node.attachments.filter(({ network }) => wanted.has(network?.id ?? ""));
    let same = attachments.length === node.attachments.length;
    let full: string | undefined;
    const needs: Need[] = [];
    for (const id of wanted) {
      const at = attachments.findIndex(({ network }) => network?.id === id);
      const known = attachments[at];
      const network = known?.network ?? find(id);
      if (network === undefined || (known !== undefined && known.addresses.length > 0)) continue;
      if (isOfPlugin(network)) {
        // The plug-in is the router there, or nobody: the node has no part in it but to serve it.
        if (known !== undefined) continue;
        const attachment = create(NetworkAttachmentSchema, {});
        attachment.network = network;
        attachments.push(attachment);
        same = false;
        continue;
      }
      // Without an address it serves the network all the same; what only it needs one for waits.
      const addresses = this.#table.takeAddresses(id);
      if (addresses === undefined) {
        full = id;
        if (this.#table.lacks(id) !== undefined) {
          needs.push(...this.#table.families(id).map((family) => ({ networkId: id, family })));
        }
      }
      if (known !== undefined && addresses === undefined) continue;
      const attachment = create(NetworkAttachmentSchema, { addresses: addresses ?? [] });
      attachment.network = network;
      attachments.splice(known === undefined ? attachments.length : at, at < 0 ? 0 : 1, attachment);
      same = false;
    }
    return { node: same ? node : { ...node, attachments }, full, needs };
  }

  #count(task: Task | undefined, by: number): boolean {
    const networkIds = usedBy(task);
    if (task === undefined || networkIds.length === 0) return false;
    let uses = this.#uses.get(task.nodeId);
    if (uses === undefined) {
      uses = new Map();
      this.#uses.set(task.nodeId, uses);
    }
    let changed = false;
    for (const id of networkIds) {
      const count = (uses.get(id) ?? 0) + by;
      if (count > 0) uses.set(id, count);
      else uses.delete(id);
      changed ||= by > 0 ? count === 1 : count <= 0;
    }
    if (uses.size === 0) this.#uses.delete(task.nodeId);
    return changed;
  }
}

function usedBy(task: Task | undefined): string[] {
  if (task === undefined || task.nodeId === "" || !holdsNode(task)) return [];
  const ids: string[] = [];
  for (const { network, addresses } of task.networks) {
    if (network !== undefined && addresses.length > 0) ids.push(network.id);
  }
  return ids;
}

function sameUse(a: Task | undefined, b: Task | undefined): boolean {
  if (a === undefined || b === undefined) return false;
  return a.nodeId === b.nodeId && a.networks === b.networks && holdsNode(a) === holdsNode(b);
}

function keyOf({ network, addresses }: NetworkAttachment): string {
  return `${network?.id ?? ""} ${addresses.join(" ")}`;
}

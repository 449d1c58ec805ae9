/**
 * The networks of a task: which it must be attached to, and the addresses that it holds there. A
 * task holds its addresses from when they were given to it until its node said that it has stopped.
 */

import { create } from "@bufbuild/protobuf";
import { err, ok, type Result } from "#base/result.ts";
import { hasLetGo } from "#model/task.ts";
import {
  type Network,
  type NetworkAttachment,
  NetworkAttachmentSchema,
  type Service,
  type Task,
} from "#wire/gen/swarmkit/objects_pb.js";
import {
  type NetworkAttachmentConfig,
  NetworkAttachmentConfigSchema,
} from "#wire/gen/swarmkit/types_pb.js";
import type { Need } from "./lease-desk.ts";
import { canonicalIp } from "./lease-stock.ts";
import {
  isAllocated,
  isNodeLocal,
  isOfAddressPlugin,
  type NetworkTable,
  notAllocated,
} from "./network-table.ts";
import { needsIngress } from "./service-endpoint.ts";

/** Why a task cannot be attached now, and the network whose change may help. */
export interface Refusal {
  readonly reason: string;
  readonly networkId: string;
}

export interface AttachOptions {
  readonly service: Service | undefined;
  readonly ingress: Network | undefined;
  /** The network of that id or name. */
  readonly find: (target: string) => Network | undefined;
  readonly table: NetworkTable;
}

/** The attachments of a task with fresh addresses; nothing is taken unless all could be. */
export function attachTask(
  task: Task,
  options: AttachOptions,
): Result<NetworkAttachment[], Refusal> {
  const attachments: NetworkAttachment[] = [];
  const fail = (reason: string, networkId: string) => {
    releaseAddresses(options.table, attachments);
    return err({ reason, networkId });
  };
  for (const config of wantedBy(task, options)) {
    const network = options.find(config.target);
    if (network === undefined) return fail(`network ${config.target} not found`, config.target);
    if (!isAllocated(network)) {
      return fail(notAllocated(network), network.id);
    }
    const addresses = addressesFor(task, config, network, options.table);
    if (!addresses.ok) return fail(addresses.error, network.id);
    const attachment = create(NetworkAttachmentSchema, {
      addresses: addresses.value,
      aliases: config.aliases,
      driverAttachmentOpts: config.driverAttachmentOpts,
    });
    // Shared, not copied: a message is a value, and a thousand tasks hold the same one.
    attachment.network = network;
    attachments.push(attachment);
  }
  return ok(attachments);
}

/** What address plug-ins have to give before the task can be attached. */
export function needsOfTask(task: Task, options: AttachOptions): Need[] {
  const { find, table } = options;
  return wantedBy(task, options).flatMap((config): Need[] => {
    const network = find(config.target);
    if (network === undefined || !isAllocated(network) || !isOfAddressPlugin(network)) return [];
    const networkId = network.id;
    const wishes = chosenBy(task, config).flatMap((address) => canonicalIp(address) ?? []);
    return wishes.length > 0
      ? wishes.map((wish) => ({ networkId, family: wish.includes(":") ? 6 : 4, wish }))
      : table.families(networkId).map((family) => ({ networkId, family }));
  });
}

/** Attachments whose addresses the task holds now. */
export function heldBy(task: Task | undefined): readonly NetworkAttachment[] {
  return task === undefined || hasLetGo(task) ? [] : task.networks;
}

export function releaseAddresses(
  table: NetworkTable,
  attachments: readonly NetworkAttachment[],
): string[] {
  const freed: string[] = [];
  for (const { network, addresses } of attachments) {
    if (network === undefined) continue;
    for (const address of addresses) {
      if (table.release(network.id, address)) freed.push(network.id);
    }
  }
  return freed;
}

export function occupyAddresses(
  table: NetworkTable,
  attachments: readonly NetworkAttachment[],
): void {
  for (const { network, addresses } of attachments) {
    if (network === undefined) continue;
    // The network may be gone from the store while tasks still hold its addresses.
    const gone = addresses.length > 0 && !table.knows(network.id);
    if (gone) table.restore(network);
    for (const address of addresses) table.occupy(network.id, address);
    if (gone) table.remove(network.id);
  }
}

function wantedBy(task: Task, { service, ingress }: AttachOptions): NetworkAttachmentConfig[] {
  const spec = service?.spec;
  const own = task.spec?.networks ?? [];
  const wanted = [...(own.length > 0 ? own : (spec?.networks ?? []))];
  if (ingress !== undefined && needsIngress(spec)) {
    wanted.unshift(create(NetworkAttachmentConfigSchema, { target: ingress.id }));
  }
  return wanted;
}

function addressesFor(
  task: Task,
  config: NetworkAttachmentConfig,
  network: Network,
  table: NetworkTable,
): Result<string[]> {
  if (isNodeLocal(network) || !table.hasAddresses(network.id)) return ok([]);
  const chosen = chosenBy(task, config);
  if (chosen.length === 0) {
    const addresses = table.takeAddresses(network.id);
    if (addresses !== undefined) return ok(addresses);
    const full = `could not find an available IP in network ${nameOf(network)}`;
    return err(table.lacks(network.id) ?? full);
  }
  const addresses: string[] = [];
  for (const address of chosen) {
    const taken = table.claim(network.id, address);
    if (taken === undefined) {
      for (const other of addresses) table.release(network.id, other);
      const taken = `address ${address} is not free in network ${nameOf(network)}`;
      return err(table.lacks(network.id, canonicalIp(address)) ?? taken);
    }
    addresses.push(taken);
  }
  return ok(addresses);
}

/** Only a container that attaches by itself may choose; replicas would all choose the same. */
function chosenBy(task: Task, config: NetworkAttachmentConfig): readonly string[] {
  return task.spec?.runtime.case === "attachment" ? config.addresses : [];
}

function nameOf(network: Network): string {
  return network.spec?.annotations?.name ?? network.id;
}

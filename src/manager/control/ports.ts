/** Published ports against those of all other services, and the network that carries them. */

import { isIngress } from "#model/network.ts";
import type { ReadView } from "#store/types.ts";
import type { Network, Service } from "#wire/gen/swarmkit/objects_pb.js";
import type { ServiceSpec } from "#wire/gen/swarmkit/specs_pb.js";
import { type PortConfig, PortConfig_PublishMode } from "#wire/gen/swarmkit/types_pb.js";
import { invalid, precondition } from "./refusal.ts";

export function ingressNetwork(view: ReadView): Network | undefined {
  for (const network of view.all("network")) if (isIngress(network)) return network;
  return undefined;
}

export function needsIngress(spec: ServiceSpec | undefined): boolean {
  const ports = spec?.endpoint?.ports ?? [];
  return ports.some(({ publishMode }) => publishMode === PortConfig_PublishMode.INGRESS);
}

export function checkIngressThere(view: ReadView, spec: ServiceSpec): void {
  if (needsIngress(spec) && ingressNetwork(view) === undefined) {
    throw precondition("service needs ingress network, but no ingress network is present");
  }
}

/**
 * A port of the mesh belongs to one service of the whole swarm. Host ports may be used by many
 * services: the scheduler keeps them apart. `exceptId` is the service that is being updated.
 */
export function checkPortConflicts(view: ReadView, spec: ServiceSpec, exceptId: string): void {
  const wanted = new Map<string, Set<PortConfig_PublishMode>>();
  for (const port of spec.endpoint?.ports ?? []) {
    if (port.publishedPort === 0) continue;
    const modes = wanted.get(keyOf(port)) ?? new Set();
    wanted.set(keyOf(port), modes.add(port.publishMode));
  }
  if (wanted.size === 0) return;
  for (const service of view.all("service")) {
    if (service.id === exceptId) continue;
    for (const port of service.spec?.endpoint?.ports ?? []) refuseTaken(wanted, port, service);
    for (const port of service.endpoint?.ports ?? []) refuseTaken(wanted, port, service);
  }
}

function refuseTaken(
  wanted: ReadonlyMap<string, ReadonlySet<PortConfig_PublishMode>>,
  port: PortConfig,
  owner: Service,
): void {
  const modes = port.publishedPort === 0 ? undefined : wanted.get(keyOf(port));
  if (modes === undefined) return;
  const name = owner.spec?.annotations?.name ?? "";
  const used = `port '${port.publishedPort}' is already in use by service '${name}' (${owner.id})`;
  if (port.publishMode === PortConfig_PublishMode.INGRESS) {
    throw invalid(`${used} as an ingress port`);
  }
  if (modes.has(PortConfig_PublishMode.INGRESS)) {
    throw invalid(`${used} as a host-published port`);
  }
}

function keyOf(port: PortConfig): string {
  return `${port.protocol}/${port.publishedPort}`;
}

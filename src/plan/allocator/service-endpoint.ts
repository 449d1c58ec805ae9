/**
 * What a service needs before its tasks can start: published ports and one virtual address per
 * network. Allocation is all or nothing; what an update no longer needs is let go only once the new
 * endpoint is complete.
 */

import { create, equals } from "@bufbuild/protobuf";
import { err, ok, type Result } from "#base/result.ts";
import {
  type Endpoint,
  Endpoint_VirtualIPSchema,
  EndpointSchema,
  type Network,
  type Service,
  type Endpoint_VirtualIP as VirtualIp,
} from "#wire/gen/swarmkit/objects_pb.js";
import {
  EndpointSpecSchema,
  EndpointSpec_ResolutionMode as Mode,
  type ServiceSpec,
} from "#wire/gen/swarmkit/specs_pb.js";
import {
  type NetworkAttachmentConfig,
  type PortConfig,
  PortConfig_PublishMode as PublishMode,
} from "#wire/gen/swarmkit/types_pb.js";
import type { Need } from "./lease-desk.ts";
import { isAllocated, type NetworkTable, notAllocated } from "./network-table.ts";
import type { PortSpace } from "./port-space.ts";

/** The networks of a service's tasks, in the order of the spec. */
export function networksOf(spec: ServiceSpec | undefined): readonly NetworkAttachmentConfig[] {
  const ofTask = spec?.task?.networks ?? [];
  return ofTask.length > 0 ? ofTask : (spec?.networks ?? []);
}

/** Whether the routing mesh must reach the tasks of the service. */
export function needsIngress(spec: ServiceSpec | undefined): boolean {
  const endpoint = spec?.endpoint;
  if (endpoint === undefined || endpoint.mode !== Mode.VIP) return false;
  return endpoint.ports.some(isIngressPort);
}

export function isIngressPort(port: PortConfig): boolean {
  return port.publishMode === PublishMode.INGRESS;
}

/** Ids of the networks on which a service has a virtual address, the ingress network first. */
export function virtualNetworks(
  spec: ServiceSpec | undefined,
  ingress: Network | undefined,
  find: (target: string) => Network | undefined,
): Result<string[]> {
  const ids: string[] = [];
  if (needsIngress(spec)) {
    if (ingress === undefined) {
      return err("service needs ingress network, but no ingress network is present");
    }
    if (!isAllocated(ingress)) return err(notAllocated(ingress));
    ids.push(ingress.id);
  }
  if ((spec?.endpoint?.mode ?? Mode.VIP) !== Mode.VIP) return ok(ids);
  for (const { target } of networksOf(spec)) {
    const network = find(target);
    if (network === undefined) return err(`network ${target} not found`);
    if (!isAllocated(network)) {
      return err(notAllocated(network));
    }
    if (!ids.includes(network.id)) ids.push(network.id);
  }
  return ok(ids);
}

export interface EndpointNeeds {
  readonly service: Service;
  /** Ids of the networks that shall have a virtual address. */
  readonly networkIds: readonly string[];
  /** For messages: the name of a service that holds a port, or of a network that is full. */
  readonly nameOf: (kind: "service" | "network", id: string) => string;
}

export class ServiceEndpoints {
  readonly #ports: PortSpace;
  readonly #networks: NetworkTable;

  constructor(ports: PortSpace, networks: NetworkTable) {
    this.#ports = ports;
    this.#networks = networks;
  }

  /** Takes over what a service was given before. */
  restore(service: Service): void {
    for (const port of service.endpoint?.ports ?? []) {
      if (isIngressPort(port) && port.publishedPort !== 0) this.#ports.take(port, service.id);
    }
    for (const { networkId, addr } of service.endpoint?.virtualIps ?? []) {
      this.#networks.occupy(networkId, addr);
    }
  }

  /** Lets go what `before` has and `after` has not; true if that freed anything. */
  letGo(serviceId: string, before: Endpoint | undefined, after: Endpoint | undefined): boolean {
    let freed = false;
    const keptPorts = new Set((after?.ports ?? []).filter(isIngressPort).map(portKey));
    for (const port of (before?.ports ?? []).filter(isIngressPort)) {
      if (keptPorts.has(portKey(port))) continue;
      freed = this.#ports.release(port, serviceId) || freed;
    }
    const keptIps = new Set((after?.virtualIps ?? []).map(vipKey));
    for (const vip of before?.virtualIps ?? []) {
      if (keptIps.has(vipKey(vip))) continue;
      freed = this.#networks.release(vip.networkId, vip.addr) || freed;
    }
    return freed;
  }

  /** The complete endpoint of a service, the same object if it was complete before. */
  allocate(needs: EndpointNeeds): Result<Endpoint> {
    const { service, networkIds } = needs;
    const before = service.endpoint;
    if (before !== undefined && this.#isComplete(service, networkIds)) return ok(before);
    const ports = this.#allocatePorts(needs);
    if (!ports.ok) return ports;
    const { vips, full } = this.#allocateVips(service, networkIds);
    const after = create(EndpointSchema, { ports: ports.value, virtualIps: vips });
    after.spec = service.spec?.endpoint;
    if (full === undefined) return ok(after);
    this.letGo(service.id, after, before);
    const lacks = this.#networks.lacks(full);
    if (lacks !== undefined) return err(lacks);
    return err(`no address is free for a virtual IP in network ${needs.nameOf("network", full)}`);
  }

  /** What address plug-ins have to give for the virtual addresses that the service lacks. */
  needsOf({ endpoint }: Service, networkIds: readonly string[]): Need[] {
    return networkIds.flatMap((networkId) => {
      if (this.#networks.lacks(networkId) === undefined) return [];
      const known = virtualIpsOn(endpoint, networkId).map(({ addr }) => addr.includes(":"));
      return this.#networks
        .families(networkId)
        .filter((family) => !known.includes(family === 6))
        .map((family) => ({ networkId, family }));
    });
  }

  /** Ports that are asked for by number come first, so that no dynamic one gets in their way. */
  #allocatePorts({ service, nameOf }: EndpointNeeds): Result<PortConfig[]> {
    const wanted = service.spec?.endpoint?.ports ?? [];
    const given = new Map<PortConfig, PortConfig>();
    const fail = (reason: string) => {
      this.letGo(
        service.id,
        create(EndpointSchema, { ports: [...given.values()] }),
        service.endpoint,
      );
      return err(reason);
    };
    for (const port of wanted) {
      if (isIngressPort(port) && port.publishedPort === 0) continue;
      if (isIngressPort(port) && !this.#ports.take(port, service.id)) {
        const owner = this.#ports.ownerOf(port) ?? "";
        const number = port.publishedPort;
        return fail(
          `port '${number}' is already in use by service '${nameOf("service", owner)}' (${owner})`,
        );
      }
      given.set(port, port);
    }
    for (const port of wanted) {
      if (given.has(port)) continue;
      const dynamic = this.#dynamicPort(service, port, [...given.values()]);
      if (dynamic === undefined) return fail("no published port is free");
      given.set(port, dynamic);
    }
    return ok(wanted.map((port) => given.get(port) ?? port));
  }

  /** The port that the service had for the same target before, else a fresh one. */
  #dynamicPort(
    service: Service,
    wanted: PortConfig,
    given: readonly PortConfig[],
  ): PortConfig | undefined {
    const taken = new Set(given.filter(isIngressPort).map(portKey));
    for (const known of service.endpoint?.ports ?? []) {
      const same = sameButPublished(known, wanted) && !taken.has(portKey(known));
      if (same && this.#ports.take(known, service.id)) return known;
    }
    const publishedPort = this.#ports.takeDynamic(wanted.protocol, service.id);
    return publishedPort === undefined ? undefined : { ...wanted, publishedPort };
  }

  /** What could be had; `full` names the network that had no address left. */
  #allocateVips(
    service: Service,
    networkIds: readonly string[],
  ): { readonly vips: VirtualIp[]; readonly full?: string } {
    const vips: VirtualIp[] = [];
    for (const networkId of networkIds) {
      const known = virtualIpsOn(service.endpoint, networkId);
      vips.push(...known);
      const fresh = this.#networks.complete(
        networkId,
        known.map(({ addr }) => addr),
      );
      if (fresh === undefined) return { vips, full: networkId };
      for (const addr of fresh) vips.push(create(Endpoint_VirtualIPSchema, { networkId, addr }));
    }
    return { vips };
  }

  /** Whether the endpoint is what the spec asks for. */
  #isComplete({ spec, endpoint }: Service, networkIds: readonly string[]): boolean {
    if (endpoint === undefined) return false;
    let count = 0;
    for (const networkId of networkIds) {
      const expected = this.#networks.addressCount(networkId);
      if (virtualIpsOn(endpoint, networkId).length !== expected) return false;
      count += expected;
    }
    if (endpoint.virtualIps.length !== count) return false;
    const wanted = spec?.endpoint;
    if (endpoint.spec === undefined || wanted === undefined) return endpoint.spec === wanted;
    return endpoint.spec === wanted || equals(EndpointSpecSchema, endpoint.spec, wanted);
  }
}

function virtualIpsOn(endpoint: Endpoint | undefined, networkId: string): VirtualIp[] {
  return (endpoint?.virtualIps ?? []).filter((vip) => vip.networkId === networkId);
}

function sameButPublished(a: PortConfig, b: PortConfig): boolean {
  return (
    a.name === b.name &&
    a.protocol === b.protocol &&
    a.targetPort === b.targetPort &&
    a.publishMode === b.publishMode
  );
}

function portKey(port: PortConfig): string {
  return `${port.protocol}/${port.publishedPort}`;
}

function vipKey(vip: VirtualIp): string {
  return `${vip.networkId} ${vip.addr}`;
}

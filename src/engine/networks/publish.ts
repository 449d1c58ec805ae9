/** Published ports of a container: host ports held, then as entries for the ruleset. */

import { EngineError } from "#base/error.ts";
import { runCommand } from "#platform/net/command.ts";
import type { PortRequest } from "../ports.ts";
import { BRIDGED_SYSCTL, leadsLoopback6 } from "./loopback6.ts";
import type { HostPorts, PortHold } from "./port-hold.ts";
import type { EndpointRecord, PublishedPort } from "./records.ts";
import { renderPorts } from "./ruleset.ts";
import { changeTable, type NetworkState } from "./state.ts";

/** The container's addresses that ports are forwarded to, without prefix length. */
export interface PublishTarget {
  readonly ipv4: string | undefined;
  readonly ipv6: string | undefined;
}

/** Holds every port, or none. */
export function holdPorts(
  held: HostPorts,
  requests: readonly PortRequest[],
  endpoint: PublishTarget,
  defaultHostIp: string,
): readonly PublishedPort[] {
  const published: PublishedPort[] = [];
  try {
    for (const request of requests) {
      const bindings = bindingsOf(request, endpoint, defaultHostIp);
      if (bindings.length === 0) continue;
      const hostPort = holdOne(
        held,
        request,
        bindings.map(({ hostIp }) => hostIp),
      );
      const { protocol, containerPort } = request;
      for (const { hostIp, containerIp } of bindings) {
        published.push({ protocol, containerPort, hostIp, hostPort, containerIp });
      }
    }
    return published;
  } catch (error) {
    releasePorts(held, published);
    throw error;
  }
}

/** "" means every address of the families that the container has. */
function bindingsOf(
  request: PortRequest,
  endpoint: PublishTarget,
  defaultHostIp: string,
): readonly { hostIp: string; containerIp: string }[] {
  const { ipv4, ipv6 } = endpoint;
  const wanted = request.hostIp === "" ? defaultHostIp : request.hostIp;
  const six = wanted.includes(":");
  const families = request.hostIp === "" && wanted === "0.0.0.0" ? ["0.0.0.0", "::"] : [wanted];
  const bindings = families.flatMap((hostIp) => {
    const containerIp = hostIp.includes(":") || six ? ipv6 : ipv4;
    return containerIp === undefined ? [] : [{ hostIp, containerIp }];
  });
  const what = `port ${request.containerPort}/${request.protocol} cannot be published on ${wanted}`;
  if (bindings.length === 0 && request.hostIp !== "") {
    const instead = six ? "--ipv6, or publish on an IPv4 address" : "IPv4";
    throw new EngineError(
      "failed-precondition",
      `${what}: the container has no IPv${six ? 6 : 4} address; create its network with ${instead}`,
    );
  }
  if (wanted === "::1" && !leadsLoopback6()) {
    const key = BRIDGED_SYSCTL.replaceAll("/", ".");
    throw new EngineError(
      "failed-precondition",
      `${what}: this host's firewall sees bridged packets; set ${key}=0, or publish on 127.0.0.1`,
    );
  }
  return bindings;
}

function holdOne(
  held: HostPorts,
  { protocol, hostPort, hostPortEnd }: PortRequest,
  addresses: readonly string[],
): number {
  if (hostPort === 0) return held.holdFree(protocol, addresses);
  if (hostPortEnd !== undefined && hostPortEnd > hostPort) {
    return held.holdFree(protocol, addresses, { first: hostPort, last: hostPortEnd });
  }
  const done: PortHold[] = [];
  try {
    for (const address of addresses) {
      const hold = { protocol, address, port: hostPort };
      held.hold(hold);
      done.push(hold);
    }
    return hostPort;
  } catch (error) {
    for (const hold of done) held.release(hold);
    throw error;
  }
}

export function releasePorts(held: HostPorts, ports: readonly PublishedPort[]): void {
  for (const { protocol, hostIp, hostPort } of ports) {
    held.release({ protocol, address: hostIp, port: hostPort });
  }
}

/** As `NetworkSettings.Ports` shows it. */
export function portsJson(
  ports: readonly PublishedPort[],
): Record<string, { HostIp: string; HostPort: string }[]> {
  const shown: Record<string, { HostIp: string; HostPort: string }[]> = {};
  for (const { protocol, containerPort, hostIp, hostPort } of ports) {
    const key = `${containerPort}/${protocol}`;
    const bindings = shown[key] ?? [];
    bindings.push({ HostIp: hostIp, HostPort: String(hostPort) });
    shown[key] = bindings;
  }
  return shown;
}

/** The first address of each family. */
export function publishTarget(endpoints: readonly EndpointRecord[]): PublishTarget {
  const bare = (text: string | undefined) => text?.split("/")[0];
  return {
    ipv4: bare(endpoints.find(({ ipv4 }) => ipv4 !== undefined)?.ipv4),
    ipv6: bare(endpoints.find(({ ipv6 }) => ipv6 !== undefined)?.ipv6),
  };
}

export async function announcePorts(
  state: NetworkState,
  ports: readonly PublishedPort[],
): Promise<void> {
  await changeTable(state, renderPorts(state.options.table, ports, "add"));
  await forgetFlows(ports);
}

export async function withdrawPorts(
  state: NetworkState,
  ports: readonly PublishedPort[],
): Promise<void> {
  if (ports.length === 0) return;
  await changeTable(state, renderPorts(state.options.table, ports, "delete"));
  await forgetFlows(ports);
}

/**
 * A UDP flow keeps its old way for as long as it is used: flows of the published ports are
 * forgotten when the way changes. Best effort; without the tool they end by their timeout.
 */
async function forgetFlows(ports: readonly PublishedPort[]): Promise<void> {
  const udp = ports.filter(({ protocol }) => protocol === "udp");
  for (const family of ["ipv4", "ipv6"]) {
    const ofFamily = udp.filter((port) => port.containerIp.includes(":") === (family === "ipv6"));
    for (const hostPort of new Set(ofFamily.map((port) => String(port.hostPort)))) {
      const args = ["-D", "-f", family, "-p", "udp", "--orig-port-dst", hostPort];
      await runCommand("conntrack", args).catch(() => undefined);
    }
  }
}

/**
 * What a container gets to know of its networks: its endpoints and ports for inspect, its lines of
 * /etc/hosts, the name servers for /etc/resolv.conf.
 */

import type { AttachResult, NetworkSandbox } from "../ports.ts";
import { addressesOf, isWired } from "./network.ts";
import { endpointSettings } from "./network-json.ts";
import { portsJson } from "./publish.ts";
import type { EndpointRecord, PublishedPort } from "./records.ts";
import { hostNameservers } from "./resolvers.ts";
import { announceNames, type NetworkState } from "./state.ts";

/** Also tells the resolver of the endpoints: they are wired, and what they are called is known. */
export async function attachResult(
  state: NetworkState,
  sandbox: NetworkSandbox,
  endpoints: readonly EndpointRecord[],
  ports: readonly PublishedPort[],
): Promise<AttachResult> {
  const own = [sandbox.hostname].filter((name) => name !== "").join(" ");
  const hosts = endpoints.flatMap((endpoint) => [
    ...(own === "" ? [] : addressesOf(endpoint).map((address) => `${address} ${own}`)),
    ...linkLines(state, endpoint),
  ]);
  const resolved = await announceNames(state, sandbox, endpoints);
  return {
    networks: endpoints.map((endpoint) => ({
      networkName: endpoint.networkName,
      endpoint: endpointSettings(endpoint),
    })),
    ports: portsJson(ports),
    hosts,
    nameservers: endpoints.some(isWired) ? (resolved ?? (await nameservers(state))) : [],
  };
}

async function nameservers(state: NetworkState): Promise<readonly string[]> {
  const { nameservers: configured } = state.options;
  return configured.length > 0 ? configured : hostNameservers();
}

/** `--link name:alias`: lines of /etc/hosts where there is no DNS that knows them. */
function linkLines(state: NetworkState, endpoint: EndpointRecord): readonly string[] {
  if (endpoint.names.length > 0) return [];
  return (endpoint.settings.Links ?? []).flatMap((link) => {
    const [target = "", alias = target] = link.split(":");
    const other = [...state.attachments.values()].find(
      ({ containerId, containerName }) =>
        containerName === target.replace(/^\//, "") || containerId.startsWith(target),
    );
    const theirs = other?.endpoints.find(({ networkId }) => networkId === endpoint.networkId);
    const address = theirs === undefined ? undefined : addressesOf(theirs)[0];
    if (other === undefined || address === undefined) return [];
    const names = new Set([alias, other.containerId.slice(0, 12), other.containerName]);
    return [`${address} ${[...names].join(" ")}`];
  });
}

/**
 * `/networks`: those of this host and those of the swarm as one list, as docker shows them. A network
 * goes to where it belongs: overlays and whatever asks for the scope of the swarm to the managers,
 * the others to this host. When no manager answers, this host's networks are still served.
 */

import { EngineError, isErrorCode } from "#base/error.ts";
import type { ContainerEngine } from "#engine/containers/service.ts";
import type { NetworkStore } from "#engine/networks/service.ts";
import type { Filters } from "#engine/ports.ts";
import type { NetworkCreateBody, NetworkInspect } from "#wire/docker/networks.ts";
import {
  connectFromJson,
  disconnectFromJson,
  networkCreateFromJson,
} from "./convert/local-networks.ts";
import { readJson } from "./convert/read-json.ts";
import type { ApiRequest, Routes } from "./route.ts";
import type { SwarmNetworks } from "./swarm-networks.ts";

export interface NetworkPorts {
  readonly networks: NetworkStore;
  readonly containers: Pick<ContainerEngine, "list" | "connectNetwork" | "disconnectNetwork">;
  readonly swarm: SwarmNetworks;
  /** True on a manager whose control API answers. */
  readonly isManager: () => boolean;
}

export function networkRoutes(ports: NetworkPorts): Routes {
  return [...queryRoutes(ports), ...changeRoutes(ports), ...membershipRoutes(ports)];
}

function queryRoutes(ports: NetworkPorts): Routes {
  return [
    {
      method: "GET",
      path: "/networks",
      handler: async (request, response) => {
        const found = await allNetworks(ports, request.filters());
        // Older clients look for the containers of all networks at once.
        const shown = request.atLeast(28)
          ? found.map((network) => ({ ...network, Containers: {} }))
          : found;
        response.json(
          200,
          shown.map((network) => forVersion(request, network)),
        );
      },
    },
    {
      method: "GET",
      path: "/networks/{id}",
      handler: async (request, response) => {
        const scope = request.query.get("scope") ?? "";
        const network = await findNetwork(ports, idOf(request), scope);
        const verbose = request.flag("verbose") && network.Scope === "swarm";
        const more = verbose ? await ports.swarm.inspect(network.Id, true) : undefined;
        const { Containers } = network;
        response.json(200, forVersion(request, { ...network, ...more, Containers }));
      },
    },
  ];
}

function changeRoutes(ports: NetworkPorts): Routes {
  const { networks, swarm } = ports;
  return [
    {
      method: "POST",
      path: "/networks/create",
      handler: async (request, response) => {
        const raw = await request.json<unknown>();
        const body = networkCreateFromJson(readJson(raw, request.version.minor));
        await refuseTaken(ports, body.Name);
        if (belongsToSwarm(body)) {
          requireManager(ports);
          response.json(201, await swarm.create(raw, request.version));
          return;
        }
        try {
          const { id, warning } = await networks.create(body);
          response.json(201, { Id: id, Warning: warning });
        } catch (error) {
          if (!networks.isForSwarm(error)) throw error;
          requireManager(ports);
          response.json(201, await swarm.create(raw, request.version));
        }
      },
    },
    {
      method: "DELETE",
      path: "/networks/{id}",
      handler: async (request, response) => {
        const { Id, Scope } = await findNetwork(ports, idOf(request), "");
        if (Scope === "swarm") await swarm.remove(Id);
        else await networks.remove(Id);
        response.empty(204);
      },
    },
    {
      method: "POST",
      path: "/networks/prune",
      handler: async (request, response) => {
        response.json(200, await prune(ports, request));
      },
    },
  ];
}

function membershipRoutes({ containers }: NetworkPorts): Routes {
  return [
    {
      method: "POST",
      path: "/networks/{id}/connect",
      handler: async (request, response) => {
        const json = readJson(await request.json<unknown>(), request.version.minor);
        const { Container, EndpointConfig } = connectFromJson(json);
        await containers.connectNetwork(Container, idOf(request), EndpointConfig ?? {});
        response.empty(200);
      },
    },
    {
      method: "POST",
      path: "/networks/{id}/disconnect",
      handler: async (request, response) => {
        const json = readJson(await request.json<unknown>(), request.version.minor);
        await containers.disconnectNetwork(disconnectFromJson(json).Container, idOf(request));
        response.empty(200);
      },
    },
  ];
}

function idOf(request: ApiRequest): string {
  return request.params["id"] ?? "";
}

/** When the managers do not answer, what runs here is seen all the same. */
async function allNetworks(
  ports: NetworkPorts,
  filters: Filters = new Map(),
): Promise<readonly NetworkInspect[]> {
  return await ports.networks.list(filters, await swarmList(ports));
}

/** Undefined when there are no managers to ask, or none answers. */
function swarmList({ swarm }: NetworkPorts): Promise<readonly NetworkInspect[] | undefined> {
  return swarm.list().catch(() => undefined);
}

/** By whole id, else by name, else by the beginning of an id; several of a kind are refused. */
async function findNetwork(
  ports: NetworkPorts,
  term: string,
  scope: string,
): Promise<NetworkInspect> {
  const inScope = ({ Scope }: NetworkInspect) => scope === "" || Scope === scope;
  const local = (await ports.networks.list(new Map())).filter(inScope);
  const exact = local.find(({ Id, Scope }) => Id === term && Scope !== "swarm");
  if (exact !== undefined) return exact;
  const all = (await allNetworks(ports)).filter(inScope);
  const byId = all.find(({ Id }) => Id === term);
  if (byId !== undefined) return byId;
  const named = all.filter(({ Name }) => Name === term);
  if (named.length > 1) throw ambiguous(term, named.length, "name");
  const matching = named.length > 0 ? named : all.filter(({ Id }) => Id.startsWith(term));
  if (matching.length > 1) throw ambiguous(term, matching.length, "ID prefix");
  const [network] = matching;
  if (network === undefined) throw new EngineError("not-found", `network ${term} not found`);
  return network;
}

function ambiguous(term: string, count: number, by: string): EngineError {
  return new EngineError(
    "invalid-argument",
    `network ${term} is ambiguous (${count} matches found based on ${by})`,
  );
}

async function refuseTaken(ports: NetworkPorts, name: string): Promise<void> {
  const known = await allNetworks(ports);
  const predefined = ["bridge", "host", "none"].includes(name);
  if (predefined || !known.some(({ Name }) => Name === name)) return;
  throw new EngineError("already-exists", `network with name ${name} already exists`);
}

function belongsToSwarm({ Driver, Scope }: NetworkCreateBody): boolean {
  return Driver === "overlay" || Scope === "swarm";
}

function requireManager(ports: NetworkPorts): void {
  if (ports.isManager()) return;
  throw new EngineError(
    "forbidden",
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.',
  );
}

/** Networks that a container still names are in use, whether it runs or not. */
async function prune(ports: NetworkPorts, request: ApiRequest) {
  const { networks, containers, swarm } = ports;
  const all = await containers.list({ all: true, filters: new Map() });
  const named = all.flatMap(({ NetworkSettings }) => Object.keys(NetworkSettings.Networks));
  return await networks.prune(request.filters(), {
    keep: new Set(named),
    others: (await swarmList(ports)) ?? [],
    remove: async ({ Id, Ingress }) => {
      if (Ingress) return false;
      try {
        await swarm.remove(Id);
        return true;
      } catch (error) {
        // In use, or removed by somebody else.
        if (isErrorCode(error, "failed-precondition", "not-found")) return false;
        throw error;
      }
    },
  });
}

/** Less what the client's version does not know, unless it is out of the ordinary. */
function forVersion(request: ApiRequest, network: NetworkInspect): NetworkInspect {
  if (request.atLeast(48) || network.EnableIPv4 === false) return network;
  const { EnableIPv4: _, ...rest } = network;
  return rest;
}

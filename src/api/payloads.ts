/** `/secrets` and `/configs`: named bytes for containers. Values of secrets go in; none comes out. */

import { EngineError } from "#base/error.ts";
import type { ClusterPort } from "./cluster-port.ts";
import {
  configSpecFromJson,
  configToJson,
  secretSpecFromJson,
  secretToJson,
} from "./convert/payloads.ts";
import type { JsonObject } from "./convert/read-json.ts";
import type { ApiRequest, ApiResponse, Routes } from "./route.ts";
import { type ControlClient, findConfig, findSecret } from "./swarm-lookup.ts";
import { labelsOf, readBody, readFilters, readVersion, valuesOf } from "./swarm-query.ts";
import { CALL, present, rpc } from "./swarm-rpc.ts";

interface ListFilters {
  readonly names: string[];
  readonly namePrefixes: string[];
  readonly idPrefixes: string[];
  readonly labels: Record<string, string>;
}

/** One kind of payload: how docker calls it, and the calls of the Control service for it. */
interface Kind<T extends { readonly id: string }> {
  readonly noun: "secret" | "config";
  readonly filters: readonly string[];
  toJson(object: T): unknown;
  find(control: ControlClient, input: string): Promise<T>;
  list(control: ControlClient, filters: ListFilters): Promise<readonly T[]>;
  create(control: ControlClient, body: JsonObject): Promise<T | undefined>;
  update(
    control: ControlClient,
    id: string,
    version: { readonly index: bigint },
    body: JsonObject,
  ): Promise<unknown>;
  remove(control: ControlClient, id: string): Promise<unknown>;
}

export function secretRoutes(cluster: ClusterPort): Routes {
  return routesOf(cluster, {
    noun: "secret",
    filters: ["names", "name", "id", "label"],
    toJson: secretToJson,
    find: findSecret,
    list: async (control, filters) => (await rpc(control.listSecrets({ filters }, CALL))).secrets,
    create: async (control, body) =>
      (await rpc(control.createSecret({ spec: secretSpecFromJson(body) }, CALL))).secret,
    update: (control, secretId, secretVersion, body) => {
      const spec = secretSpecFromJson(body);
      return rpc(control.updateSecret({ secretId, secretVersion, spec }, CALL));
    },
    remove: (control, secretId) => rpc(control.removeSecret({ secretId }, CALL)),
  });
}

export function configRoutes(cluster: ClusterPort): Routes {
  return routesOf(cluster, {
    noun: "config",
    filters: ["name", "id", "label"],
    toJson: configToJson,
    find: findConfig,
    list: async (control, filters) => (await rpc(control.listConfigs({ filters }, CALL))).configs,
    create: async (control, body) =>
      (await rpc(control.createConfig({ spec: configSpecFromJson(body) }, CALL))).config,
    update: (control, configId, configVersion, body) => {
      const spec = configSpecFromJson(body);
      return rpc(control.updateConfig({ configId, configVersion, spec }, CALL));
    },
    remove: (control, configId) => rpc(control.removeConfig({ configId }, CALL)),
  });
}

function routesOf<T extends { readonly id: string }>(cluster: ClusterPort, kind: Kind<T>): Routes {
  const path = `/${kind.noun}s`;
  const named = async (control: ControlClient, request: ApiRequest) =>
    kind.find(control, request.params["id"] ?? "");
  return [
    {
      method: "GET",
      path,
      handler: (request, response) => list(cluster, kind, request, response),
    },
    {
      method: "POST",
      path: `${path}/create`,
      handler: async (request, response) => {
        const control = cluster.control();
        const body = await readBody(request);
        refuseEarlyTemplating(request, body, kind.noun);
        const created = await kind.create(control, body);
        response.json(201, { ID: present(created, kind.noun).id });
      },
    },
    {
      method: "GET",
      path: `${path}/{id}`,
      handler: async (request, response) => {
        response.json(200, kind.toJson(await named(cluster.control(), request)));
      },
    },
    {
      method: "DELETE",
      path: `${path}/{id}`,
      handler: async (request, response) => {
        const control = cluster.control();
        await kind.remove(control, (await named(control, request)).id);
        response.empty(204);
      },
    },
    {
      method: "POST",
      path: `${path}/{id}/update`,
      handler: async (request, response) => {
        const control = cluster.control();
        const version = readVersion(request, kind.noun);
        const body = await readBody(request);
        await kind.update(control, (await named(control, request)).id, version, body);
        response.empty(200);
      },
    },
  ];
}

/** Before 1.37 templates were unknown: a client that sends one would get it unexpanded. */
function refuseEarlyTemplating(request: ApiRequest, body: JsonObject, noun: string): void {
  if (request.atLeast(37) || !body.has("Templating")) return;
  const { major, minor } = request.version;
  throw new EngineError(
    "invalid-argument",
    `${noun} templating is not supported on the specified API version: ${major}.${minor}`,
  );
}

async function list<T extends { readonly id: string }>(
  cluster: ClusterPort,
  kind: Kind<T>,
  request: ApiRequest,
  response: ApiResponse,
): Promise<void> {
  const control = cluster.control();
  const given = readFilters(request, kind.filters);
  const objects = await kind.list(control, {
    names: valuesOf(given, "names"),
    namePrefixes: valuesOf(given, "name"),
    idPrefixes: valuesOf(given, "id"),
    labels: labelsOf(given, "label"),
  });
  response.json(
    200,
    objects.map((object) => kind.toJson(object)),
  );
}

/**
 * `/stacks/{name}`: a stack as a whole. What docker's clients do call by call is one transaction of
 * the store here, so that a deploy is there in full or not at all.
 */

import { create } from "@bufbuild/protobuf";
import { EngineError } from "#base/error.ts";
import type {
  StackChangeJson,
  StackDeployResponse,
  StackRemoveResponse,
} from "#wire/docker/stacks.ts";
import type { StackChange } from "#wire/gen/skep/deploy_pb.js";
import { ContainerSpec_PullOptionsSchema, type ServiceSpec } from "#wire/gen/swarmkit/specs_pb.js";
import type { ClusterPort } from "./cluster-port.ts";
import { networkSpecFromJson } from "./convert/networks.ts";
import { configSpecFromJson, secretSpecFromJson } from "./convert/payloads.ts";
import { type JsonObject, readJson } from "./convert/read-json.ts";
import { serviceSpecFromJson } from "./convert/service-spec.ts";
import type { ApiRequest, ApiResponse, Routes } from "./route.ts";
import type { LocalNetworks } from "./service-networks.ts";
import { CALL } from "./swarm-rpc.ts";

const PREDEFINED: readonly string[] = ["bridge", "host", "none", "default"];

export function stackRoutes(
  cluster: ClusterPort,
  host: { readonly networks: LocalNetworks },
): Routes {
  return [
    {
      method: "GET",
      path: "/stacks/{name}",
      handler: async (request, response) => {
        const name = request.params.name ?? "";
        const { revision } = await cluster.deploy().getStack({ name }, CALL);
        response.json(200, { Name: name, Revision: revision });
      },
    },
    {
      method: "DELETE",
      path: "/stacks/{name}",
      handler: async (request, response) => {
        const name = request.params.name ?? "";
        const { changes } = await cluster.deploy().removeStack({ name }, CALL);
        const answer: StackRemoveResponse = { Changes: changes.map(toJson) };
        response.json(200, answer);
      },
    },
    {
      method: "POST",
      path: "/stacks/{name}/deploy",
      handler: (request, response) => deploy(cluster, host.networks, request, response),
    },
  ];
}

async function deploy(
  cluster: ClusterPort,
  local: LocalNetworks,
  request: ApiRequest,
  response: ApiResponse,
): Promise<void> {
  const manager = cluster.deploy();
  // No client of docker's sends it: its members are the newest API's, whatever version the path says.
  const body = readJson(await request.json<unknown>(), Number.MAX_SAFE_INTEGER);
  const networks = body.objects("Networks").map(networkSpecFromJson);
  for (const { annotations } of networks) await refuseLocal(local, annotations?.name ?? "");
  const removed = body.part("Remove");
  const { revision, changes } = await manager.deployStack(
    {
      name: request.params.name ?? "",
      revision: body.text("Revision"),
      dryRun: body.flag("DryRun"),
      networks,
      secrets: body.objects("Secrets").map(secretSpecFromJson),
      configs: body.objects("Configs").map(configSpecFromJson),
      services: body.objects("Services").map(serviceOf),
      removedServices: removed.texts("Services"),
      removedConfigs: removed.texts("Configs"),
    },
    CALL,
  );
  const answer: StackDeployResponse = { Revision: revision, Changes: changes.map(toJson) };
  response.json(200, answer);
}

/** A network of this host has the name, as docker-compose's of a project of the same name. */
async function refuseLocal(local: LocalNetworks, name: string): Promise<void> {
  if (PREDEFINED.includes(name)) {
    throw new EngineError("forbidden", `${name} is a pre-defined network and cannot be created`);
  }
  if ((await local.nameOf(name)) !== name) return;
  throw new EngineError("already-exists", `network with name ${name} already exists on this host`);
}

function serviceOf(json: JsonObject): ServiceSpec {
  const spec = serviceSpecFromJson(json.part("Spec"));
  const registryAuth = json.text("RegistryAuth");
  const { task } = spec;
  if (registryAuth === "" || task?.runtime.case !== "container") return spec;
  const pullOptions = create(ContainerSpec_PullOptionsSchema, { registryAuth });
  const value = { ...task.runtime.value, pullOptions };
  return { ...spec, task: { ...task, runtime: { case: "container", value } } };
}

function toJson({ kind, action, id, name }: StackChange): StackChangeJson {
  return {
    Kind: kind as StackChangeJson["Kind"],
    Action: action as StackChangeJson["Action"],
    ID: id,
    Name: name,
  };
}

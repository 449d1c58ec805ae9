/** `/services`: what is to run, on as many nodes as it takes. */

import { create } from "@bufbuild/protobuf";
import { EngineError, isErrorCode } from "#base/error.ts";
import type { Random } from "#base/ports.ts";
import { UpdateServiceRequest_Rollback as Rollback } from "#wire/gen/swarmkit/control_pb.js";
import type { Service } from "#wire/gen/swarmkit/objects_pb.js";
import {
  type ContainerSpec,
  ContainerSpec_PullOptionsSchema,
  type ServiceSpec,
} from "#wire/gen/swarmkit/specs_pb.js";
import { AnnotationsSchema, PlacementSchema, PlatformSchema } from "#wire/gen/swarmkit/types_pb.js";
import { familiarReference, parseReference, withDefaultTag } from "#wire/reference.ts";
import type { ClusterPort } from "./cluster-port.ts";
import { serviceSpecFromJson } from "./convert/service-spec.ts";
import { serviceToJson } from "./convert/services.ts";
import type { ApiRequest, ApiResponse, Routes } from "./route.ts";
import { streamServiceLogs } from "./service-logs.ts";
import { randomName } from "./service-names.ts";
import { type LocalNetworks, withNetworkIds } from "./service-networks.ts";
import { findService } from "./swarm-lookup.ts";
import { labelsOf, readBody, readBool, readFilters, readVersion, valuesOf } from "./swarm-query.ts";
import { CALL, present, rpc } from "./swarm-rpc.ts";

const FILTERS = ["name", "id", "label", "mode", "runtime"];
const AUTH_HEADER = "X-Registry-Auth";
/** How often a made-up name may meet one that is taken. */
const NAME_ATTEMPTS = 5;

const MODE_NAMES: Readonly<Record<string, string>> = {
  replicated: "replicated",
  global: "global",
  replicatedJob: "replicated-job",
  globalJob: "global-job",
};

/** What services need of the engine that is asked. */
export interface ServiceHost {
  readonly random: Random;
  readonly networks: LocalNetworks;
  /**
   * What an image is at its registry now: for clients of before API 1.30, which do not ask the
   * registry themselves. Rejects when the registry cannot be asked.
   */
  resolveImage(
    image: string,
    encodedAuth: string,
  ): Promise<{
    readonly digest: string;
    readonly platforms: readonly { readonly os: string; readonly architecture: string }[];
  }>;
}

export function serviceRoutes(cluster: ClusterPort, host: ServiceHost): Routes {
  return [
    {
      method: "GET",
      path: "/services",
      handler: (request, response) => list(cluster, request, response),
    },
    {
      method: "POST",
      path: "/services/create",
      handler: (request, response) => createOne(cluster, host, request, response),
    },
    {
      method: "GET",
      path: "/services/{id}",
      handler: (request, response) => inspect(cluster, request, response),
    },
    {
      method: "DELETE",
      path: "/services/{id}",
      handler: async (request, response) => {
        const control = cluster.control();
        const { id: serviceId } = await findService(control, request.params.id ?? "");
        await rpc(control.removeService({ serviceId }, CALL));
        response.empty(200);
      },
    },
    {
      method: "POST",
      path: "/services/{id}/update",
      handler: (request, response) => update(cluster, host, request, response),
    },
    {
      method: "GET",
      path: "/services/{id}/logs",
      handler: (request, response) => streamServiceLogs(cluster, request, response),
    },
  ];
}

async function list(
  cluster: ClusterPort,
  request: ApiRequest,
  response: ApiResponse,
): Promise<void> {
  const control = cluster.control();
  const given = readFilters(request, FILTERS);
  const withStatus = request.atLeast(41) && readBool(request, "status");
  const runtimes = valuesOf(given, "runtime");
  const filters = {
    namePrefixes: valuesOf(given, "name"),
    idPrefixes: valuesOf(given, "id"),
    labels: labelsOf(given, "label"),
    runtimes: runtimes.length === 0 ? ["container"] : runtimes,
  };
  const modes = given.get("mode");
  const listed = await rpc(control.listServices({ filters }, CALL));
  const services = listed.services.filter((service) => hasMode(service, modes));
  const ids = services.map(({ id }) => id);
  const counted = withStatus
    ? await rpc(control.listServiceStatuses({ services: ids }, CALL))
    : { statuses: [] };
  const statuses = new Map(counted.statuses.map((status) => [status.serviceId, status]));
  response.json(
    200,
    services.map((service) => serviceToJson(service, statuses.get(service.id))),
  );
}

function hasMode(service: Service, modes: readonly string[] | undefined): boolean {
  if (modes === undefined || modes.length === 0) return true;
  return modes.includes(MODE_NAMES[service.spec?.mode.case ?? ""] ?? "");
}

async function inspect(
  cluster: ClusterPort,
  request: ApiRequest,
  response: ApiResponse,
): Promise<void> {
  const insertDefaults = readBool(request, "insertDefaults");
  const control = cluster.control();
  const found = await findService(control, request.params.id ?? "");
  const ask = { serviceId: found.id, insertDefaults };
  const filled = insertDefaults ? (await rpc(control.getService(ask, CALL))).service : undefined;
  response.json(200, serviceToJson(filled ?? found));
}

async function createOne(
  cluster: ClusterPort,
  host: ServiceHost,
  request: ApiRequest,
  response: ApiResponse,
): Promise<void> {
  const control = cluster.control();
  const requested = serviceSpecFromJson(await readBody(request));
  const resolved = await withNetworkIds(control, host.networks, requested);
  const auth = request.header(AUTH_HEADER) ?? "";
  const authorized = auth === "" ? resolved : withPullOptions(resolved, pullOptions(auth));
  const { spec, warnings } = await pinned(host, request, authorized, auth);
  const id = await createNamed(cluster, host.random, spec);
  response.json(201, { ID: id, ...(warnings === null ? {} : { Warnings: warnings }) });
}

/** Creates the service, under a made-up name where the spec has none. */
async function createNamed(
  cluster: ClusterPort,
  random: Random,
  spec: ServiceSpec,
): Promise<string> {
  const control = cluster.control();
  const annotations = spec.annotations ?? create(AnnotationsSchema);
  if (annotations.name !== "") {
    const { service } = await rpc(control.createService({ spec }, CALL));
    return present(service, "service").id;
  }
  for (let attempt = 1; ; attempt += 1) {
    const named = { ...spec, annotations: { ...annotations, name: randomName(random) } };
    try {
      const { service } = await rpc(control.createService({ spec: named }, CALL));
      return present(service, "service").id;
    } catch (error) {
      if (attempt === NAME_ATTEMPTS || !isErrorCode(error, "already-exists")) throw error;
    }
  }
}

async function update(
  cluster: ClusterPort,
  host: ServiceHost,
  request: ApiRequest,
  response: ApiResponse,
): Promise<void> {
  const control = cluster.control();
  const serviceVersion = readVersion(request, "service");
  const requested = serviceSpecFromJson(await readBody(request));
  const resolved = await withNetworkIds(control, host.networks, requested);
  const current = await findService(control, request.params.id ?? "");
  const auth = request.header(AUTH_HEADER) ?? "";
  const options = auth === "" ? keptPullOptions(request, current) : pullOptions(auth);
  const authorized = withPullOptions(resolved, options);
  const { spec, warnings } = await pinned(host, request, authorized, options?.registryAuth ?? "");
  const rollback = rollbackOf(request);
  const change = { serviceId: current.id, serviceVersion, spec, rollback };
  await rpc(control.updateService(change, CALL));
  response.json(200, { Warnings: warnings });
}

function rollbackOf(request: ApiRequest): Rollback {
  const wanted = request.query.get("rollback") ?? "";
  if (wanted === "" || wanted === "none") return Rollback.NONE;
  if (wanted === "previous") return Rollback.PREVIOUS;
  throw new EngineError("invalid-argument", `unrecognized rollback option ${wanted}`);
}

/** An update that brings no credentials keeps those that are there: of this spec or the last. */
function keptPullOptions(request: ApiRequest, service: Service): ContainerSpec["pullOptions"] {
  const from = request.query.get("registryAuthFrom") ?? "";
  if (from !== "" && from !== "spec" && from !== "previous-spec") {
    throw new EngineError("invalid-argument", "unsupported registryAuthFrom value");
  }
  if (from === "previous-spec" && service.previousSpec === undefined) {
    throw new EngineError("invalid-argument", "service does not have a previous spec");
  }
  const spec = from === "previous-spec" ? service.previousSpec : service.spec;
  return containerOf(spec)?.pullOptions;
}

function pullOptions(registryAuth: string): ContainerSpec["pullOptions"] {
  return create(ContainerSpec_PullOptionsSchema, { registryAuth });
}

function withPullOptions(spec: ServiceSpec, options: ContainerSpec["pullOptions"]): ServiceSpec {
  return withContainer(spec, (container) => ({ ...container, pullOptions: options }));
}

/** Clients of before 1.30 leave it to the engine to note which image a tag means today. */
async function pinned(
  host: ServiceHost,
  request: ApiRequest,
  spec: ServiceSpec,
  auth: string,
): Promise<{ spec: ServiceSpec; warnings: string[] | null }> {
  const image = containerOf(spec)?.image ?? "";
  const parsed = parseReference(image);
  if (request.atLeast(30) || !parsed.ok || parsed.value.digest !== undefined) {
    return { spec, warnings: null };
  }
  try {
    const { digest, platforms } = await host.resolveImage(image, auth);
    const exact = familiarReference({ ...withDefaultTag(parsed.value), digest });
    const placed = withPlatforms(spec, platforms);
    return { spec: withContainer(placed, (it) => ({ ...it, image: exact })), warnings: null };
  } catch {
    return {
      spec,
      warnings: [
        `image ${image} could not be accessed on a registry to record\nits digest. Each node will access ${image} independently,\npossibly leading to different nodes running different\nversions of the image.\n`,
      ],
    };
  }
}

/** A task goes only where its image can run. */
function withPlatforms(
  spec: ServiceSpec,
  platforms: readonly { readonly os: string; readonly architecture: string }[],
): ServiceSpec {
  const { task } = spec;
  if (task === undefined) return spec;
  const placement = {
    ...(task.placement ?? create(PlacementSchema)),
    platforms: platforms.map(({ os, architecture }) =>
      create(PlatformSchema, { os, architecture }),
    ),
  };
  return { ...spec, task: { ...task, placement } };
}

function containerOf(spec: ServiceSpec | undefined): ContainerSpec | undefined {
  const runtime = spec?.task?.runtime;
  return runtime?.case === "container" ? runtime.value : undefined;
}

function withContainer(
  spec: ServiceSpec,
  change: (container: ContainerSpec) => ContainerSpec,
): ServiceSpec {
  const { task } = spec;
  if (task?.runtime.case !== "container") return spec;
  const runtime = { case: "container" as const, value: change(task.runtime.value) };
  return { ...spec, task: { ...task, runtime } };
}

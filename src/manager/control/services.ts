/**
 * Services: create, read, update, roll back, remove. A service remembers its spec of before the last
 * update, so that a rollback is a swap; the version of a spec is the store version that the update
 * was made against, and tells tasks of old specs from new ones.
 */

import { create, equals } from "@bufbuild/protobuf";
import { isErrorCode } from "#base/error.ts";
import { isIngress } from "#model/network.ts";
import { isTrial } from "#model/rollout.ts";
import { isHeldBack } from "#model/start-order.ts";
import { timestampOf } from "#model/time.ts";
import { isRollback, respecified, returned } from "#plan/orchestrator/respec.ts";
import { startingInOrder } from "#plan/start-order/conditions.ts";
import type { ReadView, Tx } from "#store/types.ts";
import {
  type CreateServiceRequest,
  type CreateServiceResponse,
  CreateServiceResponseSchema,
  type GetServiceRequest,
  type GetServiceResponse,
  GetServiceResponseSchema,
  type ListServicesRequest,
  type ListServicesResponse,
  ListServicesResponseSchema,
  type RemoveServiceRequest,
  type RemoveServiceResponse,
  RemoveServiceResponseSchema,
  type UpdateServiceRequest,
  UpdateServiceRequest_Rollback,
  type UpdateServiceResponse,
  UpdateServiceResponseSchema,
} from "#wire/gen/swarmkit/control_pb.js";
import {
  MetaSchema,
  type Service,
  ServiceSchema,
  type Task,
} from "#wire/gen/swarmkit/objects_pb.js";
import {
  EndpointSpecSchema,
  type ServiceSpec,
  ServiceSpecSchema,
  type TaskSpec,
  TaskSpecSchema,
} from "#wire/gen/swarmkit/specs_pb.js";
import { JobStatusSchema, type Version, VersionSchema } from "#wire/gen/swarmkit/types_pb.js";
import { type ControlContext, freshId, read, write } from "./context.ts";
import { withDefaults } from "./defaults.ts";
import { hasLabels, hasOnePrefix, oneOf } from "./filters.ts";
import { checkIngressThere, checkPortConflicts } from "./ports.ts";
import { checkReferencesExist } from "./references.ts";
import {
  alreadyExists,
  invalid,
  notFound,
  precondition,
  required,
  requiredId,
  unimplemented,
} from "./refusal.ts";
import { checkServiceSpec, isJob } from "./service-spec.ts";

export async function createService(
  context: ControlContext,
  request: CreateServiceRequest,
): Promise<CreateServiceResponse> {
  const { spec } = request;
  checkServiceSpec(spec);
  const service = newService(context, spec);
  return write(context, (tx) => {
    addService(tx, service, spec);
    return create(CreateServiceResponseSchema, { service: tx.get("service", service.id) });
  });
}

/** Not stored yet. Precondition: `checkServiceSpec`. */
export function newService(context: ControlContext, spec: ServiceSpec): Service {
  return create(ServiceSchema, {
    id: freshId(context),
    spec,
    specVersion: create(VersionSchema),
    jobStatus: isJob(spec)
      ? create(JobStatusSchema, {
          jobIteration: create(VersionSchema),
          lastExecution: timestampOf(context.clock.nowMs()),
        })
      : undefined,
  });
}

/** Refused for what others have: ports, names, objects that are not there. */
export function addService(tx: Tx, service: Service, spec: ServiceSpec): void {
  checkNetworks(tx, spec);
  checkPortConflicts(tx, spec, "");
  checkIngressThere(tx, spec);
  checkReferencesExist(tx, spec);
  insert(tx, startingInOrder(tx, undefined, service));
}

export async function getService(
  context: ControlContext,
  request: GetServiceRequest,
): Promise<GetServiceResponse> {
  const id = requiredId(request.serviceId);
  const service = existing(await read(context), id);
  const spec = service.spec;
  const filled = request.insertDefaults && spec !== undefined;
  return create(GetServiceResponseSchema, {
    service: filled ? { ...service, spec: withDefaults(spec) } : service,
  });
}

export async function listServices(
  context: ControlContext,
  request: ListServicesRequest,
): Promise<ListServicesResponse> {
  const view = await read(context);
  const { filters } = request;
  const services: Service[] = [];
  for (const service of view.all("service")) {
    const name = service.spec?.annotations?.name ?? "";
    const keep =
      filters === undefined ||
      (oneOf(name, filters.names) &&
        hasOnePrefix(name, filters.namePrefixes) &&
        hasOnePrefix(service.id, filters.idPrefixes) &&
        hasLabels(service.spec?.annotations?.labels, filters.labels) &&
        oneOf(runtimeName(service.spec?.task), filters.runtimes));
    if (keep) services.push(service);
  }
  return create(ListServicesResponseSchema, { services });
}

export async function updateService(
  context: ControlContext,
  request: UpdateServiceRequest,
): Promise<UpdateServiceResponse> {
  const id = requiredId(request.serviceId);
  const version = required(request.serviceVersion);
  const { spec } = request;
  checkServiceSpec(spec);
  const nowMs = context.clock.nowMs();
  return write(context, (tx) => {
    const rollback = request.rollback === UpdateServiceRequest_Rollback.PREVIOUS;
    changeService(tx, id, { spec, version, rollback, nowMs });
    return create(UpdateServiceResponseSchema, { service: tx.get("service", id) });
  });
}

export interface ServiceChange {
  /** Precondition: `checkServiceSpec`. */
  readonly spec: ServiceSpec;
  /** What it was made against; the store refuses it when the service is newer. */
  readonly version: Version;
  readonly rollback: boolean;
  readonly nowMs: number;
}

export function changeService(tx: Tx, id: string, change: ServiceChange): void {
  const { spec, version, nowMs } = change;
  checkNetworks(tx, spec);
  const service = existing(tx, id);
  refuseBadTransition(tx, service, spec);
  const current = restarted({ ...service, meta: at(service, version) }, nowMs);
  const tasks = [...tx.find("task", "service", id)];
  const next = change.rollback
    ? rolledBack(current, tasks, nowMs)
    : startingInOrder(tx, service, respecified(current, spec, version, tasks, nowMs));
  if (next.spec !== undefined) checkIngressThere(tx, next.spec);
  tx.update("service", next);
}

export async function removeService(
  context: ControlContext,
  request: RemoveServiceRequest,
): Promise<RemoveServiceResponse> {
  const id = requiredId(request.serviceId);
  return write(context, (tx) => {
    existing(tx, id);
    tx.delete("service", id);
    return create(RemoveServiceResponseSchema);
  });
}

/** "container", "attachment", or what a plugin runtime is called; empty when there is none. */
export function runtimeName(spec: TaskSpec | undefined): string {
  const runtime = spec?.runtime;
  if (runtime?.case === "generic") return runtime.value.kind.toLowerCase();
  return runtime?.case ?? "";
}

function existing(view: ReadView, id: string): Service {
  const service = view.get("service", id);
  if (service === undefined) throw notFound(`service ${id} not found`);
  return service;
}

function insert(tx: Tx, service: Service): void {
  try {
    tx.create("service", service);
  } catch (error) {
    if (!isErrorCode(error, "already-exists")) throw error;
    const name = service.spec?.annotations?.name ?? "";
    const conflict = "name conflicts with an existing object";
    throw alreadyExists(`${conflict}: service ${name} already exists`);
  }
}

function checkNetworks(view: ReadView, spec: ServiceSpec): void {
  for (const { target } of spec.task?.networks ?? []) {
    const network = view.get("network", target);
    if (network === undefined || !isIngress(network)) continue;
    const name = JSON.stringify(network.spec?.annotations?.name ?? "");
    throw invalid(`Service cannot be explicitly attached to the ingress network ${name}`);
  }
}

/** What an update may not change, and what it may change only if nobody else is in the way. */
function refuseBadTransition(tx: Tx, service: Service, next: ServiceSpec): void {
  const spec = service.spec ?? create(ServiceSpecSchema);
  const { endpoint } = next;
  const sameEndpoint =
    endpoint !== undefined &&
    spec.endpoint !== undefined &&
    equals(EndpointSpecSchema, endpoint, spec.endpoint);
  if (endpoint !== undefined && !sameEndpoint) checkPortConflicts(tx, next, service.id);
  const networksMove = !sameNetworks(next, spec, "service") && sameNetworks(next, spec, "task");
  if (networksMove) {
    throw unimplemented("networks must be migrated to TaskSpec before being changed");
  }
  checkReferencesExist(tx, next);
  if (spec.mode.case !== next.mode.case) throw unimplemented("service mode change is not allowed");
  if (spec.annotations?.name !== next.annotations?.name) {
    throw unimplemented("renaming services is not supported");
  }
}

/** Compares one of the two places where a service may list its networks. */
function sameNetworks(a: ServiceSpec, b: ServiceSpec, where: "service" | "task"): boolean {
  const only = (spec: ServiceSpec) => {
    const networks = (where === "service" ? spec.networks : spec.task?.networks) ?? [];
    return create(TaskSpecSchema, { networks: [...networks] });
  };
  return equals(TaskSpecSchema, only(a), only(b));
}

/** A job runs again with each update. */
function restarted(service: Service, nowMs: number): Service {
  const status = service.jobStatus;
  if (status === undefined) return service;
  const index = (status.jobIteration?.index ?? 0n) + 1n;
  const jobIteration = create(VersionSchema, { index });
  const lastExecution = timestampOf(nowMs);
  return { ...service, jobStatus: { ...status, jobIteration, lastExecution } };
}

function rolledBack(service: Service, tasks: readonly Task[], nowMs: number): Service {
  if (service.previousSpec === undefined) {
    throw precondition(`service ${service.id} does not have a previous spec`);
  }
  const message = "manually requested rollback";
  // A second rollback redoes; what was only on trial would come back without one, to all slots, and
  // what was not started yet without its wait.
  const forgetsNext = (isTrial(service) || isHeldBack(service)) && !isRollback(service);
  return returned(service, tasks, nowMs, { message, forgetsNext });
}

/** The object's meta as the caller saw it; the store refuses it when it is not the newest. */
function at(service: Service, version: Version) {
  return { ...(service.meta ?? create(MetaSchema)), version };
}

/** The Deploy service of `skep.v1`: stacks as a whole; promoting, giving up and explaining what is rolled out. */

import { create } from "@bufbuild/protobuf";
import { isKept, isTrial } from "#model/rollout.ts";
import { isHeldBack } from "#model/start-order.ts";
import { explainNode, type NodeTask } from "#plan/explain-node.ts";
import { explainService } from "#plan/explain-service.ts";
import { isPaused, isRollback, isUpdating, returned } from "#plan/orchestrator/respec.ts";
import type { RpcHandlers } from "#platform/grpc/server.ts";
import type { ReadView } from "#store/types.ts";
import {
  type AbortServiceResponse,
  AbortServiceResponseSchema,
  type Deploy,
  type ExplainNodeResponse,
  ExplainNodeResponseSchema,
  type ExplainServiceResponse,
  ExplainServiceResponseSchema,
  type PromoteServiceResponse,
  PromoteServiceResponseSchema,
} from "#wire/gen/skep/deploy_pb.js";
import type { Service } from "#wire/gen/swarmkit/objects_pb.js";
import { UpdateStatus_UpdateState as UpdateState } from "#wire/gen/swarmkit/types_pb.js";
import { type ControlContext, read, write } from "./context.ts";
import { notFound, precondition, requiredId } from "./refusal.ts";
import { removeStack } from "./stack-removal.ts";
import { deployStack, getStack } from "./stacks.ts";

export function deployHandlers(context: ControlContext): RpcHandlers<typeof Deploy> {
  return {
    promoteService: (request) => promote(context, requiredId(request.serviceId)),
    abortService: (request) => abort(context, requiredId(request.serviceId)),
    getStack: (request) => getStack(context, request),
    deployStack: (request) => deployStack(context, request),
    removeStack: (request) => removeStack(context, request),
    explainNode: (request) => tellOfNode(context, requiredId(request.nodeId)),
    explainService: (request) => tellOfService(context, requiredId(request.serviceId)),
  };
}

function promote(context: ControlContext, id: string): Promise<PromoteServiceResponse> {
  return write(context, (tx) => {
    const service = existing(tx, id);
    if (isHeldBack(service)) {
      tx.update("service", { ...service, startAfter: [] });
      return create(PromoteServiceResponseSchema, { service: tx.get("service", id) });
    }
    refuseOnTheWayBack(service);
    if (service.rollout === undefined || !isTrial(service) || isPaused(service)) {
      throw precondition(`service ${nameOf(service)} has no version on trial to promote`);
    }
    tx.update("service", { ...service, rollout: { ...service.rollout, promoted: true } });
    return create(PromoteServiceResponseSchema, { service: tx.get("service", id) });
  });
}

function abort(context: ControlContext, id: string): Promise<AbortServiceResponse> {
  const nowMs = context.clock.nowMs();
  return write(context, (tx) => {
    const service = existing(tx, id);
    refuseOnTheWayBack(service);
    if (!mayGoBack(service)) {
      throw precondition(`service ${nameOf(service)} has no update to abort`);
    }
    const tasks = [...tx.find("task", "service", id)];
    // Given up for good: a rollback after it would be a return to it, and without a trial.
    const options = { message: "update aborted by request", forgetsNext: true };
    tx.update("service", returned(service, tasks, nowMs, options));
    return create(AbortServiceResponseSchema, { service: tx.get("service", id) });
  });
}

async function tellOfNode(context: ControlContext, id: string): Promise<ExplainNodeResponse> {
  const explanation = explainNode(await read(context), id, context.clock.nowMs());
  if (explanation === undefined) throw notFound(`node ${id} not found`);
  const { takesNone, refused, waiting, leftOut } = explanation;
  const toTask = ({ refusedBy, reasons, ...task }: NodeTask) => ({
    ...task,
    refusedBy: [...refusedBy],
    reasons: [...reasons],
  });
  return create(ExplainNodeResponseSchema, {
    takesNone,
    leftOut,
    refused: refused.map(toTask),
    waiting: waiting.map(toTask),
  });
}

async function tellOfService(context: ControlContext, id: string): Promise<ExplainServiceResponse> {
  const explanation = explainService(await read(context), id, context.clock.nowMs());
  if (explanation === undefined) throw notFound(`service ${id} not found`);
  const { tasks } = explanation;
  const trouble = context.imageTroubles.get(id);
  const waits = [
    ...explanation.waits,
    ...(trouble === undefined ? [] : [`its newest image is not known: ${trouble}`]),
  ];
  return create(ExplainServiceResponseSchema, {
    waits,
    tasks: tasks.map((task) => ({
      ...task,
      refusals: [...task.refusals],
      nodes: task.nodes.map(({ refusedBy, lacks, ...node }) => ({
        ...node,
        refusedBy: [...refusedBy],
        lacks: [...lacks],
      })),
    })),
  });
}

/** A second abort must not lead to what the first one led away from. */
function refuseOnTheWayBack(service: Service): void {
  const name = nameOf(service);
  if (isRollback(service)) {
    throw precondition(`service ${name} is going back to the version before already`);
  }
  if (service.updateStatus?.state === UpdateState.ROLLBACK_PAUSED) {
    const { message } = service.updateStatus;
    throw precondition(`service ${name} could not go back: ${message}; give it another version`);
  }
}

function mayGoBack(service: Service): boolean {
  if (service.previousSpec === undefined) return false;
  // Of two sets that are kept the old one may be what serves again.
  const kept = isKept(service) && service.updateStatus?.state === UpdateState.COMPLETED;
  return (
    isTrial(service) || isUpdating(service) || isPaused(service) || isHeldBack(service) || kept
  );
}

function existing(view: ReadView, id: string): Service {
  const service = view.get("service", id);
  if (service === undefined) throw notFound(`service ${id} not found`);
  return service;
}

function nameOf({ id, spec }: Service): string {
  return spec?.annotations?.name ?? id;
}

/** Specs of services for tests, short to write. */

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  ContainerSpecSchema,
  type ServiceSpec,
  ServiceSpecSchema,
  TaskSpecSchema,
} from "#wire/gen/swarmkit/specs_pb.js";
import { AnnotationsSchema } from "#wire/gen/swarmkit/types_pb.js";

type Mode = MessageInitShape<typeof ServiceSpecSchema>["mode"];

export interface SpecOptions {
  readonly image?: string;
  readonly task?: MessageInitShape<typeof TaskSpecSchema>;
  readonly service?: MessageInitShape<typeof ServiceSpecSchema>;
}

export function replicated(name: string, replicas: number, options: SpecOptions = {}): ServiceSpec {
  return specOf(name, { case: "replicated", value: { replicas: BigInt(replicas) } }, options);
}

export function global(name: string, options: SpecOptions = {}): ServiceSpec {
  return specOf(name, { case: "global", value: {} }, options);
}

export function job(
  name: string,
  total: number,
  limit: number,
  options: SpecOptions = {},
): ServiceSpec {
  const value = { totalCompletions: BigInt(total), maxConcurrent: BigInt(limit) };
  return specOf(name, { case: "replicatedJob", value }, options);
}

export function withImage(spec: ServiceSpec, image: string): ServiceSpec {
  const task = spec.task;
  if (task?.runtime.case !== "container") return spec;
  const runtime = { case: "container" as const, value: { ...task.runtime.value, image } };
  return { ...spec, task: { ...task, runtime } };
}

export function withReplicas(spec: ServiceSpec, replicas: number): ServiceSpec {
  if (spec.mode.case !== "replicated") return spec;
  const value = { ...spec.mode.value, replicas: BigInt(replicas) };
  return { ...spec, mode: { case: "replicated", value } };
}

export function withLabels(spec: ServiceSpec, labels: Record<string, string>): ServiceSpec {
  const annotations = create(AnnotationsSchema, { name: spec.annotations?.name ?? "", labels });
  return { ...spec, annotations };
}

function specOf(name: string, mode: Mode, options: SpecOptions): ServiceSpec {
  const value = create(ContainerSpecSchema, { image: options.image ?? "app:1" });
  const task = create(TaskSpecSchema, options.task);
  const { update, rollback, endpoint } = create(ServiceSpecSchema, options.service);
  return {
    ...create(ServiceSpecSchema, {
      annotations: { name },
      ...(mode === undefined ? {} : { mode }),
    }),
    task: { ...task, runtime: { case: "container", value } },
    update,
    rollback,
    endpoint,
  };
}

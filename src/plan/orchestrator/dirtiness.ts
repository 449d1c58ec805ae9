/**
 * Whether a task still is what its service's spec asks for. Tasks of one version of the spec compare
 * alike, so that the whole comparison is made once per version.
 */

import { equals } from "@bufbuild/protobuf";
import { nodeMatches, parseConstraints } from "#model/constraint.ts";
import { isWanted, stateOf } from "#model/task.ts";
import type { Node, Service, Task } from "#wire/gen/swarmkit/objects_pb.js";
import { EndpointSpecSchema, type TaskSpec, TaskSpecSchema } from "#wire/gen/swarmkit/specs_pb.js";
import { TaskState } from "#wire/gen/swarmkit/types_pb.js";

/** What differs: nothing that counts, only where it may run, only how to pull, or more. */
type Difference = "none" | "placement" | "pull" | "all";

const KNOWN = new WeakMap<Service, Dirtiness>();

/** Whether a task differs from its service's spec in something that calls for a new task. */
export function isTaskDirty(service: Service, task: Task, node: Node | undefined): boolean {
  let dirtiness = KNOWN.get(service);
  if (dirtiness === undefined) {
    dirtiness = new Dirtiness(service);
    KNOWN.set(service, dirtiness);
  }
  return dirtiness.isDirty(task, node);
}

export class Dirtiness {
  readonly #service: Service;
  readonly #differences = new Map<string, Difference>();

  constructor(service: Service) {
    this.#service = service;
  }

  isDirty(task: Task, node: Node | undefined): boolean {
    const service = this.#service;
    if (service.specVersion !== undefined && task.specVersion !== undefined) {
      if (service.specVersion.index === task.specVersion.index) return false;
    }
    const difference = this.#differenceOf(task);
    switch (difference) {
      case "none":
        return false;
      case "all":
        return true;
      case "placement":
        return node === undefined || !nodeMatchesSpec(service.spec?.task, node);
      case "pull": {
        const state = stateOf(task);
        const pulled = state >= TaskState.READY && state <= TaskState.RUNNING;
        return !(pulled && isWanted(task));
      }
    }
  }

  #differenceOf(task: Task): Difference {
    const version = task.specVersion?.index;
    if (version === undefined) return compare(this.#service, task);
    const key = version.toString();
    let difference = this.#differences.get(key);
    if (difference === undefined) {
      difference = compare(this.#service, task);
      this.#differences.set(key, difference);
    }
    return difference;
  }
}

export function nodeMatchesSpec(spec: TaskSpec | undefined, node: Node): boolean {
  const constraints = parseConstraints(spec?.placement?.constraints ?? []);
  return !constraints.ok || nodeMatches(constraints.value, node);
}

function compare(service: Service, task: Task): Difference {
  const wanted = service.spec?.task;
  const has = task.spec;
  if (!sameEndpoint(service, task)) return "all";
  if (wanted === has) return "none";
  if (wanted === undefined || has === undefined) return "all";
  if (equals(TaskSpecSchema, wanted, has)) return "none";
  if (equals(TaskSpecSchema, { ...wanted, placement: has.placement }, has)) return "placement";
  return equals(TaskSpecSchema, withoutPull(wanted), withoutPull(has)) ? "pull" : "all";
}

function sameEndpoint(service: Service, task: Task): boolean {
  if (task.endpoint === undefined) return true;
  const wanted = service.spec?.endpoint;
  const has = task.endpoint.spec;
  if (wanted === has) return true;
  return wanted !== undefined && has !== undefined && equals(EndpointSpecSchema, wanted, has);
}

function withoutPull(spec: TaskSpec): TaskSpec {
  if (spec.runtime.case !== "container") return spec;
  const value = { ...spec.runtime.value, pullOptions: undefined };
  return { ...spec, runtime: { case: "container", value } };
}

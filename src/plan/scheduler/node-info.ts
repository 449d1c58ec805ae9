/**
 * What the scheduler knows of a node: the node itself, and what the tasks on it take. Tasks count
 * from their assignment until their node said that they have stopped.
 */

import { create } from "@bufbuild/protobuf";
import { isWanted } from "#model/task.ts";
import type { Node, Task } from "#wire/gen/swarmkit/objects_pb.js";
import {
  DiscreteGenericResourceSchema,
  type GenericResource,
  GenericResourceSchema,
  NamedGenericResourceSchema,
} from "#wire/gen/swarmkit/types_pb.js";
import { hostPortsOf, type Needs, needsOf } from "./needs.ts";

/** Failures of one service on one node older than this are forgotten. */
const FAILURE_MEMORY_MS = 5 * 60_000;
/** So many recent failures make a node the last choice for the service. */
const FAILURES_MAX = 5;

export class NodeInfo {
  node: Node;
  /** Wanted tasks. */
  active = 0;
  /** When something became free here or better, as a count that only grows. */
  improvedAt = 0;
  readonly #byService = new Map<string, number>();
  readonly #hostPorts = new Map<string, number>();
  readonly #generic = new Map<string, number>();
  readonly #names = new Map<string, Set<string>>();
  #nanoCpus = 0;
  #memoryBytes = 0;
  #failures: Map<string, number[]> | undefined;

  constructor(node: Node) {
    this.node = node;
  }

  /** Wanted tasks of a service. */
  countOf(serviceId: string): number {
    return this.#byService.get(serviceId) ?? 0;
  }

  count(task: Task, by: 1 | -1): void {
    const needs = needsOf(task.spec);
    this.#nanoCpus += by * needs.nanoCpus;
    this.#memoryBytes += by * needs.memoryBytes;
    for (const port of hostPortsOf(task)) bump(this.#hostPorts, port, by);
    for (const { resource } of task.assignedGenericResources) {
      if (resource.case === "discreteResourceSpec") {
        bump(this.#generic, resource.value.kind, by * Number(resource.value.value));
      } else if (resource.case === "namedResourceSpec") {
        this.#name(resource.value.kind, resource.value.value, by);
      }
    }
    if (!isWanted(task)) return;
    this.active += by;
    bump(this.#byService, task.serviceId, by);
  }

  usesPort(port: string): boolean {
    return this.#hostPorts.has(port);
  }

  /** Whether what is reserved leaves room for another such task. */
  fits(needs: Needs): boolean {
    const total = this.node.description?.resources;
    if (needs.nanoCpus > 0 && needs.nanoCpus > Number(total?.nanoCpus ?? 0n) - this.#nanoCpus) {
      return false;
    }
    const memoryBytes = Number(total?.memoryBytes ?? 0n) - this.#memoryBytes;
    if (needs.memoryBytes > 0 && needs.memoryBytes > memoryBytes) return false;
    return needs.generic.every(([kind, count]) => this.#freeGeneric(kind) >= count);
  }

  /** What is short for another such task: "1.5 CPUs", "512 MiB of memory", "2 of gpu". */
  shortage(needs: Needs): readonly string[] {
    const total = this.node.description?.resources;
    const cpus = needs.nanoCpus - (Number(total?.nanoCpus ?? 0n) - this.#nanoCpus);
    const memory = needs.memoryBytes - (Number(total?.memoryBytes ?? 0n) - this.#memoryBytes);
    return [
      ...(needs.nanoCpus > 0 && cpus > 0 ? [`${Number((cpus / 1e9).toFixed(2))} CPUs`] : []),
      ...(needs.memoryBytes > 0 && memory > 0
        ? [`${Math.ceil(memory / 2 ** 20)} MiB of memory`]
        : []),
      ...needs.generic.flatMap(([kind, count]) => {
        const free = this.#freeGeneric(kind);
        return free < count ? [`${count - free} of ${kind}`] : [];
      }),
    ];
  }

  /** The generic resources that a task shall have; call only when it fits. */
  claim(needs: Needs): GenericResource[] {
    return needs.generic.flatMap(([kind, count]) => {
      const named = this.#freeNames(kind);
      if (named.length === 0) return [discrete(kind, count)];
      return named.slice(0, count).map((value) => namedResource(kind, value));
    });
  }

  noteFailure(group: string, nowMs: number): void {
    this.#failures ??= new Map();
    const times = (this.#failures.get(group) ?? []).filter((t) => t > nowMs - FAILURE_MEMORY_MS);
    times.push(nowMs);
    this.#failures.set(group, times);
  }

  /** How many failures speak against the node; few do not count. */
  penalty(group: string, nowMs: number): number {
    const times = this.#failures?.get(group);
    if (times === undefined) return 0;
    const recent = times.filter((t) => t > nowMs - FAILURE_MEMORY_MS);
    if (recent.length === 0) this.#failures?.delete(group);
    return recent.length >= FAILURES_MAX ? recent.length : 0;
  }

  #freeGeneric(kind: string): number {
    const named = this.#freeNames(kind).length;
    if (named > 0) return named;
    let total = 0;
    for (const { resource } of this.node.description?.resources?.generic ?? []) {
      if (resource.case === "discreteResourceSpec" && resource.value.kind === kind) {
        total += Number(resource.value.value);
      }
    }
    return total - (this.#generic.get(kind) ?? 0);
  }

  #freeNames(kind: string): string[] {
    const taken = this.#names.get(kind);
    const names: string[] = [];
    for (const { resource } of this.node.description?.resources?.generic ?? []) {
      if (resource.case !== "namedResourceSpec" || resource.value.kind !== kind) continue;
      if (taken?.has(resource.value.value) !== true) names.push(resource.value.value);
    }
    return names;
  }

  #name(kind: string, value: string, by: 1 | -1): void {
    const names = this.#names.get(kind) ?? new Set<string>();
    if (by > 0) names.add(value);
    else names.delete(value);
    this.#names.set(kind, names);
  }
}

function bump(counts: Map<string, number>, key: string, by: number): void {
  const count = (counts.get(key) ?? 0) + by;
  if (count === 0) counts.delete(key);
  else counts.set(key, count);
}

function discrete(kind: string, count: number): GenericResource {
  const value = create(DiscreteGenericResourceSchema, { kind, value: BigInt(count) });
  return create(GenericResourceSchema, { resource: { case: "discreteResourceSpec", value } });
}

function namedResource(kind: string, name: string): GenericResource {
  const value = create(NamedGenericResourceSchema, { kind, value: name });
  return create(GenericResourceSchema, { resource: { case: "namedResourceSpec", value } });
}

/**
 * The allocator gives networks their subnets, services their ports and virtual addresses, tasks and
 * nodes their addresses, and so moves tasks from NEW to PENDING. What is in use is derived from the
 * objects of the store alone; it is told of each change of one and counts along.
 *
 * What cannot be had now is remembered under what it waits for, says so on the task, and is tried
 * again when that changes, never by polling.
 */

import { create } from "@bufbuild/protobuf";
import type { Result } from "#base/result.ts";
import { DEFAULT_ADDRESS_POOL, DEFAULT_SUBNET_SIZE } from "#model/defaults.ts";
import { LEASE_KIND, leaseOf } from "#model/lease.ts";
import { isIngress } from "#model/network.ts";
import { isWanted, stateOf } from "#model/task.ts";
import { timestampOf } from "#model/time.ts";
import type { Change, Tx } from "#store/types.ts";
import type { Network, Node, Resource, Service, Task } from "#wire/gen/swarmkit/objects_pb.js";
import { TaskState, TaskStatusSchema } from "#wire/gen/swarmkit/types_pb.js";
import { type Delta, deltaOf } from "../delta.ts";
import type { PlanContext, Planner } from "../planner.ts";
import { LeaseDesk } from "./lease-desk.ts";
import {
  awaitsPlugin,
  awaitsPools,
  isAllocated,
  NetworkTable,
  waitsForPlugin,
  waitsForPools,
} from "./network-table.ts";
import { NodeAttachments } from "./node-attachments.ts";
import { NodeRoutes } from "./node-routes.ts";
import { PortSpace } from "./port-space.ts";
import { needsIngress, ServiceEndpoints, virtualNetworks } from "./service-endpoint.ts";
import { SubnetSpace } from "./subnet-space.ts";
import {
  attachTask,
  heldBy,
  needsOfTask,
  occupyAddresses,
  releaseAddresses,
} from "./task-networks.ts";
import { ulaPool } from "./ula.ts";
import { type WaiterKind, WaitingRoom } from "./waiting-room.ts";

const PENDING_MESSAGE = "pending task scheduling";
/** What may be waited for besides a network (by id or name) and a service (by id). */
const SUBNETS = " subnets";
const ENDPOINTS = " endpoints";
const NODES = " nodes";

export class Allocator implements Planner {
  readonly name = "allocator";
  readonly #ports = new PortSpace();
  readonly #routes = new NodeRoutes();
  #table = new NetworkTable(new SubnetSpace(DEFAULT_ADDRESS_POOL, DEFAULT_SUBNET_SIZE));
  #endpoints = new ServiceEndpoints(this.#ports, this.#table);
  #attachments = new NodeAttachments(this.#table);
  readonly #queues: Record<WaiterKind, Set<string>> = {
    network: new Set(),
    service: new Set(),
    task: new Set(),
    node: new Set(),
  };
  readonly #waiting = new WaitingRoom();
  /** What address plug-ins give. */
  #leases = new LeaseDesk();
  /** Per service whether its endpoint is complete, or why not. */
  readonly #outcomes = new Map<string, Result<true>>();
  /** Services that need the routing mesh. */
  readonly #publishing = new Set<string>();
  #ingressId: string | undefined;
  #allNodes = true;

  /** What is in use, for checks that nothing leaks. */
  usage() {
    return {
      ...this.#table.usage(),
      ports: this.#ports.used,
      waiting: this.#waiting.size,
      leases: this.#leases.count,
    };
  }

  start(context: PlanContext): void {
    const { tx } = context;
    const [cluster] = tx.all("cluster");
    const pools = cluster?.defaultAddressPool ?? [];
    const size = cluster?.subnetSize ?? 0;
    const subnets = new SubnetSpace(
      [...(pools.length > 0 ? pools : DEFAULT_ADDRESS_POOL), ulaPool(cluster?.id ?? "")],
      size > 0 ? size : DEFAULT_SUBNET_SIZE,
    );
    const leases = new LeaseDesk();
    this.#leases = leases;
    this.#table = new NetworkTable(
      subnets,
      () => this.#routes.all,
      (networkId) => leases.stock(networkId),
    );
    this.#endpoints = new ServiceEndpoints(this.#ports, this.#table);
    this.#attachments = new NodeAttachments(this.#table);
    // What is held is counted before anything new is given out.
    for (const after of tx.all("network")) this.#onNetwork({ before: undefined, after });
    for (const after of tx.find("resource", "kind", LEASE_KIND)) {
      this.#onLease({ before: undefined, after });
    }
    for (const after of tx.all("service")) this.#onService({ before: undefined, after });
    for (const after of tx.all("task")) this.#onTask({ before: undefined, after });
    for (const after of tx.all("node")) this.#onNode({ before: undefined, after });
    this.#work(context);
  }

  step(context: PlanContext, changes: readonly Change[]): void {
    for (const change of changes) {
      if (change.kind === "task") this.#onTask(deltaOf(change));
      else if (change.kind === "service") this.#onService(deltaOf(change));
      else if (change.kind === "node") this.#onNode(deltaOf(change));
      else if (change.kind === "network") this.#onNetwork(deltaOf(change));
      else if (change.kind === "resource") this.#onLease(deltaOf(change));
    }
    this.#work(context);
  }

  #onNetwork({ before, after }: Delta<Network>): void {
    const network = after ?? before;
    if (network === undefined) return;
    if (isIngress(network)) {
      this.#ingressId = after?.id;
      for (const id of this.#publishing) this.#queues.service.add(id);
      this.#allNodes = true;
    }
    if (after === undefined) {
      this.#queues.network.delete(network.id);
      this.#waiting.leave(network.id);
      this.#table.remove(network.id);
      this.#leases.networkChanged(network.id);
      this.#call(SUBNETS);
    } else if (isAllocated(after) || awaitsPlugin(after)) {
      this.#table.restore(after);
    } else if (isIngress(after) || choosesSubnet(after)) {
      // Subnets that users chose come before any are cut from the pools, so that those are cut
      // around them; and the first cut is the ingress network's, when it can be.
      this.#queues.network = new Set([after.id, ...this.#queues.network]);
    } else {
      this.#queues.network.add(after.id);
    }
    this.#call(network.id);
    this.#call(network.spec?.annotations?.name ?? network.id);
    this.#call(ENDPOINTS);
  }

  #onLease(delta: Delta<Resource>): void {
    const [before, after] = [delta.before, delta.after].map((one) => one && leaseOf(one));
    const pool = after?.pool === true ? after : undefined;
    if (before?.pool === true && after === undefined) this.#table.letGoPool(before.networkId);
    if (pool !== undefined && before === undefined) {
      this.#table.holdPool(pool.networkId, pool.subnet);
    }
    const news = this.#leases.take(delta);
    if (news === undefined || news.room === "none") return;
    if (news.room === "all") this.#call(news.networkId);
    this.#roomIn(news.networkId);
  }

  #onService({ before, after }: Delta<Service>): void {
    const id = (after ?? before)?.id ?? "";
    if (after !== undefined && before?.endpoint !== after.endpoint) this.#endpoints.restore(after);
    if (before !== undefined && this.#endpoints.letGo(id, before.endpoint, after?.endpoint)) {
      for (const { networkId } of before.endpoint?.virtualIps ?? []) this.#roomIn(networkId);
      this.#call(ENDPOINTS);
    }
    const published = this.#publishing.size > 0;
    if (after !== undefined && needsIngress(after.spec)) this.#publishing.add(id);
    else this.#publishing.delete(id);
    if (published !== this.#publishing.size > 0) this.#allNodes = true;
    if (after === undefined) {
      this.#outcomes.delete(id);
      this.#queues.service.delete(id);
      this.#leave(id);
    } else if (before?.spec !== after.spec || before?.endpoint !== after.endpoint) {
      this.#queues.service.add(id);
    }
  }

  #onTask({ before, after }: Delta<Task>): void {
    const held = heldBy(before);
    const holds = heldBy(after);
    if (held !== holds) {
      const kept = new Set(holds);
      const given = held.filter((one) => !kept.has(one));
      const freed = releaseAddresses(this.#table, given);
      occupyAddresses(this.#table, holds);
      for (const networkId of freed) this.#roomIn(networkId);
    }
    if (this.#attachments.countTask(before, after)) {
      for (const task of [before, after]) {
        if (task !== undefined && task.nodeId !== "") this.#queues.node.add(task.nodeId);
      }
    }
    const id = (after ?? before)?.id ?? "";
    if (after === undefined || !needsAllocation(after)) {
      // It was called because there was room, and has no use for it any more.
      if (this.#queues.task.delete(id)) this.#passOn(before);
      this.#leave(id);
    } else if (before === undefined) {
      this.#queues.task.add(id);
    }
  }

  #onNode({ before, after }: Delta<Node>): void {
    const known = this.#routes.known;
    this.#routes.take({ before, after });
    if (!known && this.#routes.known) this.#call(SUBNETS);
    if (before !== undefined) {
      for (const networkId of this.#attachments.letGo(before, after)) this.#roomIn(networkId);
    }
    if (after === undefined) {
      this.#queues.node.delete(before?.id ?? "");
      this.#leave(before?.id ?? "");
      return;
    }
    if (before?.attachments !== after.attachments) this.#attachments.restore(after);
    if (before === undefined) this.#queues.node.add(after.id);
  }

  /** An address came free: one of those who wait for it may go on. */
  #roomIn(networkId: string): void {
    this.#call(networkId, 1);
    this.#call(ENDPOINTS);
    this.#call(NODES);
  }

  /** It is gone, or has what it waited for. */
  #leave(id: string): void {
    this.#waiting.leave(id);
    this.#leases.need(id, []);
  }

  #passOn(task: Task | undefined): void {
    for (const { target } of task?.spec?.networks ?? []) this.#call(target, 1);
    if (this.#ingressId !== undefined) this.#call(this.#ingressId, 1);
  }

  #call(key: string, count = Number.POSITIVE_INFINITY): void {
    for (const { kind, id } of this.#waiting.call(key, count)) this.#queues[kind].add(id);
  }

  #work(context: PlanContext): void {
    this.#drain(context, "network", (id) => this.#allocateNetwork(context.tx, id));
    this.#drain(context, "service", (id) => this.#allocateService(context.tx, id));
    this.#drain(context, "task", (id) => this.#allocateTask(context, id));
    if (this.#allNodes && context.hasRoom()) {
      this.#allNodes = false;
      for (const node of context.tx.all("node")) this.#queues.node.add(node.id);
    }
    // Nodes come last, so that tasks have what there is where addresses are scarce.
    this.#drain(context, "node", (id) => this.#attachNode(context.tx, id));
    this.#leases.settle(context);
  }

  #drain(context: PlanContext, kind: WaiterKind, handle: (id: string) => void): void {
    for (const id of this.#queues[kind]) {
      if (!context.hasRoom()) return;
      this.#queues[kind].delete(id);
      handle(id);
    }
  }

  #allocateNetwork(tx: Tx, id: string): void {
    const network = tx.get("network", id);
    if (network === undefined || isAllocated(network) || awaitsPlugin(network)) return;
    if (awaitsPools(network)) {
      if (network.allocationError !== "") return;
      tx.update("network", { ...network, allocationError: waitsForPools(network) });
      return;
    }
    // The first node is about to say where its routes lead.
    if (!this.#routes.known && !choosesSubnet(network)) {
      this.#waiting.join({ kind: "network", id }, SUBNETS);
      return;
    }
    const allocated = this.#table.allocate(network);
    if (allocated.ok) {
      const given = allocated.value;
      const allocationError = awaitsPlugin(given) ? waitsForPlugin(given) : "";
      tx.update("network", { ...given, allocationError });
      return;
    }
    this.#waiting.join({ kind: "network", id }, SUBNETS);
    if (network.allocationError === allocated.error) return;
    tx.update("network", { ...network, allocationError: allocated.error });
  }

  #allocateService(tx: Tx, id: string): void {
    const service = tx.get("service", id);
    if (service === undefined) return;
    const networks = virtualNetworks(service.spec, this.#ingressOf(tx), (target) =>
      networkOf(tx, target),
    );
    const networkIds = networks.ok
      ? networks.value.filter((networkId) => this.#table.hasAddresses(networkId))
      : [];
    const endpoint = networks.ok
      ? this.#endpoints.allocate({
          service,
          networkIds,
          nameOf: (kind, other) => tx.get(kind, other)?.spec?.annotations?.name ?? other,
        })
      : networks;
    this.#outcomes.set(id, endpoint.ok ? { ok: true, value: true } : endpoint);
    if (!endpoint.ok) this.#waiting.join({ kind: "service", id }, ENDPOINTS);
    this.#leases.need(id, endpoint.ok ? [] : this.#endpoints.needsOf(service, networkIds));
    const allocationError = endpoint.ok ? "" : endpoint.error;
    const given = endpoint.ok ? endpoint.value : service.endpoint;
    if (given !== service.endpoint || allocationError !== service.allocationError) {
      tx.update("service", { ...service, endpoint: given, allocationError });
    }
    this.#call(id);
  }

  #allocateTask({ tx, nowMs }: PlanContext, id: string): void {
    const task = tx.get("task", id);
    if (task === undefined || !needsAllocation(task)) return;
    const service = task.serviceId === "" ? undefined : tx.get("service", task.serviceId);
    if (task.serviceId !== "") {
      const outcome = this.#outcomes.get(task.serviceId);
      if (service === undefined || outcome?.ok !== true) {
        this.#waiting.join({ kind: "task", id }, task.serviceId);
        if (outcome?.ok === false) noteError(tx, task, outcome.error);
        return;
      }
    }
    const options = {
      service,
      ingress: this.#ingressOf(tx),
      find: (target: string) => networkOf(tx, target),
      table: this.#table,
    };
    const attached = attachTask(task, options);
    this.#leases.need(id, attached.ok ? [] : needsOfTask(task, options));
    if (!attached.ok) {
      this.#waiting.join({ kind: "task", id }, attached.error.networkId);
      noteError(tx, task, attached.error.reason);
      return;
    }
    const status = create(TaskStatusSchema, {
      timestamp: timestampOf(nowMs),
      state: TaskState.PENDING,
      message: PENDING_MESSAGE,
    });
    const endpoint = service?.endpoint ?? task.endpoint;
    tx.update("task", { ...task, networks: attached.value, endpoint, status });
  }

  #attachNode(tx: Tx, id: string): void {
    const node = tx.get("node", id);
    if (node === undefined) return;
    const ingress = this.#publishing.size > 0 ? this.#ingressOf(tx) : undefined;
    const attached = this.#attachments.attach(node, {
      ingress: ingress !== undefined && isAllocated(ingress) ? ingress : undefined,
      find: (networkId) => tx.get("network", networkId),
    });
    if (attached.node !== node) tx.update("node", attached.node);
    this.#leases.need(id, attached.needs);
    if (attached.full !== undefined) this.#waiting.join({ kind: "node", id }, NODES);
  }

  #ingressOf(tx: Tx): Network | undefined {
    return this.#ingressId === undefined ? undefined : tx.get("network", this.#ingressId);
  }
}

function needsAllocation(task: Task): boolean {
  return stateOf(task) === TaskState.NEW && isWanted(task);
}

function choosesSubnet({ spec }: Network): boolean {
  return spec?.ipam?.configs.some(({ subnet }) => subnet !== "") === true;
}

function networkOf(tx: Tx, target: string): Network | undefined {
  return tx.get("network", target) ?? tx.byName("network", target);
}

/** Says on the task what it waits for; once, not at each try. */
function noteError(tx: Tx, task: Task, reason: string): void {
  if (task.status?.err === reason) return;
  const status = { ...(task.status ?? create(TaskStatusSchema)), err: reason };
  tx.update("task", { ...task, status });
}

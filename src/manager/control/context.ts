/**
 * What the Control service stands on. Every RPC is a function of (context, request): reads go
 * through a linearizable view, writes are one transaction of the actor "api". What is not in the
 * store (raft membership, certificates, plugins) is asked through small ports, so that the rules
 * here can be tested without any of it.
 */

import { newId } from "#base/ids.ts";
import type { Clock, Random } from "#base/ports.ts";
import type { ReadView, Tx } from "#store/types.ts";
import type { Node, Service, Task } from "#wire/gen/swarmkit/objects_pb.js";
import type { Membership } from "../manager-ports.ts";
import type { ClusterState } from "../state.ts";
import type { RootAuthority } from "./root-ca.ts";

/** Network drivers that are not built in (`manager/network-plugins.ts`). */
export interface DriverPlugins {
  /** Throws why no network of the swarm can be made with the plug-in, if so. */
  require(name: string): Promise<void>;
  /** The same for one that shall give the network's addresses. */
  requireAddresses(name: string): Promise<void>;
  /** One change of a network and its plug-in at a time. */
  alone<T>(networkId: string, work: () => Promise<T>): Promise<T>;
  /** The plug-in lets go of the network; fine when it never had it. */
  free(name: string, networkId: string): Promise<void>;
}

export interface ControlContext {
  readonly state: ClusterState;
  readonly clock: Clock;
  readonly random: Random;
  readonly members: Pick<Membership, "list" | "canRemove">;
  readonly authority: RootAuthority;
  readonly plugins: DriverPlugins;
  /** By service id why the newest image that it follows is not known, if so; the leader's alone. */
  readonly imageTroubles: ReadonlyMap<string, string>;
  /** Whether an update would replace the task; the rule of the updater. */
  isTaskDirty(service: Service, task: Task, node: Node | undefined): boolean;
}

/** The state that holds everything acknowledged before the call. */
export function read(context: ControlContext): Promise<ReadView> {
  return context.state.linearizable();
}

export function write<T>(context: ControlContext, change: (tx: Tx) => T): Promise<T> {
  return context.state.update("api", change);
}

export function freshId(context: ControlContext): string {
  return newId(context.random);
}

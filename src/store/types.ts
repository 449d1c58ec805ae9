/**
 * The words of the store. Its objects are SwarmKit's messages (`wire/gen/swarmkit/objects_pb`),
 * treated as immutable values: nobody changes an object that came out of a view; a new one is made
 * and handed to `update`. One representation from the log to the planners keeps unknown fields of a
 * newer version alive through an older manager.
 *
 * Invariants: object ids are unique per kind; names are unique per kind, ignoring case (tasks have
 * none); `meta.version.index` is the raft index of the entry that last wrote the object.
 */

import type {
  Cluster,
  Config,
  Extension,
  Network,
  Node,
  Resource,
  Secret,
  Service,
  Task,
  Volume,
} from "#wire/gen/swarmkit/objects_pb.js";

export interface ObjectTypes {
  node: Node;
  service: Service;
  task: Task;
  network: Network;
  cluster: Cluster;
  secret: Secret;
  config: Config;
  extension: Extension;
  resource: Resource;
  volume: Volume;
}

export type Kind = keyof ObjectTypes;

/** Secondary indexes per kind; the key is always a string. */
export interface IndexNames {
  /** node: raft role "manager" | "worker" (desired, from the spec). */
  node: "role";
  service: "network" | "secret" | "config";
  /** task: slot key is `${serviceId}/${slot}`; nodeId for global ones: `${serviceId}/@${nodeId}`. */
  task: "service" | "node" | "slot" | "network" | "secret" | "config";
  network: never;
  cluster: never;
  secret: never;
  config: never;
  extension: never;
  resource: "kind";
  volume: "group";
}

/** A consistent picture of all objects at one raft index; cheap to hold, never changes. */
export interface ReadView {
  /** Raft index of the last entry that this view contains. */
  readonly index: number;
  get<K extends Kind>(kind: K, id: string): ObjectTypes[K] | undefined;
  /** The object of that name, ignoring case. */
  byName<K extends Kind>(kind: K, name: string): ObjectTypes[K] | undefined;
  /** All objects of a kind, in order of their ids. */
  all<K extends Kind>(kind: K): Iterable<ObjectTypes[K]>;
  /** Objects whose id starts with the prefix, in order of their ids. */
  byIdPrefix<K extends Kind>(kind: K, prefix: string): Iterable<ObjectTypes[K]>;
  find<K extends Kind>(kind: K, index: IndexNames[K], key: string): Iterable<ObjectTypes[K]>;
  count(kind: Kind): number;
}

/**
 * A transaction on the leader: reads see its own writes (and those of transactions before it that
 * are still on their way through raft). Throws EngineError `already-exists` (id or name taken),
 * `not-found`, `unknown` ("update out of sequence", see `isOutOfSequence`) when `meta.version` of an
 * update is not the stored one, `resource-exhausted` past the limits of `base/limits.ts`. Nothing of a transaction
 * whose function throws is kept.
 */
export interface Tx extends ReadView {
  /** Wall clock of the proposer, milliseconds: what its writes are stamped with. */
  readonly nowMs: number;
  create<K extends Kind>(kind: K, object: ObjectTypes[K]): void;
  update<K extends Kind>(kind: K, object: ObjectTypes[K]): void;
  delete(kind: Kind, id: string): void;
}

export type Change = {
  [K in Kind]:
    | { readonly kind: K; readonly action: "create"; readonly object: ObjectTypes[K] }
    | {
        readonly kind: K;
        readonly action: "update";
        readonly object: ObjectTypes[K];
        readonly old: ObjectTypes[K];
      }
    | { readonly kind: K; readonly action: "delete"; readonly object: ObjectTypes[K] };
}[Kind];

/** What one committed entry changed. */
export interface ChangeBatch {
  readonly index: number;
  readonly changes: readonly Change[];
}

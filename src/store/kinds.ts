/**
 * What the store knows of each kind: its schema, its name, and the keys under which it is found.
 * Everything else in the store treats objects alike.
 *
 * Invariant: `keys` depends only on the fields that `unchanged` compares, so that an update that
 * leaves them alone need not touch the index.
 */

import type { DescMessage } from "@bufbuild/protobuf";
import {
  ClusterSchema,
  ConfigSchema,
  ExtensionSchema,
  type Meta,
  NetworkSchema,
  NodeSchema,
  ResourceSchema,
  SecretSchema,
  ServiceSchema,
  type Task,
  TaskSchema,
  VolumeSchema,
} from "#wire/gen/swarmkit/objects_pb.js";
import type { ContainerSpec, TaskSpec } from "#wire/gen/swarmkit/specs_pb.js";
import type { Annotations, NetworkAttachmentConfig } from "#wire/gen/swarmkit/types_pb.js";
import { NodeRole } from "#wire/gen/swarmkit/types_pb.js";
import type { IndexNames, Kind, ObjectTypes } from "./types.ts";

/** What all stored objects share. */
export interface Stored {
  readonly id: string;
  readonly meta?: Meta | undefined;
}

export interface IndexRule<T> {
  /** The keys of an object; a repeated key counts once. */
  keys(object: T): readonly string[];
  /** True when both surely have the same keys; may be false although they do. */
  unchanged(before: T, after: T): boolean;
}

/** Index of names, kept like any other; `""` names nothing. */
export const NAME_INDEX = "name";

export interface KindRules<K extends Kind> {
  readonly schema: DescMessage;
  /** Whether two objects may not share a name. Nodes are named by hostname, which may repeat. */
  readonly uniqueName: boolean;
  readonly indexes: Readonly<
    Record<IndexNames[K], IndexRule<ObjectTypes[K]>> & {
      [NAME_INDEX]?: IndexRule<ObjectTypes[K]>;
    }
  >;
}

export const KIND_RULES: { readonly [K in Kind]: KindRules<K> } = {
  node: {
    schema: NodeSchema,
    uniqueName: false,
    indexes: {
      name: {
        keys: (node) => nameKeys(node.description?.hostname),
        unchanged: (a, b) => a.description === b.description,
      },
      role: {
        keys: (node) => [node.spec?.desiredRole === NodeRole.MANAGER ? "manager" : "worker"],
        unchanged: (a, b) => a.spec === b.spec,
      },
    },
  },
  service: {
    schema: ServiceSchema,
    uniqueName: true,
    indexes: {
      name: bySpecName(),
      network: {
        keys: ({ spec }) => {
          const ofTask = targetsOf(spec?.task?.networks);
          return ofTask.length > 0 ? ofTask : targetsOf(spec?.networks);
        },
        unchanged: sameSpec,
      },
      secret: { keys: ({ spec }) => secretsOf(spec?.task), unchanged: sameSpec },
      config: { keys: ({ spec }) => configsOf(spec?.task), unchanged: sameSpec },
    },
  },
  task: {
    schema: TaskSchema,
    uniqueName: false,
    indexes: {
      service: {
        keys: (task) => present(task.serviceId),
        unchanged: (a, b) => a.serviceId === b.serviceId,
      },
      node: { keys: (task) => present(task.nodeId), unchanged: (a, b) => a.nodeId === b.nodeId },
      slot: {
        keys: (task) => (task.serviceId === "" ? [] : [slotKey(task)]),
        unchanged: (a, b) =>
          a.serviceId === b.serviceId && a.slot === b.slot && a.nodeId === b.nodeId,
      },
      network: {
        keys: networksOfTask,
        unchanged: (a, b) => a.spec === b.spec && a.networks === b.networks,
      },
      secret: { keys: ({ spec }) => secretsOf(spec), unchanged: sameSpec },
      config: { keys: ({ spec }) => configsOf(spec), unchanged: sameSpec },
    },
  },
  network: { schema: NetworkSchema, uniqueName: true, indexes: { name: bySpecName() } },
  cluster: { schema: ClusterSchema, uniqueName: true, indexes: { name: bySpecName() } },
  secret: { schema: SecretSchema, uniqueName: true, indexes: { name: bySpecName() } },
  config: { schema: ConfigSchema, uniqueName: true, indexes: { name: bySpecName() } },
  extension: { schema: ExtensionSchema, uniqueName: true, indexes: { name: byOwnName() } },
  resource: {
    schema: ResourceSchema,
    uniqueName: true,
    indexes: {
      name: byOwnName(),
      kind: {
        keys: (resource) => present(resource.kind),
        unchanged: (a, b) => a.kind === b.kind,
      },
    },
  },
  volume: {
    schema: VolumeSchema,
    uniqueName: true,
    indexes: {
      name: bySpecName(),
      group: { keys: ({ spec }) => present(spec?.group), unchanged: sameSpec },
    },
  },
};

/** All kinds, in the order in which snapshots are written and restored. */
// Object.keys forgets the key type; the table's own keys are exactly the kinds.
export const KINDS: readonly Kind[] = Object.keys(KIND_RULES) as Kind[];

/** The key of the `slot` index: replicated tasks by their number, global ones by their node. */
export function slotKey(task: Pick<Task, "serviceId" | "slot" | "nodeId">): string {
  return task.slot === 0n
    ? `${task.serviceId}/@${task.nodeId}`
    : `${task.serviceId}/${task.slot.toString()}`;
}

/** How names are compared: without regard to case. */
export function nameKey(name: string): string {
  return name.toLowerCase();
}

interface WithSpecName {
  readonly spec?: { readonly annotations?: Annotations | undefined } | undefined;
}

function bySpecName<T extends WithSpecName>(): IndexRule<T> {
  return { keys: ({ spec }) => nameKeys(spec?.annotations?.name), unchanged: sameSpec };
}

function byOwnName<T extends { readonly annotations?: Annotations | undefined }>(): IndexRule<T> {
  return {
    keys: ({ annotations }) => nameKeys(annotations?.name),
    unchanged: (a, b) => a.annotations === b.annotations,
  };
}

function sameSpec(a: { readonly spec?: unknown }, b: { readonly spec?: unknown }): boolean {
  return a.spec === b.spec;
}

function nameKeys(name: string | undefined): readonly string[] {
  return name === undefined || name === "" ? [] : [nameKey(name)];
}

function present(key: string | undefined): readonly string[] {
  return key === undefined || key === "" ? [] : [key];
}

function targetsOf(networks: readonly NetworkAttachmentConfig[] | undefined): readonly string[] {
  return unique((networks ?? []).map(({ target }) => target));
}

/** What a task asks for and what it was given: the ingress network is only among the latter. */
function networksOfTask({ spec, networks }: Task): readonly string[] {
  const wanted = (spec?.networks ?? []).map(({ target }) => target);
  const given = networks.map(({ network }) => network?.id ?? "");
  return unique([...wanted, ...given]);
}

function containerOf(spec: TaskSpec | undefined): ContainerSpec | undefined {
  return spec?.runtime.case === "container" ? spec.runtime.value : undefined;
}

function secretsOf(spec: TaskSpec | undefined): readonly string[] {
  return unique((containerOf(spec)?.secrets ?? []).map(({ secretId }) => secretId));
}

function configsOf(spec: TaskSpec | undefined): readonly string[] {
  return unique((containerOf(spec)?.configs ?? []).map(({ configId }) => configId));
}

function unique(keys: readonly string[]): readonly string[] {
  return [...new Set(keys)].filter((key) => key !== "");
}

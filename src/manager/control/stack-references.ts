/** What the services of a stack refer to: from the names that a plan has to ids of the store. */

import type { ReadView } from "#store/types.ts";
import type { ContainerSpec, ServiceSpec } from "#wire/gen/swarmkit/specs_pb.js";
import type { NetworkAttachmentConfig } from "#wire/gen/swarmkit/types_pb.js";
import { notFound } from "./refusal.ts";

/** Throws `not-found` for a name that nothing has. */
export function withIds(view: ReadView, spec: ServiceSpec): ServiceSpec {
  const { task } = spec;
  const networks = attached(view, spec.networks);
  if (task === undefined) return { ...spec, networks };
  const { runtime } = task;
  return {
    ...spec,
    networks,
    task: {
      ...task,
      networks: attached(view, task.networks),
      runtime:
        runtime.case === "container"
          ? { case: "container", value: withPayloads(view, runtime.value) }
          : runtime,
    },
  };
}

function attached(
  view: ReadView,
  networks: readonly NetworkAttachmentConfig[],
): NetworkAttachmentConfig[] {
  return networks.map((attachment) => ({
    ...attachment,
    target: idOf(view, "network", "", attachment.target),
  }));
}

function withPayloads(view: ReadView, container: ContainerSpec): ContainerSpec {
  const { privileges } = container;
  const credentials = privileges?.credentialSpec;
  const source = credentials?.source;
  return {
    ...container,
    secrets: container.secrets.map((reference) => ({
      ...reference,
      secretId: idOf(view, "secret", reference.secretId, reference.secretName),
    })),
    configs: container.configs.map((reference) => ({
      ...reference,
      configId: idOf(view, "config", reference.configId, reference.configName),
    })),
    privileges:
      privileges !== undefined && credentials !== undefined && source?.case === "config"
        ? {
            ...privileges,
            credentialSpec: {
              ...credentials,
              source: { case: "config", value: idOf(view, "config", "", source.value) },
            },
          }
        : privileges,
  };
}

/** The id as it is where the spec has one that exists; else that of what has the name, or the id as its name. */
function idOf(
  view: ReadView,
  kind: "network" | "secret" | "config",
  id: string,
  name: string,
): string {
  if (id !== "" && view.get(kind, id) !== undefined) return id;
  const found = view.get(kind, name) ?? view.byName(kind, name);
  if (found === undefined) throw notFound(`${kind} not found: ${name}`);
  return found.id;
}

/** Credentials for the registry that the deploy does not bring are those that the service has. */
export function withPullOptionsOf(
  present: ServiceSpec | undefined,
  wanted: ServiceSpec,
): ServiceSpec {
  const runtime = wanted.task?.runtime;
  const kept = present?.task?.runtime;
  if (wanted.task === undefined || runtime?.case !== "container") return wanted;
  if (kept?.case !== "container" || runtime.value.pullOptions !== undefined) return wanted;
  const value = { ...runtime.value, pullOptions: kept.value.pullOptions };
  return { ...wanted, task: { ...wanted.task, runtime: { case: "container", value } } };
}

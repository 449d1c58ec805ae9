/** What templates in a task's spec may refer to, and the spec with its templates expanded. Pure. */

import { EngineError } from "#base/error.ts";
import { ok, type Result } from "#base/result.ts";
import type { Task } from "#wire/gen/swarmkit/objects_pb.js";
import type { ContainerSpec } from "#wire/gen/swarmkit/specs_pb.js";
import type { Mount, NodeDescription } from "#wire/gen/swarmkit/types_pb.js";
import {
  expandTemplate,
  isTemplate,
  type TemplateFunction,
  type TemplateScope,
} from "./template.ts";

/** `service.slot.task`, the name of a task's container; node id in place of the slot if global. */
export function taskName(task: Task): string {
  const given = task.annotations?.name ?? "";
  if (given !== "") return given;
  return `${task.serviceAnnotations?.name ?? ""}.${slotOf(task)}.${task.id}`;
}

function slotOf(task: Task): string {
  return task.slot === 0n ? task.nodeId : String(task.slot);
}

export function taskScope(
  task: Task,
  node: NodeDescription | undefined,
  functions: Readonly<Record<string, TemplateFunction>> = {},
): TemplateScope {
  return {
    data: {
      Service: {
        ID: task.serviceId,
        Name: task.serviceAnnotations?.name ?? "",
        Labels: task.serviceAnnotations?.labels ?? {},
      },
      Node: {
        ID: task.nodeId,
        Hostname: node?.hostname ?? "",
        Platform: {
          Architecture: node?.platform?.architecture ?? "",
          OS: node?.platform?.os ?? "",
        },
      },
      Task: { ID: task.id, Name: taskName(task), Slot: slotOf(task) },
    },
    functions,
  };
}

/** The container spec with env, mounts and hostname expanded; throws `invalid-argument`. */
export function expandSpec(
  spec: ContainerSpec,
  task: Task,
  node: NodeDescription | undefined,
): ContainerSpec {
  const scope = taskScope(task, node);
  return {
    ...spec,
    env: spec.env.map((entry) => {
      // A name without a value is left alone, and so are templates in names.
      const at = entry.indexOf("=");
      if (at < 0) return entry;
      const value = expand(entry.slice(at + 1), scope, `expanding env ${JSON.stringify(entry)}`);
      return `${entry.slice(0, at)}=${value}`;
    }),
    mounts: spec.mounts.map((mount) => expandMount(mount, scope)),
    hostname: expand(spec.hostname, scope, "expanding hostname failed"),
  };
}

function expandMount(mount: Mount, scope: TemplateScope): Mount {
  const options = mount.volumeOptions;
  const driver = options?.driverConfig;
  const expandMap = (map: Readonly<Record<string, string>>, what: string) =>
    Object.fromEntries(
      Object.entries(map).map(([key, value]) => [key, expand(value, scope, what)]),
    );
  return {
    ...mount,
    source: expand(mount.source, scope, `expanding mount source ${JSON.stringify(mount.source)}`),
    target: expand(mount.target, scope, `expanding mount target ${JSON.stringify(mount.target)}`),
    volumeOptions:
      options === undefined
        ? undefined
        : {
            ...options,
            labels: expandMap(options.labels, "expanding volume labels"),
            driverConfig:
              driver === undefined
                ? undefined
                : {
                    ...driver,
                    options: expandMap(driver.options, "expanding volume driver config"),
                  },
          },
  };
}

function expand(text: string, scope: TemplateScope, what: string): string {
  const result: Result<string> = isTemplate(text) ? expandTemplate(text, scope) : ok(text);
  if (!result.ok) throw new EngineError("invalid-argument", `${what}: ${result.error}`);
  return result.value;
}

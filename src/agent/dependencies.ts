/**
 * Secrets and configs that managers have handed to this node. They live in memory only: after a
 * restart of the process they are gone until a manager sends a complete assignment again.
 */

import type { AssignmentChange } from "#wire/gen/swarmkit/dispatcher_pb.js";
import { AssignmentChange_AssignmentAction as Action } from "#wire/gen/swarmkit/dispatcher_pb.js";
import type { Config, Secret } from "#wire/gen/swarmkit/objects_pb.js";
import type { Dependencies } from "./executor.ts";

export interface DependencyStore extends Dependencies {
  /** Takes the secrets and configs out of an assignment; a complete one replaces all. */
  apply(changes: readonly AssignmentChange[], complete: boolean): void;
}

export function createDependencies(): DependencyStore {
  const secrets = new Map<string, Secret>();
  const configs = new Map<string, Config>();
  let seenComplete = false;
  return {
    // A driver may give each task its own value; such a secret's id is "<secret id>.<task id>".
    secret: (secretId, taskId) => secrets.get(`${secretId}.${taskId}`) ?? secrets.get(secretId),
    config: (configId) => configs.get(configId),
    complete: () => seenComplete,
    apply(changes, complete) {
      if (complete) {
        secrets.clear();
        configs.clear();
        seenComplete = true;
      }
      for (const { assignment, action } of changes) {
        const item = assignment?.item;
        if (item?.case === "secret") put(secrets, item.value, action);
        else if (item?.case === "config") put(configs, item.value, action);
      }
    },
  };
}

function put<T extends { readonly id: string }>(
  table: Map<string, T>,
  object: T,
  action: Action,
): void {
  if (action === Action.REMOVE) table.delete(object.id);
  else table.set(object.id, object);
}

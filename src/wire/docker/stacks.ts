/** Bodies of skep's own `/stacks` endpoints, which docker's API does not have. Types only. */

import type { ConfigSpec } from "./configs.ts";
import type { NetworkCreateBody } from "./networks.ts";
import type { SecretSpec } from "./secrets.ts";

/** GET /stacks/{name}. */
export interface StackInfo {
  readonly Name: string;
  /** Changes with the specs of everything that carries the stack's label. */
  readonly Revision: string;
}

/** POST /stacks/{name}/deploy. `Spec` is a ServiceSpec, as far as it says something. */
export interface StackDeployBody<Spec> {
  /** The revision that this was planned for; empty or absent: whatever is there. */
  readonly Revision?: string;
  /** Only says what would be done, or refuses it. */
  readonly DryRun?: boolean;
  readonly Networks?: readonly NetworkCreateBody[];
  readonly Secrets?: readonly SecretSpec[];
  readonly Configs?: readonly ConfigSpec[];
  readonly Services?: readonly {
    /** Names networks, secrets and configs by name or id. */
    readonly Spec: Spec;
    /** As in `X-Registry-Auth`; absent: what the service has is kept. */
    readonly RegistryAuth?: string;
  }[];
  /** Ids of the stack's objects. */
  readonly Remove?: { readonly Services?: readonly string[]; readonly Configs?: readonly string[] };
}

export interface StackChangeJson {
  readonly Kind: "network" | "secret" | "config" | "service";
  /** `keep`: it is as it shall be. */
  readonly Action: "create" | "update" | "remove" | "keep";
  readonly ID: string;
  readonly Name: string;
}

export interface StackDeployResponse {
  readonly Revision: string;
  readonly Changes: readonly StackChangeJson[];
}

/** DELETE /stacks/{name}; nothing where there is no such stack. */
export interface StackRemoveResponse {
  readonly Changes: readonly StackChangeJson[];
}

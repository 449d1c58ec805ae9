/** What a stack is made of: bodies of the Engine API, and what must be there already. */

import type { ConfigSpec } from "#wire/docker/configs.ts";
import type { NetworkCreateBody } from "#wire/docker/networks.ts";
import type { SecretSpec } from "#wire/docker/secrets.ts";
import type { ServiceSpec } from "#wire/docker/services.ts";

/** What is absent is for the engine to fill in. */
export type Sparse<T> = T extends readonly (infer Item)[]
  ? readonly Sparse<Item>[]
  : T extends object
    ? { readonly [Key in keyof T]?: Sparse<T[Key]> | undefined }
    : T;

export type SparseServiceSpec = Sparse<ServiceSpec> & { readonly Name: string };

export interface StackPlan {
  readonly name: string;
  readonly networks: readonly NetworkCreateBody[];
  /** Networks that must exist in the swarm. */
  readonly externalNetworks: readonly string[];
  readonly secrets: readonly (SecretSpec & { readonly Name: string })[];
  readonly configs: readonly (ConfigSpec & { readonly Name: string })[];
  /** Those that others depend on come first. Networks, secrets and configs are named by name, without ids. */
  readonly services: readonly SparseServiceSpec[];
}

export const NAMESPACE_LABEL = "com.docker.stack.namespace";
export const IMAGE_LABEL = "com.docker.stack.image";

/** Names of a stack's objects and the labels that they all carry. */
export class Namespace {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }

  scope(name: string): string {
    return `${this.name}_${name}`;
  }

  labels(own: Readonly<Record<string, string>> | undefined): Readonly<Record<string, string>> {
    return { ...own, [NAMESPACE_LABEL]: this.name };
  }
}

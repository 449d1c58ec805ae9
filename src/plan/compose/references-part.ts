/**
 * Secrets, configs and the credential spec of a service. References carry names; ids are known only
 * inside the leader's transaction, which may make the objects, and puts them in.
 */

import type { ConfigReference, Privileges, SecretReference } from "#wire/docker/tasks.ts";
import type { Fields } from "./fields.ts";
import { securityOptions } from "./host-access-part.ts";
import { Refusal } from "./refusal.ts";
import type { Namespace, Sparse, SparseServiceSpec } from "./stack.ts";

type Kind = "secret" | "config";

const DEFAULT_MODE = 0o444;

/** The real name of a stack's network, secret or config. */
export function realName(object: Fields, key: string, namespace: Namespace): string {
  const external = object.flag("external") === true;
  return object.text("name") ?? (external ? key : namespace.scope(key));
}

function objectName(
  kind: Kind,
  key: string,
  at: Fields,
  objects: ReadonlyMap<string, Fields>,
  namespace: Namespace,
): string {
  const object = objects.get(key);
  if (object === undefined) throw new Refusal(`undefined ${kind} ${JSON.stringify(key)}`, at.path);
  return realName(object, key, namespace);
}

function references(
  kind: Kind,
  service: Fields,
  objects: ReadonlyMap<string, Fields>,
  namespace: Namespace,
) {
  return service
    .items(`${kind}s`)
    .map((reference) => {
      const source = reference.text("source") ?? "";
      return {
        name: objectName(kind, source, reference, objects, namespace),
        File: {
          Name: reference.text("target") ?? source,
          UID: reference.text("uid") ?? "0",
          GID: reference.text("gid") ?? "0",
          Mode: reference.number("mode") ?? DEFAULT_MODE,
        },
      };
    })
    .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
}

export function secretReferences(
  service: Fields,
  secrets: ReadonlyMap<string, Fields>,
  namespace: Namespace,
): readonly Sparse<SecretReference>[] | undefined {
  const found = references("secret", service, secrets, namespace);
  return found.length === 0
    ? undefined
    : found.map(({ name, File }) => ({ File, SecretName: name }));
}

/** With the credential spec's config, which the runtime reads and the container does not see. */
export function configReferences(
  service: Fields,
  configs: ReadonlyMap<string, Fields>,
  namespace: Namespace,
): readonly Sparse<ConfigReference>[] | undefined {
  const found: Sparse<ConfigReference>[] = references("config", service, configs, namespace).map(
    ({ name, File }) => ({ File, ConfigName: name }),
  );
  const credential = service.inner("credential_spec");
  const key = credential?.text("config");
  if (credential !== undefined && key !== undefined) {
    const name = objectName("config", key, credential, configs, namespace);
    found.push({ Runtime: {}, ConfigName: name });
  }
  return found.length === 0 ? undefined : found;
}

export function privileges(
  service: Fields,
  configs: ReadonlyMap<string, Fields>,
  namespace: Namespace,
): Sparse<Privileges> {
  const fields = service.inner("credential_spec");
  const options = { NoNewPrivileges: false, ...securityOptions(service) };
  if (fields === undefined) return options;
  const config = fields.text("config");
  const File = fields.text("file") ?? "";
  const Registry = fields.text("registry") ?? "";
  const given = [config, File, Registry].filter((value) => value !== undefined && value !== "");
  if (given.length > 1) {
    throw new Refusal(
      "invalid credential spec: cannot specify both more than one of config, file and registry",
      fields.path,
    );
  }
  // The config's name until its id is known.
  const Config =
    config === undefined ? "" : objectName("config", config, fields, configs, namespace);
  return { ...options, CredentialSpec: { Config, File, Registry } };
}

/** The names of secrets and configs that a service refers to. */
export function referencedNames(spec: SparseServiceSpec): {
  readonly secrets: readonly string[];
  readonly configs: readonly string[];
} {
  const container = spec.TaskTemplate?.ContainerSpec;
  return {
    secrets: (container?.Secrets ?? []).map(({ SecretName }) => SecretName ?? ""),
    configs: (container?.Configs ?? []).map(({ ConfigName }) => ConfigName ?? ""),
  };
}

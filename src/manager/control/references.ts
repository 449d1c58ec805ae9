/**
 * Secrets and configs that a container template names: well formed, no two in the same place, and
 * all of them there.
 */

import type { ReadView } from "#store/types.ts";
import type { ContainerSpec, ServiceSpec } from "#wire/gen/swarmkit/specs_pb.js";
import type { ConfigReference, SecretReference } from "#wire/gen/swarmkit/types_pb.js";
import { invalid } from "./refusal.ts";

export function checkSecretReferences(spec: ContainerSpec): void {
  const places = new Places("secret");
  for (const reference of spec.secrets) {
    if (reference.secretId === "" || reference.secretName === "") {
      throw invalid("malformed secret reference");
    }
    places.take(reference.target, reference.secretName);
  }
}

export function checkConfigReferences(spec: ContainerSpec): void {
  const source = spec.privileges?.credentialSpec?.source;
  const credentials = source?.case === "config" ? source.value : "";
  let found = credentials === "";
  const places = new Places("config");
  for (const reference of spec.configs) {
    if (reference.configId === "" || reference.configName === "") {
      throw invalid("malformed config reference");
    }
    places.take(reference.target, reference.configName);
    if (reference.target.case === "runtime" && reference.configId === credentials) found = true;
  }
  if (!found) {
    throw invalid(
      `CredentialSpec references config '${credentials}', but that config isn't in config references with RuntimeTarget`,
    );
  }
}

/** The references must name objects by id and name both; a renamed or removed one is refused. */
export function checkReferencesExist(view: ReadView, spec: ServiceSpec): void {
  const runtime = spec.task?.runtime;
  if (runtime?.case !== "container") return;
  const { secrets, configs } = runtime.value;
  refuseMissing(
    "secret",
    secrets
      .filter(({ secretId, secretName }) => {
        return view.get("secret", secretId)?.spec?.annotations?.name !== secretName;
      })
      .map(({ secretName }) => secretName),
  );
  refuseMissing(
    "config",
    configs
      .filter(({ configId, configName }) => {
        return view.get("config", configId)?.spec?.annotations?.name !== configName;
      })
      .map(({ configName }) => configName),
  );
}

function refuseMissing(what: "secret" | "config", names: readonly string[]): void {
  if (names.length === 0) return;
  throw invalid(`${names.length === 1 ? what : `${what}s`} not found: ${names.join(", ")}`);
}

/** File targets that are taken, and by whom. */
class Places {
  readonly #what: "secret" | "config";
  readonly #takenBy = new Map<string, string>();

  constructor(what: "secret" | "config") {
    this.#what = what;
  }

  take(target: SecretReference["target"] | ConfigReference["target"], name: string): void {
    const what = this.#what;
    if (target.case === undefined) {
      throw invalid(`malformed ${what} reference, no target provided`);
    }
    if (target.case !== "file") return;
    const file = target.value.name;
    if (file === "") {
      throw invalid(`malformed file ${what} reference, invalid target file name provided`);
    }
    const holder = this.#takenBy.get(file);
    if (holder !== undefined) {
      throw invalid(
        `${what} references '${holder}' and '${name}' have a conflicting target: '${file}'`,
      );
    }
    this.#takenBy.set(file, name);
  }
}

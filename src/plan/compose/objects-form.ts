/**
 * Networks, volumes, secrets and configs at the top level → their canonical form: labels as a map,
 * options as text, `name` the real name where the file gives one, `external` a boolean.
 */

import { isMapping, type Mapping, type Value } from "./document.ts";
import { type Places, resolvePath } from "./paths.ts";
import { Refusal } from "./refusal.ts";
import { keyValues } from "./service-form.ts";

export type Section = "networks" | "volumes" | "secrets" | "configs";

/** Minor version from which `external: {name}` is told to be deprecated. */
const DEPRECATED_SINCE: Readonly<Record<Section, number>> = {
  volumes: 4,
  networks: 5,
  secrets: 5,
  configs: 5,
};

export interface FormOptions {
  readonly minor: number;
  readonly places: Places;
  readonly warn: (message: string) => void;
}

export function canonicalObjects(root: Mapping, section: Section, options: FormOptions): Mapping {
  const objects = root[section];
  if (!isMapping(objects)) return {};
  return Object.fromEntries(
    Object.entries(objects).map(([key, value]) => [
      key,
      canonicalObject(section, key, isMapping(value) ? value : {}, options),
    ]),
  );
}

function canonicalObject(
  section: Section,
  key: string,
  value: Mapping,
  options: FormOptions,
): Mapping {
  const form: Record<string, Value> = { ...value };
  if (form.labels !== undefined) form.labels = keyValues(form.labels, "");
  if (form.driver_opts !== undefined) form.driver_opts = keyValues(form.driver_opts, "");
  if (isExternal(value.external)) {
    conflicts(section, key, value);
    form.external = true;
    const name = externalName(section, key, value, options);
    // Old formats have no `name`, and need none where it is the key.
    if (name !== key) form.name = name;
    return form;
  }
  delete form.external;
  if (section === "networks" && form.driver === "bridge") {
    form.driver = "overlay";
    if (isMapping(form.driver_opts)) form.driver_opts = withoutBridge(form.driver_opts);
    options.warn(
      `network ${key}: a bridge is of one host, and a stack's services are on any: it is made an overlay network`,
    );
  }
  if (section === "secrets" || section === "configs") {
    const kind = section.slice(0, -1);
    if (typeof form.driver === "string" && form.driver !== "" && form.file !== undefined) {
      throw new Refusal(
        `${kind} ${key}: ${kind}.driver and ${kind}.file conflict; only use ${kind}.driver`,
        [section, key],
      );
    }
    if (typeof form.file === "string") form.file = resolvePath(form.file, options.places);
  }
  return form;
}

function withoutBridge(driverOptions: Mapping): Mapping {
  const own = Object.entries(driverOptions).filter(
    ([name]) => !name.startsWith("com.docker.network.bridge."),
  );
  return Object.fromEntries(own);
}

function isExternal(external: Value | undefined): boolean {
  return external === true || isMapping(external);
}

const CONFLICTING: Readonly<Partial<Record<Section, readonly string[]>>> = {
  volumes: ["driver", "labels", "driver_opts"],
};

function conflicts(section: Section, key: string, value: Mapping): void {
  for (const option of CONFLICTING[section] ?? []) {
    if (value[option] === undefined || value[option] === null) continue;
    throw new Refusal(
      `conflicting parameters "external" and "${option}" specified for ${section.slice(0, -1)} "${key}"`,
      [section, key, option],
    );
  }
}

function externalName(
  section: Section,
  key: string,
  { external, name }: Mapping,
  { minor, warn }: FormOptions,
): string {
  const old = isMapping(external) ? external.name : undefined;
  const kind = section.slice(0, -1);
  if (typeof old !== "string") return typeof name === "string" ? name : key;
  if (name !== undefined) {
    throw new Refusal(
      `${kind} ${key}: ${kind}.external.name and ${kind}.name conflict; only use ${kind}.name`,
      [section, key, "name"],
    );
  }
  if (minor >= DEPRECATED_SINCE[section]) {
    warn(`${kind} ${key}: ${kind}.external.name is deprecated in favor of ${kind}.name`);
  }
  return old;
}

/**
 * A project → the stack's objects, named and labelled as docker's `stack deploy` does. All of it or a
 * refusal: where docker creates networks and secrets before it finds a fault in a service, nothing is
 * made here.
 */

import { type Result } from "#base/result.ts";
import { START_LABEL } from "#model/service-labels.ts";
import type { ConfigSpec } from "#wire/docker/configs.ts";
import type { SecretSpec } from "#wire/docker/secrets.ts";
import { containerPart } from "./container-part.ts";
import { dependencyOrder, type Wait } from "./dependencies.ts";
import {
  endpoint,
  placement,
  resources,
  restartPolicy,
  serviceMode,
  updateConfig,
} from "./deploy-part.ts";
import type { Mapping } from "./document.ts";
import { Fields } from "./fields.ts";
import type { ComposeProject } from "./load.ts";
import { mountsPart } from "./mounts-part.ts";
import { type Links, linksOf, networkBody, networkKeys, serviceNetworks } from "./networks-part.ts";
import { configReferences, privileges, realName, secretReferences } from "./references-part.ts";
import { type ComposeError, catchRefusal, Refusal } from "./refusal.ts";
import { IMAGE_LABEL, Namespace, type SparseServiceSpec, type StackPlan } from "./stack.ts";

/** Networks of every host, which no stack makes. */
const PREDEFINED = ["host", "bridge", "none", "default"];

/** Absolute names of the files whose contents become secrets and configs. */
export function payloadFiles({ secrets, configs }: ComposeProject): readonly string[] {
  const files = [
    ...objectsOf(secrets, "secrets").values(),
    ...objectsOf(configs, "configs").values(),
  ]
    .filter((object) => object.flag("external") !== true && object.text("driver") === undefined)
    .flatMap((object) => object.text("file") ?? []);
  return [...new Set(files)];
}

/** `payloads`: absolute name → contents in base64. */
export function planStack(
  project: ComposeProject,
  stackName: string,
  payloads: ReadonlyMap<string, string>,
): Result<StackPlan, ComposeError> {
  return catchRefusal(project.locate, () => {
    const namespace = new Namespace(stackName);
    const objects: StackObjects = {
      networks: objectsOf(project.networks, "networks"),
      volumes: objectsOf(project.volumes, "volumes"),
      secrets: objectsOf(project.secrets, "secrets"),
      configs: objectsOf(project.configs, "configs"),
    };
    const all = objectsOf(project.services, "services");
    const { services, waits } = dependencyOrder(all);
    const links = linksOf(all);
    const used = [...new Set(services.flatMap(([, service]) => networkKeys(service)))];
    const isExternal = (key: string) => objects.networks.get(key)?.flag("external") === true;
    return {
      name: stackName,
      services: services.map(([name, service]) =>
        serviceSpec(name, service, { objects, namespace, links, waits: waits.get(name) ?? [] }),
      ),
      networks: used
        .filter((key) => !isExternal(key))
        .map((key) => networkBody(key, objects.networks.get(key), namespace)),
      externalNetworks: used
        .filter(isExternal)
        .map((key) => objects.networks.get(key)?.text("name") ?? key)
        .filter((name) => !PREDEFINED.includes(name)),
      secrets: payloadSpecs(objects.secrets, namespace, payloads, project.environment),
      configs: payloadSpecs(objects.configs, namespace, payloads, project.environment),
    };
  });
}

interface StackObjects {
  readonly networks: ReadonlyMap<string, Fields>;
  readonly volumes: ReadonlyMap<string, Fields>;
  readonly secrets: ReadonlyMap<string, Fields>;
  readonly configs: ReadonlyMap<string, Fields>;
}

interface ServiceSurroundings {
  readonly objects: StackObjects;
  readonly namespace: Namespace;
  readonly links: Links;
  readonly waits: readonly Wait[];
}

function objectsOf(section: Mapping, name: string): ReadonlyMap<string, Fields> {
  return new Map(
    Object.entries(section).map(([key, value]) => [key, new Fields(value, [name, key])]),
  );
}

function serviceSpec(
  name: string,
  service: Fields,
  { objects, namespace, links, waits }: ServiceSurroundings,
): SparseServiceSpec {
  const deploy = service.inner("deploy") ?? new Fields({}, service.at("deploy"));
  const container = containerPart(service, namespace);
  return inService(name, () => ({
    Name: namespace.scope(name),
    Labels: {
      ...namespace.labels(withStartOrder(deploy.textMap("labels"), waits, namespace)),
      [IMAGE_LABEL]: service.text("image") ?? "",
    },
    TaskTemplate: {
      ContainerSpec: {
        ...container,
        Privileges: privileges(service, objects.configs, namespace),
        Mounts: mountsPart(service, objects.volumes, namespace),
        Secrets: secretReferences(service, objects.secrets, namespace),
        Configs: configReferences(service, objects.configs, namespace),
      },
      LogDriver: logDriver(service),
      Resources: resources(deploy, service),
      RestartPolicy: restartPolicy(service, deploy),
      Placement: placement(deploy, service),
      Networks: serviceNetworks(service, objects.networks, namespace, links),
      ForceUpdate: 0,
    },
    EndpointSpec: endpoint(service, deploy),
    Mode: serviceMode(deploy),
    UpdateConfig: updateConfig(deploy.inner("update_config")),
    RollbackConfig: updateConfig(deploy.inner("rollback_config")),
  }));
}

/** The managers hold the service back until then; a label of the file's own adds to it. */
function withStartOrder(
  labels: Readonly<Record<string, string>> | undefined,
  waits: readonly Wait[],
  namespace: Namespace,
): Readonly<Record<string, string>> | undefined {
  if (waits.length === 0) return labels;
  const own = labels?.[START_LABEL] ?? "";
  const asked = waits.map(({ service, condition }) => `${namespace.scope(service)}=${condition}`);
  return { ...labels, [START_LABEL]: [...(own === "" ? [] : [own]), ...asked].join(",") };
}

/** docker names the service in what it refuses here. */
function inService<T>(name: string, run: () => T): T {
  try {
    return run();
  } catch (thrown) {
    if (!(thrown instanceof Refusal)) throw thrown;
    throw new Refusal(`service ${name}: ${thrown.message}`, thrown.path);
  }
}

function logDriver(service: Fields) {
  const logging = service.inner("logging");
  return logging === undefined
    ? undefined
    : { Name: logging.text("driver"), Options: logging.textMap("options") };
}

function payloadSpecs(
  objects: ReadonlyMap<string, Fields>,
  namespace: Namespace,
  payloads: ReadonlyMap<string, string>,
  environment: ReadonlyMap<string, string>,
): readonly (SecretSpec & ConfigSpec & { readonly Name: string })[] {
  return [...objects]
    .filter(([, object]) => object.flag("external") !== true)
    .map(([key, object]) => {
      const base = {
        Name: realName(object, key, namespace),
        Labels: namespace.labels(object.textMap("labels")),
        ...template(object),
      };
      const driver = object.text("driver");
      if (driver !== undefined) {
        const Options = object.textMap("driver_opts");
        return { ...base, Driver: { Name: driver, ...(Options === undefined ? {} : { Options }) } };
      }
      const given = object.text("content");
      if (given !== undefined) return { ...base, Data: base64Of(given) };
      const variable = object.text("environment");
      if (variable !== undefined) {
        const value = environment.get(variable);
        if (value === undefined) {
          throw new Refusal(
            `environment variable ${JSON.stringify(variable)} is not set`,
            object.at("environment"),
          );
        }
        return { ...base, Data: base64Of(value) };
      }
      const file = object.text("file") ?? "";
      const Data = payloads.get(file);
      if (Data === undefined) {
        throw new Refusal(`open ${file}: no such file or directory`, object.at("file"));
      }
      return { ...base, Data };
    });
}

function base64Of(text: string): string {
  const bytes = new TextEncoder().encode(text);
  return btoa(Array.from(bytes, (byte) => String.fromCodePoint(byte)).join(""));
}

function template(object: Fields) {
  const driver = object.text("template_driver");
  return driver === undefined ? {} : { Templating: { Name: driver } };
}

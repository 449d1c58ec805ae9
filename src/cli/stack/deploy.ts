/**
 * `skep stack deploy`: brings the swarm to what the Compose files say. The whole plan is made before
 * the first call, so that a fault in a file changes nothing; then networks, secrets and configs, which
 * services need, and the services.
 */

import { EngineError } from "#base/error.ts";
import { referencedNames, withIds } from "#plan/compose/references-part.ts";
import { IMAGE_LABEL, type SparseServiceSpec, type StackPlan } from "#plan/compose/stack.ts";
import type { Command, CommandContext } from "../command.ts";
import { waitConverged } from "../service/progress.ts";
import type { ServiceObject } from "../swarm/types.ts";
import { dryRun } from "./dry-run.ts";
import {
  checkStackName,
  found,
  type PayloadObject,
  stackNetworks,
  stackServices,
} from "./existing.ts";
import { INPUT_FLAGS, loadProject, planProject, tell } from "./files.ts";
import { remember } from "./history.ts";
import { authHeader, pinned, registryAuth } from "./registry.ts";
import type { EngineInfo, NetworkResource } from "./types.ts";

const RESOLVE_MODES = ["always", "changed", "never"];

async function deploy(context: CommandContext): Promise<number> {
  const { args, client, flags, stderr } = context;
  const [name = ""] = args;
  checkStackName(name);
  const resolve = flags.string("resolve-image") ?? "always";
  if (!RESOLVE_MODES.includes(resolve)) {
    throw new EngineError("invalid-argument", `Invalid option ${resolve} for flag --resolve-image`);
  }
  const project = await loadProject(context);
  tell(context, project);
  const plan = await planProject(project, name);
  const info = await client.get<EngineInfo>("/info");
  if (info.Swarm.ControlAvailable !== true) {
    throw new EngineError(
      "unavailable",
      `this node is not a swarm manager. Use "skep swarm init" or "skep swarm join" to connect this node to swarm and try again`,
    );
  }
  await checkExternals(context, plan);
  if (flags.bool("dry-run")) {
    await dryRun(context, plan);
    return 0;
  }
  const detach = !flags.has("detach") || flags.bool("detach");
  if (!flags.has("detach")) {
    stderr.write(
      "Since --detach=false was not specified, tasks will be created in the background.\nIn a future release, --detach=false will become the default.\n",
    );
  }
  if (flags.bool("prune")) await prune(context, plan);
  await makeNetworks(context, plan);
  for (const spec of plan.secrets) await makePayload(context, "secret", spec);
  for (const spec of plan.configs) await makePayload(context, "config", spec);
  const sent: SparseServiceSpec[] = [];
  const ids = await deployServices(context, plan, resolve, (spec) => sent.push(spec));
  await remember(context, name, sent);
  if (!detach) {
    for (const id of ids) await waitConverged(context, id);
  }
  return 0;
}

/** Everything that must be there already, before the first thing is made. */
async function checkExternals({ client }: CommandContext, plan: StackPlan): Promise<void> {
  for (const name of plan.externalNetworks) {
    const network = await found<NetworkResource>(client, `/networks/${encodeURIComponent(name)}`);
    if (network === undefined) {
      throw new EngineError(
        "not-found",
        `network ${JSON.stringify(name)} is declared as external, but could not be found. You need to create a swarm-scoped network before the stack is deployed`,
      );
    }
    if (network.Scope !== "swarm") {
      throw new EngineError(
        "invalid-argument",
        `network ${JSON.stringify(name)} is declared as external, but it is not in the right scope: ${JSON.stringify(network.Scope)} instead of "swarm"`,
      );
    }
  }
  const own = {
    secrets: new Set(plan.secrets.map(({ Name }) => Name)),
    configs: new Set(plan.configs.map(({ Name }) => Name)),
  };
  for (const kind of ["secrets", "configs"] as const) {
    const names = new Set(plan.services.flatMap((spec) => referencedNames(spec)[kind]));
    for (const name of names) {
      if (own[kind].has(name)) continue;
      const object = await found(client, `/${kind}/${encodeURIComponent(name)}`);
      if (object !== undefined) continue;
      throw new EngineError("not-found", `${kind.slice(0, -1)} not found: ${name}`);
    }
  }
}

async function prune({ client, stdout }: CommandContext, plan: StackPlan): Promise<void> {
  const kept = new Set(plan.services.map(({ Name }) => Name));
  for (const { ID, Spec } of await stackServices(client, plan.name)) {
    if (kept.has(Spec.Name)) continue;
    stdout.write(`Removing service ${Spec.Name}\n`);
    await client.delete(`/services/${ID}`);
  }
}

async function makeNetworks({ client, stdout }: CommandContext, plan: StackPlan): Promise<void> {
  const present = new Set((await stackNetworks(client, plan.name)).map(({ Name }) => Name));
  for (const body of plan.networks) {
    if (present.has(body.Name)) continue;
    stdout.write(`Creating network ${body.Name}\n`);
    await client.post("/networks/create", body);
  }
}

/** What is there is updated, which the engine allows as long as the data is the same. */
async function makePayload(
  { client, stdout }: CommandContext,
  kind: "secret" | "config",
  spec: { readonly Name: string },
): Promise<void> {
  const present = await found<PayloadObject>(client, `/${kind}s/${encodeURIComponent(spec.Name)}`);
  if (present === undefined) {
    stdout.write(`Creating ${kind} ${spec.Name}\n`);
    await client.post(`/${kind}s/create`, spec);
    return;
  }
  try {
    await client.post(`/${kind}s/${present.ID}/update`, spec, {
      query: { version: present.Version.Index },
    });
  } catch (error) {
    if (!(error instanceof EngineError)) throw error;
    const hint =
      error.code === "invalid-argument"
        ? `\nWhat a ${kind} holds cannot be changed: give the new one another name in the Compose file`
        : "";
    throw new EngineError(
      error.code,
      `failed to update ${kind} ${spec.Name}: ${error.message}${hint}`,
    );
  }
}

async function deployServices(
  context: CommandContext,
  plan: StackPlan,
  resolve: string,
  note: (spec: SparseServiceSpec) => void,
): Promise<readonly string[]> {
  const { client, flags, stdout } = context;
  const present = new Map(
    (await stackServices(client, plan.name)).map((service) => [service.Spec.Name, service]),
  );
  const ids = new Map<string, string>();
  /** Waited for already. */
  const up = new Set<string>();
  for (const planned of plan.services) {
    for (const other of plan.waits.get(planned.Name) ?? []) {
      if (up.has(other)) continue;
      stdout.write(`Waiting for service ${other}\n`);
      await waitConverged(context, ids.get(other) ?? other);
      up.add(other);
    }
    const image = planned.TaskTemplate?.ContainerSpec?.Image ?? "";
    const auth = flags.bool("with-registry-auth") ? await registryAuth(context, image) : undefined;
    const spec = await filled(context, planned);
    const service = present.get(spec.Name);
    const id =
      service === undefined
        ? await createService(context, spec, { resolve, auth, note })
        : await updateService(context, service, spec, { resolve, auth, note });
    ids.set(spec.Name, id);
  }
  return [...ids.values()];
}

async function filled(
  { client }: CommandContext,
  spec: SparseServiceSpec,
): Promise<SparseServiceSpec> {
  const names = referencedNames(spec);
  const idsOf = async (kind: "secrets" | "configs") => {
    const ids = new Map<string, string>();
    for (const name of names[kind]) {
      const object = await found<PayloadObject>(client, `/${kind}/${encodeURIComponent(name)}`);
      if (object !== undefined) ids.set(name, object.ID);
    }
    return ids;
  };
  const result = withIds(spec, {
    secrets: await idsOf("secrets"),
    configs: await idsOf("configs"),
  });
  if (!result.ok) throw new EngineError("not-found", result.error);
  return result.value;
}

interface Sending {
  readonly resolve: string;
  readonly auth: string | undefined;
  /** Hears what is sent. */
  readonly note: (spec: SparseServiceSpec) => void;
}

async function createService(
  context: CommandContext,
  spec: SparseServiceSpec,
  { resolve, auth, note }: Sending,
): Promise<string> {
  const { client, stderr, stdout } = context;
  stdout.write(`Creating service ${spec.Name}\n`);
  const body = resolve === "never" ? spec : await pinned(context, spec, auth);
  note(body);
  try {
    const { ID, Warnings } = await client.post<{ ID: string; Warnings?: readonly string[] | null }>(
      "/services/create",
      body,
      { headers: authHeader(auth) },
    );
    for (const warning of Warnings ?? []) stderr.write(`${warning}\n`);
    return ID;
  } catch (error) {
    if (!(error instanceof EngineError)) throw error;
    throw new EngineError(error.code, `failed to create service ${spec.Name}: ${error.message}`);
  }
}

async function updateService(
  context: CommandContext,
  service: ServiceObject,
  planned: SparseServiceSpec,
  { resolve, auth, note }: Sending,
): Promise<string> {
  const { client, stderr, stdout } = context;
  stdout.write(`Updating service ${planned.Name} (id: ${service.ID})\n`);
  const sameImage = service.Spec.Labels?.[IMAGE_LABEL] === planned.Labels?.[IMAGE_LABEL];
  const template = planned.TaskTemplate;
  const keepsImage = sameImage && resolve !== "always";
  const spec: SparseServiceSpec = {
    ...planned,
    TaskTemplate: {
      ...template,
      // The platforms belong to the digest that stays.
      ...(keepsImage
        ? {
            Placement: {
              ...template?.Placement,
              Platforms: service.Spec.TaskTemplate.Placement?.Platforms,
            },
          }
        : {}),
      // Forced restarts of before must not look like a change back.
      ForceUpdate: service.Spec.TaskTemplate.ForceUpdate,
      ContainerSpec: {
        ...template?.ContainerSpec,
        ...(keepsImage ? { Image: service.Spec.TaskTemplate.ContainerSpec.Image } : {}),
      },
    },
  };
  const query = resolve === "always" || (resolve === "changed" && !sameImage);
  const body = query ? await pinned(context, spec, auth) : spec;
  note(body);
  try {
    const answer = await client.post<{ Warnings?: readonly string[] | null }>(
      `/services/${service.ID}/update`,
      body,
      {
        query: {
          version: service.Version.Index,
          ...(auth === undefined ? { registryAuthFrom: "spec" } : {}),
        },
        headers: authHeader(auth),
      },
    );
    for (const warning of answer.Warnings ?? []) stderr.write(`${warning}\n`);
  } catch (error) {
    if (!(error instanceof EngineError)) throw error;
    throw new EngineError(error.code, `failed to update service ${planned.Name}: ${error.message}`);
  }
  return service.ID;
}

export const DEPLOY: Command = {
  path: ["stack", "deploy"],
  aliases: ["up"],
  usage: "[OPTIONS] STACK",
  summary: "Deploy a new stack or update an existing stack",
  flags: [
    ...INPUT_FLAGS,
    {
      name: "detach",
      short: "d",
      kind: "bool",
      usage: "Exit immediately instead of waiting for the stack services to converge",
      defaultText: "true",
    },
    { name: "dry-run", kind: "bool", usage: "Only show what would be made, changed and removed" },
    { name: "prune", kind: "bool", usage: "Remove services that the files no longer name" },
    { name: "quiet", short: "q", kind: "bool", usage: "Suppress progress output" },
    {
      name: "resolve-image",
      kind: "string",
      usage: 'Ask the registry for digest and platforms ("always", "changed", "never")',
      defaultText: '"always"',
    },
    {
      name: "with-registry-auth",
      kind: "bool",
      usage: "Send registry authentication details to the nodes",
    },
  ],
  minArgs: 1,
  maxArgs: 1,
  run: deploy,
};

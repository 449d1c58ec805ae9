/**
 * `skep stack deploy`: brings the swarm to what the Compose files say. The whole plan is made here, and
 * the leader does all of it or nothing.
 */

import { EngineError } from "#base/error.ts";
import { referencedNames } from "#plan/compose/references-part.ts";
import { IMAGE_LABEL, type SparseServiceSpec, type StackPlan } from "#plan/compose/stack.ts";
import type { Command, CommandContext } from "../command.ts";
import { waitConverged } from "../service/progress.ts";
import type { ServiceObject } from "../swarm/types.ts";
import { apply, type DeployBody, stackRevision } from "./apply.ts";
import { dryRun } from "./dry-run.ts";
import { checkStackName, found, stackServices } from "./existing.ts";
import { INPUT_FLAGS, loadProject, planProject, tell } from "./files.ts";
import { historyPart } from "./history.ts";
import { pinned, registryAuth } from "./registry.ts";
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
  // Before anything of it is read, so that what changes later is noticed.
  const revision = await stackRevision(context, name);
  const expected = flags.string("revision");
  if (expected !== undefined && expected !== revision) {
    throw new EngineError(
      "conflict",
      `stack ${name} is at revision ${revision}, not ${expected}: it was changed since the plan was made. Look at "skep stack deploy --dry-run" again`,
    );
  }
  if (flags.bool("dry-run")) {
    const body = await bodyOf(context, plan, "never", revision);
    return dryRun(context, plan, body);
  }
  const detach = !flags.has("detach") || flags.bool("detach");
  if (!flags.has("detach")) {
    stderr.write(
      "Since --detach=false was not specified, tasks will be created in the background.\nIn a future release, --detach=false will become the default.\n",
    );
  }
  const body = await bodyOf(context, plan, resolve, revision);
  const ids = await apply(context, name, body);
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

/** The whole deploy, as the leader takes it. */
async function bodyOf(
  context: CommandContext,
  plan: StackPlan,
  resolve: string,
  revision: string,
): Promise<DeployBody> {
  const { client, flags } = context;
  const services = await stackServices(client, plan.name);
  const present = new Map(services.map((service) => [service.Spec.Name, service]));
  const entries: NonNullable<DeployBody["Services"]>[number][] = [];
  for (const planned of plan.services) {
    const image = planned.TaskTemplate?.ContainerSpec?.Image ?? "";
    const auth = flags.bool("with-registry-auth") ? await registryAuth(context, image) : undefined;
    const service = present.get(planned.Name);
    const Spec = await imageSettled(context, planned, service, { resolve, auth });
    entries.push({ Spec, ...(auth === undefined ? {} : { RegistryAuth: auth }) });
  }
  const kept = new Set(plan.services.map(({ Name }) => Name));
  const gone = flags.bool("prune") ? services.filter(({ Spec }) => !kept.has(Spec.Name)) : [];
  const history = await historyPart(
    context,
    plan.name,
    entries.map(({ Spec }) => Spec),
  );
  return {
    Revision: revision,
    Networks: plan.networks,
    Secrets: plan.secrets,
    Configs: [...plan.configs, ...history.configs],
    Services: entries,
    Remove: { Services: gone.map(({ ID }) => ID), Configs: history.forgotten },
  };
}

/** With the digest that its image has now, or had, as the user wants it. */
async function imageSettled(
  context: CommandContext,
  planned: SparseServiceSpec,
  service: ServiceObject | undefined,
  { resolve, auth }: { readonly resolve: string; readonly auth: string | undefined },
): Promise<SparseServiceSpec> {
  const platforms = planned.TaskTemplate?.Placement?.Platforms;
  if (service === undefined) {
    return resolve === "never" ? planned : pinned(context, planned, auth, platforms);
  }
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
              Platforms: platforms ?? service.Spec.TaskTemplate.Placement?.Platforms,
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
  const asks = resolve === "always" || (resolve === "changed" && !sameImage);
  return asks ? pinned(context, spec, auth, platforms) : spec;
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
    {
      name: "revision",
      kind: "string",
      usage: "Deploy only if the stack is still at the revision that --dry-run told",
    },
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

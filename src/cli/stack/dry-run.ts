/**
 * `skep stack deploy --dry-run`: what a deploy would do, and nothing of it. One line per object that
 * would be made (+), changed (~) or removed (-), with the fields below; what would fail is told (!).
 */

import { isErrorCode, messageOf } from "#base/error.ts";
import { changes } from "#plan/compose/diff.ts";
import { IMAGE_LABEL, type SparseServiceSpec, type StackPlan } from "#plan/compose/stack.ts";
import type { CommandContext } from "../command.ts";
import type { ServiceObject } from "../swarm/types.ts";
import { type DeployBody, send } from "./apply.ts";
import { found, type PayloadObject, stackNetworks, stackServices } from "./existing.ts";
import type { NetworkResource } from "./types.ts";

const REFUSALS = [
  "invalid-argument",
  "failed-precondition",
  "already-exists",
  "conflict",
  "not-found",
  "unimplemented",
  "forbidden",
  "permission-denied",
] as const;

/** 1 when the leader would refuse the deploy. */
export async function dryRun(
  context: CommandContext,
  plan: StackPlan,
  body: DeployBody,
): Promise<number> {
  const { client, flags, stdout } = context;
  const lines = [
    ...(await networkLines(context, plan)),
    ...(await payloadLines(context, "secret", plan.secrets)),
    ...(await payloadLines(context, "config", plan.configs)),
  ];
  const networks = await client.get<readonly NetworkResource[]>("/networks");
  const names = new Map(networks.map(({ Id, Name }) => [Id, Name]));
  const present = await stackServices(client, plan.name);
  let same = 0;
  for (const spec of plan.services) {
    const service = present.find(({ Spec }) => Spec.Name === spec.Name);
    if (service === undefined) {
      lines.push(`+ service ${spec.Name} (${spec.TaskTemplate?.ContainerSpec?.Image ?? ""})`);
      continue;
    }
    const changed = serviceLines(service, spec, names);
    if (changed.length === 0) same += 1;
    else lines.push(`~ service ${spec.Name}`, ...changed);
  }
  const planned = new Set(plan.services.map(({ Name }) => Name));
  for (const { Spec } of present.filter((service) => !planned.has(service.Spec.Name))) {
    lines.push(
      flags.bool("prune")
        ? `- service ${Spec.Name}`
        : `  service ${Spec.Name} is in no file any more, and stays without --prune`,
    );
  }
  if (same > 0) lines.push(`  ${same} ${same === 1 ? "service is" : "services are"} as planned`);
  const refused = await refusalOf(context, plan.name, body);
  if (refused !== undefined) lines.push(`! refused: ${refused}`);
  else
    lines.push(`  revision ${body.Revision ?? ""}: to deploy exactly this, add --revision with it`);
  stdout.write(`${lines.join("\n")}\n`);
  return refused === undefined ? 0 : 1;
}

/** Asks the leader, who knows ports, names and limits of the whole swarm. */
async function refusalOf(
  context: CommandContext,
  name: string,
  body: DeployBody,
): Promise<string | undefined> {
  try {
    await send(context, name, { ...body, DryRun: true });
    return undefined;
  } catch (error) {
    if (!isErrorCode(error, ...REFUSALS)) throw error;
    return messageOf(error);
  }
}

async function networkLines({ client }: CommandContext, plan: StackPlan) {
  const present = new Set((await stackNetworks(client, plan.name)).map(({ Name }) => Name));
  return plan.networks
    .filter(({ Name }) => !present.has(Name))
    .map(({ Name, Driver }) => `+ network ${Name} (${Driver ?? ""})`);
}

interface Payload {
  readonly Name: string;
  readonly Data?: string;
}

async function payloadLines(
  { client }: CommandContext,
  kind: "secret" | "config",
  specs: readonly Payload[],
): Promise<readonly string[]> {
  const lines: string[] = [];
  for (const { Name, Data } of specs) {
    type Stored = PayloadObject & { readonly Spec: Payload };
    const present = await found<Stored>(client, `/${kind}s/${encodeURIComponent(Name)}`);
    if (present === undefined) lines.push(`+ ${kind} ${Name}`);
    // What a secret holds is never given out, so only a config can be compared.
    else if (kind === "config" && present.Spec.Data !== Data) {
      lines.push(`! config ${Name}: its data cannot be changed; give the new one another name`);
    }
  }
  return lines;
}

function serviceLines(
  service: ServiceObject,
  planned: SparseServiceSpec,
  networks: ReadonlyMap<string, string>,
): readonly string[] {
  const sameImage = service.Spec.Labels?.[IMAGE_LABEL] === planned.Labels?.[IMAGE_LABEL];
  const { TaskTemplate } = service.Spec;
  // The digest behind a tag that is the same is not looked up.
  const before = sameImage
    ? {
        ...service.Spec,
        TaskTemplate: {
          ...TaskTemplate,
          ContainerSpec: {
            ...TaskTemplate.ContainerSpec,
            Image: planned.TaskTemplate?.ContainerSpec?.Image,
          },
        },
      }
    : service.Spec;
  return changes(before, planned, (id) => networks.get(id) ?? id).map(
    ({ field, before: old, after }) => {
      if (old === undefined) return `    + ${field}: ${after ?? ""}`;
      return after === undefined ? `    - ${field}: ${old}` : `    ~ ${field}: ${old} -> ${after}`;
    },
  );
}

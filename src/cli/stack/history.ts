/** `skep stack history` and `skep stack rollback`, and what `stack deploy` leaves for them. */

import { EngineError } from "#base/error.ts";
import {
  HISTORY_LABEL,
  HISTORY_MAX,
  type HistoryConfig,
  historyConfig,
  type Revision,
  readRevision,
  sameServices,
} from "#plan/compose/history.ts";
import type { SparseServiceSpec } from "#plan/compose/stack.ts";
import { type Command, type CommandContext, FORMAT_FLAG, filtersQuery } from "../command.ts";
import { formatListing } from "../output/table.ts";
import { humanDuration } from "../output/units.ts";
import { waitConverged } from "../service/progress.ts";
import type { Versioned } from "../swarm/types.ts";
import { apply, type DeployBody, stackRevision } from "./apply.ts";
import { checkStackName, stackServices } from "./existing.ts";

interface ConfigObject extends Versioned {
  readonly Spec: { readonly Name: string; readonly Data?: string };
}

interface Kept {
  readonly id: string;
  readonly createdAt: string;
  readonly revision: Revision;
}

/** The revisions that the swarm has, the newest first. */
async function historyOf({ client }: CommandContext, stack: string): Promise<readonly Kept[]> {
  const filters = filtersQuery([`label=${HISTORY_LABEL}=${stack}`]);
  const configs = await client.get<readonly ConfigObject[] | null>("/configs", { filters });
  return (configs ?? [])
    .flatMap(({ ID, CreatedAt, Spec }) => {
      const text = Buffer.from(Spec.Data ?? "", "base64").toString("utf8");
      const revision = readRevision(text);
      return revision === undefined ? [] : [{ id: ID, createdAt: CreatedAt, revision }];
    })
    .sort((a, b) => b.revision.revision - a.revision.revision);
}

/**
 * What a deploy of these services adds to the history, and the ids of what is forgotten for it. Nothing
 * when the newest revision is the same.
 */
export async function historyPart(
  context: CommandContext,
  stack: string,
  services: readonly SparseServiceSpec[],
  back?: number,
): Promise<{ readonly configs: readonly HistoryConfig[]; readonly forgotten: readonly string[] }> {
  const kept = await historyOf(context, stack);
  const [newest] = kept;
  const number = (newest?.revision.revision ?? 0) + 1;
  const revision = { revision: number, ...(back === undefined ? {} : { back }), services };
  const none = { configs: [], forgotten: [] };
  if (newest !== undefined && sameServices(newest.revision, revision)) return none;
  const encode = (text: string) => Buffer.from(text).toString("base64");
  const config = historyConfig(stack, revision, encode);
  if (config === undefined) {
    context.stderr.write(
      `stack ${stack} is too large for its history: it cannot be rolled back to this\n`,
    );
    return none;
  }
  return { configs: [config], forgotten: kept.slice(HISTORY_MAX - 1).map(({ id }) => id) };
}

async function history(context: CommandContext): Promise<number> {
  const { args, flags, stdout, stderr } = context;
  const [name = ""] = args;
  checkStackName(name);
  const kept = await historyOf(context, name);
  if (kept.length === 0) {
    stderr.write(`no history of stack: ${name}\n`);
    return 1;
  }
  const rows = kept.map(({ createdAt, revision }) => ({
    Revision: String(revision.revision),
    Created: `${humanDuration((Date.now() - Date.parse(createdAt)) / 1000)} ago`,
    Services: String(revision.services.length),
    Images: revision.services.map(shownImage).join(", "),
    Note: revision.back === undefined ? "" : `rolled back to ${revision.back}`,
  }));
  stdout.write(
    formatListing(
      {
        table: "{{.Revision}}\t{{.Created}}\t{{.Services}}\t{{.Images}}\t{{.Note}}",
        headings: {
          Revision: "REVISION",
          Created: "CREATED",
          Services: "SERVICES",
          Images: "IMAGES",
          Note: "NOTE",
        },
        rows,
        quietField: "Revision",
      },
      { format: flags.string("format"), quiet: flags.bool("quiet") },
    ),
  );
  return 0;
}

function shownImage({ TaskTemplate }: SparseServiceSpec): string {
  return (TaskTemplate?.ContainerSpec?.Image ?? "").replace(/@sha256:.*$/, "");
}

async function rollback(context: CommandContext): Promise<number> {
  const { args, client, flags, stdout } = context;
  const [name = "", wanted] = args;
  checkStackName(name);
  const Revision = await stackRevision(context, name);
  const kept = await historyOf(context, name);
  const number = wanted === undefined ? undefined : Number(wanted);
  const target =
    number === undefined ? kept[1] : kept.find(({ revision }) => revision.revision === number);
  if (target === undefined) {
    const what = number === undefined ? "an earlier revision" : `revision ${wanted}`;
    throw new EngineError(
      "not-found",
      `stack ${name} has no ${what} to go back to: skep stack history ${name}`,
    );
  }
  const { revision, services } = target.revision;
  stdout.write(`Rolling stack ${name} back to revision ${revision}\n`);
  const present = await stackServices(client, name);
  const forced = new Map(
    present.map((service) => [service.Spec.Name, service.Spec.TaskTemplate.ForceUpdate]),
  );
  const names = new Set(services.map(({ Name }) => Name));
  const part = await historyPart(context, name, services, revision);
  const body: DeployBody = {
    Revision,
    Configs: part.configs,
    Services: services.map((spec) => ({
      Spec: {
        ...spec,
        TaskTemplate: { ...spec.TaskTemplate, ForceUpdate: forced.get(spec.Name) ?? 0 },
      },
    })),
    Remove: {
      Services: present.filter(({ Spec }) => !names.has(Spec.Name)).map(({ ID }) => ID),
      Configs: part.forgotten,
    },
  };
  const ids = await apply(context, name, body);
  if (!flags.bool("detach")) for (const id of ids) await waitConverged(context, id);
  return 0;
}

export const HISTORY: Command = {
  path: ["stack", "history"],
  usage: "[OPTIONS] STACK",
  summary: "List what was deployed under a stack's name",
  flags: [FORMAT_FLAG, { name: "quiet", short: "q", kind: "bool", usage: "Only show numbers" }],
  minArgs: 1,
  maxArgs: 1,
  run: history,
};

export const ROLLBACK: Command = {
  path: ["stack", "rollback"],
  usage: "[OPTIONS] STACK [REVISION]",
  summary: "Bring a stack's services back to what an earlier deploy made of them",
  flags: [
    {
      name: "detach",
      short: "d",
      kind: "bool",
      usage: "Exit immediately instead of waiting for the services",
    },
  ],
  minArgs: 1,
  maxArgs: 2,
  run: rollback,
};

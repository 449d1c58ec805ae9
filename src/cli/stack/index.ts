/** `skep stack …`: services, networks, secrets and configs that a Compose file makes together. */

import { printProject } from "#plan/compose/print.ts";
import { NAMESPACE_LABEL } from "#plan/compose/stack.ts";
import {
  type Command,
  type CommandContext,
  FILTER_FLAG,
  FORMAT_FLAG,
  filtersQuery,
  NO_TRUNC_FLAG,
  QUIET_FLAG,
} from "../command.ts";
import { formatListing } from "../output/table.ts";
import { findServices, printServices } from "../service/list.ts";
import { listTasks } from "../service/ps.ts";
import type { ServiceObject, TaskObject } from "../swarm/types.ts";
import { DEPLOY } from "./deploy.ts";
import { checkStackName, inStack } from "./existing.ts";
import { INPUT_FLAGS, loadProject, tell } from "./files.ts";
import { HISTORY, ROLLBACK } from "./history.ts";
import { REMOVE } from "./remove.ts";

async function list({ client, flags, stdout }: CommandContext): Promise<number> {
  const services = await client.get<readonly ServiceObject[]>("/services", {
    filters: filtersQuery([`label=${NAMESPACE_LABEL}`]),
  });
  const counts = new Map<string, number>();
  for (const { Spec } of services) {
    const stack = Spec.Labels?.[NAMESPACE_LABEL] ?? "";
    counts.set(stack, (counts.get(stack) ?? 0) + 1);
  }
  const rows = [...counts]
    .map(([Name, count]) => ({ Name, Services: String(count) }))
    .sort((a, b) => a.Name.localeCompare(b.Name, "en", { numeric: true }));
  stdout.write(
    formatListing(
      {
        table: "{{.Name}}\t{{.Services}}",
        headings: { Name: "NAME", Services: "SERVICES" },
        rows,
        quietField: "Name",
      },
      { format: flags.string("format"), quiet: false },
    ),
  );
  return 0;
}

async function services(context: CommandContext): Promise<number> {
  const [name = ""] = context.args;
  checkStackName(name);
  const found = await findServices(context, [inStack(name)]);
  if (found.length > 0) return printServices(context, found);
  context.stderr.write(`Nothing found in stack: ${name}\n`);
  return 0;
}

async function tasks(context: CommandContext): Promise<number> {
  const { args, client, flags, stderr } = context;
  const [name = ""] = args;
  checkStackName(name);
  const found = await client.get<readonly TaskObject[]>("/tasks", {
    filters: filtersQuery([inStack(name), ...flags.list("filter")]),
  });
  if (found.length > 0) return listTasks(context, [inStack(name)]);
  stderr.write(`nothing found in stack: ${name}\n`);
  return 1;
}

async function config(context: CommandContext): Promise<number> {
  const project = await loadProject(context);
  tell(context, project);
  context.stdout.write(printProject(project, !context.flags.bool("skip-interpolation")));
  return 0;
}

export const COMMANDS: readonly Command[] = [
  DEPLOY,
  {
    path: ["stack", "ls"],
    aliases: ["list"],
    usage: "[OPTIONS]",
    summary: "List stacks",
    flags: [FORMAT_FLAG],
    minArgs: 0,
    maxArgs: 0,
    run: list,
  },
  {
    path: ["stack", "services"],
    usage: "[OPTIONS] STACK",
    summary: "List the services in the stack",
    flags: [FILTER_FLAG, FORMAT_FLAG, QUIET_FLAG],
    minArgs: 1,
    maxArgs: 1,
    run: services,
  },
  {
    path: ["stack", "ps"],
    usage: "[OPTIONS] STACK",
    summary: "List the tasks in the stack",
    flags: [
      FILTER_FLAG,
      FORMAT_FLAG,
      QUIET_FLAG,
      NO_TRUNC_FLAG,
      { name: "no-resolve", kind: "bool", usage: "Show IDs instead of names" },
    ],
    minArgs: 1,
    maxArgs: 1,
    run: tasks,
  },
  HISTORY,
  ROLLBACK,
  REMOVE,
  {
    path: ["stack", "config"],
    usage: "[OPTIONS]",
    summary: "Print the Compose files merged and with their variables replaced",
    flags: [
      ...INPUT_FLAGS,
      {
        name: "skip-interpolation",
        kind: "bool",
        usage: "Leave variables as they are written",
      },
    ],
    minArgs: 0,
    maxArgs: 0,
    run: config,
  },
];

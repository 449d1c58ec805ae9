/**
 * `skep stack rm`: everything that carries the stack's label; volumes stay, as their data is the user's.
 * The leader does it in one transaction; an engine that has no such call is asked object by object.
 */

import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import { isHistoryName } from "#plan/compose/history.ts";
import type { StackRemoveResponse } from "#wire/docker/stacks.ts";
import { type Command, type CommandContext, filtersQuery } from "../command.ts";
import type { TaskObject } from "../swarm/types.ts";
import {
  checkStackName,
  inStack,
  stackNetworks,
  stackPayloads,
  stackServices,
} from "./existing.ts";

const POLL_MS = 200;
const TERMINAL = ["complete", "shutdown", "failed", "rejected", "orphaned", "remove"];

interface Removal {
  readonly kind: string;
  readonly name: string;
  readonly path: string;
}

async function remove(context: CommandContext): Promise<number> {
  const { args, client, flags, stderr, stdout } = context;
  const detach = !flags.has("detach") || flags.bool("detach");
  const problems: string[] = [];
  for (const name of args) checkStackName(name);
  for (const name of args) {
    const gone = await removedAtOnce(client, name);
    if (gone !== undefined) {
      if (gone.length === 0) stderr.write(`Nothing found in stack: ${name}\n`);
      for (const { Kind, Name } of gone) {
        if (!isHistoryName(Name)) stdout.write(`Removing ${Kind} ${Name}\n`);
      }
      if (!detach && gone.length > 0) await waitGone(client, name);
      continue;
    }
    const removals = await removalsOf(client, name);
    if (removals.length === 0) {
      stderr.write(`Nothing found in stack: ${name}\n`);
      continue;
    }
    let failed = false;
    for (const { kind, name: object, path } of removals) {
      stdout.write(`Removing ${kind} ${object}\n`);
      try {
        await client.delete(path);
      } catch (error) {
        failed = true;
        stderr.write(`Failed to remove ${kind} ${object}: ${messageOf(error)}\n`);
      }
    }
    if (failed) problems.push(`Failed to remove some resources from stack: ${name}`);
    else if (!detach) await waitGone(client, name);
  }
  if (problems.length > 0) throw new EngineError("unknown", problems.join("\n"));
  return 0;
}

/** Undefined from an engine, or a leader, that does not know of stacks as a whole. */
async function removedAtOnce(
  client: CommandContext["client"],
  stack: string,
): Promise<StackRemoveResponse["Changes"] | undefined> {
  try {
    const path = `/stacks/${encodeURIComponent(stack)}`;
    return (await client.delete<StackRemoveResponse>(path)).Changes;
  } catch (error) {
    if (isErrorCode(error, "not-found", "unimplemented")) return undefined;
    throw error;
  }
}

/** In the order in which nothing is removed that something else still needs. */
async function removalsOf(
  client: CommandContext["client"],
  stack: string,
): Promise<readonly Removal[]> {
  const services = await stackServices(client, stack);
  const secrets = await stackPayloads(client, "secrets", stack);
  const configs = await stackPayloads(client, "configs", stack);
  const networks = await stackNetworks(client, stack);
  const payload = (kind: string) => (object: (typeof secrets)[number]) => ({
    kind,
    name: object.Spec.Name,
    path: `/${kind}s/${object.ID}`,
  });
  return [
    ...services.map(({ ID, Spec }) => ({
      kind: "service",
      name: Spec.Name,
      path: `/services/${ID}`,
    })),
    ...secrets.map(payload("secret")),
    ...configs.map(payload("config")),
    ...networks.map(({ Id, Name }) => ({ kind: "network", name: Name, path: `/networks/${Id}` })),
  ];
}

async function waitGone(client: CommandContext["client"], stack: string): Promise<void> {
  for (;;) {
    const tasks = await client.get<readonly TaskObject[]>("/tasks", {
      filters: filtersQuery([inStack(stack)]),
    });
    const stopped = tasks.every((task) => TERMINAL.includes(task.Status.State));
    if (stopped && (await stackNetworks(client, stack)).length === 0) return;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

export const REMOVE: Command = {
  path: ["stack", "rm"],
  aliases: ["remove", "down"],
  usage: "[OPTIONS] STACK [STACK...]",
  summary: "Remove one or more stacks",
  flags: [
    {
      name: "detach",
      short: "d",
      kind: "bool",
      usage: "Do not wait for the stacks' tasks to stop",
      defaultText: "true",
    },
  ],
  minArgs: 1,
  maxArgs: undefined,
  run: remove,
};

/** `stop`, `kill`, `restart`, `pause`, `unpause`, `rename`, `wait`, `rm`, `prune`. */

import { isErrorCode, messageOf } from "#base/error.ts";
import { type Command, filtersQuery, forEachArg, PRUNE_FLAGS } from "../command.ts";
import { confirm } from "../confirm.ts";
import { humanSize, SUM_DIGITS } from "../output/units.ts";
import type { FlagSpec } from "../pflag.ts";
import { pruneFilters } from "../settings.ts";

const TIME_FLAG: FlagSpec = {
  name: "time",
  short: "t",
  kind: "int",
  usage: "Seconds to wait before killing the container",
};
const TIMEOUT_ALIAS: FlagSpec = { ...TIME_FLAG, name: "timeout", hidden: true };
const { short: _short, ...TIMEOUT_FLAG } = TIMEOUT_ALIAS;
const SIGNAL_FLAG: FlagSpec = {
  name: "signal",
  short: "s",
  kind: "string",
  usage: "Signal to send to the container",
};

/** A verb that posts to each container and echoes its name. */
function verb(name: string, summary: string, flags: readonly FlagSpec[] = []): Command {
  return {
    path: ["container", name],
    shortcuts: [[name]],
    usage: `${flags.length > 0 ? "[OPTIONS] " : ""}CONTAINER [CONTAINER...]`,
    summary,
    flags,
    minArgs: 1,
    maxArgs: undefined,
    run: (context) =>
      forEachArg(context, async (container) => {
        const query = {
          t: context.flags.number("time") ?? context.flags.number("timeout"),
          signal: context.flags.string("signal"),
        };
        await context.client.post(`/containers/${container}/${name}`, undefined, { query });
        return container;
      }),
  };
}

export const LIFECYCLE_COMMANDS: readonly Command[] = [
  verb("stop", "Stop one or more running containers", [TIME_FLAG, TIMEOUT_FLAG, SIGNAL_FLAG]),
  verb("restart", "Restart one or more containers", [TIME_FLAG, TIMEOUT_FLAG, SIGNAL_FLAG]),
  verb("kill", "Kill one or more running containers", [SIGNAL_FLAG]),
  verb("pause", "Pause all processes within one or more containers"),
  verb("unpause", "Unpause all processes within one or more containers"),
  {
    path: ["container", "rename"],
    shortcuts: [["rename"]],
    usage: "CONTAINER NEW_NAME",
    summary: "Rename a container",
    flags: [],
    minArgs: 2,
    maxArgs: 2,
    run: async ({ args, client, stderr }) => {
      const [name = "", next] = args;
      try {
        await client.post(`/containers/${name}/rename`, undefined, { query: { name: next } });
        return 0;
      } catch (error) {
        stderr.write(`${messageOf(error)}\nError: failed to rename container named ${name}\n`);
        return 1;
      }
    },
  },
  {
    path: ["container", "wait"],
    shortcuts: [["wait"]],
    usage: "CONTAINER [CONTAINER...]",
    summary: "Block until one or more containers stop, then print their exit codes",
    flags: [],
    minArgs: 1,
    maxArgs: undefined,
    run: (context) =>
      forEachArg(context, async (container) => {
        const { StatusCode } = await context.client.post<{ StatusCode: number }>(
          `/containers/${container}/wait`,
        );
        return String(StatusCode);
      }),
  },
  {
    path: ["container", "rm"],
    aliases: ["remove"],
    shortcuts: [["rm"]],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    summary: "Remove one or more containers",
    flags: [
      { name: "force", short: "f", kind: "bool", usage: "Remove a running container (by SIGKILL)" },
      { name: "link", short: "l", kind: "bool", usage: "Remove the link of that name" },
      { name: "volumes", short: "v", kind: "bool", usage: "Remove its anonymous volumes too" },
    ],
    minArgs: 1,
    maxArgs: undefined,
    run: (context) =>
      forEachArg(context, async (container) => {
        const force = context.flags.bool("force");
        try {
          await context.client.delete(`/containers/${container}`, {
            force,
            v: context.flags.bool("volumes"),
            link: context.flags.bool("link"),
          });
        } catch (error) {
          // By force means that it shall be gone, which it is.
          if (!force || !isErrorCode(error, "not-found")) throw error;
          context.stderr.write(`${messageOf(error)}\n`);
          return undefined;
        }
        return container;
      }),
  },
  {
    path: ["container", "prune"],
    usage: "[OPTIONS]",
    summary: "Remove all stopped containers",
    flags: PRUNE_FLAGS,
    minArgs: 0,
    maxArgs: 0,
    run: async (context) => {
      const { client, flags, stdout } = context;
      const warning = "WARNING! This will remove all stopped containers.";
      if (!flags.bool("force") && !(await confirm(context, warning))) return 0;
      const answer = await client.post<{
        ContainersDeleted: readonly string[] | null;
        SpaceReclaimed: number;
      }>("/containers/prune", undefined, {
        query: { filters: filtersQuery(pruneFilters(context)) },
      });
      const deleted = answer.ContainersDeleted ?? [];
      if (deleted.length > 0) stdout.write(`Deleted Containers:\n${deleted.join("\n")}\n\n`);
      stdout.write(`Total reclaimed space: ${humanSize(answer.SpaceReclaimed, SUM_DIGITS)}\n`);
      return 0;
    },
  },
];

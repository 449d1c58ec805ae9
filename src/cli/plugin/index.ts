/**
 * `skep plugin …`: managed plugins exist in docker's engine and not in this one. The commands ask the
 * engine all the same: scripts that clean up go on, and the rest is told in its words.
 */

import {
  type Command,
  type CommandContext,
  FILTER_FLAG,
  FORMAT_FLAG,
  filtersQuery,
  forEachArg,
  NO_TRUNC_FLAG,
  QUIET_FLAG,
} from "../command.ts";
import { inspectAll } from "../inspect.ts";
import { formatListing } from "../output/table.ts";
import { ellipsis } from "../output/units.ts";
import { listingOptions } from "../settings.ts";

/** Of another engine, which has some. */
interface Plugin {
  readonly Id: string;
  readonly Name: string;
  readonly Enabled: boolean;
  readonly PluginReference?: string;
  readonly Config: { readonly Description: string };
}

const DESCRIPTION_CHARACTERS = 45;

async function list({ client, env, flags, stdout }: CommandContext): Promise<number> {
  const filters = filtersQuery(flags.list("filter"));
  const full = flags.bool("no-trunc");
  const plugins = await client.get<readonly Plugin[]>("/plugins", { filters });
  stdout.write(
    formatListing(
      {
        table: "{{.ID}}\t{{.Name}}\t{{.Description}}\t{{.Enabled}}",
        headings: {
          ID: "ID",
          Name: "NAME",
          Description: "DESCRIPTION",
          Enabled: "ENABLED",
          PluginReference: "PLUGIN REFERENCE",
        },
        rows: plugins.map(({ Id, Name, Enabled, PluginReference, Config }) => {
          const description = Config.Description.replaceAll(/[\r\n]+/g, " ");
          return {
            ID: full ? Id : Id.slice(0, 12),
            Name,
            Description: full ? description : ellipsis(description, DESCRIPTION_CHARACTERS),
            Enabled,
            PluginReference: PluginReference ?? "",
          };
        }),
        quietField: "ID",
      },
      listingOptions({ env, flags }, "pluginsFormat"),
    ),
  );
  return 0;
}

/** Docker's own command line waits so long for an engine that starts one. */
const ENABLE_SECONDS = "30";

export const COMMANDS: readonly Command[] = [
  {
    path: ["plugin", "ls"],
    aliases: ["list"],
    usage: "[OPTIONS]",
    summary: "List managed plugins (this engine has none; plugins are found by their sockets)",
    flags: [FILTER_FLAG, FORMAT_FLAG, NO_TRUNC_FLAG, QUIET_FLAG],
    minArgs: 0,
    maxArgs: 0,
    run: list,
  },
  {
    path: ["plugin", "inspect"],
    usage: "[OPTIONS] PLUGIN [PLUGIN...]",
    summary: "Show a managed plugin in full",
    flags: [{ ...FORMAT_FLAG, short: "f" }],
    minArgs: 1,
    maxArgs: undefined,
    run: (context) => inspectAll(context, "plugin", ["/plugins/{}/json"]),
  },
  {
    path: ["plugin", "enable"],
    usage: "[OPTIONS] PLUGIN",
    summary: "Enable a managed plugin",
    flags: [
      {
        name: "timeout",
        kind: "int",
        usage: "Seconds to wait for it",
        defaultText: ENABLE_SECONDS,
      },
    ],
    minArgs: 1,
    maxArgs: 1,
    run: (context) => {
      const timeout = context.flags.string("timeout") ?? ENABLE_SECONDS;
      return post(context, "enable", { timeout });
    },
  },
  {
    path: ["plugin", "disable"],
    usage: "[OPTIONS] PLUGIN",
    summary: "Disable a managed plugin",
    flags: [{ name: "force", short: "f", kind: "bool", usage: "Also while it is used" }],
    minArgs: 1,
    maxArgs: 1,
    run: (context) => post(context, "disable", { force: context.flags.bool("force") }),
  },
  {
    path: ["plugin", "rm"],
    aliases: ["remove"],
    usage: "[OPTIONS] PLUGIN [PLUGIN...]",
    summary: "Remove one or more managed plugins",
    flags: [{ name: "force", short: "f", kind: "bool", usage: "Also while it is enabled" }],
    minArgs: 1,
    maxArgs: undefined,
    run: (context) =>
      forEachArg(context, async (name) => {
        const force = context.flags.bool("force");
        await context.client.delete(`/plugins/${name}`, { force });
        return name;
      }),
  },
  {
    path: ["plugin", "set"],
    usage: "PLUGIN KEY=VALUE [KEY=VALUE...]",
    summary: "Change settings of a managed plugin",
    flags: [],
    minArgs: 2,
    maxArgs: undefined,
    run: async ({ args, client }) => {
      const [name = "", ...settings] = args;
      await client.post(`/plugins/${name}/set`, settings);
      return 0;
    },
  },
];

async function post(
  { args, client, stdout }: CommandContext,
  verb: string,
  query: Readonly<Record<string, string | boolean>>,
): Promise<number> {
  const name = args[0] ?? "";
  await client.post(`/plugins/${name}/${verb}`, undefined, { query });
  stdout.write(`${name}\n`);
  return 0;
}

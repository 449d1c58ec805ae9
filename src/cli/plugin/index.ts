/**
 * `skep plugin …`: what exists in docker's engine and not in this one. Lists are
 * empty, so that scripts that clean up go on; what would need it is refused by the engine in words.
 */

import { type Command, FILTER_FLAG, FORMAT_FLAG, NO_TRUNC_FLAG, QUIET_FLAG } from "../command.ts";
import { inspectAll } from "../inspect.ts";
import { formatListing } from "../output/table.ts";

export const COMMANDS: readonly Command[] = [
  {
    path: ["plugin", "ls"],
    aliases: ["list"],
    usage: "[OPTIONS]",
    summary: "List managed plugins (this engine has none; plugins are found by their sockets)",
    flags: [FILTER_FLAG, FORMAT_FLAG, NO_TRUNC_FLAG, QUIET_FLAG],
    minArgs: 0,
    maxArgs: 0,
    run: async ({ flags, client, stdout }) => {
      await client.get("/plugins");
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
            rows: [],
            quietField: "ID",
          },
          { format: flags.string("format"), quiet: flags.bool("quiet") },
        ),
      );
      return 0;
    },
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
];

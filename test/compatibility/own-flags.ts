/** The commands and flags of our own command line, from its tables. */

import type { Command } from "#cli/command.ts";
import type { Flags } from "./document.ts";

/** Commands that docker has without a noun. */
const BARE: Readonly<Record<string, string>> = {
  "image search": "search",
  "system inspect": "inspect",
  "system login": "login",
  "system logout": "logout",
  "system version": "version",
};

export async function ownFlags(): Promise<Flags> {
  const nouns = await Promise.all([
    import("#cli/container/index.ts"),
    import("#cli/image/index.ts"),
    import("#cli/builder/index.ts"),
    import("#cli/network/index.ts"),
    import("#cli/volume/index.ts"),
    import("#cli/system/index.ts"),
    import("#cli/swarm/index.ts"),
    import("#cli/node/index.ts"),
    import("#cli/service/index.ts"),
    import("#cli/stack/index.ts"),
    import("#cli/secret/index.ts"),
    import("#cli/config/index.ts"),
    import("#cli/plugin/index.ts"),
    import("#cli/context/index.ts"),
    import("#cli/completion/index.ts"),
  ]);
  const flags = new Map<string, ReadonlySet<string>>();
  for (const command of nouns.flatMap(({ COMMANDS }): readonly Command[] => COMMANDS)) {
    const path = command.path.join(" ");
    flags.set(BARE[path] ?? path, new Set(command.flags.map(({ name }) => name)));
  }
  return flags;
}

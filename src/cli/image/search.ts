/** `skep search`: images of the Docker Hub, or of another registry that can be searched. */

import {
  type Command,
  type CommandContext,
  FILTER_FLAG,
  FORMAT_FLAG,
  filtersQuery,
  NO_TRUNC_FLAG,
} from "../command.ts";
import { formatListing } from "../output/table.ts";

interface Hit {
  readonly name: string;
  readonly description: string;
  readonly star_count: number;
  readonly is_official: boolean;
  readonly is_automated?: boolean;
}

const DESCRIPTION_CHARACTERS = 45;

async function search(context: CommandContext): Promise<number> {
  const { args, client, flags, stdout } = context;
  const term = args[0] ?? "";
  const { authHeader, registryAuth } = await import("../stack/registry.ts");
  const body = await client.stream("GET", "/images/search", {
    query: {
      term,
      limit: flags.string("limit"),
      filters: filtersQuery(flags.list("filter")),
    },
    headers: authHeader(await registryAuth(context, term.replace(/\/$/, ""))),
  });
  const { readAll } = await import("../http.ts");
  const hits = (JSON.parse(await readAll(body)) as readonly Hit[]).toSorted(
    (a, b) => b.star_count - a.star_count,
  );
  stdout.write(
    formatListing(
      {
        table: "{{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}",
        headings: {
          Name: "NAME",
          Description: "DESCRIPTION",
          StarCount: "STARS",
          IsOfficial: "OFFICIAL",
          IsAutomated: "AUTOMATED",
        },
        rows: hits.map((hit) => ({
          Name: hit.name,
          Description: described(hit.description, flags.bool("no-trunc")),
          StarCount: String(hit.star_count),
          IsOfficial: hit.is_official ? "[OK]" : "",
          IsAutomated: hit.is_automated === true ? "[OK]" : "",
        })),
        quietField: "Name",
      },
      { format: flags.string("format"), quiet: false },
    ),
  );
  return 0;
}

function described(text: string, full: boolean): string {
  const line = text.replace(/[\r\n]+/g, " ");
  if (full || line.length <= DESCRIPTION_CHARACTERS) return line;
  return `${line.slice(0, DESCRIPTION_CHARACTERS - 1)}…`;
}

export const SEARCH_COMMAND: Command = {
  path: ["image", "search"],
  shortcuts: [["search"]],
  usage: "[OPTIONS] TERM",
  summary: "Search the Docker Hub, or HOST/TERM another registry, for images",
  flags: [
    FILTER_FLAG,
    FORMAT_FLAG,
    { name: "limit", kind: "int", usage: "So many results at most (1 to 100)" },
    NO_TRUNC_FLAG,
  ],
  minArgs: 1,
  maxArgs: 1,
  run: search,
};

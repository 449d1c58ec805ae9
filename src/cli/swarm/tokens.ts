/** `skep swarm token …`: join tokens with bounds, beside the two of `join-token`. */

import { formatDuration } from "#base/duration.ts";
import { EngineError } from "#base/error.ts";
import { type Command, type CommandContext, FORMAT_FLAG, forEachArg } from "../command.ts";
import { compact, pairs } from "../container/run-flags.ts";
import { formatListing } from "../output/table.ts";

interface TokenObject {
  readonly Name: string;
  readonly Token: string;
  readonly Role: string;
  readonly Labels: Readonly<Record<string, string>>;
  readonly IdentityLabels?: Readonly<Record<string, string>>;
  readonly MaxUses: number;
  readonly Uses: number;
  readonly CreatedAt: string;
  readonly ExpiresAt?: string;
}

async function create({ args, client, flags, stdout }: CommandContext): Promise<number> {
  const role = args[0] ?? "";
  if (role !== "worker" && role !== "manager") {
    throw new EngineError("invalid-argument", `unknown role ${role}`);
  }
  const token = await client.post<TokenObject>("/swarm/tokens/create", {
    Role: role,
    Labels: pairs(flags.list("label")),
    IdentityLabels: pairs(flags.list("identity-label")),
    ...compact({
      Name: flags.string("name"),
      MaxUses: flags.number("uses"),
      ExpiresIn: flags.duration("expires"),
    }),
  });
  stdout.write(`${flags.bool("quiet") ? token.Token : described(token)}\n`);
  return 0;
}

function described(token: TokenObject): string {
  const { Name, Token, Role, Labels, IdentityLabels = {}, MaxUses, ExpiresAt } = token;
  const bounds = [
    MaxUses === 0 ? "any number of nodes" : `${MaxUses} ${MaxUses === 1 ? "node" : "nodes"}`,
    ...(ExpiresAt === undefined ? [] : [`until ${ExpiresAt}`]),
    ...Object.entries(Labels).map(([key, value]) => `labelled ${key}=${value}`),
    ...Object.entries(IdentityLabels).map(([key, value]) => `identified by ${key}=${value}`),
  ];
  return `Join token ${Name} for a ${Role} (${bounds.join(", ")}):\n\n    ${Token}\n\nUse it with 'skep swarm join --token'.`;
}

async function list({ client, flags, stdout }: CommandContext): Promise<number> {
  const tokens = await client.get<readonly TokenObject[]>("/swarm/tokens");
  const now = Date.now();
  const rows = tokens.map((token) => ({
    ...token,
    Labels: Object.entries(token.Labels)
      .map(([key, value]) => `${key}=${value}`)
      .join(","),
    Uses: token.MaxUses === 0 ? String(token.Uses) : `${token.Uses}/${token.MaxUses}`,
    Expires: expiry(token.ExpiresAt, now),
  }));
  const listing = {
    table: "{{.Name}}\t{{.Role}}\t{{.Uses}}\t{{.Expires}}\t{{.Labels}}",
    headings: {
      Name: "NAME",
      Role: "ROLE",
      Uses: "USES",
      Expires: "EXPIRES",
      Labels: "LABELS",
      Token: "TOKEN",
    },
    rows,
    quietField: "Name",
  };
  const options = { format: flags.string("format"), quiet: flags.bool("quiet") };
  stdout.write(formatListing(listing, options));
  return 0;
}

function expiry(time: string | undefined, nowMs: number): string {
  if (time === undefined) return "never";
  const leftS = Math.round((Date.parse(time) - nowMs) / 1_000);
  return leftS <= 0 ? "expired" : `in ${formatDuration(leftS * 1_000_000_000)}`;
}

export const COMMANDS: readonly Command[] = [
  {
    path: ["swarm", "token", "create"],
    usage: "[OPTIONS] (worker|manager)",
    summary: "Create a join token for some nodes, for a while, or with labels",
    flags: [
      { name: "name", kind: "string", usage: "Name of the token" },
      { name: "label", kind: "list", usage: "Label of the nodes that join with it (key=value)" },
      {
        name: "identity-label",
        kind: "list",
        usage:
          "What they are identified by for ever, for constraints on node.identity.KEY (key=value)",
      },
      { name: "uses", kind: "uint", usage: "Nodes that may join with it", defaultText: "any" },
      { name: "expires", kind: "duration", usage: "How long it is good", defaultText: "for ever" },
      { name: "quiet", short: "q", kind: "bool", usage: "Show only the token" },
    ],
    minArgs: 1,
    maxArgs: 1,
    run: create,
  },
  {
    path: ["swarm", "token", "ls"],
    aliases: ["list"],
    usage: "[OPTIONS]",
    summary: "List join tokens with bounds (their text: --format '{{.Name}} {{.Token}}')",
    flags: [FORMAT_FLAG, { name: "quiet", short: "q", kind: "bool", usage: "Show only names" }],
    minArgs: 0,
    maxArgs: 0,
    run: list,
  },
  {
    path: ["swarm", "token", "rm"],
    aliases: ["remove"],
    usage: "NAME [NAME...]",
    summary: "Remove join tokens; nodes that came with them stay",
    flags: [],
    minArgs: 1,
    maxArgs: undefined,
    run: (context) =>
      forEachArg(context, async (name) => {
        await context.client.delete(`/swarm/tokens/${encodeURIComponent(name)}`);
        return name;
      }),
  },
];

/** What `skep secret …` and `skep config …` have in common: objects of the swarm with a name and a payload. */

import { readFile } from "node:fs/promises";
import { buffer } from "node:stream/consumers";
import { EngineError } from "#base/error.ts";
import {
  type Command,
  type CommandContext,
  FILTER_FLAG,
  FORMAT_FLAG,
  filtersQuery,
  forEachArg,
  QUIET_FLAG,
} from "../command.ts";
import { pairs } from "../container/run-flags.ts";
import { inspectAll } from "../inspect.ts";
import { fileError } from "../open-file.ts";
import { formatListing } from "../output/table.ts";
import { ago, goTime } from "../output/units.ts";
import { listingOptions } from "../settings.ts";

interface SwarmObject {
  readonly ID: string;
  readonly CreatedAt: string;
  readonly UpdatedAt: string;
  readonly Spec: {
    readonly Name: string;
    readonly Labels?: Readonly<Record<string, string>> | null;
    readonly Driver?: { readonly Name: string };
    readonly Data?: string;
  };
}

export interface Kind {
  readonly noun: "secret" | "config";
  /** Payloads of a config can be looked at. */
  readonly shows: boolean;
}

export function objectCommands(kind: Kind): readonly Command[] {
  const { noun } = kind;
  return [
    {
      path: [noun, "create"],
      usage: `[OPTIONS] ${noun.toUpperCase()} ${noun === "secret" ? "[file|-]" : "file|-"}`,
      summary: `Create a ${noun} from a file or STDIN`,
      flags: [
        { name: "label", short: "l", kind: "list", usage: "Add a label (key=value)" },
        { name: "template-driver", kind: "string", usage: "Template driver (golang)" },
        ...(noun === "secret"
          ? [{ name: "driver", short: "d", kind: "string", usage: "Secret driver" } as const]
          : []),
      ],
      minArgs: noun === "secret" ? 1 : 2,
      maxArgs: 2,
      run: (context) => create(context, kind),
    },
    {
      path: [noun, "ls"],
      aliases: ["list"],
      usage: "[OPTIONS]",
      summary: `List ${noun}s`,
      flags: [FILTER_FLAG, FORMAT_FLAG, QUIET_FLAG],
      minArgs: 0,
      maxArgs: 0,
      run: (context) => list(context, kind),
    },
    {
      path: [noun, "inspect"],
      usage: `[OPTIONS] ${noun.toUpperCase()} [${noun.toUpperCase()}...]`,
      summary: `Show a ${noun} in full${kind.shows ? "" : ", but for what it hides"}`,
      flags: [
        { ...FORMAT_FLAG, short: "f" },
        { name: "pretty", kind: "bool", usage: "Show it for people" },
      ],
      minArgs: 1,
      maxArgs: undefined,
      run: (context) =>
        context.flags.bool("pretty")
          ? pretty(context, kind)
          : inspectAll(context, noun, [`/${noun}s/{}`]),
    },
    {
      path: [noun, "rm"],
      aliases: ["remove"],
      usage: `${noun.toUpperCase()} [${noun.toUpperCase()}...]`,
      summary: `Remove one or more ${noun}s`,
      flags: [],
      minArgs: 1,
      maxArgs: undefined,
      run: (context) =>
        forEachArg(context, async (name) => {
          await context.client.delete(`/${noun}s/${name}`);
          return name;
        }),
    },
  ];
}

async function create(context: CommandContext, { noun }: Kind): Promise<number> {
  const { args, client, flags, stdin, stdout } = context;
  const [name = "", path] = args;
  const driver = flags.string("driver");
  if (driver !== undefined && path !== undefined) {
    throw new EngineError("invalid-argument", "When using secret driver secret data must be empty");
  }
  if (driver === undefined && path === undefined) {
    throw new EngineError("invalid-argument", "secret file is required");
  }
  const data =
    path === undefined ? undefined : path === "-" ? await buffer(stdin) : await contentOf(path);
  const template = flags.string("template-driver");
  const { ID } = await client.post<{ readonly ID: string }>(`/${noun}s/create`, {
    Name: name,
    Labels: pairs(flags.list("label")),
    ...(data === undefined ? {} : { Data: data.toString("base64") }),
    ...(driver === undefined ? {} : { Driver: { Name: driver } }),
    ...(template === undefined ? {} : { Templating: { Name: template } }),
  });
  stdout.write(`${ID}\n`);
  return 0;
}

async function contentOf(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    const { message } = fileError("open", path, error);
    throw new EngineError(
      "invalid-argument",
      `Error reading content from ${JSON.stringify(path)}: error reading from ${path}: ${message}`,
    );
  }
}

async function list(
  { client, env, flags, stdout }: CommandContext,
  { noun }: Kind,
): Promise<number> {
  const objects = await client.get<readonly SwarmObject[]>(`/${noun}s`, {
    filters: filtersQuery(flags.list("filter")),
  });
  const natural = new Intl.Collator("en", { numeric: true });
  const sorted = [...objects].sort((a, b) => natural.compare(a.Spec.Name, b.Spec.Name));
  const driver = noun === "secret" ? "{{.Driver}}\t" : "";
  stdout.write(
    formatListing(
      {
        table: `{{.ID}}\t{{.Name}}\t${driver}{{.CreatedAt}}\t{{.UpdatedAt}}`,
        headings: {
          ID: "ID",
          Name: "NAME",
          Driver: "DRIVER",
          CreatedAt: "CREATED",
          UpdatedAt: "UPDATED",
          Labels: "LABELS",
          Label: (label: string) => label,
        },
        rows: sorted.map(({ ID, CreatedAt, UpdatedAt, Spec }) => ({
          ID,
          Name: Spec.Name,
          ...(noun === "secret" ? { Driver: Spec.Driver?.Name ?? "" } : {}),
          CreatedAt: ago(Date.parse(CreatedAt), Date.now()),
          UpdatedAt: ago(Date.parse(UpdatedAt), Date.now()),
          Labels: labelsOf(Spec.Labels)
            .map(([key, value]) => `${key}=${value}`)
            .join(","),
          Label: (label: string) => Spec.Labels?.[label] ?? "",
        })),
        quietField: "ID",
      },
      listingOptions({ env, flags }, `${noun}Format`),
    ),
  );
  return 0;
}

function labelsOf(labels: Readonly<Record<string, string>> | null | undefined) {
  return Object.entries(labels ?? {});
}

async function pretty(context: CommandContext, { noun, shows }: Kind): Promise<number> {
  return forEachArg(context, async (name) => {
    const found = await context.client.get<SwarmObject>(`/${noun}s/${name}`);
    const { Spec } = found;
    // As docker's command line has it, to the character.
    const [pad, tab] = noun === "secret" ? ["              ", ""] : ["\t\t\t", "    \t"];
    const lines = [
      `ID:${pad}${found.ID}`,
      `Name:${pad}${Spec.Name}`,
      ...(labelsOf(Spec.Labels).length > 0 ? ["Labels:"] : []),
      ...labelsOf(Spec.Labels).map(([key, value]) => ` - ${key}=${value}`),
      ...(noun === "secret" ? [`Driver:            ${Spec.Driver?.Name ?? ""}`] : []),
      `Created at:        ${tab}${goTime(found.CreatedAt)}`,
      `Updated at:        ${tab}${goTime(found.UpdatedAt)}`,
    ];
    if (shows) {
      lines.push("Data:", Buffer.from(Spec.Data ?? "", "base64").toString("utf8"));
    }
    return lines.join("\n");
  });
}

/** `context ls` and `context inspect`, and what a context's name stands for. */

import { isErrorCode, messageOf } from "#base/error.ts";
import type { CommandContext } from "../command.ts";
import {
  currentContext,
  DEFAULT_CONTEXT,
  defaultEndpoint,
  hostVariable,
} from "../connect/endpoint.ts";
import { compileTemplate } from "../output/go-template.ts";
import { formatListing } from "../output/table.ts";
import type { Described } from "./spec.ts";
import { type ContextMeta, ContextStore, ENDPOINT, type TlsFiles } from "./store.ts";

const DEFAULT_DESCRIPTION = "Current DOCKER_HOST based configuration";
/** Of an error in a table. */
const ERROR_MAX = 45;

/** A context by its name, the default one included. */
export function describe(context: CommandContext, name: string): Described {
  const store = new ContextStore(context.env);
  if (name !== DEFAULT_CONTEXT) return { meta: store.get(name), tls: store.tls(name) };
  const { host, tls } = defaultEndpoint(context.globals, context.env);
  const files = Object.entries({ ca: tls?.ca, cert: tls?.cert, key: tls?.key }).flatMap(
    ([file, content]) => (content === undefined ? [] : [[`${file}.pem`, content] as const]),
  );
  return {
    meta: {
      Name: DEFAULT_CONTEXT,
      Metadata: {},
      Endpoints: { [ENDPOINT]: { Host: host, SkipTLSVerify: tls?.skipVerify ?? false } },
    },
    tls: files.length === 0 ? {} : { [ENDPOINT]: Object.fromEntries(files) as TlsFiles },
  };
}

export async function list(context: CommandContext): Promise<number> {
  const { env, flags, globals, stdout, stderr } = context;
  const current = currentContext(globals, env);
  const rowOf = (meta: ContextMeta, description: string) => ({
    Name: meta.Name,
    Current: meta.Name === current,
    Description: description,
    DockerEndpoint: meta.Endpoints[ENDPOINT]?.Host ?? "",
    Error: "",
  });
  const rows = [
    rowOf(describe(context, DEFAULT_CONTEXT).meta, DEFAULT_DESCRIPTION),
    ...new ContextStore(env).all().map((meta) => rowOf(meta, meta.Metadata.Description ?? "")),
  ];
  if (!rows.some(({ Name }) => Name === current)) {
    rows.push({
      Name: current,
      Current: true,
      Description: "",
      DockerEndpoint: "",
      Error: problemWith(context, current),
    });
  }
  const natural = new Intl.Collator("en", { numeric: true });
  const format = flags.string("format");
  const isTable = format === undefined || format.startsWith("table");
  stdout.write(
    formatListing(
      {
        table:
          "{{.Name}}{{if .Current}} *{{end}}\t{{.Description}}\t{{.DockerEndpoint}}\t{{.Error}}",
        headings: {
          Name: "NAME",
          Current: "",
          Description: "DESCRIPTION",
          DockerEndpoint: "DOCKER ENDPOINT",
          Error: "ERROR",
        },
        rows: rows
          .toSorted((a, b) => natural.compare(a.Name, b.Name))
          .map((row) => (isTable ? { ...row, Error: shortened(row.Error) } : row)),
        quietField: "Name",
      },
      { format, quiet: flags.bool("quiet") },
    ),
  );
  const variable = hostVariable(env);
  if (!globals.has("context") && variable !== undefined) {
    stderr.write(
      `Warning: ${variable} environment variable overrides the active context. To use a context, either set the global --context flag, or unset ${variable} environment variable.\n`,
    );
  }
  return 0;
}

function problemWith(context: CommandContext, name: string): string {
  try {
    describe(context, name);
    return "";
  } catch (error) {
    return messageOf(error);
  }
}

function shortened(text: string): string {
  return text.length <= ERROR_MAX ? text : `${text.slice(0, ERROR_MAX - 1)}…`;
}

export async function inspect(context: CommandContext): Promise<number> {
  const { args, env, flags, globals, stdout, stderr } = context;
  const store = new ContextStore(env);
  const names = args.length > 0 ? args : [currentContext(globals, env)];
  const found: unknown[] = [];
  const missing: string[] = [];
  for (const name of names) {
    try {
      const { meta, tls } = describe(context, name);
      const filesOf = Object.entries(tls).map(
        ([endpoint, files]) => [endpoint, Object.keys(files).toSorted()] as const,
      );
      const stored = name !== DEFAULT_CONTEXT;
      found.push({
        ...meta,
        TLSMaterial: Object.fromEntries(filesOf),
        Storage: {
          MetadataPath: stored ? store.metaPath(name) : "<IN MEMORY>",
          TLSPath: stored ? store.tlsPath(name) : "<IN MEMORY>",
        },
      });
    } catch (error) {
      if (!isErrorCode(error, "not-found")) throw error;
      missing.push(messageOf(error));
    }
  }
  const format = flags.string("format");
  if (format === undefined) stdout.write(`${JSON.stringify(found, null, 4)}\n`);
  else {
    const template = compileTemplate(format === "json" ? "{{json .}}" : format);
    for (const object of found) stdout.write(`${template(object)}\n`);
  }
  for (const message of missing) stderr.write(`${message}\n`);
  return missing.length === 0 ? 0 : 1;
}

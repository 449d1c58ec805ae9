/** `version`: of this command line and of the engine and its parts, in docker's form. */

import type { CommandContext } from "../command.ts";
import { currentContext } from "../connect/endpoint.ts";
import { CLI_API_VERSION } from "../http.ts";
import { compileTemplate } from "../output/go-template.ts";
import { COMMIT, VERSION } from "../version.ts";

interface Component {
  readonly Name: string;
  readonly Version: string;
  readonly Details?: Readonly<Record<string, string>> | null;
}

interface Server {
  readonly Platform?: { readonly Name: string };
  readonly Components?: readonly Component[] | null;
}

/** As `--format` names it. */
export function clientOf(context: string) {
  return {
    Version: VERSION,
    ApiVersion: CLI_API_VERSION,
    DefaultAPIVersion: CLI_API_VERSION,
    GitCommit: COMMIT,
    GoVersion: `node ${process.version}`,
    Os: process.platform,
    Arch: process.arch === "x64" ? "amd64" : process.arch,
    BuildTime: "",
    Context: context,
  };
}

/** Go's name of a field, where its JSON has another. */
const named = <T extends { readonly ApiVersion?: unknown }>(fields: T) => ({
  ...fields,
  APIVersion: fields.ApiVersion,
});

export async function version({
  client,
  env,
  flags,
  globals,
  stdout,
}: CommandContext): Promise<number> {
  let server: Server | undefined;
  let problem: unknown;
  try {
    server = await client.get<Server>("/version");
  } catch (error) {
    problem = error;
  }
  const own = { ...clientOf(currentContext(globals, env)), ApiVersion: await client.version() };
  const format = flags.string("format") ?? "";
  if (format === "json" || format === "{{json .}}") {
    stdout.write(`${JSON.stringify({ Client: own, Server: server ?? null })}\n`);
  } else if (format !== "") {
    const Server = server === undefined ? null : named(server as object);
    stdout.write(`${compileTemplate(format)({ Client: named(own), Server })}\n`);
  } else {
    stdout.write(`${clientLines(own).join("\n")}\n`);
    if (server !== undefined) stdout.write(`\n${serverLines(server).join("\n")}\n`);
  }
  if (problem !== undefined) throw problem as Error;
  return 0;
}

function clientLines(own: ReturnType<typeof clientOf>): readonly string[] {
  const shown = own.ApiVersion === CLI_API_VERSION ? "" : ` (downgraded from ${CLI_API_VERSION})`;
  return [
    "Client:",
    ` Version:           ${own.Version}`,
    ` API version:       ${own.ApiVersion}${shown}`,
    ` Go version:        ${own.GoVersion}`,
    ` Git commit:        ${own.GitCommit}`,
    ` Built:             ${own.BuildTime}`,
    ` OS/Arch:           ${own.Os}/${own.Arch}`,
    ` Context:           ${own.Context}`,
  ];
}

function serverLines({ Platform, Components }: Server): readonly string[] {
  return [
    `Server: ${Platform?.Name ?? ""}`.trimEnd(),
    ...(Components ?? []).flatMap(({ Name, Version, Details }) => [
      ` ${Name}:`,
      `  Version:          ${Version}`,
      ...(Name === "Engine" ? engineLines(Details ?? {}) : otherLines(Details ?? {})),
    ]),
  ];
}

function engineLines(details: Readonly<Record<string, string>>): readonly string[] {
  const of = (name: string) => details[name] ?? "";
  return [
    `  API version:      ${of("ApiVersion")} (minimum version ${of("MinAPIVersion")})`,
    `  Go version:       ${of("GoVersion")}`,
    `  Git commit:       ${of("GitCommit")}`,
    `  Built:            ${of("BuildTime")}`,
    `  OS/Arch:          ${of("Os")}/${of("Arch")}`,
    `  Experimental:     ${of("Experimental")}`,
  ];
}

function otherLines(details: Readonly<Record<string, string>>): readonly string[] {
  return Object.entries(details)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `  ${`${name}:`.padEnd(18)}${value}`);
}

/** What the user has set for all commands in docker's configuration file, beside credentials and contexts. */

import type { CommandContext } from "./command.ts";
import { type ProxySettings, readConfigFile } from "./config-file.ts";
import { resolveEndpoint } from "./connect/endpoint.ts";
import type { ListingOptions } from "./output/table.ts";

/** The file's name for the format of a list. */
export type FormatSetting =
  | "configFormat"
  | "imagesFormat"
  | "networksFormat"
  | "nodesFormat"
  | "pluginsFormat"
  | "psFormat"
  | "secretFormat"
  | "serviceInspectFormat"
  | "servicesFormat"
  | "statsFormat"
  | "tasksFormat"
  | "volumesFormat";

/** How a list is wanted: as the command line says, else as the file does, which `--quiet` overrides. */
export function listingOptions(
  { env, flags }: Pick<CommandContext, "env" | "flags">,
  setting?: FormatSetting,
): ListingOptions {
  const quiet = flags.bool("quiet");
  const given = flags.string("format") ?? "";
  if (given !== "") return { format: given, quiet };
  return { format: quiet ? undefined : configuredFormat(env, setting), quiet };
}

export function configuredFormat(
  env: NodeJS.ProcessEnv,
  setting: FormatSetting | undefined,
): string | undefined {
  if (setting === undefined) return undefined;
  const configured = readConfigFile(env)[setting];
  return typeof configured === "string" && configured !== "" ? configured : undefined;
}

/** Those of the command line, and the file's that do not contradict them. */
export function pruneFilters({
  env,
  flags,
}: Pick<CommandContext, "env" | "flags">): readonly string[] {
  const given = flags.list("filter");
  const opposite = (filter: string) =>
    filter.startsWith("label!=")
      ? filter.replace("label!=", "label=")
      : filter.replace(/^label=/, "label!=");
  const configured = readConfigFile(env).pruneFilters ?? [];
  return [...configured.filter((filter) => !given.includes(opposite(filter))), ...given];
}

const VARIABLES: readonly (readonly [keyof ProxySettings, string])[] = [
  ["httpProxy", "HTTP_PROXY"],
  ["httpsProxy", "HTTPS_PROXY"],
  ["noProxy", "NO_PROXY"],
  ["ftpProxy", "FTP_PROXY"],
  ["allProxy", "ALL_PROXY"],
];

/** "HTTP_PROXY=…" and "http_proxy=…" for what runs on the engine of this command. */
export async function proxyVariables({
  env,
  globals,
}: Pick<CommandContext, "env" | "globals">): Promise<readonly string[]> {
  const { proxies } = readConfigFile(env);
  if (proxies === undefined) return [];
  const { host } = await resolveEndpoint(globals, env);
  const settings = proxies[host] ?? proxies["default"] ?? {};
  return VARIABLES.flatMap(([key, name]) => {
    const value = settings[key] ?? "";
    return value === "" ? [] : [`${name}=${value}`, `${name.toLowerCase()}=${value}`];
  });
}

/** Without those that the user has given a value, or taken away. */
export function unlessGiven(
  variables: readonly string[],
  given: readonly string[],
): readonly string[] {
  const names = new Set(given.map(nameOf));
  return variables.filter((variable) => !names.has(nameOf(variable)));
}

function nameOf(variable: string): string {
  return variable.replace(/=.*$/s, "");
}

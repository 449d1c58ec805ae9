/** `skep build`: a folder, an archive or a URL becomes an image, with docker's flags. */

import { writeFile } from "node:fs/promises";
import { createGzip } from "node:zlib";
import { parseBytes } from "#base/bytes.ts";
import { EngineError } from "#base/error.ts";
import type { CommandContext } from "../command.ts";
import { jsonLines } from "../http.ts";
import type { Progress } from "../image/pull.ts";
import { type FlagValues, parseBool } from "../pflag.ts";
import { proxyVariables, unlessGiven } from "../settings.ts";

export async function build(context: CommandContext): Promise<number> {
  const { client, flags, env, stdin } = context;
  const path = context.args[0] ?? "";
  const { isRemote, packFolder, packStdin } = await import("./context.ts");
  const file = flags.string("file");
  if (path === "-" && file === "-") {
    throw new EngineError(
      "invalid-argument",
      "invalid argument: can't use stdin for both build context and dockerfile",
    );
  }
  const remote = isRemote(path);
  const packed = remote
    ? undefined
    : await (path === "-" ? packStdin(stdin) : packFolder(path, file, stdin));
  const given = flags.list("build-arg");
  const proxies = unlessGiven(await proxyVariables(context), given);
  const query = queryOf(flags, env, [...proxies, ...given]);
  query.set("dockerfile", remote || path === "-" ? (file ?? "") : (packed?.dockerfile ?? ""));
  if (remote) query.set("remote", path);
  const { registryConfig } = await import("./credentials.ts");
  const archive = packed?.archive;
  const raw =
    archive !== undefined && flags.bool("compress") ? archive.pipe(createGzip()) : archive;
  archive?.on("error", (error) => raw?.destroy(error));
  const body = await client.stream("POST", "/build", {
    query: Object.fromEntries([...query.keys()].map((name) => [name, query.getAll(name)])),
    ...(raw === undefined ? {} : { raw }),
    headers: { "Content-Type": "application/x-tar", ...(await registryConfig(env)) },
  });
  return show(context, body);
}

async function show(context: CommandContext, body: AsyncIterable<unknown>): Promise<number> {
  const { flags, stdout, stderr } = context;
  const quiet = flags.bool("quiet");
  let id = "";
  for await (const message of jsonLines<BuildMessage>(body as Parameters<typeof jsonLines>[0])) {
    if (message.errorDetail !== undefined || message.error !== undefined) {
      stderr.write(`${message.errorDetail?.message ?? message.error}\n`);
      return message.errorDetail?.code || 1;
    }
    if (message.aux?.ID !== undefined) id = message.aux.ID;
    if (message.stream !== undefined) {
      if (quiet) id = message.stream.trim();
      stdout.write(message.stream);
    } else if (message.status !== undefined && message.progress === undefined && !quiet) {
      stdout.write(`${message.id === undefined ? "" : `${message.id}: `}${message.status}\n`);
    }
  }
  const file = flags.string("iidfile");
  if (file !== undefined) await writeFile(file, id);
  return 0;
}

interface BuildMessage extends Omit<Progress, "errorDetail"> {
  readonly aux?: { readonly ID?: string };
  readonly errorDetail?: { readonly message: string; readonly code?: number };
}

function queryOf(
  flags: FlagValues,
  env: NodeJS.ProcessEnv,
  args: readonly string[],
): URLSearchParams {
  const query = new URLSearchParams();
  const set = (name: string, value: string | undefined) => {
    if (value !== undefined && value !== "") query.set(name, value);
  };
  for (const tag of flags.list("tag")) query.append("t", tag);
  for (const host of flags.list("add-host")) query.append("extrahosts", host);
  for (const [flag, name] of SAME) set(name, flags.string(flag));
  for (const [flag, name] of SWITCHES) {
    if (flags.bool(flag)) query.set(name, "1");
  }
  query.set("rm", parseBool(flags.string("rm") ?? "true") === false ? "0" : "1");
  for (const [flag, name] of SIZES) {
    const value = flags.string(flag);
    if (value !== undefined) set(name, String(sizeOf(flag, value)));
  }
  set("buildargs", json(buildArguments(args, env)));
  set("labels", json(Object.fromEntries(flags.list("label").map(pair))));
  const lists = [
    ["cachefrom", flags.list("cache-from").flatMap((value) => value.split(","))],
    ["securityopt", flags.list("security-opt")],
    ["ulimits", flags.list("ulimit").map(ulimit)],
  ] as const;
  for (const [name, values] of lists) {
    if (values.length > 0) query.set(name, JSON.stringify(values));
  }
  return query;
}

const SAME: readonly (readonly [flag: string, name: string])[] = [
  ["cgroup-parent", "cgroupparent"],
  ["cpu-period", "cpuperiod"],
  ["cpu-quota", "cpuquota"],
  ["cpu-shares", "cpushares"],
  ["cpuset-cpus", "cpusetcpus"],
  ["cpuset-mems", "cpusetmems"],
  ["network", "networkmode"],
  ["platform", "platform"],
  ["target", "target"],
];
const SWITCHES: readonly (readonly [flag: string, name: string])[] = [
  ["force-rm", "forcerm"],
  ["no-cache", "nocache"],
  ["pull", "pull"],
  ["quiet", "q"],
  ["squash", "squash"],
];
const SIZES: readonly (readonly [flag: string, name: string])[] = [
  ["memory", "memory"],
  ["memory-swap", "memswap"],
  ["shm-size", "shmsize"],
];

function sizeOf(flag: string, value: string): number {
  if (value === "-1") return -1;
  const parsed = parseBytes(value);
  if (parsed.ok) return parsed.value;
  throw new EngineError("invalid-argument", `invalid argument for --${flag}: ${parsed.error}`);
}

function json(value: Readonly<Record<string, unknown>>): string {
  return Object.keys(value).length === 0 ? "" : JSON.stringify(value);
}

function pair(entry: string): readonly [string, string] {
  const equals = entry.indexOf("=");
  return equals < 0 ? [entry, ""] : [entry.slice(0, equals), entry.slice(equals + 1)];
}

/** A name alone has the value of the environment; null = it has none. */
function buildArguments(entries: readonly string[], env: NodeJS.ProcessEnv) {
  return Object.fromEntries(
    entries.map((entry): readonly [string, string | null] =>
      entry.includes("=") ? pair(entry) : [entry, env[entry] ?? null],
    ),
  );
}

function ulimit(entry: string) {
  const match = /^([a-z]+)=(-?\d+)(?::(-?\d+))?$/.exec(entry);
  if (match === null)
    throw new EngineError("invalid-argument", `invalid ulimit argument: ${entry}`);
  const [, name = "", soft = "", hard = soft] = match;
  return { Name: name, Soft: Number(soft), Hard: Number(hard) };
}

/** `skep system …`, `version`, `info`, `events` and the `inspect` that finds any object. */

import { EngineError } from "#base/error.ts";
import type { EngineEvent } from "#wire/docker/events.ts";
import {
  type Command,
  type CommandContext,
  FILTER_FLAG,
  FORMAT_FLAG,
  filtersQuery,
} from "../command.ts";
import { timeQuery } from "../container/logs.ts";
import { CLI_API_VERSION, jsonLines } from "../http.ts";
import { inspectAll } from "../inspect.ts";
import { compileTemplate } from "../output/go-template.ts";
import { COMMIT, VERSION } from "../version.ts";
import { DIAL_COMMANDS } from "./dial.ts";
import { LOGIN_COMMANDS } from "./login.ts";
import { USAGE_COMMANDS } from "./usage.ts";

async function version({ client, flags, stdout }: CommandContext): Promise<number> {
  const own = { Version: VERSION, ApiVersion: CLI_API_VERSION, GitCommit: COMMIT, Os: "linux" };
  let server: Readonly<Record<string, unknown>> | undefined;
  let problem: unknown;
  try {
    server = await client.get("/version");
  } catch (error) {
    problem = error;
  }
  const format = flags.string("format");
  if (format !== undefined) {
    const template = compileTemplate(format === "json" ? "{{json .}}" : format);
    stdout.write(`${template({ Client: own, Server: server ?? null })}\n`);
  } else {
    stdout.write(`Client:\n${lines(own)}`);
    if (server !== undefined) {
      const { Version, ApiVersion, MinAPIVersion, GitCommit, Os, Arch, KernelVersion } = server;
      stdout.write(
        `\nServer: skep\n${lines({ Version, ApiVersion, MinAPIVersion, GitCommit, Os, Arch, KernelVersion })}`,
      );
    }
  }
  if (problem !== undefined) throw problem as Error;
  return 0;
}

function lines(fields: Readonly<Record<string, unknown>>): string {
  return Object.entries(fields)
    .map(([key, value]) => ` ${`${key}:`.padEnd(16)}${String(value)}\n`)
    .join("");
}

interface Info {
  readonly Name: string;
  readonly ServerVersion: string;
  readonly Containers: number;
  readonly ContainersRunning: number;
  readonly Images: number;
  readonly Driver: string;
  readonly KernelVersion: string;
  readonly NCPU: number;
  readonly MemTotal: number;
  readonly Swarm: {
    readonly LocalNodeState: string;
    readonly NodeID: string;
    readonly NodeAddr: string;
    readonly ControlAvailable: boolean;
    readonly Nodes?: number;
    readonly Managers?: number;
    readonly Error: string;
  };
  readonly Warnings?: readonly string[] | null;
}

async function info({ client, flags, stdout, stderr }: CommandContext): Promise<number> {
  const info = await client.get<Info>("/info");
  const format = flags.string("format");
  if (format !== undefined) {
    stdout.write(`${compileTemplate(format === "json" ? "{{json .}}" : format)(info)}\n`);
    return 0;
  }
  const { Swarm } = info;
  const swarm =
    Swarm.LocalNodeState === "inactive"
      ? []
      : [
          `  NodeID: ${Swarm.NodeID}`,
          `  Is Manager: ${Swarm.ControlAvailable}`,
          ...(Swarm.ControlAvailable
            ? [`  Managers: ${Swarm.Managers ?? 0}`, `  Nodes: ${Swarm.Nodes ?? 0}`]
            : []),
          ...(Swarm.Error === "" ? [] : [`  Error: ${Swarm.Error}`]),
          `  Node Address: ${Swarm.NodeAddr}`,
        ];
  stdout.write(
    `${[
      `Name: ${info.Name}`,
      `Server Version: ${info.ServerVersion}`,
      `Containers: ${info.Containers} (${info.ContainersRunning} running)`,
      `Images: ${info.Images}`,
      `Storage Driver: ${info.Driver}`,
      `Swarm: ${Swarm.LocalNodeState}`,
      ...swarm,
      `Kernel Version: ${info.KernelVersion}`,
      `CPUs: ${info.NCPU}`,
      `Total Memory: ${(info.MemTotal / 2 ** 30).toFixed(2)}GiB`,
    ].join("\n")}\n`,
  );
  for (const warning of info.Warnings ?? []) stderr.write(`${warning}\n`);
  return 0;
}

async function events({ client, flags, stdout }: CommandContext): Promise<number> {
  const body = await client.stream("GET", "/events", {
    query: {
      since: timeQuery(flags.string("since"), Date.now()),
      until: timeQuery(flags.string("until"), Date.now()),
      filters: filtersQuery(flags.list("filter")),
      version: flags.string("after-version"),
    },
  });
  const format = flags.string("format");
  const template =
    format === undefined ? undefined : compileTemplate(format === "json" ? "{{json .}}" : format);
  for await (const event of jsonLines<EngineEvent>(body)) {
    if (template !== undefined) stdout.write(`${template(event)}\n`);
    else {
      const attributes = Object.entries(event.Actor.Attributes).map(
        ([key, value]) => `${key}=${value}`,
      );
      const time = new Date(event.time * 1000).toISOString();
      stdout.write(
        `${time} ${event.Type} ${event.Action} ${event.Actor.ID} (${attributes.join(", ")})\n`,
      );
    }
  }
  return 0;
}

const ANY_OBJECT = [
  "/containers/{}/json",
  "/images/{}/json",
  "/networks/{}",
  "/volumes/{}",
  "/services/{}",
  "/tasks/{}",
  "/nodes/{}",
];

export const COMMANDS: readonly Command[] = [
  {
    path: ["system", "version"],
    shortcuts: [["version"]],
    usage: "[OPTIONS]",
    summary: "Show the version of the command line and the engine",
    flags: [{ ...FORMAT_FLAG, short: "f" }],
    minArgs: 0,
    maxArgs: 0,
    run: version,
  },
  {
    path: ["system", "info"],
    shortcuts: [["info"]],
    usage: "[OPTIONS]",
    summary: "Show what the engine knows about this host",
    flags: [{ ...FORMAT_FLAG, short: "f" }],
    minArgs: 0,
    maxArgs: 0,
    run: info,
  },
  {
    path: ["system", "events"],
    shortcuts: [["events"]],
    usage: "[OPTIONS]",
    summary: "Follow events of the engine",
    flags: [
      FILTER_FLAG,
      FORMAT_FLAG,
      { name: "since", kind: "string", usage: "Show events since a time or span" },
      { name: "until", kind: "string", usage: "Stream events until this time" },
      {
        name: "after-version",
        kind: "string",
        usage: "Go on after this version of the swarm, as an event had it, on whichever manager",
      },
    ],
    minArgs: 0,
    maxArgs: 0,
    run: events,
  },
  {
    path: ["system", "inspect"],
    shortcuts: [["inspect"]],
    usage: "[OPTIONS] NAME|ID [NAME|ID...]",
    summary: "Show any object in full",
    flags: [
      { ...FORMAT_FLAG, short: "f" },
      { name: "size", short: "s", kind: "bool", usage: "Sizes of containers, too" },
      { name: "type", kind: "string", usage: "Only objects of this type" },
    ],
    minArgs: 1,
    maxArgs: undefined,
    run: (context) => {
      const type = context.flags.string("type");
      const paths = ANY_OBJECT.filter(
        (path) => type === undefined || path.startsWith(`/${type}s/`),
      );
      if (paths.length === 0) {
        throw new EngineError("invalid-argument", `"${type}" is not a valid value for --type`);
      }
      const size = context.flags.bool("size") ? { size: true } : {};
      return inspectAll(context, type ?? "object", paths, size);
    },
  },
  ...USAGE_COMMANDS,
  ...LOGIN_COMMANDS,
  ...DIAL_COMMANDS,
];

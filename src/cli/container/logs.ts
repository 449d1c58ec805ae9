/** `logs` of a container, and what service logs share with it. */

import type { Readable } from "node:stream";
import { parseDuration } from "#base/duration.ts";
import type { ContainerInspect } from "#wire/docker/containers.ts";
import type { Command, CommandContext } from "../command.ts";
import type { Query } from "../http.ts";
import { formatListing } from "../output/table.ts";
import type { FlagSpec, FlagValues } from "../pflag.ts";
import { createDemultiplexer, type FrameSink } from "./attach-streams.ts";

export const LOG_FLAGS: readonly FlagSpec[] = [
  { name: "follow", short: "f", kind: "bool", usage: "Follow log output" },
  { name: "since", kind: "string", usage: "Show logs since a time (RFC 3339) or span (42m)" },
  {
    name: "tail",
    short: "n",
    kind: "string",
    usage: "Lines to show from the end",
    defaultText: '"all"',
  },
  { name: "timestamps", short: "t", kind: "bool", usage: "Show timestamps" },
  { name: "details", kind: "bool", usage: "Show extra details provided to logs" },
];

/** `since` and `until` as the API wants them: seconds since the epoch. */
export function timeQuery(value: string | undefined, nowMs: number): string | undefined {
  if (value === undefined) return undefined;
  const span = parseDuration(value);
  if (span.ok) return String((nowMs - span.value / 1e6) / 1000);
  const time = Date.parse(value);
  return Number.isNaN(time) ? value : String(time / 1000);
}

export function logQuery(flags: FlagValues): Query {
  return {
    stdout: true,
    stderr: true,
    follow: flags.bool("follow"),
    timestamps: flags.bool("timestamps"),
    details: flags.bool("details"),
    since: timeQuery(flags.string("since"), Date.now()),
    until: timeQuery(flags.string("until"), Date.now()),
    tail: flags.string("tail"),
  };
}

/** Writes a log body to the sink until it ends. */
export async function copyLogs(body: Readable, tty: boolean, sink: FrameSink): Promise<void> {
  const feed = tty ? (chunk: Buffer) => sink.write("stdout", chunk) : createDemultiplexer(sink);
  for await (const chunk of body) feed(chunk as Buffer);
}

async function logs(context: CommandContext): Promise<number> {
  const [name = ""] = context.args;
  const { Config } = await context.client.get<ContainerInspect>(`/containers/${name}/json`);
  const body = await context.client.stream("GET", `/containers/${name}/logs`, {
    query: logQuery(context.flags),
  });
  await copyLogs(body, Config.Tty === true, {
    write: (stream, data) =>
      void (stream === "stderr" ? context.stderr : context.stdout).write(data),
  });
  return 0;
}

interface Stats {
  readonly name: string;
  readonly id: string;
  readonly cpu_stats: {
    readonly cpu_usage: { readonly total_usage: number };
    readonly system_cpu_usage?: number;
    readonly online_cpus?: number;
  };
  readonly precpu_stats: {
    readonly cpu_usage: { readonly total_usage: number };
    readonly system_cpu_usage?: number;
  };
  readonly memory_stats: { readonly usage?: number; readonly limit?: number };
  readonly pids_stats: { readonly current?: number };
}

async function stats({ args, client, flags, stdout }: CommandContext): Promise<number> {
  const names =
    args.length > 0
      ? args
      : (
          await client.get<readonly { Id: string }[]>("/containers/json", {
            all: flags.bool("all"),
          })
        ).map(({ Id }) => Id);
  const rows = await Promise.all(
    names.map(async (name) => {
      const now = await client.get<Stats>(`/containers/${name}/stats`, { stream: "false" });
      const busy = now.cpu_stats.cpu_usage.total_usage - now.precpu_stats.cpu_usage.total_usage;
      const all = (now.cpu_stats.system_cpu_usage ?? 0) - (now.precpu_stats.system_cpu_usage ?? 0);
      const cpu = all > 0 ? (busy / all) * (now.cpu_stats.online_cpus ?? 1) * 100 : 0;
      const { usage = 0, limit = 0 } = now.memory_stats;
      return {
        ID: flags.bool("no-trunc") ? now.id : now.id.slice(0, 12),
        Name: now.name.replace(/^\//, ""),
        CPUPerc: `${cpu.toFixed(2)}%`,
        MemUsage: `${(usage / 2 ** 20).toFixed(1)}MiB / ${(limit / 2 ** 20).toFixed(0)}MiB`,
        MemPerc: `${(limit > 0 ? (usage / limit) * 100 : 0).toFixed(2)}%`,
        PIDs: String(now.pids_stats.current ?? 0),
      };
    }),
  );
  stdout.write(
    formatListing(
      {
        table: "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.PIDs}}",
        headings: {
          ID: "CONTAINER ID",
          Name: "NAME",
          CPUPerc: "CPU %",
          MemUsage: "MEM USAGE / LIMIT",
          MemPerc: "MEM %",
          PIDs: "PIDS",
        },
        rows,
        quietField: "ID",
      },
      { format: flags.string("format"), quiet: false },
    ),
  );
  return 0;
}

export const LOGS_COMMANDS: readonly Command[] = [
  {
    path: ["container", "logs"],
    shortcuts: [["logs"]],
    usage: "[OPTIONS] CONTAINER",
    summary: "Fetch the logs of a container",
    flags: [
      ...LOG_FLAGS,
      { name: "until", kind: "string", usage: "Show logs before a time or span" },
    ],
    minArgs: 1,
    maxArgs: 1,
    run: logs,
  },
  {
    path: ["container", "stats"],
    shortcuts: [["stats"]],
    usage: "[OPTIONS] [CONTAINER...]",
    summary: "Show the resource usage of containers, once",
    flags: [
      { name: "all", short: "a", kind: "bool", usage: "Containers that do not run, too" },
      { name: "no-trunc", kind: "bool", usage: "Show IDs in full" },
      { name: "no-stream", kind: "bool", usage: "Accepted: the result is always shown once" },
      { name: "format", kind: "string", usage: "Format the output with a Go template" },
    ],
    minArgs: 0,
    maxArgs: undefined,
    run: stats,
  },
];

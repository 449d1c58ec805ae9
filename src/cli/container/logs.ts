/** `logs` of a container, and what service logs share with it. */

import type { Readable } from "node:stream";
import { parseDuration } from "#base/duration.ts";
import type { ContainerInspect } from "#wire/docker/containers.ts";
import type { Command, CommandContext } from "../command.ts";
import type { Query } from "../http.ts";
import type { FlagSpec, FlagValues } from "../pflag.ts";
import { createDemultiplexer, type FrameSink } from "./attach-streams.ts";
import { STATS } from "./stats.ts";

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
  STATS,
];

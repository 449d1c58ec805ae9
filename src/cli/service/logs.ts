/** `service logs`: what the tasks of a service print, or one task, each line with whose it is. */

import { EngineError, isErrorCode } from "#base/error.ts";
import type { Command, CommandContext } from "../command.ts";
import { NO_RESOLVE_FLAG, NO_TRUNC_FLAG } from "../command.ts";
import { copyLogs, LOG_FLAGS, logQuery } from "../container/logs.ts";
import type { NodeObject, ServiceObject, TaskObject } from "../swarm/types.ts";

/** What is asked for, before its logs are. */
interface Source {
  readonly path: string;
  readonly tty: boolean;
  /** The most tasks that there are at a time: their numbers are shown in columns of that width. */
  readonly tasks: number;
}

async function logs(context: CommandContext): Promise<number> {
  const { client, flags, stdout, stderr } = context;
  const source = await sourceOf(context);
  const raw = flags.bool("raw");
  if (source.tty && !raw) {
    throw new EngineError("invalid-argument", "tty service logs only supported with --raw");
  }
  const query = { ...logQuery(flags), details: raw ? flags.bool("details") : true };
  const body = await client.stream("GET", `${source.path}/logs`, { query });
  if (raw) {
    await copyLogs(body, source.tty, {
      write: (stream, data) => void (stream === "stderr" ? stderr : stdout).write(data),
    });
    return 0;
  }
  const label = labels(context, source.tasks);
  // Lines are written in their order, also those whose names are still asked for.
  let written: Promise<unknown> = Promise.resolve();
  const write = (stream: "stdout" | "stderr", data: Buffer) => {
    // A frame is what one task has printed, a line or the part of one that it has got to.
    const [, line = "", end = ""] = /^(.*?)(\n?)$/s.exec(data.toString()) ?? [];
    const out = stream === "stderr" ? stderr : stdout;
    const shown = shownLine(line, flags.bool("timestamps"), flags.bool("details"), label);
    written = written.then(async () => out.write(`${await shown}${end}`));
  };
  await copyLogs(body, false, { write });
  await written;
  return 0;
}

async function sourceOf({ args, client }: CommandContext): Promise<Source> {
  const name = encodeURIComponent(args[0] ?? "");
  try {
    const { ID, Spec } = await client.get<ServiceObject>(`/services/${name}`);
    const tasks = Spec.Mode.Replicated?.Replicas ?? Spec.Mode.ReplicatedJob?.TotalCompletions ?? 1;
    const tty = Spec.TaskTemplate.ContainerSpec.TTY === true;
    return { path: `/services/${ID}`, tty, tasks };
  } catch (error) {
    if (!isErrorCode(error, "not-found")) throw error;
  }
  try {
    const task = await client.get<TaskObject>(`/tasks/${name}`);
    const tty = task.Spec.ContainerSpec?.TTY === true;
    return { path: `/tasks/${task.ID}`, tty, tasks: task.Slot ?? 1 };
  } catch (error) {
    if (!isErrorCode(error, "not-found")) throw error;
    throw new EngineError("not-found", `no such task or service: ${args[0] ?? ""}`);
  }
}

/** Whose a line is, as the engine tells with each. */
const OWNER = {
  node: "com.docker.swarm.node.id",
  service: "com.docker.swarm.service.id",
  task: "com.docker.swarm.task.id",
} as const;

type Owner = Readonly<Record<keyof typeof OWNER, string>>;

async function shownLine(
  line: string,
  timestamps: boolean,
  details: boolean,
  label: (owner: Owner) => Promise<string>,
): Promise<string> {
  const [time, tail] = timestamps ? cut(line) : ["", line];
  const [attributes, text] = cut(tail);
  const pairs = new Map(attributes.split(",").map((pair) => cut(pair, "=")));
  const owner = {
    node: pairs.get(OWNER.node) ?? "",
    service: pairs.get(OWNER.service) ?? "",
    task: pairs.get(OWNER.task) ?? "",
  };
  if (owner.task === "") return line;
  for (const key of Object.values(OWNER)) pairs.delete(key);
  const own = [...pairs].map(([key, value]) => `${key}=${value}`).join(",");
  return [
    time === "" ? "" : `${time} `,
    `${await label(owner)}    | `,
    details ? `${own} ` : "",
    text,
  ].join("");
}

function cut(text: string, at = " "): readonly [string, string] {
  const index = text.indexOf(at);
  return index < 0 ? [text, ""] : [text.slice(0, index), text.slice(index + at.length)];
}

/** "web.1.k2xs8ovpu6wz@host"; each task is asked for once. What is gone is shown by its id. */
function labels(
  { client, flags }: CommandContext,
  tasks: number,
): (owner: Owner) => Promise<string> {
  const made = new Map<string, Promise<string>>();
  const ask = async <T>(path: string): Promise<T | undefined> => {
    try {
      return await client.get<T>(path);
    } catch {
      return undefined;
    }
  };
  const resolved = async (name: () => Promise<string | undefined>, id: string) =>
    (flags.bool("no-resolve") ? undefined : await name()) ?? id;
  const make = async ({ node, service, task }: Owner) => {
    const [serviceName, nodeName, found] = await Promise.all([
      resolved(async () => (await ask<ServiceObject>(`/services/${service}`))?.Spec.Name, service),
      resolved(async () => (await ask<NodeObject>(`/nodes/${node}`))?.Description.Hostname, node),
      ask<TaskObject>(`/tasks/${task}`),
    ]);
    const slot = String(found?.Slot ?? 0);
    const id = flags.bool("no-trunc") ? task : task.slice(0, 12);
    const shown = `${serviceName}.${slot}${flags.bool("no-task-ids") ? "" : `.${id}`}`;
    return `${shown}@${nodeName}${" ".repeat(Math.max(0, String(tasks).length - slot.length))}`;
  };
  return (owner) => {
    const known = made.get(owner.task);
    if (known !== undefined) return known;
    const fresh = make(owner);
    made.set(owner.task, fresh);
    return fresh;
  };
}

export const LOGS: Command = {
  path: ["service", "logs"],
  usage: "[OPTIONS] SERVICE|TASK",
  summary: "Fetch the logs of a service or task",
  flags: [
    ...LOG_FLAGS,
    { name: "raw", kind: "bool", usage: "Show lines as they were printed, without whose they are" },
    NO_RESOLVE_FLAG,
    NO_TRUNC_FLAG,
    { name: "no-task-ids", kind: "bool", usage: "Leave out the IDs of tasks" },
  ],
  minArgs: 1,
  maxArgs: 1,
  run: logs,
};

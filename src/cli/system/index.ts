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
import { textLines } from "../http.ts";
import { inspectAll } from "../inspect.ts";
import { compileTemplate } from "../output/go-template.ts";
import { DIAL_COMMANDS } from "./dial.ts";
import { info } from "./info.ts";
import { LOGIN_COMMANDS } from "./login.ts";
import { USAGE_COMMANDS } from "./usage.ts";
import { version } from "./version.ts";

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
  for await (const line of textLines(body)) {
    const event = JSON.parse(line) as EngineEvent;
    // Numbers of JavaScript's have not digits enough for it.
    const nanos = /"timeNano":(\d+)/.exec(line)?.[1] ?? "0";
    const { Attributes } = event.Actor;
    const sorted = Object.fromEntries(Object.entries(Attributes).sort(([a], [b]) => byText(a, b)));
    if (template !== undefined) {
      const shown = template({ ...event, Actor: { ...event.Actor, Attributes: sorted } });
      stdout.write(`${shown.replace(/(?<="timeNano":)\d+/, nanos)}\n`);
      continue;
    }
    const attributes = Object.entries(sorted).map(([key, value]) => `${key}=${value}`);
    const second = new Date(event.time * 1000).toISOString().slice(0, "2006-01-02T15:04:05".length);
    const time = `${second}.${nanos.slice(-NANO_DIGITS).padStart(NANO_DIGITS, "0")}Z`;
    stdout.write(
      `${time} ${event.Type} ${event.Action} ${event.Actor.ID} (${attributes.join(", ")})\n`,
    );
  }
  return 0;
}

const NANO_DIGITS = 9;

function byText(a: string, b: string): number {
  return a < b ? -1 : 1;
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

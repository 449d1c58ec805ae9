/** `stats`: what containers use, drawn anew as it changes, or once. */

import { EngineError, messageOf } from "#base/error.ts";
import type { ContainerStats } from "#wire/docker/containers.ts";
import type { EngineEvent } from "#wire/docker/events.ts";
import { type Command, type CommandContext, NO_TRUNC_FLAG } from "../command.ts";
import { jsonLines } from "../http.ts";
import { formatListing, type Row } from "../output/table.ts";
import { humanBytes, humanSize } from "../output/units.ts";
import { listingOptions } from "../settings.ts";

const REDRAW_MS = 500;
/** Cursor to the top left; rest of the line, rest of the screen away: nothing flickers. */
const HOME = "\x1b[H";
const CLEAR_LINE = "\x1b[K";
const CLEAR_BELOW = "\x1b[J";

const HEADINGS = {
  Container: "CONTAINER",
  ID: "CONTAINER ID",
  Name: "NAME",
  CPUPerc: "CPU %",
  MemUsage: "MEM USAGE / LIMIT",
  MemPerc: "MEM %",
  NetIO: "NET I/O",
  BlockIO: "BLOCK I/O",
  PIDs: "PIDS",
};

const TABLE =
  "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";

function rowOf(asked: string, stats: ContainerStats, full: boolean): Row {
  const { usage = 0, limit = 0, stats: detail } = stats.memory_stats;
  // The page cache is given back when it is needed. Control groups of version 1 and 2 name it so.
  const cache = detail?.["total_inactive_file"] ?? detail?.["inactive_file"] ?? 0;
  const used = cache < usage ? usage - cache : usage;
  const networks = Object.values(stats.networks ?? {});
  const received = networks.reduce((total, { rx_bytes }) => total + rx_bytes, 0);
  const sent = networks.reduce((total, { tx_bytes }) => total + tx_bytes, 0);
  const blocks = stats.blkio_stats.io_service_bytes_recursive ?? [];
  const moved = (op: string) =>
    blocks.reduce((total, entry) => total + (entry.op.toLowerCase() === op ? entry.value : 0), 0);
  return {
    Container: asked,
    ID: full ? stats.id : stats.id.slice(0, 12),
    Name: stats.name.replace(/^\//, ""),
    CPUPerc: `${cpuPercent(stats).toFixed(2)}%`,
    MemUsage: `${humanBytes(used)} / ${humanBytes(limit)}`,
    MemPerc: `${(limit > 0 ? (used / limit) * 100 : 0).toFixed(2)}%`,
    NetIO: `${humanSize(received)} / ${humanSize(sent)}`,
    BlockIO: `${humanSize(moved("read"))} / ${humanSize(moved("write"))}`,
    PIDs: String(stats.pids_stats.current ?? 0),
  };
}

/** 100 is one CPU, as docker has it. */
function cpuPercent({ cpu_stats: now, precpu_stats: before }: ContainerStats): number {
  const busy = now.cpu_usage.total_usage - before.cpu_usage.total_usage;
  const all = (now.system_cpu_usage ?? 0) - (before.system_cpu_usage ?? 0);
  if (busy <= 0 || all <= 0) return 0;
  return (busy / all) * (now.online_cpus ?? 1) * 100;
}

async function stats(context: CommandContext): Promise<number> {
  return context.flags.bool("no-stream") ? showOnce(context) : follow(context);
}

async function namesToShow({ args, client, flags }: CommandContext): Promise<readonly string[]> {
  if (args.length > 0) return args;
  const all = flags.bool("all");
  const found = await client.get<readonly { Id: string }[]>("/containers/json", { all });
  return found.map(({ Id }) => Id.slice(0, 12));
}

function shown({ env, flags }: CommandContext, rows: readonly Row[]): string {
  const listing = { table: TABLE, headings: HEADINGS, rows, quietField: "ID" };
  return formatListing(listing, listingOptions({ env, flags }, "statsFormat"));
}

async function showOnce(context: CommandContext): Promise<number> {
  const { client, flags, stdout, stderr } = context;
  const problems: string[] = [];
  const rows = await Promise.all(
    (await namesToShow(context)).map(async (name) => {
      try {
        const path = `/containers/${name}/stats`;
        const now = await client.get<ContainerStats>(path, { stream: "false" });
        return [rowOf(name, now, flags.bool("no-trunc"))];
      } catch (error) {
        problems.push(messageOf(error));
        return [];
      }
    }),
  );
  if (problems.length === 0 || rows.flat().length > 0) stdout.write(shown(context, rows.flat()));
  if (problems.length > 0) stderr.write(`${problems.join("\n")}\n`);
  return problems.length === 0 ? 0 : 1;
}

/** The containers that are drawn, each with its newest numbers once there are some. */
class Watched {
  readonly #rows = new Map<string, Row | undefined>();
  readonly #stops = new Map<string, () => void>();
  readonly #context: CommandContext;

  constructor(context: CommandContext) {
    this.#context = context;
  }

  get rows(): readonly Row[] {
    return [...this.#rows.values()].flatMap((row) => (row === undefined ? [] : [row]));
  }

  get size(): number {
    return this.#rows.size;
  }

  /** Resolves with the first numbers; rejects when there are none to be had. */
  async add(name: string): Promise<void> {
    if (this.#rows.has(name)) return;
    this.#rows.set(name, undefined);
    const { client, flags } = this.#context;
    try {
      const path = `/containers/${name}/stats`;
      const body = await client.stream("GET", path, { query: { stream: true } });
      this.#stops.set(name, () => body.destroy());
      const samples = jsonLines<ContainerStats>(body);
      const take = async () => {
        const next = await samples.next();
        if (next.done === true || !this.#rows.has(name)) return false;
        this.#rows.set(name, rowOf(name, next.value, flags.bool("no-trunc")));
        return true;
      };
      // The first sample has nothing to be compared with: its CPU would be 0.
      if (!(await take()) || !(await take())) return this.remove(name);
      void (async () => {
        while (await take());
        this.remove(name);
      })().catch(() => this.remove(name));
    } catch (error) {
      this.remove(name);
      throw error;
    }
  }

  remove(name: string): void {
    this.#rows.delete(name);
    this.#stops.get(name)?.();
    this.#stops.delete(name);
  }
}

async function follow(context: CommandContext): Promise<number> {
  const { args, stdout } = context;
  const watched = new Watched(context);
  const given = args.length > 0;
  const events = given ? undefined : await followStarts(context, watched);
  try {
    await Promise.all((await namesToShow(context)).map((name) => watched.add(name)));
    for (;;) {
      if (given && watched.size === 0) return 0;
      if (events?.ended === true) throw new EngineError("unavailable", "the engine went away");
      const lines = shown(context, watched.rows).replaceAll("\n", `${CLEAR_LINE}\n`);
      stdout.write(`${HOME}${lines}${CLEAR_BELOW}`);
      await new Promise((resolve) => setTimeout(resolve, REDRAW_MS));
    }
  } finally {
    events?.stop();
  }
}

interface FollowedEvents {
  readonly ended: boolean;
  stop(): void;
}

/** Without names, containers come and go. */
async function followStarts(context: CommandContext, watched: Watched): Promise<FollowedEvents> {
  const all = context.flags.bool("all");
  const filters = JSON.stringify({
    type: { container: true },
    event: { create: true, start: true, die: true, destroy: true },
  });
  const body = await context.client.stream("GET", "/events", { query: { filters } });
  const coming = all ? "create" : "start";
  const going = all ? "destroy" : "die";
  const followed = { ended: false, stop: () => void body.destroy() };
  const follow = async () => {
    for await (const { Action, Actor } of jsonLines<EngineEvent>(body)) {
      const name = Actor.ID.slice(0, 12);
      // One that has gone again by now is none to tell of.
      if (Action === coming) void watched.add(name).catch(() => undefined);
      else if (Action === going) watched.remove(name);
    }
  };
  const end = () => {
    followed.ended = true;
  };
  follow().then(end, end);
  return followed;
}

export const STATS: Command = {
  path: ["container", "stats"],
  shortcuts: [["stats"]],
  usage: "[OPTIONS] [CONTAINER...]",
  summary: "Show what containers use, as it changes",
  flags: [
    { name: "all", short: "a", kind: "bool", usage: "Containers that do not run, too" },
    { name: "format", kind: "string", usage: "Format the output with a Go template" },
    { name: "no-stream", kind: "bool", usage: "Show it once" },
    NO_TRUNC_FLAG,
  ],
  minArgs: 0,
  maxArgs: undefined,
  run: stats,
};

/** `ls` (ps), `port`, `top`, `inspect`: looking at containers. */

import { EngineError } from "#base/error.ts";
import { shortId } from "#base/ids.ts";
import type { ContainerInspect, ContainerSummary } from "#wire/docker/containers.ts";
import {
  type Command,
  type CommandContext,
  FILTER_FLAG,
  FORMAT_FLAG,
  filtersQuery,
  NO_TRUNC_FLAG,
  QUIET_FLAG,
} from "../command.ts";
import { inspectAll } from "../inspect.ts";
import { alignColumns, formatListing, type Row } from "../output/table.ts";
import { ago, ellipsis, humanSize, shownLabels, shownPorts, utcSeconds } from "../output/units.ts";
import { listingOptions } from "../settings.ts";

const HEADINGS = {
  ID: "CONTAINER ID",
  Image: "IMAGE",
  Command: "COMMAND",
  CreatedAt: "CREATED AT",
  Label: (name: string) => name,
  RunningFor: "CREATED",
  Ports: "PORTS",
  State: "STATE",
  Status: "STATUS",
  Size: "SIZE",
  Names: "NAMES",
  Labels: "LABELS",
  Mounts: "MOUNTS",
  Networks: "NETWORKS",
  LocalVolumes: "LOCAL VOLUMES",
  Platform: "PLATFORM",
};

const TABLE =
  "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";

function rowOf(container: ContainerSummary, full: boolean): Row {
  const created = container.Created * 1000;
  const command = full ? container.Command : ellipsis(container.Command, 20);
  return {
    ID: full ? container.Id : shortId(container.Id),
    Image:
      container.Image.startsWith("sha256:") && !full
        ? container.Image.slice(7, 19)
        : container.Image,
    Command: JSON.stringify(command),
    CreatedAt: utcSeconds(container.Created),
    RunningFor: ago(created, Date.now()),
    Ports: shownPorts(container.Ports),
    State: container.State,
    Status: container.Status,
    Size: shownSize(container),
    Names: container.Names.map((name) => name.replace(/^\//, ""))
      // Without the names that other containers have for it, by links.
      .filter((name) => full || !name.includes("/"))
      .join(","),
    Labels: shownLabels(container.Labels),
    Mounts: container.Mounts.map((mount) => mount.Name ?? mount.Source)
      .map((name) => (full ? name : ellipsis(name, MOUNT_CHARACTERS)))
      .join(","),
    // Of engines that run more than one.
    Platform: null,
    Networks: Object.keys(container.NetworkSettings.Networks).join(","),
    Label: (label: string) => container.Labels[label] ?? "",
    LocalVolumes: String(container.Mounts.filter((mount) => mount.Type === "volume").length),
  };
}

const MOUNT_CHARACTERS = 15;

function shownSize({ SizeRw = 0, SizeRootFs = 0 }: ContainerSummary): string {
  const own = humanSize(SizeRw);
  return SizeRootFs > 0 ? `${own} (virtual ${humanSize(SizeRootFs)})` : own;
}

async function list({ client, env, flags, stderr, stdout }: CommandContext): Promise<number> {
  const format = flags.string("format") ?? "";
  const quiet = flags.bool("quiet");
  if (quiet && format !== "") {
    stderr.write("WARNING: Ignoring custom format, because both --format and --quiet are set.\n");
  }
  const last = flags.bool("latest") ? 1 : flags.number("last");
  const containers = await client.get<readonly ContainerSummary[]>("/containers/json", {
    all: flags.bool("all"),
    limit: last,
    size: flags.bool("size") || /\.Size\b/.test(format),
    filters: filtersQuery(flags.list("filter")),
  });
  const full = flags.bool("no-trunc");
  stdout.write(
    formatListing(
      {
        table: flags.bool("size") ? `${TABLE}\t{{.Size}}` : TABLE,
        headings: HEADINGS,
        rows: containers.map((container) => rowOf(container, full)),
        quietField: "ID",
      },
      quiet ? { format: undefined, quiet } : listingOptions({ env, flags }, "psFormat"),
    ),
  );
  return 0;
}

async function port({ args, client, stdout }: CommandContext): Promise<number> {
  const [name = "", wanted] = args;
  const { NetworkSettings } = await client.get<ContainerInspect>(`/containers/${name}/json`);
  const key = wanted === undefined || wanted.includes("/") ? wanted : `${wanted}/tcp`;
  const lines: string[] = [];
  for (const [inside, bindings] of Object.entries(NetworkSettings.Ports)) {
    if (key !== undefined && key !== inside) continue;
    for (const { HostIp, HostPort } of bindings ?? []) {
      const host = `${HostIp?.includes(":") ? `[${HostIp}]` : HostIp}:${HostPort}`;
      lines.push(key === undefined ? `${inside} -> ${host}` : host);
    }
  }
  if (key !== undefined && lines.length === 0) {
    throw new EngineError("not-found", `Error: No public port '${wanted}' published for ${name}`);
  }
  const natural = new Intl.Collator("en", { numeric: true });
  for (const line of lines.sort(natural.compare)) stdout.write(`${line}\n`);
  return 0;
}

async function top({ args, client, stdout }: CommandContext): Promise<number> {
  const [name = "", ...psArgs] = args;
  const answer = await client.get<{
    Titles: readonly string[];
    Processes: readonly (readonly string[])[];
  }>(`/containers/${name}/top`, { ps_args: psArgs.join(" ") });
  stdout.write(
    alignColumns(
      [answer.Titles, ...answer.Processes].map((row) => row.join("\t")),
      20,
    ),
  );
  return 0;
}

export const LIST_COMMANDS: readonly Command[] = [
  {
    path: ["container", "ls"],
    aliases: ["list", "ps"],
    shortcuts: [["ps"]],
    usage: "[OPTIONS]",
    summary: "List containers",
    flags: [
      {
        name: "all",
        short: "a",
        kind: "bool",
        usage: "Show all containers, not just running ones",
      },
      { name: "last", short: "n", kind: "int", usage: "Show the n last created containers" },
      { name: "latest", short: "l", kind: "bool", usage: "Show the latest created container" },
      { name: "size", short: "s", kind: "bool", usage: "Show total file sizes" },
      FILTER_FLAG,
      FORMAT_FLAG,
      QUIET_FLAG,
      NO_TRUNC_FLAG,
    ],
    minArgs: 0,
    maxArgs: 0,
    run: list,
  },
  {
    path: ["container", "inspect"],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    summary: "Show a container in full",
    flags: [
      { ...FORMAT_FLAG, short: "f" },
      { name: "size", short: "s", kind: "bool", usage: "Sizes, too" },
    ],
    minArgs: 1,
    maxArgs: undefined,
    run: (context) =>
      inspectAll(context, "container", ["/containers/{}/json"], {
        size: context.flags.bool("size"),
      }),
  },
  {
    path: ["container", "port"],
    shortcuts: [["port"]],
    usage: "CONTAINER [PRIVATE_PORT[/PROTO]]",
    summary: "List port mappings of a container",
    flags: [],
    minArgs: 1,
    maxArgs: 2,
    run: port,
  },
  {
    path: ["container", "top"],
    shortcuts: [["top"]],
    usage: "CONTAINER [ps OPTIONS]",
    summary: "Show the running processes of a container",
    flags: [],
    minArgs: 1,
    maxArgs: undefined,
    flagsFirst: true,
    run: top,
  },
];

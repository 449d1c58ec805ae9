/** Lists of tasks: `service ps` and `node ps`, with a slot's history drawn below its live task. */

import { type CommandContext, filtersQuery } from "../command.ts";
import { formatListing, type Row } from "../output/table.ts";
import { ellipsis, humanDuration } from "../output/units.ts";
import { listingOptions } from "../settings.ts";
import type { NodeObject, ServiceObject, TaskObject } from "../swarm/types.ts";
import { IMAGE_HEADINGS, imageColumns } from "./image-columns.ts";

const HEADINGS = {
  ID: "ID",
  Name: "NAME",
  Image: "IMAGE",
  Node: "NODE",
  DesiredState: "DESIRED STATE",
  CurrentState: "CURRENT STATE",
  Error: "ERROR",
  Ports: "PORTS",
  ...IMAGE_HEADINGS,
};

/** Prints the tasks that match the scope filters and the command's own. */
export async function listTasks(
  context: CommandContext,
  scope: readonly string[],
): Promise<number> {
  const { client, env, flags, stdout } = context;
  const [tasks, services, nodes] = await Promise.all([
    client.get<readonly TaskObject[]>("/tasks", {
      filters: filtersQuery([...scope, ...flags.list("filter")]),
    }),
    client.get<readonly ServiceObject[]>("/services"),
    client.get<readonly NodeObject[]>("/nodes"),
  ]);
  const plainIds = flags.bool("no-resolve");
  const serviceNames = new Map(plainIds ? [] : services.map(({ ID, Spec }) => [ID, Spec.Name]));
  const nodeNames = new Map(
    plainIds ? [] : nodes.map(({ ID, Description }) => [ID, Description.Hostname]),
  );
  const full = flags.bool("no-trunc");
  const imageOf = (task: TaskObject) => task.Spec.ContainerSpec?.Image ?? "";
  const parts = await imageColumns(context, tasks.map(imageOf), false);
  const rows: Row[] = [];
  let previous = "";
  for (const task of sortTasks(tasks, serviceNames)) {
    const name = taskName(task, serviceNames);
    rows.push({
      // As docker: scripts get the whole.
      ID: full || flags.bool("quiet") ? task.ID : task.ID.slice(0, 12),
      Name: name === previous ? ` \\_ ${name}` : name,
      Image: shownImage(imageOf(task), full),
      Node: nodeNames.get(task.NodeID ?? "") ?? task.NodeID ?? "",
      DesiredState: title(task.DesiredState),
      CurrentState: `${title(task.Status.State)} ${since(task.Status.Timestamp)} ago`,
      Error: shownError(task.Status.Err ?? "", full),
      Ports: (task.Status.PortStatus?.Ports ?? [])
        .map((port) => `*:${port.PublishedPort}->${port.TargetPort}/${port.Protocol}`)
        .join(","),
      ...parts(imageOf(task)),
    });
    previous = name;
  }
  stdout.write(
    formatListing(
      {
        table:
          "{{.ID}}\t{{.Name}}\t{{.Image}}\t{{.Node}}\t{{.DesiredState}}\t{{.CurrentState}}\t{{.Error}}\t{{.Ports}}",
        headings: HEADINGS,
        rows,
        quietField: "ID",
      },
      listingOptions({ env, flags }, "tasksFormat"),
    ),
  );
  return 0;
}

/** Slots in order; within a slot the newest task first. */
function sortTasks(
  tasks: readonly TaskObject[],
  names: ReadonlyMap<string, string>,
): readonly TaskObject[] {
  return [...tasks].sort(
    (a, b) =>
      taskName(a, names).localeCompare(taskName(b, names), "en", { numeric: true }) ||
      (a.CreatedAt < b.CreatedAt ? 1 : -1),
  );
}

function taskName(task: TaskObject, names: ReadonlyMap<string, string>): string {
  const service = names.get(task.ServiceID) ?? task.ServiceID;
  return `${service}.${task.Slot ? String(task.Slot) : (task.NodeID ?? "")}`;
}

export function shownImage(image: string, full: boolean): string {
  return full ? image : image.replace(/@sha256:.*$/, "");
}

function shownError(text: string, full: boolean): string {
  if (text === "") return "";
  return JSON.stringify(full ? text : ellipsis(text, 30));
}

function title(state: string): string {
  return state.charAt(0).toUpperCase() + state.slice(1);
}

function since(timestamp: string): string {
  return humanDuration(Math.max(0, Date.now() - Date.parse(timestamp)) / 1000).toLowerCase();
}

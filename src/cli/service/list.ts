/** Lists of services: `service ls` and `stack services`. */

import { type CommandContext, filtersQuery } from "../command.ts";
import { formatListing } from "../output/table.ts";
import { listingOptions } from "../settings.ts";
import type { ServiceObject, ServiceSpecJson } from "../swarm/types.ts";
import { IMAGE_HEADINGS, imageColumns } from "./image-columns.ts";
import { shownImage } from "./ps.ts";

function modeName(spec: ServiceSpecJson): string {
  if (spec.Mode.Global !== undefined) return "global";
  if (spec.Mode.ReplicatedJob !== undefined) return "replicated job";
  return spec.Mode.GlobalJob === undefined ? "replicated" : "global job";
}

/** The services that match the scope filters and the command's own, with how many tasks run. */
export function findServices(
  { client, flags }: CommandContext,
  scope: readonly string[],
): Promise<readonly ServiceObject[]> {
  return client.get<readonly ServiceObject[]>("/services", {
    status: "true",
    filters: filtersQuery([...scope, ...flags.list("filter")]),
  });
}

export async function printServices(
  context: CommandContext,
  services: readonly ServiceObject[],
): Promise<number> {
  const { env, flags, stdout } = context;
  const parts = await imageColumns(
    context,
    services.map(({ Spec }) => Spec.TaskTemplate.ContainerSpec.Image),
    flags.bool("no-trunc") && !flags.has("format"),
  );
  const rows = services
    .map((service) => ({
      ID: flags.bool("no-trunc") ? service.ID : service.ID.slice(0, 12),
      Name: service.Spec.Name,
      Mode: modeName(service.Spec),
      Replicas: replicas(service),
      Image: shownImage(service.Spec.TaskTemplate.ContainerSpec.Image, false),
      Ports: (service.Endpoint?.Ports ?? [])
        // A host's own ports are shown with the task that has them.
        .filter((port) => port.PublishMode !== "host")
        .map((port) => `*:${port.PublishedPort ?? 0}->${port.TargetPort}/${port.Protocol ?? "tcp"}`)
        .join(", "),
      ...parts(service.Spec.TaskTemplate.ContainerSpec.Image),
    }))
    .sort((a, b) => a.Name.localeCompare(b.Name, "en", { numeric: true }));
  stdout.write(
    formatListing(
      {
        table: `{{.ID}}\t{{.Name}}\t{{.Mode}}\t{{.Replicas}}\t{{.Image}}\t{{.Ports}}${
          flags.bool("no-trunc") ? "\t{{.Digest}}\t{{.ImageAge}}" : ""
        }`,
        headings: {
          ID: "ID",
          Name: "NAME",
          Mode: "MODE",
          Replicas: "REPLICAS",
          Image: "IMAGE",
          Ports: "PORTS",
          ...IMAGE_HEADINGS,
        },
        rows,
        quietField: "ID",
      },
      listingOptions({ env, flags }, "servicesFormat"),
    ),
  );
  return 0;
}

function replicas({ Spec, ServiceStatus }: ServiceObject): string {
  const { RunningTasks = 0, DesiredTasks = 0, CompletedTasks = 0 } = ServiceStatus ?? {};
  const count = `${RunningTasks}/${DesiredTasks}`;
  const most = Spec.TaskTemplate.Placement?.MaxReplicas ?? 0;
  if (Spec.Mode.Replicated !== undefined) {
    return most > 0 ? `${count} (max ${most} per node)` : count;
  }
  if (Spec.Mode.Global !== undefined) return count;
  // On nodes where a global job is complete, no task is desired any more.
  const total = Spec.Mode.ReplicatedJob?.TotalCompletions ?? DesiredTasks + CompletedTasks;
  return `${count} (${CompletedTasks}/${total} completed)`;
}

/** Lists of services: `service ls` and `stack services`. */

import { type CommandContext, filtersQuery } from "../command.ts";
import { formatListing } from "../output/table.ts";
import type { ServiceObject, ServiceSpecJson } from "../swarm/types.ts";
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

export function printServices(
  { flags, stdout }: CommandContext,
  services: readonly ServiceObject[],
): number {
  const rows = services
    .map((service) => ({
      ID: service.ID.slice(0, 12),
      Name: service.Spec.Name,
      Mode: modeName(service.Spec),
      Replicas: `${service.ServiceStatus?.RunningTasks ?? 0}/${service.ServiceStatus?.DesiredTasks ?? 0}`,
      Image: shownImage(service.Spec.TaskTemplate.ContainerSpec.Image, false),
      Ports: (service.Endpoint?.Ports ?? [])
        .map((port) => `*:${port.PublishedPort ?? 0}->${port.TargetPort}/${port.Protocol ?? "tcp"}`)
        .join(", "),
    }))
    .sort((a, b) => a.Name.localeCompare(b.Name, "en", { numeric: true }));
  stdout.write(
    formatListing(
      {
        table: "{{.ID}}\t{{.Name}}\t{{.Mode}}\t{{.Replicas}}\t{{.Image}}\t{{.Ports}}",
        headings: {
          ID: "ID",
          Name: "NAME",
          Mode: "MODE",
          Replicas: "REPLICAS",
          Image: "IMAGE",
          Ports: "PORTS",
        },
        rows,
        quietField: "ID",
      },
      { format: flags.string("format"), quiet: flags.bool("quiet") },
    ),
  );
  return 0;
}

/** `/volumes`: the host's volumes. */

import type { HostVolumes } from "#engine/volumes/volumes.ts";
import type { VolumeCreateBody } from "#wire/docker/volumes.ts";
import type { Routes } from "./route.ts";

export function volumeRoutes(volumes: HostVolumes): Routes {
  return [
    {
      method: "GET",
      path: "/volumes",
      handler: async (request, response) => {
        response.json(200, await volumes.listAll(request.filters()));
      },
    },
    {
      method: "POST",
      path: "/volumes/create",
      handler: async (request, response) => {
        const body = (await request.json<VolumeCreateBody>()) ?? {};
        const volume = await volumes.create({
          ...(body.Name === undefined ? {} : { name: body.Name }),
          ...(body.Driver === undefined ? {} : { driver: body.Driver }),
          driverOpts: body.DriverOpts ?? {},
          labels: body.Labels ?? {},
        });
        response.json(201, volume);
      },
    },
    {
      method: "POST",
      path: "/volumes/prune",
      handler: async (request, response) => {
        // Before 1.42 a prune took named volumes as well.
        const filters = new Map(request.filters());
        if (!request.atLeast(42)) filters.set("all", ["true"]);
        const { names, reclaimedBytes } = await volumes.prune(filters);
        response.json(200, { VolumesDeleted: names, SpaceReclaimed: reclaimedBytes });
      },
    },
    {
      method: "GET",
      path: "/volumes/{name}",
      handler: async (request, response) =>
        response.json(200, await volumes.inspect(request.params.name ?? "")),
    },
    {
      method: "DELETE",
      path: "/volumes/{name}",
      handler: async (request, response) => {
        await volumes.remove(request.params.name ?? "", { force: request.flag("force") });
        response.empty(204);
      },
    },
  ];
}

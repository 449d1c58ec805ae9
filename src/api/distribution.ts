/** `/distribution/{name}/json`: what a registry has under a name, for clients that pin digests. */

import type { ImageStore } from "#engine/images/store.ts";
import { registryAuth } from "./registry-auth.ts";
import type { Routes } from "./route.ts";

export function distributionRoutes(images: ImageStore): Routes {
  return [
    {
      method: "GET",
      path: "/distribution/{name:.*}/json",
      handler: async (request, response) => {
        const name = request.params["name"] ?? "";
        response.json(200, await images.distribution(name, registryAuth(request)));
      },
    },
  ];
}

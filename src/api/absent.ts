/**
 * Endpoints of docker's whose subject this engine does not have. Lists are empty and prunes find
 * nothing, so that commands that ask about everything work; what would make one is refused with what
 * to do instead.
 */

import { EngineError } from "#base/error.ts";
import type { Route, Routes } from "./route.ts";

const PLUGINS =
  "managed plugins are not run by this engine: start the plugin's program on the host, and it is found by its socket in /run/docker/plugins";
const CLUSTER_VOLUMES =
  "cluster volumes are not supported: use a volume plug-in whose volumes every node can mount";
const CHECKPOINTS = "checkpoints are not supported: this engine does not use CRIU";

export function absentRoutes(): Routes {
  return [
    list("/plugins", []),
    ...refused(PLUGINS, [
      ["GET", "/plugins/privileges"],
      ["POST", "/plugins/pull"],
      ["POST", "/plugins/create"],
    ]),
    noPlugin("GET", "/plugins/{name:.*}/json"),
    noPlugin("DELETE", "/plugins/{name:.*}"),
    ...["enable", "disable", "upgrade", "push", "set"].map((verb) =>
      noPlugin("POST", `/plugins/{name:.*}/${verb}`),
    ),
    ...refused(CLUSTER_VOLUMES, [["PUT", "/volumes/{name}"]]),
    ...refused(CHECKPOINTS, [
      ["GET", "/containers/{id}/checkpoints"],
      ["POST", "/containers/{id}/checkpoints"],
      ["DELETE", "/containers/{id}/checkpoints/{checkpoint}"],
    ]),
  ];
}

function noPlugin(method: Route["method"], path: string): Route {
  return {
    method,
    path,
    handler: (request) => {
      const given = request.params["name"] ?? "";
      // Only for this one a tag is thought of, as in Docker.
      const isReference = path.endsWith("/upgrade") && !given.includes(":");
      const name = isReference ? `${given}:latest` : given;
      throw new EngineError("not-found", `plugin "${name}" not found`);
    },
  };
}

function list(path: string, value: readonly unknown[]): Route {
  return { method: "GET", path, handler: (_request, response) => response.json(200, value) };
}

function refused(message: string, endpoints: readonly [Route["method"], string][]): Routes {
  return endpoints.map(([method, path]) => ({
    method,
    path,
    handler: () => {
      throw new EngineError("unimplemented", message);
    },
  }));
}

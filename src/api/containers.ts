/**
 * `/containers`: everything but the streams, which are in containers-streams.ts. The routes read the
 * request and word the answer; what may be done, and with which message it is refused, is the
 * engine's.
 */

import { EngineError } from "#base/error.ts";
import type { ContainerEngine } from "#engine/containers/service.ts";
import type {
  ContainerCreateBody,
  ContainerInspect,
  ContainerSummary,
  ContainerUpdateBody,
} from "#wire/docker/containers.ts";
import { containerFileRoutes } from "./containers-files.ts";
import { streamingContainerRoutes } from "./containers-streams.ts";
import type { ApiRequest, ApiResponse, Route, Routes } from "./route.ts";

export function containerRoutes(containers: ContainerEngine): Routes {
  return [
    ...queryRoutes(containers),
    ...lifecycleRoutes(containers),
    ...changeRoutes(containers),
    ...streamingContainerRoutes(containers),
    ...containerFileRoutes(containers.files),
  ];
}

function queryRoutes(containers: ContainerEngine): Routes {
  return [
    route("GET", "/containers/json", async (request, response) => {
      const summaries = await containers.list({
        all: request.flag("all"),
        limit: integer(request, "limit") ?? 0,
        filters: request.filters(),
        size: request.flag("size"),
      });
      const inVersion = request.atLeast(46) ? summaries : summaries.map(withoutAnnotations);
      response.json(200, request.atLeast(48) ? inVersion : inVersion.map(withoutPriority));
    }),
    route("GET", "/containers/{id}/json", async (request, response) => {
      const shown = await containers.inspect(idOf(request), { size: request.flag("size") });
      const inVersion = request.atLeast(45) ? shown : withOlderAliases(shown);
      response.json(200, request.atLeast(48) ? inVersion : withoutPriority(inVersion));
    }),
    route("GET", "/containers/{id}/top", async (request, response) => {
      response.json(200, await containers.top(idOf(request), request.query.get("ps_args") ?? ""));
    }),
  ];
}

/** A list tells them since 1.46. */
function withoutAnnotations(summary: ContainerSummary): ContainerSummary {
  const { Annotations: _, ...rest } = summary.HostConfig;
  return { ...summary, HostConfig: rest };
}

/** Which network's router a container uses could not be chosen before 1.48. */
function withoutPriority<T extends ContainerSummary | ContainerInspect>(shown: T): T {
  const networks = Object.entries(shown.NetworkSettings.Networks).map(([name, endpoint]) => {
    const { GwPriority: _, ...rest } = endpoint;
    return [name, rest] as const;
  });
  const Networks = Object.fromEntries(networks);
  return { ...shown, NetworkSettings: { ...shown.NetworkSettings, Networks } };
}

/** Until 1.45, a container's own names on networks of the user's were among its aliases. */
function withOlderAliases(shown: ContainerInspect): ContainerInspect {
  const own = [shown.Id.slice(0, 12), shown.Config.Hostname ?? ""].filter((name) => name !== "");
  const Networks = Object.fromEntries(
    Object.entries(shown.NetworkSettings.Networks).map(([name, endpoint]) => {
      if (["bridge", "host", "none"].includes(name)) return [name, endpoint];
      return [name, { ...endpoint, Aliases: [...new Set([...(endpoint.Aliases ?? []), ...own])] }];
    }),
  );
  return { ...shown, NetworkSettings: { ...shown.NetworkSettings, Networks } };
}

/** An older client may have meant it; so it is not passed over like other fields of later versions. */
function refuseForcedReadOnly({ HostConfig: host }: ContainerCreateBody): void {
  if (!host?.Mounts?.some(({ BindOptions }) => BindOptions?.ReadOnlyForceRecursive)) return;
  throw new EngineError(
    "invalid-argument",
    "BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer",
  );
}

/** Until 1.48 the command line said it. */
function driverWarnings({ HostConfig: host }: ContainerCreateBody): readonly string[] {
  const { VolumeDriver: driver, Mounts: mounts } = host ?? {};
  if (!driver || !mounts?.some(({ Type }) => Type === "volume")) return [];
  return [
    'WARNING: the container-wide volume-driver configuration is ignored for volumes specified via "mount". Use "--mount type=volume,volume-driver=..." instead',
  ];
}

function lifecycleRoutes(containers: ContainerEngine): Routes {
  return [
    route("POST", "/containers/create", async (request, response) => {
      const body = await request.json<ContainerCreateBody>();
      if (body === undefined) {
        throw new EngineError(
          "invalid-argument",
          "invalid JSON: got EOF while reading request body",
        );
      }
      const writableBelow = !request.atLeast(44);
      if (writableBelow) refuseForcedReadOnly(body);
      const { id, warnings } = await containers.create(
        request.query.get("name") ?? undefined,
        body,
        { platform: request.query.get("platform") ?? "", writableBelow },
      );
      const more = request.atLeast(48) ? driverWarnings(body) : [];
      response.json(201, { Id: id, Warnings: [...warnings, ...more] });
    }),
    route("POST", "/containers/{id}/start", async (request, response) => {
      await containers.start(idOf(request));
      response.empty(204);
    }),
    route("POST", "/containers/{id}/stop", async (request, response) => {
      await containers.stop(idOf(request), stopOptions(request));
      response.empty(204);
    }),
    route("POST", "/containers/{id}/restart", async (request, response) => {
      await containers.restart(idOf(request), stopOptions(request));
      response.empty(204);
    }),
    route("POST", "/containers/{id}/kill", async (request, response) => {
      await containers.kill(idOf(request), request.query.get("signal") ?? "").catch((thrown) => {
        const { code, message } = EngineError.from(thrown);
        throw new EngineError(code, `cannot kill container: ${idOf(request)}: ${message}`, {
          cause: thrown,
        });
      });
      response.empty(204);
    }),
    route("POST", "/containers/{id}/pause", async (request, response) => {
      await containers.pause(idOf(request));
      response.empty(204);
    }),
    route("POST", "/containers/{id}/unpause", async (request, response) => {
      await containers.unpause(idOf(request));
      response.empty(204);
    }),
    route("DELETE", "/containers/{id}", async (request, response) => {
      await containers.remove(idOf(request), {
        force: request.flag("force"),
        volumes: request.flag("v"),
      });
      response.empty(204);
    }),
    // The name of a link, "web/db"; nothing is called so here.
    route("DELETE", "/containers/{id}/{alias}", (request) => {
      const alias = request.params["alias"] ?? "";
      throw new EngineError("not-found", `No such container: ${idOf(request)}/${alias}`);
    }),
  ];
}

function changeRoutes(containers: ContainerEngine): Routes {
  return [
    route("POST", "/containers/{id}/rename", async (request, response) => {
      await containers.rename(idOf(request), request.query.get("name") ?? "");
      response.empty(204);
    }),
    route("POST", "/containers/{id}/update", async (request, response) => {
      const body = (await request.json<ContainerUpdateBody>()) ?? {};
      const warnings = await containers.update(idOf(request), body);
      response.json(200, { Warnings: warnings.length === 0 ? null : warnings });
    }),
    route("POST", "/containers/{id}/resize", async (request, response) => {
      await containers.resize(idOf(request), terminalSize(request));
      response.empty(200);
    }),
    route("POST", "/containers/prune", async (request, response) => {
      response.json(200, await containers.prune(request.filters()));
    }),
  ];
}

function route(
  method: Route["method"],
  path: string,
  handler: (request: ApiRequest, response: ApiResponse) => Promise<void>,
): Route {
  return { method, path, handler };
}

function idOf(request: ApiRequest): string {
  return request.params["id"] ?? "";
}

function stopOptions(request: ApiRequest): { timeoutSeconds?: number; signal?: string } {
  const timeoutSeconds = integer(request, "t");
  const signal = request.query.get("signal");
  return {
    ...(timeoutSeconds === undefined ? {} : { timeoutSeconds }),
    ...(signal ? { signal } : {}),
  };
}

/** An integer of the query; undefined when absent. */
export function integer(request: ApiRequest, name: string): number | undefined {
  const text = request.query.get(name);
  if (text === null || text === "") return undefined;
  if (!/^-?\d{1,15}$/.test(text)) {
    throw new EngineError("invalid-argument", `strconv.Atoi: parsing "${text}": invalid syntax`);
  }
  return Number(text);
}

export function terminalSize(request: ApiRequest): { height: number; width: number } {
  const number = (name: "h" | "w", what: string) => {
    const text = request.query.get(name) ?? "";
    if (/^\d{1,9}$/.test(text)) return Number(text);
    const message = `invalid resize ${what} "${text}": invalid syntax`;
    throw new EngineError("invalid-argument", message);
  };
  return { height: number("h", "height"), width: number("w", "width") };
}

/** `POST /commit`: an image of what a container has become. */

import { EngineError } from "#base/error.ts";
import type { ContainerEngine } from "#engine/containers/service.ts";
import type { ImageStore } from "#engine/images/store.ts";
import type { ContainerConfig } from "#wire/docker/containers.ts";
import type { ImageConfig } from "#wire/docker/images.ts";
import { parseReference, type Reference, withDefaultTag } from "#wire/oci.ts";
import type { ApiRequest, Routes } from "./route.ts";

export function commitRoutes(containers: ContainerEngine, images: ImageStore): Routes {
  return [
    {
      method: "POST",
      path: "/commit",
      handler: async (request, response) => {
        response.json(201, { Id: await commit(containers, images, request) });
      },
    },
  ];
}

async function commit(
  containers: ContainerEngine,
  images: ImageStore,
  request: ApiRequest,
): Promise<string> {
  const { query } = request;
  const body = (await request.json<ContainerConfig>()) ?? {};
  const reference = readReference(query.get("repo") ?? "", query.get("tag") ?? "");
  const { Id, Image, Config } = await containers.inspect(query.get("container") ?? "");
  // Before 1.14 nothing was said, and nothing paused.
  const pause = query.get("pause") === null || request.flag("pause");
  const make = () =>
    images.commit({
      parent: Image,
      snapshotKey: Id,
      containerId: Id,
      config: imageConfigOf(Config, body),
      changes: query.getAll("changes"),
      author: query.get("author") ?? "",
      comment: query.get("comment") ?? "",
      reference,
    });
  return containers.commit(Id, pause, make);
}

function readReference(repository: string, tag: string): Reference | undefined {
  if (repository === "") return undefined;
  const parsed = parseReference(tag === "" ? repository : `${repository}:${tag}`);
  if (!parsed.ok) throw new EngineError("invalid-argument", parsed.error);
  if (parsed.value.digest !== undefined) {
    throw new EngineError("invalid-argument", "cannot commit to digest reference");
  }
  return withDefaultTag(parsed.value);
}

/** The container's configuration under what the request says; fields that are set there win. */
function imageConfigOf(container: ContainerConfig, body: ContainerConfig): ImageConfig {
  const volumes = { ...container.Volumes, ...body.Volumes };
  const given = Object.entries(body).filter(([, value]) => isSet(value));
  const lists = {
    Env: mergeEnv(container.Env ?? [], body.Env ?? []),
    ExposedPorts: { ...container.ExposedPorts, ...body.ExposedPorts },
    Labels: { ...container.Labels, ...body.Labels },
    Volumes: Object.keys(volumes).length === 0 ? null : volumes,
  };
  const { MacAddress: _, ...merged } = { ...container, ...Object.fromEntries(given), ...lists };
  return merged as ImageConfig;
}

function isSet(value: unknown): boolean {
  if (value === null || value === undefined || value === "" || value === false) return false;
  return typeof value !== "object" || Object.keys(value).length > 0;
}

function mergeEnv(base: readonly string[], own: readonly string[]): string[] {
  const nameOf = (entry: string) => entry.split("=", 1)[0] ?? "";
  const set = new Set(own.map(nameOf));
  return [...base.filter((entry) => !set.has(nameOf(entry))), ...own];
}

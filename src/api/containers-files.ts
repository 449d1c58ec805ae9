/** `/containers/{id}/archive`, `/changes`, `/export`: the files of a container. */

import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { EngineError } from "#base/error.ts";
import type { FileService } from "#engine/files/service.ts";
import type { ContainerPathStat } from "#wire/docker/containers.ts";
import { plainBody } from "./plain-body.ts";
import type { ApiRequest, ApiResponse, Routes } from "./route.ts";

const TAR = "application/x-tar";

export function containerFileRoutes(files: FileService): Routes {
  return [
    {
      method: "HEAD",
      path: "/containers/{id}/archive",
      handler: async (request, response) => {
        const stat = await files.stat(idOf(request), pathOf(request));
        response.empty(200, statHeader(stat));
      },
    },
    {
      method: "GET",
      path: "/containers/{id}/archive",
      handler: async (request, response) => {
        const { stat, chunks } = await files.get(idOf(request), pathOf(request));
        await send(chunks, response, statHeader(stat));
      },
    },
    {
      method: "PUT",
      path: "/containers/{id}/archive",
      handler: async (request, response) => {
        await files.put(idOf(request), await plainBody(request.body), {
          path: pathOf(request),
          keepKinds: request.flag("noOverwriteDirNonDir"),
          toUser: request.flag("copyUIDGID"),
        });
        response.empty(200);
      },
    },
    {
      method: "GET",
      path: "/containers/{id}/changes",
      handler: async (request, response) => {
        const changes = await files.changes(idOf(request));
        response.json(200, changes.length === 0 ? null : changes);
      },
    },
    {
      method: "GET",
      path: "/containers/{id}/export",
      handler: async (request, response) =>
        send(await files.export(idOf(request)), response, {
          "Content-Type": "application/octet-stream",
        }),
    },
  ];
}

function idOf(request: ApiRequest): string {
  return request.params["id"] ?? "";
}

function pathOf(request: ApiRequest): string {
  const path = request.query.get("path") ?? "";
  if (path === "")
    throw new EngineError("invalid-argument", "bad parameter: 'path' cannot be empty");
  return path;
}

function statHeader(stat: ContainerPathStat): Record<string, string> {
  const text = Buffer.from(JSON.stringify(stat)).toString("base64");
  return { "X-Docker-Container-Path-Stat": text };
}

/** A failure under way can only break the stream off; the client sees a short archive. */
async function send(
  chunks: AsyncIterable<Uint8Array>,
  response: ApiResponse,
  headers: Readonly<Record<string, string>>,
): Promise<void> {
  const out = response.stream(200, TAR, headers);
  await pipeline(Readable.from(chunks, { objectMode: false }), out).catch(() => undefined);
}

/** `/images/*`: the image store as the Engine API shows it, older versions included. */

import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { EngineError } from "#base/error.ts";
import type { ImageStore } from "#engine/images/store.ts";
import type { ImageInspect, ImageSummary } from "#wire/docker/images.ts";
import { isDigest, parseReference, type Reference, withDefaultTag } from "#wire/oci.ts";
import { streamProgress } from "./progress-stream.ts";
import { registryAuth } from "./registry-auth.ts";
import type { ApiRequest, ApiResponse, Handler, Routes } from "./route.ts";

const TAR = "application/x-tar";
const ZERO_TIME = "0001-01-01T00:00:00Z";

export function imageRoutes(images: ImageStore): Routes {
  const get = (path: string, handler: Handler) => ({ method: "GET", path, handler }) as const;
  const post = (path: string, handler: Handler) => ({ method: "POST", path, handler }) as const;
  return [
    get("/images/json", async (request, response) => {
      const rows = await images.list({ all: request.flag("all"), filters: legacyFilters(request) });
      response.json(
        200,
        rows.map((row) => summaryFor(request, row)),
      );
    }),
    get("/images/search", () => {
      throw new EngineError(
        "unimplemented",
        "searching registries is not supported: search at hub.docker.com and pull by name",
      );
    }),
    get("/images/get", (request, response) =>
      save(images, request.query.getAll("names"), response),
    ),
    get("/images/{name:.*}/get", (request, response) => save(images, [nameOf(request)], response)),
    get("/images/{name:.*}/json", async (request, response) => {
      response.json(200, inspectFor(request, await images.inspect(nameOf(request))));
    }),
    get("/images/{name:.*}/history", async (request, response) => {
      response.json(200, await images.history(nameOf(request)));
    }),
    post("/images/create", (request, response) => create(images, request, response)),
    post("/images/load", (request, response) =>
      streamProgress(
        response,
        (report) => {
          // As with docker, progress is what has to be asked for; the names that were loaded always come.
          const quiet = !request.query.has("quiet") || request.flag("quiet");
          return images.load(request.body, (message) => {
            if (!quiet || message.progressDetail === undefined) report(message);
          });
        },
        { openFirst: true },
      ),
    ),
    post("/images/prune", async (request, response) => {
      response.json(200, await images.prune(request.filters()));
    }),
    post("/images/{name:.*}/tag", async (request, response) => {
      const { query } = request;
      await images.tag(nameOf(request), query.get("repo") ?? "", query.get("tag") ?? "");
      response.empty(201);
    }),
    post("/images/{name:.*}/push", (request, response) =>
      streamProgress(response, (report) => {
        const auth = registryAuth(request);
        const options = { signal: request.signal, ...(auth === undefined ? {} : { auth }) };
        return images.push(nameOf(request), request.query.get("tag") ?? "", options, report);
      }),
    ),
    {
      method: "DELETE",
      path: "/images/{name:.*}",
      handler: async (request, response) => {
        response.json(200, await images.remove(nameOf(request), { force: request.flag("force") }));
      },
    },
  ];
}

function nameOf(request: ApiRequest): string {
  const name = request.params["name"] ?? "";
  if (name === "") throw new EngineError("invalid-argument", "an image name is needed");
  return name;
}

/** Before filters there was `filter=NAME`. */
function legacyFilters(request: ApiRequest): ReadonlyMap<string, readonly string[]> {
  const filters = request.filters();
  const pattern = request.query.get("filter");
  if (pattern === null || pattern === "" || request.atLeast(41)) return filters;
  return new Map([...filters, ["reference", [pattern]]]);
}

/** As clients of the request's version know images of a list. */
export function summaryFor(request: ApiRequest, row: ImageSummary): ImageSummary {
  const nameless = row.RepoTags.length === 0 && row.RepoDigests.length === 0;
  const withNames =
    nameless && !request.atLeast(43)
      ? { ...row, RepoTags: ["<none>:<none>"], RepoDigests: ["<none>@<none>"] }
      : row;
  return request.atLeast(44) ? withNames : { ...withNames, VirtualSize: row.Size };
}

function inspectFor(request: ApiRequest, shown: ImageInspect): ImageInspect {
  const { VirtualSize, Container, ContainerConfig, ...rest } = shown;
  if (request.atLeast(45)) return rest;
  const withContainer = {
    ...rest,
    Container: Container ?? "",
    ...(ContainerConfig === undefined ? {} : { ContainerConfig }),
  };
  if (request.atLeast(44)) return withContainer;
  return {
    ...withContainer,
    Created: shown.Created ?? ZERO_TIME,
    ...(VirtualSize === undefined ? {} : { VirtualSize }),
  };
}

async function save(
  images: ImageStore,
  names: readonly string[],
  response: ApiResponse,
): Promise<void> {
  if (names.length === 0) throw new EngineError("invalid-argument", "no image names given");
  const archive = await images.save(names);
  // A failure under way can only break the stream off; the client sees a short archive.
  await pipeline(archive, response.stream(200, TAR)).catch(() => undefined);
}

async function create(
  images: ImageStore,
  request: ApiRequest,
  response: ApiResponse,
): Promise<void> {
  const fromImage = request.query.get("fromImage") ?? "";
  if (fromImage !== "") return pull(images, fromImage, request, response);
  if (request.query.get("fromSrc") === null) {
    throw new EngineError("invalid-argument", "neither fromImage nor fromSrc is given");
  }
  await importFrom(images, request, response);
}

async function pull(
  images: ImageStore,
  fromImage: string,
  request: ApiRequest,
  response: ApiResponse,
): Promise<void> {
  const auth = registryAuth(request);
  const platform = request.query.get("platform") ?? "";
  const options = {
    signal: request.signal,
    ...(auth === undefined ? {} : { auth }),
    ...(platform === "" ? {} : { platform }),
  };
  const references = await pullReferences(images, fromImage, request);
  await streamProgress(response, async (report) => {
    for (const reference of references) await images.pull(reference, options, report);
  });
}

/** `tag` may be a tag or a digest; without either, the repository with all its tags is meant. */
async function pullReferences(
  images: ImageStore,
  fromImage: string,
  request: ApiRequest,
): Promise<readonly string[]> {
  const tag = request.query.get("tag") ?? "";
  const parsed = parseReference(fromImage);
  if (!parsed.ok) throw new EngineError("invalid-argument", parsed.error);
  if (tag !== "")
    return [isDigest(tag) ? `${fromImage}@${tag}` : withTag(fromImage, parsed.value, tag)];
  if (parsed.value.tag !== undefined || parsed.value.digest !== undefined) return [fromImage];
  const auth = registryAuth(request);
  return (await images.remoteTags(fromImage, auth)).map((found) => `${fromImage}:${found}`);
}

/** The tag of the query replaces one in the name; beside a digest it is part of the name. */
function withTag(fromImage: string, reference: Reference, tag: string): string {
  const [name = "", digest] = fromImage.split("@");
  const bare = reference.tag === undefined ? name : name.slice(0, name.lastIndexOf(":"));
  return `${bare}:${tag}${digest === undefined ? "" : `@${digest}`}`;
}

async function importFrom(
  images: ImageStore,
  request: ApiRequest,
  response: ApiResponse,
): Promise<void> {
  const { query } = request;
  const source = query.get("fromSrc") ?? "-";
  const options = {
    reference: importReference(query.get("repo") ?? "", query.get("tag") ?? ""),
    changes: query.getAll("changes"),
    message: query.get("message") ?? "",
    platform: query.get("platform") ?? undefined,
    source,
  };
  await streamProgress(response, async (report) => {
    const archive = source === "-" ? request.body : await download(source, request.signal);
    report({ status: await images.import(archive, options) });
  });
}

function importReference(repository: string, tag: string): Reference | undefined {
  if (repository === "") return undefined;
  const parsed = parseReference(tag === "" ? repository : `${repository}:${tag}`);
  if (!parsed.ok) throw new EngineError("invalid-argument", parsed.error);
  if (parsed.value.digest !== undefined) {
    throw new EngineError("invalid-argument", "cannot import digest reference");
  }
  return withDefaultTag(parsed.value);
}

async function download(source: string, signal: AbortSignal): Promise<Readable> {
  const url = URL.canParse(source) ? source : `http://${source}`;
  const response = await fetch(url, { signal }).catch((error: unknown) => {
    throw new EngineError("unavailable", `cannot download ${url}`, { cause: error });
  });
  if (!response.ok || response.body === null) {
    throw new EngineError("unavailable", `cannot download ${url}: HTTP status ${response.status}`);
  }
  return Readable.from(response.body, {
    objectMode: false,
  });
}

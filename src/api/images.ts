/** `/images/*`: the image store as the Engine API shows it, older versions included. */

import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { EngineError, messageOf } from "#base/error.ts";
import type { ImageStore } from "#engine/images/store.ts";
import type { ProgressMessage } from "#engine/ports.ts";
import type { ImageConfig, ImageInspect, ImageSummary } from "#wire/docker/images.ts";
import {
  isDigest,
  type Platform,
  parseReference,
  type Reference,
  withDefaultTag,
} from "#wire/oci.ts";
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
      const rows = await images.list({
        all: request.flag("all"),
        filters: legacyFilters(request),
        containers: request.atLeast(51),
      });
      response.json(
        200,
        rows.map((row) => summaryFor(request, row)),
      );
    }),
    get("/images/search", async (request, response) => {
      const { query, signal } = request;
      const limit = query.get("limit") ?? "";
      const filters = request.filters();
      const auth = registryAuth(request);
      const term = query.get("term") ?? "";
      const asked = { term, limit: limit === "" ? 25 : Number(limit), filters, auth, signal };
      response.json(200, await images.search(asked));
    }),
    get("/images/get", (request, response) =>
      save(images, request.query.getAll("names"), request, response),
    ),
    get("/images/{name:.*}/get", (request, response) =>
      save(images, [nameOf(request)], request, response),
    ),
    get("/images/{name:.*}/json", async (request, response) => {
      if (request.flag("manifests") && platformOf(request, 49) !== undefined) {
        throw new EngineError(
          "invalid-argument",
          "conflicting options: manifests and platform options cannot both be set",
        );
      }
      await requirePlatform(images, [nameOf(request)], platformOf(request, 49));
      response.json(200, inspectFor(request, await images.inspect(nameOf(request))));
    }),
    get("/images/{name:.*}/history", async (request, response) => {
      await requirePlatform(images, [nameOf(request)], platformOf(request, 48));
      response.json(200, await images.history(nameOf(request)));
    }),
    post("/images/create", (request, response) => create(images, request, response)),
    post("/images/load", (request, response) => {
      const platform = platformOf(request, 48);
      return streamProgress(
        response,
        (report) => {
          // As with docker, progress is what has to be asked for; the names that were loaded always come.
          const quiet = !request.query.has("quiet") || request.flag("quiet");
          const loud = (message: ProgressMessage) => {
            if (!quiet || message.progressDetail === undefined) report(message);
          };
          return images.load(request.body, loud, platform === undefined ? {} : { platform });
        },
        { openFirst: true },
      );
    }),
    post("/images/prune", async (request, response) => {
      response.json(200, await images.prune(request.filters()));
    }),
    post("/images/{name:.*}/tag", async (request, response) => {
      const { query } = request;
      await images.tag(nameOf(request), query.get("repo") ?? "", query.get("tag") ?? "");
      response.empty(201);
    }),
    post("/images/{name:.*}/push", (request, response) =>
      streamProgress(response, async (report) => {
        await requirePlatform(images, pushed(request), platformOf(request, 46));
        const auth = registryAuth(request);
        const options = { signal: request.signal, ...(auth === undefined ? {} : { auth }) };
        await images.push(nameOf(request), request.query.get("tag") ?? "", options, report);
      }),
    ),
    {
      method: "DELETE",
      path: "/images/{name:.*}",
      handler: async (request, response) => {
        const [platform, ...more] = request.atLeast(50) ? request.query.getAll("platforms") : [];
        if (more.length > 0) {
          throw new EngineError("invalid-argument", "multiple platforms are not supported");
        }
        const wanted = platform === undefined ? undefined : readPlatform(platform);
        await requirePlatform(images, [nameOf(request)], wanted);
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

/** The `platform` of the query, which is JSON since the version `since` that brought it. */
function platformOf(request: ApiRequest, since: number): Platform | undefined {
  const text = request.query.get("platform") ?? "";
  return text === "" || !request.atLeast(since) ? undefined : readPlatform(text);
}

function readPlatform(text: string): Platform {
  const refuse = (why: string) => new EngineError("invalid-argument", why);
  let given: Partial<Platform> | null;
  try {
    given = JSON.parse(text) as Partial<Platform> | null;
  } catch (error) {
    throw refuse(`failed to parse platform: ${messageOf(error)}`);
  }
  const { os, architecture, variant } = given ?? {};
  if (typeof os !== "string" || typeof architecture !== "string" || !os || !architecture) {
    throw refuse("both OS and Architecture must be provided");
  }
  return { os, architecture, ...(typeof variant === "string" && variant ? { variant } : {}) };
}

/** Of an image, one platform is kept: it is the wanted one, or the wanted one is not there. */
async function requirePlatform(
  images: ImageStore,
  names: readonly string[],
  wanted: Platform | undefined,
): Promise<void> {
  if (wanted === undefined) return;
  for (const name of names) await images.requirePlatform(name, wanted);
}

function pushed(request: ApiRequest): readonly string[] {
  const tag = request.query.get("tag") ?? "";
  return [tag === "" ? nameOf(request) : `${nameOf(request)}:${tag}`];
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

/**
 * docker-compose 1 speaks the newest version that it is offered, and fails with "KeyError:
 * 'ContainerConfig'" when it makes a container anew, because Docker has left the field out since 1.45.
 */
function needsContainerConfig(request: ApiRequest): boolean {
  return (request.header("User-Agent") ?? "").startsWith("docker-compose/1.");
}

function inspectFor(request: ApiRequest, shown: ImageInspect): ImageInspect {
  const { VirtualSize, Container, ContainerConfig, ...rest } = shown;
  const mustHave = needsContainerConfig(request) && ContainerConfig ? { ContainerConfig } : {};
  if (request.atLeast(50)) return { ...rest, ...mustHave, Config: imageConfig(rest.Config) };
  if (request.atLeast(45)) return { ...rest, ...mustHave };
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

/** What is a container's and never an image's, which is no longer told since 1.50. */
const OF_CONTAINERS: ReadonlySet<string> = new Set([
  "Hostname",
  "Domainname",
  "AttachStdin",
  "AttachStdout",
  "AttachStderr",
  "Tty",
  "OpenStdin",
  "StdinOnce",
  "Image",
  "NetworkDisabled",
  "MacAddress",
  "StopTimeout",
]);

function imageConfig(config: ImageConfig | null): ImageConfig | null {
  if (config === null) return null;
  return Object.fromEntries(Object.entries(config).filter(([name]) => !OF_CONTAINERS.has(name)));
}

async function save(
  images: ImageStore,
  names: readonly string[],
  request: ApiRequest,
  response: ApiResponse,
): Promise<void> {
  if (names.length === 0) throw new EngineError("invalid-argument", "no image names given");
  await requirePlatform(images, names, platformOf(request, 48));
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

/**
 * `POST /build`: docker's classic builder, which every client speaks when it is told to (or when it
 * has no BuildKit of its own). What asks for BuildKit's own protocol is refused with how to go on.
 */

import { EngineError } from "#base/error.ts";
import type { Builder } from "#engine/build/builder.ts";
import type { BuildRequest, BuildUlimit } from "#engine/build/request.ts";
import { parseReference, type Reference, withDefaultTag } from "#wire/oci.ts";
import { streamProgress } from "./progress-stream.ts";
import { registryConfig } from "./registry-auth.ts";
import type { ApiRequest, Route, Routes } from "./route.ts";

const BUILDKIT =
  "BuildKit's protocol is not spoken by this engine: build with the classic builder (DOCKER_BUILDKIT=0), or with BuildKit in a container (docker buildx create --driver docker-container --use; docker buildx build --load .)";

export function buildRoutes(builder: Builder): Routes {
  const running = new Map<string, AbortController>();
  return [
    {
      method: "POST",
      path: "/build",
      handler: async (request, response) => {
        const cancel = new AbortController();
        const build = readBuild(request, AbortSignal.any([request.signal, cancel.signal]));
        const id = request.query.get("buildid") ?? "";
        if (id !== "") running.set(id, cancel);
        try {
          await streamProgress(response, (report, caughtUp) =>
            builder.build(build, (message) => {
              report(message);
              return caughtUp();
            }),
          );
        } finally {
          running.delete(id);
        }
      },
    },
    {
      method: "POST",
      path: "/build/cancel",
      handler: (request, response) => {
        const id = request.query.get("id") ?? "";
        if (id === "") throw new EngineError("invalid-argument", "build ID not provided");
        running.get(id)?.abort(new EngineError("cancelled", "the build was cancelled"));
        response.empty(204);
      },
    },
    {
      method: "POST",
      path: "/build/prune",
      handler: async (request, response) => {
        const { deleted, bytes } = await builder.prune(readPrune(request));
        response.json(200, {
          CachesDeleted: deleted.length === 0 ? null : deleted,
          SpaceReclaimed: bytes,
        });
      },
    },
    ...["/session", "/grpc"].map(
      (path): Route => ({
        method: "POST",
        path,
        handler: () => {
          throw new EngineError("unimplemented", BUILDKIT);
        },
      }),
    ),
  ];
}

function readBuild(request: ApiRequest, signal: AbortSignal): BuildRequest {
  const { query } = request;
  const text = (name: string) => query.get(name) ?? "";
  if (text("version") === "2") throw new EngineError("unimplemented", BUILDKIT);
  if (!["", "[]", "null"].includes(text("outputs"))) {
    throw new EngineError("invalid-argument", "outputs other than an image need BuildKit");
  }
  return {
    archive: request.body,
    remote: text("remote") === "client-session" ? refuseSession() : text("remote"),
    dockerfile: text("dockerfile"),
    names: readNames(query.getAll("t")),
    buildArgs: jsonStrings(text("buildargs"), "build args"),
    labels: jsonStrings(text("labels"), "labels"),
    target: text("target"),
    noCache: request.flag("nocache"),
    pull: request.flag("pull"),
    squash: request.flag("squash"),
    forceRemove: request.flag("forcerm"),
    platform: text("platform").toLowerCase(),
    networkMode: text("networkmode"),
    extraHosts: query.getAll("extrahosts").flatMap(readHosts),
    memory: integer(query, "memory"),
    memorySwap: integer(query, "memswap"),
    cpuShares: integer(query, "cpushares"),
    cpuPeriod: integer(query, "cpuperiod"),
    cpuQuota: integer(query, "cpuquota"),
    cpusetCpus: text("cpusetcpus"),
    cpusetMems: text("cpusetmems"),
    cgroupParent: text("cgroupparent"),
    shmSizeBytes: integer(query, "shmsize"),
    ulimits: readUlimits(text("ulimits")),
    securityOptions: query.getAll("securityopt").filter((option) => option !== ""),
    quiet: request.flag("q"),
    auths: registryConfig(request),
    signal,
  };
}

function refuseSession(): never {
  throw new EngineError("unimplemented", BUILDKIT);
}

function readNames(texts: readonly string[]): readonly Reference[] {
  const names = new Map<string, Reference>();
  for (const text of texts) {
    if (text === "") continue;
    const parsed = parseReference(text);
    if (!parsed.ok) throw new EngineError("invalid-argument", parsed.error);
    if (parsed.value.digest !== undefined) {
      throw new EngineError("invalid-argument", "build tag cannot contain a digest");
    }
    const { domain, path, tag } = withDefaultTag(parsed.value);
    names.set(`${domain}/${path}:${tag}`, withDefaultTag(parsed.value));
  }
  return [...names.values()];
}

function parsed(text: string, what: string): unknown {
  try {
    return text === "" ? null : JSON.parse(text);
  } catch {
    throw new EngineError("invalid-argument", `error reading ${what}: invalid JSON`);
  }
}

/** A name with null is one without a value: not given. */
function jsonStrings(text: string, what: string): Readonly<Record<string, string>> {
  const value = parsed(text, what);
  if (value === null) return {};
  const entries = typeof value === "object" && !Array.isArray(value) ? Object.entries(value) : [];
  const strings = entries.filter(
    (entry): entry is [string, string] => typeof entry[1] === "string",
  );
  if (Array.isArray(value) || typeof value !== "object") {
    throw new EngineError("invalid-argument", `error reading ${what}: not an object`);
  }
  return Object.fromEntries(strings);
}

/** Clients send them one by one, or several in one value. */
function readHosts(text: string): readonly string[] {
  return text.split(",").filter((entry) => entry !== "");
}

function readUlimits(text: string): readonly BuildUlimit[] {
  const value = parsed(text, "ulimits");
  if (value === null) return [];
  if (!Array.isArray(value)) throw new EngineError("invalid-argument", "error reading ulimits");
  return value.map((entry: unknown) => {
    const { Name, Soft, Hard } = (entry ?? {}) as Readonly<Record<string, unknown>>;
    if (typeof Name !== "string")
      throw new EngineError("invalid-argument", "error reading ulimits");
    return { name: Name, soft: Number(Soft ?? 0), hard: Number(Hard ?? 0) };
  });
}

function integer(query: URLSearchParams, name: string): number {
  const text = query.get(name) ?? "";
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : 0;
}

function readPrune(request: ApiRequest) {
  const { query } = request;
  const keep = Number(query.get("keep-storage") ?? query.get("reserved-space") ?? 0);
  return {
    keepBytes: Number.isFinite(keep) && keep > 0 ? keep : undefined,
    filters: request.filters(),
  };
}

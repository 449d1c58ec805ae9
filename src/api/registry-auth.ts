/** The credentials that clients send along for a registry: X-Registry-Auth, base64url of JSON. */

import type { AuthConfig } from "#wire/docker/images.ts";
import type { ApiRequest } from "./route.ts";

/** Undefined when absent or unreadable: many images need none, and docker is as lenient. */
export function registryAuth(request: ApiRequest): AuthConfig | undefined {
  return decodeAuth(request.header("x-registry-auth") ?? "");
}

/** Of a build, which may need several registries: X-Registry-Config, {"registry": credentials}. */
export function registryConfig(request: ApiRequest): ReadonlyMap<string, AuthConfig> {
  const config = decoded(request.header("x-registry-config") ?? "");
  return new Map(Object.entries((config ?? {}) as Record<string, AuthConfig>));
}

/** The header's text; base64 of either alphabet. */
export function decodeAuth(header: string): AuthConfig | undefined {
  return decoded(header);
}

function decoded(header: string): object | undefined {
  if (header === "") return undefined;
  try {
    const value: unknown = JSON.parse(Buffer.from(header, "base64url").toString("utf8"));
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

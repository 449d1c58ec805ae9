/** What the swarm has of a stack: its objects are known by their label. */

import { EngineError, isErrorCode } from "#base/error.ts";
import { NAMESPACE_LABEL } from "#plan/compose/stack.ts";
import { filtersQuery } from "../command.ts";
import type { ApiClient } from "../http.ts";
import type { ServiceObject, Versioned } from "../swarm/types.ts";
import type { NetworkResource } from "./types.ts";

export interface PayloadObject extends Versioned {
  readonly Spec: { readonly Name: string };
}

export function inStack(name: string): string {
  return `label=${NAMESPACE_LABEL}=${name}`;
}

export async function stackServices(
  client: ApiClient,
  name: string,
): Promise<readonly ServiceObject[]> {
  const filters = filtersQuery([inStack(name)]);
  const services = await client.get<readonly ServiceObject[]>("/services", { filters });
  return services.toSorted((a, b) => (a.Spec.Name < b.Spec.Name ? -1 : 1));
}

export async function stackNetworks(
  client: ApiClient,
  name: string,
): Promise<readonly NetworkResource[]> {
  const filters = filtersQuery([inStack(name)]);
  return (await client.get<readonly NetworkResource[] | null>("/networks", { filters })) ?? [];
}

export async function stackPayloads(
  client: ApiClient,
  kind: "secrets" | "configs",
  name: string,
): Promise<readonly PayloadObject[]> {
  const filters = filtersQuery([inStack(name)]);
  return (await client.get<readonly PayloadObject[] | null>(`/${kind}`, { filters })) ?? [];
}

/** Undefined when there is no such object. */
export async function found<T>(client: ApiClient, path: string): Promise<T | undefined> {
  try {
    return await client.get<T>(path);
  } catch (error) {
    if (isErrorCode(error, "not-found")) return undefined;
    throw error;
  }
}

/** Refused in docker's words: a name of nothing but blanks and quotes. */
export function checkStackName(name: string): void {
  if (/^[\s'"]*$/.test(name)) {
    throw new EngineError("invalid-argument", `invalid stack name: ${JSON.stringify(name)}`);
  }
}

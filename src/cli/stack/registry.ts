/**
 * What a deploy asks of registries: the digest behind a tag, so that all nodes run the same image, and
 * the user's credentials for them.
 */

import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import type { SparseServiceSpec } from "#plan/compose/stack.ts";
import { familiarReference, parseReference } from "#wire/reference.ts";
import type { CommandContext } from "../command.ts";
import { type Credentials, credentialsOf, serverKey } from "../credentials.ts";
import { readAll } from "../http.ts";
import type { ServiceSpecJson } from "../swarm/types.ts";

interface Distribution {
  readonly Descriptor: { readonly digest: string };
  readonly Platforms?: readonly { readonly architecture: string; readonly os: string }[] | null;
}

type Platforms = readonly {
  readonly OS?: string | undefined;
  readonly Architecture?: string | undefined;
}[];

/**
 * The spec with its image's digest and platforms, or those of them that were asked for; when no registry
 * answers, a warning and as it was.
 */
export async function pinned<S extends SparseServiceSpec | ServiceSpecJson>(
  { client, stderr }: CommandContext,
  spec: S,
  auth: string | undefined,
  asked: Platforms = [],
): Promise<S> {
  const image = spec.TaskTemplate?.ContainerSpec?.Image ?? "";
  const parsed = parseReference(image);
  if (!parsed.ok || parsed.value.digest !== undefined) return spec;
  try {
    const response = await client.stream("GET", `/distribution/${image}/json`, {
      headers: authHeader(auth),
    });
    const { Descriptor, Platforms } = JSON.parse(await readAll(response)) as Distribution;
    return {
      ...spec,
      TaskTemplate: {
        ...spec.TaskTemplate,
        ContainerSpec: {
          ...spec.TaskTemplate?.ContainerSpec,
          Image: familiarReference({ ...parsed.value, digest: Descriptor.digest }),
        },
        Placement: {
          ...spec.TaskTemplate?.Placement,
          Platforms:
            asked.length > 0
              ? asked
              : (Platforms ?? []).map(({ architecture, os }) => ({
                  Architecture: architecture,
                  OS: os,
                })),
        },
      },
    };
  } catch (error) {
    if (!(error instanceof EngineError) || isErrorCode(error, "permission-denied")) throw error;
    stderr.write(
      `image ${image} could not be accessed on a registry to record\nits digest. Each node will access ${image} independently,\npossibly leading to different nodes running different\nversions of the image.\n\n`,
    );
    return spec;
  }
}

export function authHeader(auth: string | undefined): Readonly<Record<string, string>> {
  return auth === undefined ? {} : { "X-Registry-Auth": auth };
}

/**
 * The X-Registry-Auth header for an image; undefined when there are no credentials for its registry. A
 * helper that fails is told, and the registry asked without: what is public needs none.
 */
export async function registryAuth(
  { env, stderr }: CommandContext,
  image: string,
): Promise<string | undefined> {
  const parsed = parseReference(image);
  if (!parsed.ok) return undefined;
  const server = serverKey(parsed.value.domain);
  let credentials: Credentials | undefined;
  try {
    credentials = await credentialsOf(env, server);
  } catch (error) {
    stderr.write(`WARNING! ${messageOf(error)}\n`);
  }
  if (credentials === undefined) return undefined;
  const header = { ...credentials, serveraddress: server };
  return Buffer.from(JSON.stringify(header)).toString("base64url");
}

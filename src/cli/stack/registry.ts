/**
 * What a deploy asks of registries: the digest behind a tag, so that all nodes run the same image, and
 * the user's credentials of docker's configuration file.
 */

import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import type { SparseServiceSpec } from "#plan/compose/stack.ts";
import { isMissing } from "#platform/missing.ts";
import { DEFAULT_DOMAIN, familiarReference, parseReference } from "#wire/reference.ts";
import type { CommandContext } from "../command.ts";
import { readAll } from "../http.ts";
import type { ServiceSpecJson } from "../swarm/types.ts";

interface Distribution {
  readonly Descriptor: { readonly digest: string };
  readonly Platforms?: readonly { readonly architecture: string; readonly os: string }[] | null;
}

/** The spec with its image's digest and platforms; when no registry answers, a warning and as it was. */
export async function pinned<S extends SparseServiceSpec | ServiceSpecJson>(
  { client, stderr }: CommandContext,
  spec: S,
  auth: string | undefined,
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
          Platforms: (Platforms ?? []).map(({ architecture, os }) => ({
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

interface DockerConfig {
  readonly auths?: Readonly<
    Record<string, { readonly auth?: string; readonly identitytoken?: string }>
  >;
}

const HUB = "https://index.docker.io/v1/";

/** The X-Registry-Auth header for an image, of `config.json`; undefined when there is none for it. */
export async function registryAuth(
  { env }: CommandContext,
  image: string,
): Promise<string | undefined> {
  const parsed = parseReference(image);
  if (!parsed.ok) return undefined;
  const { domain } = parsed.value;
  const server = domain === DEFAULT_DOMAIN ? HUB : domain;
  const { auths = {} } = await dockerConfig(env);
  const entry = auths[server] ?? auths[`https://${server}`] ?? auths[`http://${server}`];
  if (entry === undefined) return undefined;
  const pair = Buffer.from(entry.auth ?? "", "base64").toString("utf8");
  const colon = pair.indexOf(":");
  const header = {
    username: pair.slice(0, Math.max(0, colon)),
    password: pair.slice(colon + 1),
    serveraddress: server,
    ...(entry.identitytoken === undefined ? {} : { identitytoken: entry.identitytoken }),
  };
  return Buffer.from(JSON.stringify(header)).toString("base64url");
}

async function dockerConfig(env: NodeJS.ProcessEnv): Promise<DockerConfig> {
  const path = join(env.DOCKER_CONFIG ?? join(env.HOME ?? homedir(), ".docker"), "config.json");
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (isMissing(error)) return {};
    throw error;
  }
  try {
    return JSON.parse(text) as DockerConfig;
  } catch (error) {
    throw new EngineError("invalid-argument", `cannot read ${path}: ${messageOf(error)}`);
  }
}

/** All credentials that the user has, for a build: which registries it needs only the engine learns. */

import { type Credentials, credentialsOf, knownServers } from "../credentials.ts";

/** The X-Registry-Config header; without an entry when there are no credentials. */
export async function registryConfig(
  env: NodeJS.ProcessEnv,
): Promise<Readonly<Record<string, string>>> {
  const found: Record<string, Credentials> = {};
  for (const server of await unlessBroken(knownServers(env), [])) {
    const credentials = await unlessBroken(credentialsOf(env, server), undefined);
    if (credentials !== undefined) found[server] = credentials;
  }
  if (Object.keys(found).length === 0) return {};
  const value = Buffer.from(JSON.stringify(found)).toString("base64url");
  return { "X-Registry-Config": value };
}

/** A file that cannot be read has none, nor has a helper that fails: many images need none. */
function unlessBroken<T>(asked: Promise<T>, otherwise: T): Promise<T> {
  return asked.catch(() => otherwise);
}

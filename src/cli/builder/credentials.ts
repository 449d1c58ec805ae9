/** All credentials that the user has, for a build: which registries it needs only the engine learns. */

import { allCredentials } from "../credentials.ts";

/** The X-Registry-Config header; without an entry when there are no credentials. */
export async function registryConfig(
  env: NodeJS.ProcessEnv,
): Promise<Readonly<Record<string, string>>> {
  const found = await allCredentials(env);
  if (Object.keys(found).length === 0) return {};
  const value = Buffer.from(JSON.stringify(found)).toString("base64url");
  return { "X-Registry-Config": value };
}

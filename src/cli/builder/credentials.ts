/** All credentials of `config.json`, for a build: which registries it needs only the engine learns. */

import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";

interface Entry {
  readonly auth?: string;
  readonly identitytoken?: string;
}

/** The X-Registry-Config header; without an entry when there are no credentials. */
export async function registryConfig(
  env: NodeJS.ProcessEnv,
): Promise<Readonly<Record<string, string>>> {
  const path = join(env.DOCKER_CONFIG ?? join(env.HOME ?? homedir(), ".docker"), "config.json");
  const auths = await readAuths(path);
  const entries = Object.entries(auths).map(([server, { auth = "", identitytoken }]) => {
    const text = Buffer.from(auth, "base64").toString("utf8");
    const colon = Math.max(0, text.indexOf(":"));
    const token = identitytoken === undefined ? {} : { identitytoken };
    return [
      server,
      { username: text.slice(0, colon), password: text.slice(colon + 1), ...token },
    ] as const;
  });
  if (entries.length === 0) return {};
  const value = Buffer.from(JSON.stringify(Object.fromEntries(entries))).toString("base64url");
  return { "X-Registry-Config": value };
}

/** A file that cannot be read has none: many images need none. */
async function readAuths(path: string): Promise<Readonly<Record<string, Entry>>> {
  try {
    const value = JSON.parse(await readFile(path, "utf8")) as { auths?: Record<string, Entry> };
    return value.auths ?? {};
  } catch {
    return {};
  }
}

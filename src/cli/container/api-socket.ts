/**
 * `run --use-api-socket`: the engine's own socket in the container, where programs look for it, and the
 * user's credentials in a file of the container's, so that what runs there may talk to the engine and pull.
 */

import { Readable } from "node:stream";
import { pack } from "tar-stream";
import type { ContainerCreateBody } from "#wire/docker/containers.ts";
import type { CommandContext } from "../command.ts";
import { DEFAULT_HOST, resolveEndpoint } from "../connect/endpoint.ts";
import { allCredentials, type Credentials } from "../credentials.ts";
import { packEntry } from "../pack-entry.ts";

const SOCKET = "/var/run/docker.sock";
const CONFIG_FOLDER = "/run/secrets/docker";
const ONLY_OWNER = 0o600;

export interface ApiAccess {
  readonly body: ContainerCreateBody;
  /** To be called when the container is there, before it starts. */
  bring(id: string): Promise<void>;
}

export async function withApiSocket(
  context: CommandContext,
  body: ContainerCreateBody,
): Promise<ApiAccess> {
  const { client, env, globals } = context;
  const { host } = await resolveEndpoint(globals, env);
  // Of an engine elsewhere, only the usual place can be known.
  const source = (host.startsWith("unix://") ? host : DEFAULT_HOST).slice("unix://".length);
  const credentials = await allCredentials(env);
  const some = Object.keys(credentials).length > 0;
  const mount = { Type: "bind", Source: source, Target: SOCKET } as const;
  const { HostConfig, Env } = body;
  return {
    body: {
      ...body,
      Env: [...(Env ?? []), ...(some ? [`DOCKER_CONFIG=${CONFIG_FOLDER}`] : [])],
      HostConfig: { ...HostConfig, Mounts: [...(HostConfig?.Mounts ?? []), mount] },
    },
    bring: async (id) => {
      if (!some) return;
      const archive = pack();
      const name = `${CONFIG_FOLDER.slice(1)}/config.json`;
      const content = Buffer.from(configOf(credentials));
      void packEntry(archive, { name, mode: ONLY_OWNER, uid: 0, gid: 0 }, content).then(() =>
        archive.finalize(),
      );
      const raw = Readable.from(archive as AsyncIterable<Uint8Array>, { objectMode: false });
      const headers = { "Content-Type": "application/x-tar" };
      const path = `/containers/${id}/archive`;
      const sent = { raw, headers, query: { path: "/" } };
      (await client.stream("PUT", path, sent)).resume();
    },
  };
}

/** As a configuration file has them. */
function configOf(credentials: Readonly<Record<string, Credentials>>): string {
  const auths = Object.entries(credentials).map(
    ([server, { username, password, identitytoken }]) => {
      const auth = Buffer.from(`${username}:${password}`).toString("base64");
      return [server, identitytoken === undefined ? { auth } : { auth, identitytoken }];
    },
  );
  return JSON.stringify({ auths: Object.fromEntries(auths) });
}

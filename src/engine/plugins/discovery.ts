/**
 * Where plug-ins are found: a socket, or a file that says where one listens. The places and forms are
 * Docker's (its plugin API documentation), so that plug-ins made for it are found here.
 */

import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { EngineError } from "#base/error.ts";

export interface PluginAddress {
  readonly name: string;
  /** A unix socket's path, or "http://host:port" or "https://host:port". */
  readonly target: { readonly socket: string } | { readonly url: string };
  readonly tls?: PluginTls;
}

export interface PluginTls {
  /** Paths of PEM files. Without a `ca` the plug-in's certificate is not checked, as with Docker. */
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly skipVerify: boolean;
}

export interface PluginFolders {
  readonly sockets: string;
  /** In the order in which they are looked through. */
  readonly specs: readonly string[];
}

export const PLUGIN_FOLDERS: PluginFolders = {
  sockets: "/run/docker/plugins",
  specs: ["/etc/docker/plugins", "/usr/lib/docker/plugins"],
};

/** Names are file names here, and must not lead out of the folders. */
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

/** The plug-in of that name; undefined if there is none. A file that cannot be used is an error. */
export async function findPlugin(
  { sockets, specs }: PluginFolders,
  name: string,
): Promise<PluginAddress | undefined> {
  if (!NAME.test(name)) return undefined;
  for (const socket of [join(sockets, `${name}.sock`), join(sockets, name, `${name}.sock`)]) {
    if (await isSocket(socket)) return { name, target: { socket } };
  }
  for (const folder of specs) {
    for (const path of [join(folder, name), join(folder, name, name)]) {
      const spec = await readIfThere(`${path}.spec`);
      if (spec !== undefined) return { name, target: parseTarget(spec.trim(), `${path}.spec`) };
      const json = await readIfThere(`${path}.json`);
      if (json !== undefined) return parseJsonSpec(name, json, `${path}.json`);
    }
  }
  return undefined;
}

/** The names of all plug-ins that can be found now. */
export async function listPlugins({ sockets, specs }: PluginFolders): Promise<readonly string[]> {
  const names = new Set<string>();
  for (const [folder, ending] of [
    [sockets, /\.sock$/] as const,
    ...specs.map((folder) => [folder, /\.(?:spec|json)$/] as const),
  ]) {
    for (const entry of await entriesOf(folder)) {
      if (entry.isDirectory()) {
        const inside = await entriesOf(join(folder, entry.name));
        const own = inside.some(
          ({ name }) => ending.test(name) && name.replace(ending, "") === entry.name,
        );
        if (own) names.add(entry.name);
      } else if (ending.test(entry.name)) {
        names.add(entry.name.replace(ending, ""));
      }
    }
  }
  return [...names].filter((name) => NAME.test(name)).sort();
}

/** The content of a `.json` file: `{"Name", "Addr", "TLSConfig"}`. */
export function parseJsonSpec(name: string, text: string, path: string): PluginAddress {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw invalid(path, "is not JSON");
  }
  const { Addr, TLSConfig } = (parsed ?? {}) as { Addr?: unknown; TLSConfig?: unknown };
  if (typeof Addr !== "string") throw invalid(path, 'has no "Addr"');
  const target = parseTarget(Addr, path);
  if (typeof TLSConfig !== "object" || TLSConfig === null || "socket" in target) {
    return { name, target };
  }
  const given = TLSConfig as Readonly<Record<string, unknown>>;
  const file = (key: string) => {
    const value = given[key];
    return typeof value === "string" && value !== "" ? value : undefined;
  };
  const [ca, cert, key] = [file("CAFile"), file("CertFile"), file("KeyFile")];
  const tls: PluginTls = {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    skipVerify: ca === undefined || given["InsecureSkipVerify"] === true,
  };
  return { name, target: { url: target.url.replace(/^http:/, "https:") }, tls };
}

/** "unix:///x.sock" or "tcp://host:port". */
function parseTarget(address: string, path: string): PluginAddress["target"] {
  if (address.startsWith("unix://")) {
    const socket = address.slice("unix://".length);
    if (socket.startsWith("/")) return { socket };
  }
  const rest = /^(?:tcp|https?):\/\/([^/]+)\/?$/.exec(address)?.[1];
  const url = rest === undefined ? undefined : `http://${rest}`;
  if (url !== undefined && URL.canParse(url)) return { url };
  throw invalid(path, `names no usable address: ${JSON.stringify(address.slice(0, 200))}`);
}

function invalid(path: string, reason: string): EngineError {
  return new EngineError("invalid-argument", `the plugin file ${path} ${reason}`);
}

function isSocket(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isSocket(),
    () => false,
  );
}

function readIfThere(path: string): Promise<string | undefined> {
  return readFile(path, "utf8").catch(() => undefined);
}

function entriesOf(folder: string) {
  return readdir(folder, { withFileTypes: true }).catch(() => []);
}

/**
 * The host's plug-ins. One is made ready (`Plugin.Activate`) when it is first asked for, and again when
 * it has moved; where it is said to be is looked at each time.
 */

import { isDeepStrictEqual } from "node:util";
import { EngineError, messageOf } from "#base/error.ts";
import type { Clock, Log } from "#base/ports.ts";
import { PluginClient } from "./client.ts";
import {
  findPlugin,
  listPlugins,
  PLUGIN_FOLDERS,
  type PluginAddress,
  type PluginFolders,
} from "./discovery.ts";

/** What a plug-in can be. */
export type PluginKind = "VolumeDriver" | "NetworkDriver" | "IpamDriver";

export interface PluginRegistry {
  /**
   * The plug-in of that name and kind; throws `not-found` if there is none, and what went wrong if it
   * cannot be used. `connectWithinMs`: for how long one that cannot be reached is tried; default 30 s.
   */
  get(name: string, kind: PluginKind, connectWithinMs?: number): Promise<PluginClient>;
  /** Those that can be used now, of one kind; what does not answer soon is left out. */
  list(kind: PluginKind): Promise<readonly PluginClient[]>;
}

export interface PluginRegistryOptions {
  readonly folders?: PluginFolders;
  readonly clock: Clock;
  readonly log: Log;
}

interface Active {
  readonly address: PluginAddress;
  readonly client: PluginClient;
  readonly kinds: readonly string[];
}

const ACTIVATE_TIMEOUT_MS = 30_000;
/** A list must not wait for a plug-in whose file was left behind. */
const LIST_TIMEOUT_MS = 2_000;

export function createPluginRegistry(options: PluginRegistryOptions): PluginRegistry {
  return new Plugins(options);
}

class Plugins implements PluginRegistry {
  readonly #options: PluginRegistryOptions;
  readonly #folders: PluginFolders;
  readonly #active = new Map<string, Active>();

  constructor(options: PluginRegistryOptions) {
    this.#options = options;
    this.#folders = options.folders ?? PLUGIN_FOLDERS;
  }

  async get(name: string, kind: PluginKind, connectWithinMs?: number): Promise<PluginClient> {
    const { client, kinds } = await this.#activate(name, ACTIVATE_TIMEOUT_MS, connectWithinMs);
    if (!kinds.includes(kind)) {
      throw new EngineError("not-found", `plugin "${name}" does not implement ${kind}`);
    }
    return client;
  }

  async list(kind: PluginKind): Promise<readonly PluginClient[]> {
    const names = await listPlugins(this.#folders);
    const found = await Promise.all(names.map((name) => this.#activeSoon(name)));
    return found.flatMap((one) => (one?.kinds.includes(kind) === true ? [one.client] : []));
  }

  async #activeSoon(name: string): Promise<Active | undefined> {
    try {
      return await this.#activate(name, LIST_TIMEOUT_MS, 0);
    } catch (error) {
      this.#options.log.debug("a plugin does not answer", {
        plugin: name,
        reason: messageOf(error),
      });
      return undefined;
    }
  }

  async #activate(name: string, timeoutMs: number, connectWithinMs?: number): Promise<Active> {
    const address = await findPlugin(this.#folders, name);
    if (address === undefined) {
      this.#active.delete(name);
      throw new EngineError("not-found", `plugin "${name}" not found`);
    }
    const known = this.#active.get(name);
    if (known !== undefined && isDeepStrictEqual(known.address, address)) return known;
    const client = new PluginClient(address, this.#options.clock);
    const answer = await client.call("Plugin.Activate", undefined, {
      timeoutMs,
      ...(connectWithinMs === undefined ? {} : { connectWithinMs }),
    });
    const kinds = answer["Implements"];
    const active = {
      address,
      client,
      kinds: Array.isArray(kinds) ? kinds.filter((kind) => typeof kind === "string") : [],
    };
    this.#active.set(name, active);
    return active;
  }
}

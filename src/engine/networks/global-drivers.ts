/**
 * Network plug-ins of this host as managers ask them (scope "global" of docker's `NetworkDriver`):
 * `AllocateNetwork` and `FreeNetwork`, which only a manager calls.
 */

import { EngineError, messageOf } from "#base/error.ts";
import type { Log } from "#base/ports.ts";
import { PluginRefusal } from "../plugins/client.ts";
import type { PluginRegistry } from "../plugins/registry.ts";
import { HASTY, PATIENT, type RemoteAnswer, remoteOf, textIn } from "./remote-call.ts";

export interface AllocateBody {
  readonly NetworkID: string;
}

export class GlobalNetworkDrivers {
  readonly #plugins: PluginRegistry;
  readonly #log: Log;

  constructor(plugins: PluginRegistry, log: Log) {
    this.#plugins = plugins;
    this.#log = log;
  }

  async scope(name: string): Promise<string> {
    const { Scope } = await this.#remote(name).call("GetCapabilities", {}, HASTY);
    return typeof Scope === "string" ? Scope : "";
  }

  async allocate(name: string, body: AllocateBody): Promise<Readonly<Record<string, string>>> {
    const remote = this.#remote(name);
    const patience = { ...PATIENT, connectWithinMs: 0 };
    try {
      return optionsIn(await remote.call("AllocateNetwork", body, patience));
    } catch (error) {
      if (!(error instanceof PluginRefusal)) throw error;
      // Perhaps it has it: from a leader that did not live to write that down.
      await this.free(name, body.NetworkID);
      return optionsIn(await remote.call("AllocateNetwork", body, patience));
    }
  }

  async free(name: string, networkId: string): Promise<void> {
    try {
      await this.#remote(name).call("FreeNetwork", { NetworkID: networkId }, HASTY);
    } catch (error) {
      if (!(error instanceof PluginRefusal)) throw error;
      this.#log.debug("a plugin does not free a network", {
        network: networkId,
        plugin: name,
        reason: messageOf(error),
      });
    }
  }

  #remote(name: string) {
    return remoteOf({ options: { plugins: this.#plugins } }, name, "NetworkDriver");
  }
}

function optionsIn(answer: RemoteAnswer): Readonly<Record<string, string>> {
  const options = answer["Options"];
  if (options === undefined || options === null) return {};
  if (typeof options !== "object" || Array.isArray(options)) {
    throw new EngineError("internal", "the plugin's options of a network are no object");
  }
  const all = options as RemoteAnswer;
  return Object.fromEntries(Object.keys(all).map((key) => [key, textIn(all, key)]));
}

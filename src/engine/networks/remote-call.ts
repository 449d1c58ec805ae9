/**
 * Calls of a network's plug-ins, with the patience that each deserves: a user who makes something
 * waits for a plug-in that is starting; who lets go of something does not wait long.
 */

import { EngineError, messageOf } from "#base/error.ts";
import { PluginRefusal } from "../plugins/client.ts";
import type { NetworkOptions, NetworkState } from "./state.ts";

export type RemoteKind = "NetworkDriver" | "IpamDriver";
export type RemoteAnswer = Readonly<Record<string, unknown>>;

export interface Patience {
  readonly timeoutMs: number;
  readonly connectWithinMs?: number;
  readonly signal?: AbortSignal;
}

export const PATIENT: Patience = { timeoutMs: 60_000 };
/** For what must go on whether or not the plug-in is there. */
export const HASTY: Patience = { timeoutMs: 10_000, connectWithinMs: 2_000 };

/** One plug-in in one of its parts; `method` without the part's name. */
export interface Remote {
  readonly name: string;
  readonly kind: RemoteKind;
  call(method: string, body: unknown, patience?: Patience): Promise<RemoteAnswer>;
}

export function remoteOf(
  { options: { plugins } }: { readonly options: Pick<NetworkOptions, "plugins"> },
  name: string,
  kind: RemoteKind,
): Remote {
  return {
    name,
    kind,
    call: async (method, body, patience = PATIENT) => {
      if (plugins === undefined) throw new EngineError("not-found", `plugin "${name}" not found`);
      const client = await plugins.get(name, kind, patience.connectWithinMs);
      try {
        return await client.call(`${kind}.${method}`, body, patience);
      } catch (error) {
        if (!(error instanceof PluginRefusal) || error.status !== 200) throw error;
        throw new PluginRefusal(error.code, `remote: ${error.message}`, error.status);
      }
    },
  };
}

/**
 * Lets go of something: what goes wrong is logged, and stands in nobody's way. False when the plug-in
 * may not have heard of it; one that refuses has heard.
 */
export async function callQuietly(
  { log }: Pick<NetworkState, "log">,
  remote: Remote,
  method: string,
  body: Readonly<Record<string, string>>,
): Promise<boolean> {
  try {
    await remote.call(method, body, HASTY);
    return true;
  } catch (error) {
    log.warn("a plugin was not heard to let go of what it gave", {
      plugin: remote.name,
      method,
      ...body,
      reason: messageOf(error),
    });
    return error instanceof PluginRefusal;
  }
}

/** A field of an answer; "" when it is absent. */
export function textIn(answer: RemoteAnswer, field: string): string {
  const value = answer[field];
  return typeof value === "string" ? value : "";
}

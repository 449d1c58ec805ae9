/** What `init` or `join` settled, kept for the next start in docker's own form. */

import { readFile } from "node:fs/promises";
import { EngineError, messageOf } from "#base/error.ts";
import { isMissing } from "#platform/missing.ts";
import { type SwarmPaths, writeAtomically } from "./paths.ts";

export interface StartState {
  /** IP address that this node's connections come from. */
  readonly localAddr: string;
  /** "host:port" of the manager that let the node in; empty for the founder. */
  readonly remoteAddr: string;
  /** "host:port". */
  readonly listenAddr: string;
  /** "host:port"; empty: the local address with the port that is listened on. */
  readonly advertiseAddr: string;
  readonly dataPathAddr: string;
  readonly dataPathPort: number;
}

export async function saveStartState(paths: SwarmPaths, state: StartState): Promise<void> {
  const content = {
    LocalAddr: state.localAddr,
    RemoteAddr: state.remoteAddr,
    ListenAddr: state.listenAddr,
    AdvertiseAddr: state.advertiseAddr,
    DataPathAddr: state.dataPathAddr,
    DataPathPort: state.dataPathPort,
  };
  await writeAtomically(paths.startState, JSON.stringify(content), 0o600);
}

/** Undefined when this node is in no swarm. */
export async function loadStartState(paths: SwarmPaths): Promise<StartState | undefined> {
  let text: string;
  try {
    text = await readFile(paths.startState, "utf8");
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
  try {
    const content = JSON.parse(text) as Readonly<Record<string, unknown>>;
    if (typeof content["ListenAddr"] !== "string") throw new Error("it says nothing of a swarm");
    const field = (name: string) => {
      const value = content[name];
      return typeof value === "string" ? value : "";
    };
    return {
      localAddr: field("LocalAddr"),
      remoteAddr: field("RemoteAddr"),
      listenAddr: field("ListenAddr"),
      advertiseAddr: field("AdvertiseAddr"),
      dataPathAddr: field("DataPathAddr"),
      dataPathPort: Number(content["DataPathPort"] ?? 0) || 0,
    };
  } catch (error) {
    throw new EngineError(
      "data-loss",
      `${paths.startState} cannot be read: ${messageOf(error)}. Put it back and start the engine again, or leave the swarm with --force and join again.`,
    );
  }
}

/**
 * The managers that this node knows, with weights, kept on disk as docker does (`state.json`) so that
 * a restarted node finds its way back without being told.
 */

import { readFile } from "node:fs/promises";
import { OBSERVATION_WEIGHT, type Remote, Remotes, type WeightedRemote } from "#agent/remotes.ts";
import { messageOf } from "#base/error.ts";
import type { Log, Random } from "#base/ports.ts";
import { isMissing } from "#platform/missing.ts";
import { writeAtomically } from "./paths.ts";

export class KnownManagers {
  readonly #path: string;
  readonly #log: Log;
  readonly #remotes: Remotes;
  #saved = "";
  #saving: Promise<void> = Promise.resolve();

  private constructor(path: string, log: Log, initial: readonly Remote[]) {
    this.#path = path;
    this.#log = log;
    this.#remotes = new Remotes(initial);
  }

  /** Those on disk; where there are none, or `fresh` says not to look, the one it was told of. */
  static async open(
    path: string,
    log: Log,
    start: { readonly told: string; readonly fresh: boolean },
  ): Promise<KnownManagers> {
    const stored = start.fresh ? [] : await load(path, log);
    const told = start.told === "" ? [] : [{ nodeId: "", addr: start.told }];
    return new KnownManagers(path, log, stored.length > 0 ? stored : told);
  }

  list(): readonly Remote[] {
    return this.#remotes.list().toSorted((a, b) => (a.nodeId < b.nodeId ? -1 : 1));
  }

  pick(random: Random, exclude: readonly string[] = []): Remote | undefined {
    return this.#remotes.pick(random, exclude);
  }

  observe(remote: Remote, success: boolean): void {
    // One that was told by address only has been given its id meanwhile, or will be.
    const known = this.#remotes.list().find(({ addr }) => addr === remote.addr) ?? remote;
    this.#remotes.observe(known, success ? OBSERVATION_WEIGHT : -OBSERVATION_WEIGHT);
    this.#save();
  }

  /** Somebody says that a manager is there; it is asked before those that do not answer. */
  add(addr: string): void {
    for (const known of this.#remotes.list()) this.#remotes.observe(known, -OBSERVATION_WEIGHT);
    this.observe({ nodeId: "", addr }, true);
  }

  /** The list as a manager sent it. */
  replace(remotes: readonly WeightedRemote[]): void {
    this.#remotes.replace(remotes);
    this.#save();
  }

  /** Resolves when what is known is on disk. */
  saved(): Promise<void> {
    return this.#saving;
  }

  #save(): void {
    const peers = this.list().map(({ nodeId, addr }) => ({ node_id: nodeId, addr }));
    const text = JSON.stringify(peers);
    if (text === this.#saved) return;
    this.#saved = text;
    this.#saving = this.#saving
      .then(() => writeAtomically(this.#path, text, 0o600))
      .catch((error: unknown) => {
        this.#log.error("list of managers not saved", { reason: messageOf(error) });
      });
  }
}

async function load(path: string, log: Log): Promise<readonly Remote[]> {
  try {
    const peers: unknown = JSON.parse(await readFile(path, "utf8"));
    if (!Array.isArray(peers)) return [];
    return peers.flatMap((peer: { node_id?: unknown; addr?: unknown } | null) =>
      typeof peer?.addr === "string"
        ? [{ nodeId: typeof peer.node_id === "string" ? peer.node_id : "", addr: peer.addr }]
        : [],
    );
  } catch (error) {
    if (!isMissing(error)) {
      log.warn("list of managers not read", { path, reason: messageOf(error) });
    }
    return [];
  }
}

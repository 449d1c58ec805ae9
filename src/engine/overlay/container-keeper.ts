/** The network namespace of one container, kept to its plan. */

import { EngineError } from "#base/error.ts";
import { BALANCE_TABLE, type ContainerPlan } from "#plan/dataplane/balance.ts";
import { dumpRouting, runAll } from "#platform/net/dump.ts";
import { netnsIdentity } from "#platform/netns/netns.ts";
import type { NetworkSandbox } from "../ports.ts";
import { countOf, diffRouting, noChanges, ROUTE_PROTOCOL } from "./routing-diff.ts";
import { TableKeeper } from "./table-keeper.ts";

const NO_ROUTING = { routes: [], rules: [] };

export class ContainerKeeper {
  readonly netns: string;
  readonly #identity: string | undefined;
  readonly #table: TableKeeper;
  #routing: Pick<ContainerPlan, "routes" | "rules"> = NO_ROUTING;
  #text = "";

  /** Throws `not-found` when the namespace is gone. */
  constructor({ netnsPath }: NetworkSandbox) {
    this.netns = netnsPath;
    this.#identity = netnsIdentity(netnsPath);
    if (this.#identity === undefined || this.#identity === netnsIdentity("/proc/self/ns/net")) {
      throw new EngineError("not-found", `${netnsPath} is no container's network namespace`);
    }
    this.#table = new TableKeeper(netnsPath);
  }

  /** False when the container has ended: its process's number may be somebody else's by now. */
  get alive(): boolean {
    return netnsIdentity(this.netns) === this.#identity;
  }

  async set({ table, routes, rules }: ContainerPlan): Promise<void> {
    await this.#table.set(table);
    const text = JSON.stringify([routes, rules]);
    if (text === this.#text) return;
    this.#routing = { routes, rules };
    await this.#mendRouting();
    this.#text = text;
  }

  /** What was wrong and is right now. */
  async audit(options: { readonly routing: boolean }): Promise<readonly string[]> {
    const differences = [...(await this.#table.audit())];
    if (options.routing && (await this.#mendRouting()) > 0) differences.push("routes");
    return differences;
  }

  /** Takes everything of ours out of a container that stays. */
  async clear(): Promise<void> {
    await this.#table.remove(BALANCE_TABLE);
    this.#routing = NO_ROUTING;
    await this.#mendRouting();
  }

  async #mendRouting(): Promise<number> {
    const { routes, rules } = this.#routing;
    const changes = noChanges();
    diffRouting(routes, rules, await dumpRouting(ROUTE_PROTOCOL, this.netns), changes);
    const { add, remove } = changes;
    await runAll("ip", [...add.ip, ...remove.ip], this.netns);
    await runAll("ip -6", [...add.ip6, ...remove.ip6], this.netns);
    return countOf(changes);
  }

  close(): void {
    this.#table.close();
  }
}

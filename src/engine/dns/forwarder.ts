/**
 * Questions of one container that are not about containers: from the cache, else asked of others,
 * each only once at a time, and not more at once than a bound.
 */

import type { Clock, Random } from "#base/ports.ts";
import { cacheKey, ReplyCache } from "./cache.ts";
import type { Transport } from "./listener.ts";
import { type Reply, replyTo } from "./reply.ts";
import { askUpstream, type Upstream } from "./upstream.ts";

/** Docker's bound is 1024 for the whole engine; one container must not use it up. */
const ASKING_MAX = 256;

export interface ForwarderOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** Whom to ask now; none = the container may not ask outside. */
  readonly servers: () => Promise<readonly Upstream[]>;
}

export type Forwarded =
  | { readonly kind: "reply"; readonly bytes: Buffer }
  /** Nobody to ask, or nobody answered. */
  | { readonly kind: "failed" }
  /** Too many questions are open. */
  | { readonly kind: "busy" };

export class Forwarder {
  readonly #options: ForwarderOptions;
  readonly #cache = new ReplyCache();
  readonly #asking = new Map<string, Promise<Reply | undefined>>();
  #servers = "";

  constructor(options: ForwarderOptions) {
    this.#options = options;
  }

  async forward(query: Buffer, transport: Transport): Promise<Forwarded> {
    const servers = await this.#options.servers();
    this.#forgetOthers(servers);
    const key = cacheKey(query, transport);
    const cached = this.#cache.get(key, this.#options.clock.monotonicMs());
    if (cached !== undefined) {
      return { kind: "reply", bytes: replyTo(query, cached.reply, cached.ageSeconds) };
    }
    if (servers.length === 0) return { kind: "failed" };
    if (!this.#asking.has(key) && this.#asking.size >= ASKING_MAX) return { kind: "busy" };
    const reply = await (this.#asking.get(key) ?? this.#ask(key, query, transport, servers));
    if (reply === undefined) return { kind: "failed" };
    return { kind: "reply", bytes: replyTo(query, reply, 0) };
  }

  #ask(
    key: string,
    query: Buffer,
    transport: Transport,
    servers: readonly Upstream[],
  ): Promise<Reply | undefined> {
    const asked = askUpstream(query, transport, servers, this.#options)
      .then((reply) => {
        if (reply !== undefined) this.#cache.put(key, reply, this.#options.clock.monotonicMs());
        return reply;
      })
      .finally(() => this.#asking.delete(key));
    this.#asking.set(key, asked);
    return asked;
  }

  /** What other servers have said does not hold for these. */
  #forgetOthers(servers: readonly Upstream[]): void {
    const names = JSON.stringify(servers);
    if (names !== this.#servers) this.#cache.clear();
    this.#servers = names;
  }
}

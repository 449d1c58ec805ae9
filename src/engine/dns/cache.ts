/** Answers of other servers that may still be given, the oldest use forgotten first. */

import { foldCase, questionOf, type Reply } from "./reply.ts";

const ENTRIES_MAX = 256;
/** A host that moves between networks must not answer from the last one for long. */
const TTL_MAX_SECONDS = 300;
const NEGATIVE_MAX_SECONDS = 30;

interface Entry {
  readonly reply: Reply;
  readonly storedMs: number;
  readonly expiresMs: number;
}

/**
 * Two queries have one key when an answer to one answers the other: all of their bytes, flags and
 * extensions, less the id and the case of the name.
 */
export function cacheKey(query: Buffer, transport: string): string {
  const question = questionOf(query);
  const rest = query.subarray(12 + (question?.length ?? 0)).toString("latin1");
  const folded = question === undefined ? "" : foldCase(question).toString("latin1");
  return `${transport}\n${query.subarray(2, 12).toString("latin1")}${folded}${rest}`;
}

export class ReplyCache {
  /** In the order of use. */
  readonly #entries = new Map<string, Entry>();

  get size(): number {
    return this.#entries.size;
  }

  /** The answer with its age in seconds; undefined when there is none that still holds. */
  get(key: string, nowMs: number): { reply: Reply; ageSeconds: number } | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    this.#entries.delete(key);
    if (nowMs >= entry.expiresMs) return undefined;
    this.#entries.set(key, entry);
    return { reply: entry.reply, ageSeconds: Math.floor((nowMs - entry.storedMs) / 1000) };
  }

  put(key: string, reply: Reply, nowMs: number): void {
    const limit = reply.negative ? NEGATIVE_MAX_SECONDS : TTL_MAX_SECONDS;
    const seconds = Math.min(reply.ttl, limit);
    if (seconds <= 0) return;
    this.#entries.delete(key);
    this.#entries.set(key, { reply, storedMs: nowMs, expiresMs: nowMs + seconds * 1000 });
    if (this.#entries.size <= ENTRIES_MAX) return;
    const [oldest] = this.#entries.keys();
    if (oldest !== undefined) this.#entries.delete(oldest);
  }

  clear(): void {
    this.#entries.clear();
  }
}

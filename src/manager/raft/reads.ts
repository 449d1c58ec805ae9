/**
 * Linearizable reads by read-index, on any member. One question to the leader serves everyone who
 * asked before it was sent; who comes later waits for the next one, because the answer to a question
 * already under way may be older than what he has seen.
 *
 * A question can be lost with a message or a leader. It is asked again after a while, and given up
 * when there is no answer for long.
 */

import { EngineError } from "#base/error.ts";
import { type Deferred, deferred } from "#platform/async.ts";

/** Ticks until a question without an answer is asked again. */
const RETRY_TICKS = 5;
/** Ticks until those who wait are told that there is no answer. */
const GIVE_UP_TICKS = 50;

interface Round {
  readonly key: string;
  readonly waiting: Deferred<number>[];
  ticks: number;
}

export class Reads {
  readonly #ask: (context: Uint8Array) => void;
  /** Tells the questions of this process from those of an earlier one. */
  readonly #salt: Uint8Array;
  #counter = 0;
  /** The newest key is the round's; an answer to an earlier try of the round serves it too. */
  #asked: Round | undefined;
  #next: Deferred<number>[] = [];

  constructor(ask: (context: Uint8Array) => void, salt: Uint8Array) {
    this.#ask = ask;
    this.#salt = salt;
  }

  /** Resolves to an index; a view that contains it contains all acknowledged before the call. */
  index(): Promise<number> {
    const waiting = deferred<number>();
    this.#next.push(waiting);
    if (this.#asked === undefined) this.#begin();
    return waiting.promise;
  }

  answer(context: Uint8Array, index: number): void {
    const round = this.#asked;
    if (round === undefined || keyOf(context) !== round.key) return;
    for (const waiting of round.waiting) waiting.resolve(index);
    this.#begin();
  }

  tick(): void {
    const round = this.#asked;
    if (round === undefined) return;
    round.ticks += 1;
    if (round.ticks >= GIVE_UP_TICKS) {
      this.fail(new EngineError("unavailable", "no leader of the swarm answers"));
    } else if (round.ticks % RETRY_TICKS === 0) {
      this.retry();
    }
  }

  /** Asks again at once: the leader has changed. */
  retry(): void {
    const round = this.#asked;
    if (round !== undefined) this.#send(round.waiting, round.ticks);
  }

  fail(error: EngineError): void {
    const waiting = [...(this.#asked?.waiting ?? []), ...this.#next];
    this.#asked = undefined;
    this.#next = [];
    for (const one of waiting) one.reject(error);
  }

  #begin(): void {
    const waiting = this.#next;
    this.#next = [];
    this.#asked = undefined;
    if (waiting.length > 0) this.#send(waiting, 0);
  }

  #send(waiting: Deferred<number>[], ticks: number): void {
    this.#counter += 1;
    const context = new Uint8Array(this.#salt.length + 8);
    context.set(this.#salt);
    new DataView(context.buffer).setFloat64(this.#salt.length, this.#counter);
    this.#asked = { key: keyOf(context), waiting, ticks };
    this.#ask(context);
  }
}

function keyOf(context: Uint8Array): string {
  return Buffer.from(context).toString("latin1");
}

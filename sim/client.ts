/**
 * A client: one operation after another, each tried at one node after another until it is answered
 * or the client loses patience. Then its outcome is unknown for good, and the client goes on.
 */

import type { Action, Answer, Operation } from "./linearizability.ts";
import type { SimNode } from "./node.ts";
import type { SeededRandom } from "./random.ts";
import type { Timeline } from "./timeline.ts";

export interface ClientWorld {
  readonly timeline: Timeline;
  /** Registers in use. */
  readonly keys: number;
  /** Longest pause between two operations of one client. */
  pauseMs(): number;
  /** A node to ask. */
  pickNode(): SimNode | undefined;
  /** An operation is over: answered, or given up. */
  record(operation: Operation): void;
  /** A value that nobody has used. */
  freshValue(): number;
}

const PATIENCE_MS = [100, 3_000] as const;
/** Times that an operation is tried before its outcome stays unknown. */
const TRIES_MAX = 6;

export class Client {
  readonly #id: number;
  readonly #world: ClientWorld;
  readonly #random: SeededRandom;
  #serial = 0;
  /** What this client believes to be in each register. */
  readonly #seen = new Map<number, number>();
  /** The operation that is on its way. */
  #pending: Operation | undefined;
  /** Operations that were answered. */
  answered = 0;

  constructor(id: number, world: ClientWorld, random: SeededRandom) {
    this.#id = id;
    this.#world = world;
    this.#random = random;
  }

  /** The operation that is on its way: it may have taken effect already. */
  get pending(): Operation | undefined {
    return this.#pending;
  }

  start(): void {
    this.#pending = undefined;
    const pauseMs = this.#world.pauseMs();
    this.#world.timeline.after(this.#random.between(1, pauseMs), () => this.#operate());
  }

  #operate(): void {
    const key = this.#random.int(this.#world.keys);
    const action = this.#chooseAction(key);
    const serial = ++this.#serial;
    const calledAt = this.#world.timeline.now;
    const call: Operation = { client: this.#id, key, action, calledAt, answer: undefined };
    this.#pending = call;
    this.#try(call, serial, this.#random.between(1, TRIES_MAX));
  }

  #chooseAction(key: number): Action {
    if (this.#random.chance(0.35)) return { kind: "read" };
    const value = this.#world.freshValue();
    const expected = this.#seen.get(key);
    if (expected === undefined || this.#random.chance(0.5)) return { kind: "put", value };
    return { kind: "cas", expected, value };
  }

  #try(call: Operation, serial: number, triesLeft: number): void {
    if (triesLeft === 0) {
      this.#world.record(call);
      this.start();
      return;
    }
    let isOver = false;
    const { key, action } = call;
    const answer = ({ value, ok }: Omit<Answer, "at">) => {
      if (isOver) return;
      isOver = true;
      this.answered++;
      if (action.kind === "read") this.#seen.set(key, value);
      else if (ok) this.#seen.set(key, action.value);
      this.#world.record({ ...call, answer: { at: this.#world.timeline.now, value, ok } });
      this.start();
    };
    const node = this.#world.pickNode();
    if (action.kind === "read") node?.read(this.#id, key, (value) => answer({ value, ok: true }));
    else {
      const request = { client: this.#id, serial, key, action };
      node?.write(request, this.#random.int(100), (ok) => answer({ value: 0, ok }));
    }
    this.#world.timeline.after(this.#random.between(...PATIENCE_MS), () => {
      if (isOver) return;
      isOver = true;
      this.#try(call, serial, triesLeft - 1);
    });
  }
}

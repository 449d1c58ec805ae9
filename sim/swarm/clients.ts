/**
 * Clients of the managers' stores: registers, kept as objects of the real store, are read with
 * linearizable reads at any manager and written by transactions at the leader. The history must be
 * that of registers.
 */

import { create } from "@bufbuild/protobuf";
import type { RaftNode } from "#manager/raft/node.ts";
import type { ReadView } from "#store/types.ts";
import { ConfigSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { ConfigSpecSchema } from "#wire/gen/swarmkit/specs_pb.js";
import { type Action, INITIAL_VALUE, type Operation } from "../linearizability.ts";
import type { SeededRandom } from "../random.ts";
import type { Timeline } from "../timeline.ts";

export interface RegisterWorld {
  readonly timeline: Timeline;
  readonly keys: number;
  /** Registers are numbered from here; when that changes, those before are never used again. */
  firstKey(): number;
  readonly pauseMs: number;
  /** A manager that runs, the leader more often than others. */
  pickManager(): RaftNode | undefined;
  freshValue(): number;
  /** A manager answers what is not its newest state: to see that it is noticed. */
  readonly readsStale: boolean;
}

/** A client that has no answer by then gives up: the outcome stays unknown. */
const PATIENCE_MS = 8_000;

export class RegisterClient {
  readonly history: Operation[] = [];
  readonly #id: number;
  readonly #world: RegisterWorld;
  readonly #random: SeededRandom;
  readonly #seen = new Map<number, number>();
  pending: Operation | undefined;
  answered = 0;

  constructor(id: number, world: RegisterWorld, random: SeededRandom) {
    this.#id = id;
    this.#world = world;
    this.#random = random;
  }

  /** Forgets what was, which is over for all. */
  forget(): void {
    this.history.length = 0;
    this.pending = undefined;
  }

  start(): void {
    this.pending = undefined;
    const pauseMs = this.#random.between(1, this.#world.pauseMs);
    this.#world.timeline.after(pauseMs, () => this.#operate());
  }

  #operate(): void {
    const manager = this.#world.pickManager();
    if (manager === undefined) {
      this.start();
      return;
    }
    const key = this.#world.firstKey() + this.#random.int(this.#world.keys);
    const action = this.#choose(key);
    const calledAt = this.#world.timeline.now;
    const call: Operation = { client: this.#id, key, action, calledAt, answer: undefined };
    this.pending = call;
    let isOver = false;
    const finish = (operation: Operation | undefined) => {
      if (isOver) return;
      isOver = true;
      const isKept = operation !== undefined && key >= this.#world.firstKey();
      if (isKept) this.history.push(operation);
      this.start();
    };
    const answer = (value: number, ok: boolean) => {
      if (isOver) return;
      this.answered++;
      if (action.kind === "read") this.#seen.set(key, value);
      else if (ok) this.#seen.set(key, action.value);
      finish({ ...call, answer: { at: this.#world.timeline.now, value, ok } });
    };
    this.#world.timeline.after(PATIENCE_MS, () => finish(call));
    if (action.kind === "read") void this.#read(manager, key, answer, () => finish(undefined));
    else
      void this.#write(manager, key, action, answer, (mayBeDone) =>
        finish(mayBeDone ? call : undefined),
      );
  }

  #choose(key: number): Action {
    if (this.#random.chance(0.4)) return { kind: "read" };
    const value = this.#world.freshValue();
    const expected = this.#seen.get(key);
    if (expected === undefined || this.#random.chance(0.5)) return { kind: "put", value };
    return { kind: "cas", expected, value };
  }

  async #read(
    { state }: RaftNode,
    key: number,
    answer: (value: number, ok: boolean) => void,
    failed: () => void,
  ): Promise<void> {
    try {
      const view = this.#world.readsStale ? state.view() : await state.linearizable();
      answer(valueIn(view, key), true);
    } catch {
      failed();
    }
  }

  async #write(
    { state }: RaftNode,
    key: number,
    action: Exclude<Action, { kind: "read" }>,
    answer: (value: number, ok: boolean) => void,
    failed: (mayBeDone: boolean) => void,
  ): Promise<void> {
    // A transaction that ran is proposed: from then on an error leaves open what became of it.
    let hasRun = false;
    try {
      const ok = await state.update("api", (tx) => {
        hasRun = true;
        if (action.kind === "cas" && valueIn(tx, key) !== action.expected) return false;
        const id = idOf(key);
        const old = tx.get("config", id);
        const spec = create(ConfigSpecSchema, {
          annotations: { name: id },
          data: bytesOf(action.value),
        });
        if (old === undefined) tx.create("config", create(ConfigSchema, { id, spec }));
        else tx.update("config", { ...old, spec });
        return true;
      });
      answer(0, ok);
    } catch {
      failed(hasRun);
    }
  }
}

function idOf(key: number): string {
  return `register-${key}`;
}

function valueIn(view: ReadView, key: number): number {
  const data = view.get("config", idOf(key))?.spec?.data;
  if (data === undefined || data.length < 4) return INITIAL_VALUE;
  return new DataView(data.buffer, data.byteOffset).getUint32(0);
}

function bytesOf(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

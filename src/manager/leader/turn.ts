/**
 * One turn: all planners over one transaction, again and again until none of them has anything to
 * add. What one writes the others are told before they are called next. A turn is synchronous; it
 * ends early when its transaction is full, and says so.
 */

import { invariant } from "#base/invariant.ts";
import type { PlanContext, Planner } from "#plan/planner.ts";
import { changesBeneath, changesInFlight } from "#store/transaction.ts";
import type { Change, Tx } from "#store/types.ts";
import { ChangeStream } from "./change-stream.ts";
import { TurnSize, TurnTx } from "./turn-tx.ts";

/** Far more than planners need to agree; beyond it two of them undo each other's work. */
const ROUNDS_MAX = 100;

export interface TurnInput {
  readonly tx: Tx;
  readonly newId: () => string;
  readonly random: (bound: number) => number;
  readonly wakeAt: (timeMs: number) => void;
}

export interface TurnResult {
  /** Objects that the turn changed. */
  readonly objects: number;
  /** Some planner had more to do than the transaction could hold: take another turn. */
  readonly full: boolean;
}

/** The planners of one reign, and what they know. */
export class Turns {
  readonly #planners: readonly Planner[];
  readonly #stream = new ChangeStream();
  #started = false;

  constructor(planners: readonly Planner[]) {
    this.#planners = planners;
  }

  /** Runs a turn; `committed` are the changes that the watch told of since the last one. */
  run(input: TurnInput, committed: readonly Change[]): TurnResult {
    const turn = new Turn(this.#planners, this.#stream, input);
    if (this.#started) {
      turn.tell(committed);
      // Planners write on top of what the dispatcher and clients have on its way: what they know
      // must not be older, or they would take it back.
      turn.tell(changesBeneath(input.tx));
    } else {
      turn.start();
    }
    this.#started = true;
    turn.settle();
    return turn.result();
  }
}

class Turn {
  readonly #planners: readonly Planner[];
  readonly #stream: ChangeStream;
  readonly #input: TurnInput;
  readonly #size = new TurnSize();
  readonly #contexts: readonly PlanContext[];
  /** How many of the stream's changes each planner was told. */
  readonly #told: number[];
  readonly #log: readonly Change[];
  #logged: number;
  #full = false;

  constructor(planners: readonly Planner[], stream: ChangeStream, input: TurnInput) {
    this.#planners = planners;
    this.#stream = stream;
    this.#input = input;
    this.#log = changesInFlight(input.tx);
    this.#logged = this.#log.length;
    this.#contexts = planners.map(({ name }) => this.#contextOf(name));
    this.#told = planners.map(() => 0);
    stream.newTurn();
  }

  tell(changes: Iterable<Change>): void {
    for (const change of changes) this.#stream.tell(this.#input.tx, change);
  }

  start(): void {
    this.#stream.adopt(this.#input.tx);
    for (const [at, planner] of this.#planners.entries()) {
      // It sees what those before it wrote, and is told only of what comes after.
      this.#told[at] = this.#stream.changes.length;
      planner.start(this.#context(at));
      this.#absorb();
    }
  }

  /** Steps the planners until none writes. Each is called at least once. */
  settle(): void {
    for (let round = 0; ; round++) {
      const writers = this.#round(round === 0);
      if (writers.length === 0) return;
      invariant(
        round < ROUNDS_MAX,
        `planners do not come to an agreement: ${[...new Set(writers)].join(", ")}`,
      );
    }
  }

  result(): TurnResult {
    return { objects: this.#size.objects, full: this.#full };
  }

  #round(first: boolean): string[] {
    const writers: string[] = [];
    for (const [at, planner] of this.#planners.entries()) {
      const told = this.#told[at] ?? 0;
      const { changes } = this.#stream;
      if (!first && told === changes.length) continue;
      this.#told[at] = changes.length;
      planner.step(this.#context(at), changes.slice(told));
      if (this.#absorb()) writers.push(planner.name);
    }
    return writers;
  }

  /** Takes what was written since into the stream; true if anything was. */
  #absorb(): boolean {
    const from = this.#logged;
    this.#logged = this.#log.length;
    for (const change of this.#log.slice(from)) this.#stream.tellWrite(change);
    return this.#logged > from;
  }

  #context(at: number): PlanContext {
    const context = this.#contexts[at];
    invariant(context !== undefined, "every planner has its context");
    return context;
  }

  #contextOf(name: string): PlanContext {
    const { tx, newId, random, wakeAt } = this.#input;
    const { nowMs } = tx;
    const actors = new Map<string, Tx>();
    const as = (actor: string): Tx => {
      const known = actors.get(actor);
      if (known !== undefined) return known;
      const own = new TurnTx(tx, actor, this.#size);
      actors.set(actor, own);
      return own;
    };
    const hasRoom = () => {
      const room = this.#size.hasRoom();
      if (!room) this.#full = true;
      return room;
    };
    return { tx: as(name), nowMs, newId, random, wakeAt, as, hasRoom };
  }
}

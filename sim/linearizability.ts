/**
 * Is there an order of all operations, each at one moment between its call and its answer, in which
 * a register would have answered just so? Wing and Gong's search with Lowe's memoization, as in
 * Porcupine: pairs of (operations done, state) that led nowhere are not tried again. A history over
 * many keys is linearizable if that of each key is, so keys are checked one by one.
 *
 * An operation without an answer may have taken effect at any time since its call, or never.
 */

export type Action =
  | { readonly kind: "read" }
  | { readonly kind: "put"; readonly value: number }
  /** Sets the value if it is `expected`. */
  | { readonly kind: "cas"; readonly expected: number; readonly value: number };

/** One call of a client. */
export interface Operation {
  readonly client: number;
  readonly key: number;
  readonly action: Action;
  readonly calledAt: number;
  /** Undefined while the outcome is unknown. */
  readonly answer: Answer | undefined;
}

export interface Answer {
  readonly at: number;
  /** What a read found. */
  readonly value: number;
  /** Whether a cas took effect. */
  readonly ok: boolean;
}

/** Every key starts with this value. */
export const INITIAL_VALUE = 0;

/** Where the search was too long to tell. */
export const UNDECIDED = Symbol("undecided");

/** Why the history is not linearizable; undefined if it is. */
export function linearizabilityFault(
  history: readonly Operation[],
): string | typeof UNDECIDED | undefined {
  const perKey = new Map<number, Operation[]>();
  for (const operation of history) {
    const known = perKey.get(operation.key);
    if (known === undefined) perKey.set(operation.key, [operation]);
    else known.push(operation);
  }
  let isDecided = true;
  for (const [key, operations] of perKey) {
    const stuck = new Search(operations).run();
    if (stuck === UNDECIDED) isDecided = false;
    else if (stuck !== undefined) return `key ${key}: ${stuck}`;
  }
  return isDecided ? undefined : UNDECIDED;
}

/** Calls and answers in the order of time, doubly linked so that a try costs what it moves. */
interface Event {
  readonly operation: Operation;
  readonly number: number;
  /** Of a call: the event of its answer. */
  readonly answer: Event | undefined;
  previous: Event | undefined;
  next: Event | undefined;
}

/** A moment of the search: what was chosen to get here, and what is to be tried next. */
interface Frame {
  readonly state: number;
  /** The call, or the class of unanswered operations, that led here; undefined for the start. */
  readonly choice: Event | number | undefined;
  at: Event | undefined;
  nextClass: number;
}

/**
 * Steps after which the search gives up. Histories of a group that keeps its word take about as many
 * steps as they have operations.
 */
const STEPS_MAX = 200_000;

class Search {
  readonly #head: Event;
  readonly #count: number;
  readonly #done: Uint8Array;
  /** Operations without an answer; within a class one can stand for the other, so the first goes first. */
  readonly #classes: readonly (readonly Operation[])[];
  readonly #used: number[];
  readonly #tried = new Set<string>();
  #stuckAt: Operation | undefined;
  #deepest = -1;

  constructor(operations: readonly Operation[]) {
    const answered = operations.filter(({ answer }) => answer !== undefined);
    this.#count = answered.length;
    this.#done = new Uint8Array(Math.ceil(answered.length / 8));
    this.#head = link(answered);
    this.#classes = classesOf(operations);
    this.#used = this.#classes.map(() => 0);
  }

  /** What no order explains, or undefined. */
  run(): string | typeof UNDECIDED | undefined {
    const frames: Frame[] = [this.#frame(INITIAL_VALUE, undefined)];
    for (let steps = 0; this.#head.next !== undefined; steps++) {
      const frame = frames.at(-1);
      if (frame === undefined) {
        const stuck = this.#stuckAt === undefined ? "" : describeOperation(this.#stuckAt);
        return `no order explains ${stuck} (${this.#deepest} of ${this.#count} explained)`;
      }
      if (steps > STEPS_MAX) return UNDECIDED;
      const next = this.#advance(frame);
      if (next !== undefined) {
        frames.push(next);
      } else {
        frames.pop();
        this.#undo(frame);
      }
    }
    return undefined;
  }

  #frame(state: number, choice: Frame["choice"]): Frame {
    return { state, choice, at: this.#head.next, nextClass: 0 };
  }

  /** The next choice from here that leads somewhere new; undefined when all are tried. */
  #advance(frame: Frame): Frame | undefined {
    while (frame.at?.answer !== undefined) {
      const call = frame.at;
      frame.at = call.next;
      const after = applied(call.operation, frame.state);
      if (after === undefined) continue;
      this.#flip(call.number);
      if (!this.#isNew(after)) {
        this.#flip(call.number);
        continue;
      }
      remove(call);
      return this.#frame(after, call);
    }
    // An answer that comes next, and whose call is still to be explained.
    if (frame.nextClass === 0 && frame.at !== undefined) this.#noteStuck(frame.at.operation);
    const now = frame.at?.operation.answer?.at ?? Number.POSITIVE_INFINITY;
    while (frame.nextClass < this.#classes.length) {
      const next = this.#tryClass(frame, frame.nextClass++, now);
      if (next !== undefined) return next;
    }
    return undefined;
  }

  #tryClass(frame: Frame, number: number, now: number): Frame | undefined {
    const used = this.#used[number] ?? 0;
    const operation = this.#classes[number]?.[used];
    if (operation === undefined || operation.calledAt > now) return undefined;
    const after = applied(operation, frame.state);
    // One that changes nothing explains nothing.
    if (after === undefined || after === frame.state) return undefined;
    this.#used[number] = used + 1;
    if (this.#isNew(after)) return this.#frame(after, number);
    this.#used[number] = used;
    return undefined;
  }

  #undo({ choice }: Frame): void {
    if (choice === undefined) return;
    if (typeof choice === "number") {
      this.#used[choice] = (this.#used[choice] ?? 1) - 1;
      return;
    }
    this.#flip(choice.number);
    restore(choice);
  }

  #isNew(state: number): boolean {
    const key = `${state}/${this.#used.join()}/${Buffer.from(this.#done).toString("latin1")}`;
    if (this.#tried.has(key)) return false;
    this.#tried.add(key);
    return true;
  }

  #flip(number: number): void {
    const byte = number >> 3;
    this.#done[byte] = (this.#done[byte] ?? 0) ^ (1 << (number & 7));
  }

  #noteStuck(operation: Operation): void {
    let explained = 0;
    for (const byte of this.#done) explained += bitsOf(byte);
    if (explained <= this.#deepest) return;
    this.#deepest = explained;
    this.#stuckAt = operation;
  }
}

/** What a value that nobody ever saw is called: one of them is as good as another. */
const UNSEEN = -1;

/**
 * Unanswered writes, sorted into classes of the same effect. Most are of values that nobody saw: they
 * only matter for what they may have overwritten.
 */
function classesOf(operations: readonly Operation[]): readonly (readonly Operation[])[] {
  const seen = new Set<number>();
  for (const { action, answer } of operations) {
    if (action.kind === "read" && answer !== undefined) seen.add(answer.value);
    if (action.kind === "cas") seen.add(action.expected);
  }
  const classes = new Map<string, Operation[]>();
  for (const operation of operations) {
    const { action, answer } = operation;
    if (answer !== undefined || action.kind === "read") continue;
    const value = seen.has(action.value) ? action.value : UNSEEN;
    const name = action.kind === "cas" ? `${action.expected}>${value}` : `${value}`;
    const one = { ...operation, action: { ...action, value } };
    const known = classes.get(name);
    if (known === undefined) classes.set(name, [one]);
    else known.push(one);
  }
  for (const members of classes.values()) members.sort((a, b) => a.calledAt - b.calledAt);
  return [...classes.values()];
}

function bitsOf(byte: number): number {
  let bits = 0;
  for (let rest = byte; rest > 0; rest >>= 1) bits += rest & 1;
  return bits;
}

/** The register's value after the operation, or undefined if it would have answered otherwise. */
function applied({ action, answer }: Operation, state: number): number | undefined {
  switch (action.kind) {
    case "read":
      return answer === undefined || answer.value === state ? state : undefined;
    case "put":
      return action.value;
    case "cas": {
      const ok = action.expected === state;
      if (answer !== undefined && answer.ok !== ok) return undefined;
      return ok ? action.value : state;
    }
  }
}

function link(operations: readonly Operation[]): Event {
  const events: { readonly at: number; readonly isAnswer: boolean; readonly event: Event }[] = [];
  for (const [number, operation] of operations.entries()) {
    const loose = { operation, number, previous: undefined, next: undefined };
    const answer: Event = { ...loose, answer: undefined };
    const answeredAt = operation.answer?.at ?? 0;
    events.push({ at: operation.calledAt, isAnswer: false, event: { ...loose, answer } });
    events.push({ at: answeredAt, isAnswer: true, event: answer });
  }
  // Calls first within a moment: what could have overlapped is taken to have.
  events.sort((a, b) => a.at - b.at || Number(a.isAnswer) - Number(b.isAnswer));
  const nobody: Operation = {
    client: 0,
    key: 0,
    action: { kind: "read" },
    calledAt: 0,
    answer: undefined,
  };
  const head: Event = {
    operation: nobody,
    number: -1,
    answer: undefined,
    previous: undefined,
    next: undefined,
  };
  let last = head;
  for (const { event } of events) {
    event.previous = last;
    last.next = event;
    last = event;
  }
  return head;
}

function remove(call: Event): void {
  unlink(call);
  if (call.answer !== undefined) unlink(call.answer);
}

/** Undoes `remove`; to be called in the reverse order. */
function restore(call: Event): void {
  if (call.answer !== undefined) relink(call.answer);
  relink(call);
}

function unlink(event: Event): void {
  if (event.previous !== undefined) event.previous.next = event.next;
  if (event.next !== undefined) event.next.previous = event.previous;
}

function relink(event: Event): void {
  if (event.previous !== undefined) event.previous.next = event;
  if (event.next !== undefined) event.next.previous = event;
}

export function describeOperation({ client, action, calledAt, answer }: Operation): string {
  const end = answer === undefined ? "?" : `${answer.at}`;
  return `client ${client}'s ${describeAction(action, answer)} at ${calledAt}-${end}ms`;
}

function describeAction(action: Action, answer: Answer | undefined): string {
  switch (action.kind) {
    case "read":
      return answer === undefined ? "read" : `read = ${answer.value}`;
    case "put":
      return `put ${action.value}`;
    case "cas": {
      const outcome = answer === undefined ? "?" : answer.ok ? "ok" : "refused";
      return `cas ${action.expected} to ${action.value} (${outcome})`;
    }
  }
}

/**
 * What planners are told. Committed changes arrive late: a transaction sees what others have on its
 * way through raft before the watch tells of it, and a planner may have written on top of that. So
 * the changes are not passed on as they come; each object that something happened to is compared
 * with what the planners were told last, and they are told the difference. Per object that makes a
 * chain without gaps, whatever the order in which news arrive.
 */

import type { Change, Kind, ObjectTypes, ReadView } from "#store/types.ts";

/** Kinds that planners look at; secrets and the like need not be remembered here. */
const KINDS = ["node", "service", "task", "network", "cluster", "volume", "resource"] as const;

type Planned = (typeof KINDS)[number];

export class ChangeStream {
  // Each map holds objects of its own kind only, which one type for all of them does not say.
  readonly #told: Readonly<Record<Planned, Map<string, ObjectTypes[Planned]>>> = {
    node: new Map(),
    service: new Map(),
    task: new Map(),
    network: new Map(),
    cluster: new Map(),
    volume: new Map(),
    resource: new Map(),
  };
  #changes: Change[] = [];

  /** The changes of this turn so far. */
  get changes(): readonly Change[] {
    return this.#changes;
  }

  /** Takes everything there is as told: planners start by looking at it. */
  adopt(view: ReadView): void {
    for (const kind of KINDS) {
      for (const object of view.all(kind)) this.#told[kind].set(object.id, object);
    }
  }

  newTurn(): void {
    this.#changes = [];
  }

  /** Tells how the object of a change is now. */
  tell(view: ReadView, change: Change): void {
    const { kind, object } = change;
    if (isPlanned(kind)) this.#note(kind, object.id, view.get(kind, object.id));
  }

  /** Tells of one write of the running transaction, each in its turn. */
  tellWrite(change: Change): void {
    const { kind, object } = change;
    if (!isPlanned(kind)) return;
    // Narrowing the kind does not narrow the object that comes with it.
    const after = change.action === "delete" ? undefined : (object as ObjectTypes[Planned]);
    this.#note(kind, object.id, after);
  }

  #note(kind: Planned, id: string, after: ObjectTypes[Planned] | undefined): void {
    const told = this.#told[kind];
    const before = told.get(id);
    if (before === after) return;
    if (after === undefined) told.delete(id);
    else told.set(id, after);
    // The kind ties the objects to the type, which a union of all kinds does not show.
    if (after === undefined) this.#push({ kind, action: "delete", object: before });
    else if (before === undefined) this.#push({ kind, action: "create", object: after });
    else this.#push({ kind, action: "update", object: after, old: before });
  }

  #push(change: {
    readonly kind: Planned;
    readonly action: Change["action"];
    readonly object: ObjectTypes[Planned] | undefined;
    readonly old?: ObjectTypes[Planned];
  }): void {
    this.#changes.push(change as Change);
  }
}

function isPlanned(kind: Kind): kind is Planned {
  return (KINDS as readonly Kind[]).includes(kind);
}

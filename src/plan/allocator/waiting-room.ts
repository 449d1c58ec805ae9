/** Who could not be served, by what each waits for. Everyone waits for one thing at a time. */

export type WaiterKind = "network" | "service" | "task" | "node";

export interface Waiter {
  readonly kind: WaiterKind;
  readonly id: string;
}

export class WaitingRoom {
  readonly #byKey = new Map<string, Map<string, Waiter>>();
  readonly #keys = new Map<string, string>();

  get size(): number {
    return this.#keys.size;
  }

  join(waiter: Waiter, key: string): void {
    this.leave(waiter.id);
    const waiters = this.#byKey.get(key) ?? new Map<string, Waiter>();
    waiters.set(waiter.id, waiter);
    this.#byKey.set(key, waiters);
    this.#keys.set(waiter.id, key);
  }

  leave(id: string): void {
    const key = this.#keys.get(id);
    if (key === undefined) return;
    this.#keys.delete(id);
    const waiters = this.#byKey.get(key);
    waiters?.delete(id);
    if (waiters?.size === 0) this.#byKey.delete(key);
  }

  /** Calls up to `count` of those who wait for `key`, those who wait longest first. */
  call(key: string, count = Number.POSITIVE_INFINITY): Waiter[] {
    const called: Waiter[] = [];
    for (const waiter of this.#byKey.get(key)?.values() ?? []) {
      if (called.length >= count) break;
      called.push(waiter);
    }
    for (const { id } of called) this.leave(id);
    return called;
  }
}

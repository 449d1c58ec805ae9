/**
 * The terms of one node's log as given out in its Readys, stored or on its way to the disk: what the
 * checker looks at when the node begins to lead.
 */

import type { Entry, MemoryStorage, Snapshot } from "#raft/index.ts";
import type { Checker, LogView } from "./checker.ts";

export class LogShadow implements LogView {
  readonly #id: number;
  readonly #checker: Checker;
  /** `#terms[0]` is the term at `#offset`, which is compacted. */
  #offset: number;
  #terms: number[];

  constructor(id: number, checker: Checker, storage: MemoryStorage) {
    this.#id = id;
    this.#checker = checker;
    this.#offset = storage.firstIndex() - 1;
    this.#terms = [];
    for (let index = this.#offset; index <= storage.lastIndex(); index++) {
      const term = storage.term(index);
      this.#terms.push(typeof term === "number" ? term : 0);
    }
  }

  get firstIndex(): number {
    return this.#offset + 1;
  }

  termAt(index: number): number | undefined {
    return this.#terms[index - this.#offset];
  }

  restore({ metadata }: Snapshot): void {
    this.#offset = metadata.index;
    this.#terms = [metadata.term];
  }

  append(entries: readonly Entry[]): void {
    for (const entry of entries) {
      const position = entry.index - this.#offset;
      if (position <= 0) continue;
      this.#checker.stores(this.#id, entry, this.#terms[position - 1] ?? 0);
      this.#terms.length = position;
      this.#terms.push(entry.term);
    }
  }
}

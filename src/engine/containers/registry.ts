/**
 * The containers of this engine by id, name and unique id prefix. A name belongs to its container
 * from before the container exists until it is removed, so that two creates cannot both have it.
 */

import { EngineError } from "#base/error.ts";
import type { Container } from "./container.ts";

const ID_LENGTH = 64;

export class ContainerRegistry {
  readonly #byId = new Map<string, Container>();
  readonly #idByName = new Map<string, string>();
  /** Ids of containers that are on disk and cannot be read; what is theirs belongs to somebody. */
  readonly damaged = new Set<string>();

  get size(): number {
    return this.#byId.size;
  }

  all(): readonly Container[] {
    return [...this.#byId.values()];
  }

  get(id: string): Container | undefined {
    return this.#byId.get(id);
  }

  isNameTaken(name: string): boolean {
    return this.#idByName.has(name);
  }

  /** `already-exists` with docker's message when another container has the name. */
  reserveName(name: string, id: string): void {
    const holder = this.#idByName.get(name);
    if (holder !== undefined && holder !== id) {
      throw new EngineError(
        "already-exists",
        `Conflict. The container name "/${name}" is already in use by container "${holder}". You have to remove (or rename) that container to be able to reuse that name.`,
      );
    }
    this.#idByName.set(name, id);
  }

  releaseName(name: string, id: string): void {
    if (this.#idByName.get(name) === id) this.#idByName.delete(name);
  }

  add(container: Container): void {
    this.#byId.set(container.id, container);
  }

  delete(container: Container): void {
    this.#byId.delete(container.id);
    this.releaseName(container.name, container.id);
  }

  /** By id, name (with or without slash), or unique id prefix; `not-found` "No such container". */
  find(reference: string): Container {
    const exact = this.#byId.get(reference);
    if (exact !== undefined) return exact;
    const named = this.#idByName.get(reference.replace(/^\//, ""));
    const container = named === undefined ? undefined : this.#byId.get(named);
    if (container !== undefined) return container;
    if (reference.length < ID_LENGTH && /^[0-9a-f]+$/.test(reference)) {
      const matches = this.all().filter(({ id }) => id.startsWith(reference));
      if (matches.length > 1) {
        throw new EngineError(
          "invalid-argument",
          `multiple IDs found with provided prefix: ${reference}`,
        );
      }
      if (matches[0] !== undefined) return matches[0];
    }
    throw new EngineError("not-found", `No such container: ${reference}`);
  }
}

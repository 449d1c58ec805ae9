/** Reading fields of a checked document: the type is certain, absence and null are the same. */

import { parseBytes } from "#base/bytes.ts";
import { parseDuration } from "#base/duration.ts";
import { isList, isMapping, type Mapping, textOf, type Value } from "./document.ts";
import { type Path, Refusal } from "./refusal.ts";

export class Fields {
  readonly path: Path;
  readonly #mapping: Mapping;

  constructor(mapping: Value | undefined, path: Path) {
    this.#mapping = isMapping(mapping) ? mapping : {};
    this.path = path;
  }

  at(key: string): Path {
    return [...this.path, key];
  }

  has(key: string): boolean {
    const value = this.#mapping[key];
    return value !== undefined && value !== null;
  }

  /** Undefined also for "". */
  text(key: string): string | undefined {
    const value = this.#mapping[key];
    if (value === undefined || value === null || isMapping(value) || isList(value))
      return undefined;
    const text = textOf(value);
    return text === "" ? undefined : text;
  }

  number(key: string): number | undefined {
    const value = this.#mapping[key];
    return typeof value === "number" ? value : undefined;
  }

  /** Undefined also for 0, which the API takes as not given. */
  positive(key: string): number | undefined {
    const value = this.number(key);
    return value === 0 ? undefined : value;
  }

  flag(key: string): boolean | undefined {
    const value = this.#mapping[key];
    return typeof value === "boolean" ? value : undefined;
  }

  texts(key: string): readonly string[] | undefined {
    const value = this.#mapping[key];
    return isList(value) ? value.map(textOf) : undefined;
  }

  textMap(key: string): Readonly<Record<string, string>> | undefined {
    const value = this.#mapping[key];
    if (!isMapping(value)) return undefined;
    return Object.fromEntries(
      Object.entries(value).map(([name, item]) => [name, item === null ? "" : textOf(item)]),
    );
  }

  /** Nanoseconds. */
  duration(key: string): number | undefined {
    const text = this.text(key);
    if (text === undefined) return undefined;
    const parsed = parseDuration(text);
    if (!parsed.ok) throw new Refusal(parsed.error, this.at(key));
    return parsed.value;
  }

  bytes(key: string): number | undefined {
    const text = this.text(key);
    if (text === undefined) return undefined;
    const parsed = parseBytes(text);
    if (!parsed.ok) throw new Refusal(parsed.error, this.at(key));
    return parsed.value;
  }

  inner(key: string): Fields | undefined {
    return this.has(key) ? new Fields(this.#mapping[key], this.at(key)) : undefined;
  }

  items(key: string): readonly Fields[] {
    const value = this.#mapping[key];
    const items = isList(value) ? value : [];
    return items.map((item, index) => new Fields(item, [...this.at(key), String(index)]));
  }

  entries(key: string): readonly (readonly [string, Fields])[] {
    const value = this.#mapping[key];
    return Object.entries(isMapping(value) ? value : {}).map(
      ([name, item]) => [name, new Fields(item, [...this.at(key), name])] as const,
    );
  }
}

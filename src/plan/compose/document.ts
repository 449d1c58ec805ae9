/**
 * YAML text → plain values with the line of each. The dialect is that of docker's CLI since 23: YAML
 * 1.1's numbers (`0440` is octal) without base 60, so that `22:22` stays a string; `yes` and `on` are
 * strings (`interpolate.ts` makes booleans of them where booleans are asked for); times are strings;
 * `<<` merges; keys are strings. Aliases are counted, because a small file can otherwise unfold to any
 * size.
 */

import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  type Tags,
  type YAMLMap,
} from "yaml";
import { type Path, Refusal } from "./refusal.ts";

export type Value = null | boolean | number | string | readonly Value[] | Mapping;
export interface Mapping {
  readonly [key: string]: Value;
}

export interface ComposeDocument {
  readonly root: Mapping;
  /** `pathKey` → line, from 1. */
  readonly lines: ReadonlyMap<string, number>;
}

/** Largest Compose file, bytes of UTF-16 text. */
const TEXT_MAX = 4 * 1024 * 1024;
/** Most values of one document with its aliases unfolded. */
const VALUES_MAX = 200_000;
const DEPTH_MAX = 100;

export function pathKey(path: Path): string {
  return path.join("\0");
}

export function isMapping(value: Value | undefined): value is Mapping {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function isList(value: Value | undefined): value is readonly Value[] {
  return Array.isArray(value);
}

/** A scalar as text, null as nothing; the schema keeps lists and mappings away. */
export function textOf(value: Value | undefined): string {
  if (value === null || value === undefined) return "";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** Throws `Refusal`; before that, `onLines` has what is known of lines so far. */
export function readDocument(
  text: string,
  onLines: (lines: ReadonlyMap<string, number>) => void,
): ComposeDocument {
  if (text.length > TEXT_MAX) throw new Refusal(`file is larger than ${TEXT_MAX} characters`, []);
  const lineCounter = new LineCounter();
  const document = parseDocument(text, {
    version: "1.1",
    merge: true,
    lineCounter,
    prettyErrors: false,
    logLevel: "error",
    customTags: (tags) => [...tags.filter((tag) => !isForeignTag(tag)), "bool", "intOct"],
  });
  const lineOf = (node: Node | null | undefined) =>
    node?.range ? lineCounter.linePos(node.range[0]).line : undefined;
  const [problem] = document.errors;
  if (problem !== undefined) {
    onLines(new Map([["", lineCounter.linePos(problem.pos[0]).line]]));
    throw new Refusal(`yaml: ${problem.message}`, []);
  }
  const reader = new Reader(document, lineOf);
  onLines(reader.lines);
  const root = reader.read(document.contents, [], 0);
  if (!isMapping(root)) throw new Refusal("top-level object must be a mapping", []);
  return { root, lines: reader.lines };
}

/** Tags of YAML 1.1 that docker's parser has not: base 60, times, and words as booleans. */
function isForeignTag(tag: Tags[number]): boolean {
  if (typeof tag === "string") return false;
  const { format } = tag as { readonly format?: string };
  return (
    format === "TIME" ||
    tag.tag === "tag:yaml.org,2002:timestamp" ||
    tag.tag === "tag:yaml.org,2002:bool"
  );
}

class Reader {
  readonly lines = new Map<string, number>();
  readonly #document: Document;
  readonly #lineOf: (node: Node | null | undefined) => number | undefined;
  #count = 0;

  constructor(document: Document, lineOf: (node: Node | null | undefined) => number | undefined) {
    this.#document = document;
    this.#lineOf = lineOf;
  }

  read(node: Node | null | undefined, path: Path, depth: number): Value {
    this.#count += 1;
    if (this.#count > VALUES_MAX) throw new Refusal("document contains excessive aliasing", path);
    if (depth > DEPTH_MAX) throw new Refusal("document is nested too deeply", path);
    this.#note(path, node);
    if (node === null || node === undefined) return null;
    if (isAlias(node)) {
      const target = node.resolve(this.#document);
      if (target === undefined) throw new Refusal(`unknown anchor '${node.source}'`, path);
      return this.read(target, path, depth + 1);
    }
    if (isMap(node)) return this.#mapping(node, path, depth);
    if (isSeq(node)) {
      return node.items.map((item, index) =>
        this.read(item as Node | null, [...path, String(index)], depth + 1),
      );
    }
    return isScalar(node) ? scalar(node.value, node.source) : null;
  }

  #mapping(node: YAMLMap, path: Path, depth: number): Mapping {
    const own = new Map<string, Value>();
    const merged = new Map<string, Value>();
    for (const pair of node.items) {
      const key = isScalar(pair.key) ? pair.key.value : pair.key;
      const value = pair.value as Node | null;
      if (isMergeKey(key, pair.key)) {
        for (const [name, inherited] of this.#mergeSources(value, path, depth)) {
          if (!merged.has(name)) merged.set(name, inherited);
        }
        continue;
      }
      if (typeof key !== "string") {
        const where = path.length === 0 ? "at top level" : `in ${shownPath(path)}`;
        throw new Refusal(
          `Non-string key ${where}: ${shownKey(pair.key)}`,
          this.#atKey(path, pair.key),
        );
      }
      this.#note([...path, key], pair.key as Node);
      own.set(key, this.read(value, [...path, key], depth + 1));
    }
    // A key named "__proto__" must become a key, not the object's prototype.
    return Object.fromEntries([...merged, ...own]);
  }

  #mergeSources(
    value: Node | null,
    path: Path,
    depth: number,
  ): readonly (readonly [string, Value])[] {
    const read = this.read(value, path, depth + 1);
    const sources = isList(read) ? read : [read];
    return sources.flatMap((source) => {
      if (!isMapping(source))
        throw new Refusal("map merge requires map or sequence of maps as the value", path);
      return Object.entries(source);
    });
  }

  /** The first to note a path wins: a key's own line, not its value's. */
  #note(path: Path, node: Node | null | undefined): void {
    const line = this.#lineOf(node);
    const key = pathKey(path);
    if (line !== undefined && !this.lines.has(key)) this.lines.set(key, line);
  }

  #atKey(path: Path, key: unknown): Path {
    const place = [...path, "?"];
    if (isScalar(key)) this.#note(place, key);
    return place;
  }
}

function shownKey(key: unknown): string {
  return isScalar(key) ? textOf(scalar(key.value, key.source)) : "a list or a mapping";
}

function isMergeKey(key: unknown, node: unknown): boolean {
  if (typeof key === "symbol") return key.description === "<<";
  return key === "<<" && isScalar(node) && (node.type === undefined || node.type === "PLAIN");
}

function scalar(value: unknown, source: string | undefined): Value {
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "number") {
    // An id that a double cannot hold stays as it was written.
    const exact = Number.isSafeInteger(value) || !Number.isInteger(value);
    return exact || source === undefined || !/^[-+]?\d+$/.test(source) ? value : source;
  }
  if (value === null || value === undefined) return null;
  return typeof value === "boolean" || typeof value === "string" ? value : null;
}

/** "networks.default.ipam.config[0]". */
function shownPath(path: Path): string {
  return path.reduce((text, part) => {
    if (/^\d+$/.test(part)) return `${text}[${part}]`;
    return text === "" ? part : `${text}.${part}`;
  }, "");
}

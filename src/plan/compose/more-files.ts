/**
 * What files without a version take from others: `include` (a project of its own, with its own folder)
 * and `extends` (a service as the start of another). Names are made absolute here; the texts come from
 * the caller, who is told which are missing and asks again.
 */

import { isList, isMapping, type Mapping, textOf, type Value } from "./document.ts";
import { mergeServices } from "./merge.ts";
import { type Places, resolvePath } from "./paths.ts";
import { type Path, Refusal } from "./refusal.ts";

/** Most files that one project may be made of, and how deep they may name each other. */
export const FILES_MAX = 200;
export const DEPTH_MAX = 20;

/** One entry of `include`. */
export interface Included {
  readonly at: Path;
  /** Absolute names, merged in order. */
  readonly files: readonly string[];
  /** Absolute names of files with variables for these files alone, the later over the earlier. */
  readonly envFiles: readonly string[];
  readonly places: Places;
}

export function includesOf(root: Mapping, places: Places): readonly Included[] {
  const entries = isList(root.include) ? root.include : [];
  return entries.map((entry, index) => {
    const at = ["include", String(index)];
    const written: Mapping = isMapping(entry) ? entry : { path: entry };
    const { path, project_directory: folder, env_file: variables } = written;
    const resolved = (value: Value) =>
      (isList(value) ? value : [value]).map((name) => resolvePath(textOf(name), places));
    const names = (isList(path) ? path : [path ?? ""]).map(textOf);
    const files = resolved(path ?? "");
    const envFiles = variables === undefined || variables === null ? [] : resolved(variables);
    const [first = ""] = files;
    if (names.includes("")) throw new Refusal(`include[${index}] names no file`, at);
    const workingDir = folder === undefined ? folderOf(first) : resolvePath(textOf(folder), places);
    return { at, files, envFiles, places: { ...places, workingDir } };
  });
}

/** What a service begins with: another of its own file, or one of a file with an absolute name. */
export interface Extended {
  readonly service: string;
  readonly file: string | undefined;
}

export function extendedBy(service: Mapping, places: Places): Extended | undefined {
  const { extends: base } = service;
  if (base === undefined || base === null) return undefined;
  if (!isMapping(base)) return { service: textOf(base), file: undefined };
  const file = base.file === undefined ? undefined : resolvePath(textOf(base.file), places);
  return { service: textOf(base.service), file };
}

/** A file that services may be taken from. */
export interface ServiceSource {
  /** Undefined for the file of the project itself, in its own name. */
  readonly file: string | undefined;
  readonly services: Mapping;
  readonly places: Places;
}

export interface Extending<S extends ServiceSource> {
  /** The file of that absolute name, read and checked. */
  source(file: string): S;
  /** The service in its canonical form; errors are said of that file. */
  canonical(service: Mapping, path: Path, source: S): Mapping;
}

/** The service in canonical form, with everything that it extends under it. */
export function withBases<S extends ServiceSource>(
  name: string,
  source: S,
  extending: Extending<S>,
  seen: readonly string[] = [],
): Mapping {
  const path = ["services", name];
  const value = source.services[name];
  const service: Mapping = isMapping(value) ? value : {};
  const base = extendedBy(service, source.places);
  const { extends: _, ...own } = service;
  const canonical = extending.canonical(own, path, source);
  if (base === undefined) return canonical;
  const from = base.file === undefined ? source : extending.source(base.file);
  const key = `${from.file ?? ""}\0${base.service}`;
  const at = [...path, "extends"];
  if (seen.includes(key) || seen.length > DEPTH_MAX) {
    throw new Refusal(`services.${name}.extends leads back to itself`, at);
  }
  if (!isMapping(from.services[base.service])) {
    const where = base.file === undefined ? "" : ` in ${base.file}`;
    throw new Refusal(
      `services.${name}.extends: there is no service ${JSON.stringify(base.service)}${where}`,
      at,
    );
  }
  const under = withBases(base.service, from, extending, [...seen, key]);
  // Whether a service is there is its own affair, not that of who begins with it.
  const { profiles: __, ...inherited } = under;
  const merged: Value | undefined = mergeServices({ it: inherited }, { it: canonical }).it;
  return isMapping(merged) ? merged : canonical;
}

export function folderOf(file: string): string {
  return file.slice(0, Math.max(1, file.lastIndexOf("/")));
}

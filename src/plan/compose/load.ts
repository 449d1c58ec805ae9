/**
 * Compose files → one project. Two steps, because the files name others that only the caller can
 * read: `readCompose` parses, interpolates and checks; `mergeCompose`, given the environment files,
 * brings all to the canonical form and merges. Refusals are values with file and line.
 */

import type { Result } from "#base/result.ts";
import {
  type ComposeDocument,
  isList,
  isMapping,
  type Mapping,
  pathKey,
  readDocument,
  textOf,
} from "./document.ts";
import { parseDotEnv } from "./dot-env.ts";
import { interpolate, type Lookup } from "./interpolate.ts";
import { mergeServices } from "./merge.ts";
import {
  DEPTH_MAX,
  type Extending,
  extendedBy,
  FILES_MAX,
  folderOf,
  type Included,
  includesOf,
  type ServiceSource,
  withBases,
} from "./more-files.ts";
import { canonicalObjects, type Section } from "./objects-form.ts";
import type { Places } from "./paths.ts";
import { type ComposeError, catchRefusal, describeError, type Locate, Refusal } from "./refusal.ts";
import { canonicalService, envFilesOf, optionalEnvFilesOf } from "./service-form.ts";
import { forbidden, ignored, impossible } from "./unsupported.ts";
import { minorVersion, validate } from "./validate.ts";

export interface ComposeSource {
  /** As the user named it; shown in errors. */
  readonly name: string;
  readonly text: string;
}

export interface ComposeSurroundings {
  readonly places: Places;
  readonly lookup: Lookup;
  /** Services with `profiles` are there only if one of theirs is among these. */
  readonly profiles?: readonly string[];
  /** False: variables stay as they are written (`stack config --skip-interpolation`). */
  readonly interpolate?: boolean;
}

interface ReadFile {
  readonly name: string;
  readonly document: ComposeDocument;
  readonly minor: number;
  readonly places: Places;
  /** The caller's variables, and under them those that an `include` names files of. */
  readonly lookup: Lookup;
  /** Files of one group are laid over each other; what two groups both have is in conflict. */
  readonly group: number;
}

export interface ReadCompose {
  /** In the order in which they are merged. */
  readonly files: readonly ReadFile[];
  /** Files that services extend, by absolute name. */
  readonly bases: ReadonlyMap<string, ReadFile>;
  /** Absolute names of Compose files to be read, for another call of `readCompose`. */
  readonly missing: readonly string[];
  /** Absolute names of the environment files to hand to `mergeCompose`. */
  readonly envFiles: readonly string[];
  /** Those of them that need not be there. */
  readonly optionalEnvFiles: ReadonlySet<string>;
}

/** The merged project in canonical form. */
export interface ComposeProject {
  readonly version: string | undefined;
  readonly services: Mapping;
  readonly networks: Mapping;
  readonly volumes: Mapping;
  readonly secrets: Mapping;
  readonly configs: Mapping;
  /** Variables whose values are secrets or configs. */
  readonly environment: ReadonlyMap<string, string>;
  /** Told to the user before anything is done. */
  readonly warnings: readonly string[];
  /** What is in the files and has no effect; a paragraph each. */
  readonly notices: readonly string[];
  readonly locate: Locate;
}

/**
 * Reads the files that the user names, and those that they name, as far as `more` (absolute name →
 * text) has them. When the result says that some are missing, it is to be called again with them.
 */
export function readCompose(
  sources: readonly ComposeSource[],
  around: ComposeSurroundings,
  more: ReadonlyMap<string, string> = new Map(),
): Result<ReadCompose, ComposeError> {
  const reading = new Reading(around, more);
  return catchRefusal(reading.locate, () => {
    const named = sources.map((source) =>
      reading.read(source, { places: around.places, lookup: around.lookup, depth: 0, group: 0 }),
    );
    sameVersion(named);
    const { included, bases, missing } = reading;
    const files = [...included, ...named];
    const filesOf = (find: typeof envFilesOf) =>
      [...files, ...bases.values()].flatMap(({ document, places }) =>
        Object.values(section(document.root, "services")).flatMap((service) =>
          isMapping(service) ? find(service, places) : [],
        ),
      );
    return {
      files,
      bases,
      missing: [...missing],
      envFiles: [...new Set(filesOf(envFilesOf))],
      optionalEnvFiles: new Set(filesOf(optionalEnvFilesOf)),
    };
  });
}

/** What a file is read in. */
interface Surrounded extends Pick<ReadFile, "places" | "lookup" | "group"> {
  readonly depth: number;
}

class Reading {
  readonly included: ReadFile[] = [];
  readonly bases = new Map<string, ReadFile>();
  readonly missing = new Set<string>();
  readonly #around: ComposeSurroundings;
  readonly #more: ReadonlyMap<string, string>;
  #current: ReadFile | undefined;
  #files = 0;
  #groups = 0;

  constructor(around: ComposeSurroundings, more: ReadonlyMap<string, string>) {
    this.#around = around;
    this.#more = more;
  }

  readonly locate: Locate = (path) =>
    this.#current === undefined ? {} : lineIn(this.#current, path);

  read({ name, text }: ComposeSource, { depth, ...around }: Surrounded): ReadFile {
    this.#files += 1;
    const empty = { name, minor: 0, ...around };
    const at = (lines: ReadonlyMap<string, number>) => ({
      ...empty,
      document: { root: {}, lines },
    });
    this.#current = at(new Map([["", 1]]));
    if (this.#files > FILES_MAX) throw new Refusal(`more than ${FILES_MAX} Compose files`, []);
    const document = readDocument(text, (lines) => {
      this.#current = at(lines);
    });
    const minor = minorVersion(document.root);
    forbidden(document.root, minor);
    impossible(document.root, minor);
    const { interpolate: replaces } = this.#around;
    const root = replaces === false ? document.root : interpolate(document.root, around.lookup);
    // Values that wait for their variables have not the types that the schema asks for.
    if (replaces !== false) validate(root, minor);
    const file = { ...empty, minor, document: { root, lines: document.lines } };
    this.#include(file, depth);
    this.#current = file;
    this.#extend(file, depth);
    return file;
  }

  #include(file: ReadFile, depth: number): void {
    for (const included of includesOf(file.document.root, file.places)) {
      const { at, files, places } = included;
      if (depth >= DEPTH_MAX) throw new Refusal("include leads back to itself", at);
      const lookup = this.#variables(included, file.lookup);
      if (lookup === undefined) continue;
      this.#groups += 1;
      const group = this.#groups;
      for (const name of files) {
        const text = this.#more.get(name);
        if (text === undefined) this.missing.add(name);
        else
          this.included.push(
            this.read({ name, text }, { places, lookup, depth: depth + 1, group }),
          );
      }
      this.#current = file;
    }
  }

  /** Undefined while files of it are missing. What whoever includes has wins. */
  #variables({ at, envFiles }: Included, outer: Lookup): Lookup | undefined {
    const found = new Map<string, string>();
    const lookup: Lookup = (name) => outer(name) ?? found.get(name);
    const missing = envFiles.filter((name) => !this.#more.has(name));
    for (const name of missing) this.missing.add(name);
    if (missing.length > 0) return undefined;
    for (const file of envFiles) {
      const read = parseDotEnv(this.#more.get(file) ?? "", file, lookup);
      if (!read.ok) throw new Refusal(describeError(read.error), at);
      for (const [name, value] of read.value) found.set(name, value);
    }
    return lookup;
  }

  #extend(file: ReadFile, depth: number): void {
    for (const [name, service] of Object.entries(section(file.document.root, "services"))) {
      const base = isMapping(service) ? extendedBy(service, file.places)?.file : undefined;
      if (base === undefined || this.bases.has(base)) continue;
      const text = this.#more.get(base);
      if (text === undefined) {
        this.missing.add(base);
        continue;
      }
      if (depth >= DEPTH_MAX) {
        throw new Refusal(`services.${name}.extends leads too far`, ["services", name, "extends"]);
      }
      const places = { ...file.places, workingDir: folderOf(base) };
      this.bases.set(base, { ...file, name: base, document: { root: {}, lines: new Map() } });
      const { lookup } = file;
      const around = { places, lookup, depth: depth + 1, group: 0 };
      this.bases.set(base, this.read({ name: base, text }, around));
      this.#current = file;
    }
  }
}

export function mergeCompose(
  { files, bases }: ReadCompose,
  around: ComposeSurroundings,
  envFiles: ReadonlyMap<string, string>,
): Result<ComposeProject, ComposeError> {
  const warnings: string[] = [];
  const warn = (message: string) => void warnings.push(message);
  // While a service is read, its own file says where things are.
  let current: ReadFile | undefined;
  const locate: Locate = (path) =>
    current === undefined ? locateIn(files, path) : lineIn(current, path);
  return catchRefusal(locate, () => {
    let services: Mapping = {};
    const objects: Record<Section, Mapping> = {
      networks: {},
      volumes: {},
      secrets: {},
      configs: {},
    };
    const sourceOf = (file: ReadFile, name?: string): FileSource => ({
      file: name,
      of: file,
      services: section(file.document.root, "services"),
      places: file.places,
    });
    const extending: Extending<FileSource> = {
      source: (name) => sourceOf(bases.get(name) ?? missingFile(name), name),
      canonical: (service, path, { of, places }) => {
        current = of;
        const { lookup } = of;
        return canonicalService(service, path, { places, lookup, envFiles, warn });
      },
    };
    const environment = new Map<string, string>();
    const owners = new Map<string, ReadFile>();
    for (const file of files) {
      const { document, minor, places } = file;
      const { root } = document;
      const source = sourceOf(file);
      const canonical = Object.keys(source.services).map((name) => {
        claim(owners, file, ["services", name], (at) => (current = at));
        return [name, withBases(name, source, extending)] as const;
      });
      services = mergeServices(services, Object.fromEntries(canonical));
      for (const kind of Object.keys(objects) as Section[]) {
        current = file;
        const own = canonicalObjects(root, kind, { minor, places, warn });
        for (const name of variablesIn(own)) {
          const value = file.lookup(name);
          if (value !== undefined) environment.set(name, value);
        }
        for (const name of Object.keys(own)) {
          claim(owners, file, [kind, name], (at) => (current = at));
        }
        objects[kind] = { ...objects[kind], ...own };
      }
    }
    current = undefined;
    services = withProfiles(services, around.profiles ?? []);
    const version = files.at(0)?.document.root.version;
    return {
      version: typeof version === "string" ? version : undefined,
      services,
      ...objects,
      environment,
      warnings,
      notices: ignored(services),
      locate,
    };
  });
}

/** Variables whose values become secrets and configs. */
function variablesIn(objects: Mapping): readonly string[] {
  return Object.values(objects).flatMap((object) =>
    isMapping(object) && typeof object.environment === "string" ? [object.environment] : [],
  );
}

interface FileSource extends ServiceSource {
  readonly of: ReadFile;
}

function missingFile(name: string): never {
  throw new Refusal(`${name} has not been read`);
}

/** Included projects stand beside each other: two of them may not mean different things by a name. */
function claim(
  owners: Map<string, ReadFile>,
  file: ReadFile,
  path: readonly string[],
  at: (file: ReadFile) => void,
): void {
  const key = pathKey(path);
  const owner = owners.get(key);
  owners.set(key, file);
  if (owner === undefined || owner.group === file.group) return;
  at(file);
  throw new Refusal(`${path.join(".")} conflicts with the one of ${owner.name}`, path);
}

function section(root: Mapping, name: string): Mapping {
  const value = root[name];
  return isMapping(value) ? value : {};
}

function withProfiles(services: Mapping, active: readonly string[]): Mapping {
  const kept = Object.entries(services).flatMap(([name, service]) => {
    if (!isMapping(service)) return [];
    const { profiles, ...rest } = service;
    const names = isList(profiles) ? profiles.map(textOf) : [];
    const wanted = names.length === 0 || names.some((each) => active.includes(each));
    return wanted || active.includes("*") ? [[name, rest] as const] : [];
  });
  return Object.fromEntries(kept);
}

function sameVersion(files: readonly ReadFile[]): void {
  const [first] = files;
  for (const { document } of files) {
    const versions = [first?.document.root.version ?? "", document.root.version ?? ""];
    if (versions[0] === versions[1]) continue;
    throw new Refusal(
      `version mismatched between two composefiles : ${textOf(versions[0])} and ${textOf(versions[1])}`,
      ["version"],
    );
  }
}

/** In the last file that has the path in full; failing that, the nearest place around it. */
function locateIn(files: readonly ReadFile[], path: readonly string[]): ReturnType<Locate> {
  for (let length = path.length; length > 0; length -= 1) {
    const key = pathKey(path.slice(0, length));
    const file = files.findLast(({ document }) => document.lines.has(key));
    if (file !== undefined) return lineIn(file, path.slice(0, length));
  }
  return {};
}

function lineIn({ name, document }: ReadFile, path: readonly string[]): ReturnType<Locate> {
  for (let length = path.length; length >= 0; length -= 1) {
    const line = document.lines.get(pathKey(path.slice(0, length)));
    if (line !== undefined) return { file: name, line };
  }
  return { file: name };
}

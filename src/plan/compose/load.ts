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
import { interpolate, type Lookup } from "./interpolate.ts";
import { mergeServices } from "./merge.ts";
import { canonicalObjects, type Section } from "./objects-form.ts";
import type { Places } from "./paths.ts";
import { type ComposeError, catchRefusal, type Locate, Refusal } from "./refusal.ts";
import { canonicalService, envFilesOf } from "./service-form.ts";
import { forbidden, ignored } from "./unsupported.ts";
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
}

export interface ReadCompose {
  readonly files: readonly ReadFile[];
  /** Absolute names of the environment files to hand to `mergeCompose`. */
  readonly envFiles: readonly string[];
}

/** The merged project in canonical form. */
export interface ComposeProject {
  readonly version: string | undefined;
  readonly services: Mapping;
  readonly networks: Mapping;
  readonly volumes: Mapping;
  readonly secrets: Mapping;
  readonly configs: Mapping;
  /** Told to the user before anything is done. */
  readonly warnings: readonly string[];
  /** What is in the files and has no effect; a paragraph each. */
  readonly notices: readonly string[];
  readonly locate: Locate;
}

export function readCompose(
  sources: readonly ComposeSource[],
  around: ComposeSurroundings,
): Result<ReadCompose, ComposeError> {
  const files: ReadFile[] = [];
  let current: ReadFile | undefined;
  const locate: Locate = (path) => (current === undefined ? {} : lineIn(current, path));
  return catchRefusal(locate, () => {
    for (const { name, text } of sources) {
      current = { name, document: { root: {}, lines: new Map([["", 1]]) }, minor: 0 };
      const document = readDocument(text, (lines) => {
        current = { name, document: { root: {}, lines }, minor: 0 };
      });
      const minor = minorVersion(document.root);
      forbidden(document.root);
      const root =
        around.interpolate === false ? document.root : interpolate(document.root, around.lookup);
      // Values that wait for their variables have not the types that the schema asks for.
      if (around.interpolate !== false) validate(root, minor);
      files.push({ name, document: { root, lines: document.lines }, minor });
    }
    sameVersion(files);
    const envFiles = files.flatMap(({ document }) =>
      Object.values(section(document.root, "services")).flatMap((service) =>
        isMapping(service) ? envFilesOf(service, around.places) : [],
      ),
    );
    return { files, envFiles: [...new Set(envFiles)] };
  });
}

export function mergeCompose(
  { files }: ReadCompose,
  around: ComposeSurroundings,
  envFiles: ReadonlyMap<string, string>,
): Result<ComposeProject, ComposeError> {
  const warnings: string[] = [];
  const warn = (message: string) => void warnings.push(message);
  const locate: Locate = (path) => locateIn(files, path);
  return catchRefusal(locate, () => {
    let services: Mapping = {};
    const objects: Record<Section, Mapping> = {
      networks: {},
      volumes: {},
      secrets: {},
      configs: {},
    };
    for (const { document, minor } of files) {
      const { root } = document;
      const canonical = Object.entries(section(root, "services")).map(([name, service]) => [
        name,
        canonicalService(isMapping(service) ? service : {}, ["services", name], {
          ...around,
          envFiles,
          warn,
        }),
      ]);
      services = mergeServices(services, Object.fromEntries(canonical) as Mapping);
      for (const kind of Object.keys(objects) as Section[]) {
        const own = canonicalObjects(root, kind, { minor, places: around.places, warn });
        objects[kind] = { ...objects[kind], ...own };
      }
    }
    services = withProfiles(services, around.profiles ?? []);
    const version = files.at(0)?.document.root.version;
    return {
      version: typeof version === "string" ? version : undefined,
      services,
      ...objects,
      warnings,
      notices: ignored(services),
      locate,
    };
  });
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

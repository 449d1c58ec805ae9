/** The names of what an engine has, for completion: which kind an argument wants, and asking for it. */

import type { Command } from "../command.ts";
import { DEFAULT_CONTEXT, resolveEndpoint } from "../connect/endpoint.ts";
import { createClient, readAll } from "../http.ts";
import type { FlagValues } from "../pflag.ts";

/** Somebody waits with a finger on the key. */
const TIMEOUT_MS = 2_000;

interface Listed {
  readonly ID?: string;
  readonly Name?: string;
  readonly Names?: readonly string[];
  readonly RepoTags?: readonly string[] | null;
  readonly Spec?: { readonly Name?: string; readonly Labels?: Readonly<Record<string, string>> };
  readonly Description?: { readonly Hostname?: string };
  readonly Volumes?: readonly Listed[] | null;
}

interface Kind {
  readonly path: string;
  readonly namesOf: (object: Listed) => readonly string[];
}

const named = (object: Listed) => [object.Name ?? ""];
const specified = (object: Listed) => [object.Spec?.Name ?? ""];

const KINDS = {
  container: {
    path: "/containers/json",
    namesOf: ({ Names }) => (Names ?? []).slice(0, 1).map((name) => name.replace(/^\//, "")),
  },
  image: {
    path: "/images/json",
    namesOf: ({ RepoTags }) => (RepoTags ?? []).map((tag) => tag.replace(/:latest$/, "")),
  },
  network: { path: "/networks", namesOf: named },
  volume: { path: "/volumes", namesOf: named },
  service: { path: "/services", namesOf: specified },
  secret: { path: "/secrets", namesOf: specified },
  config: { path: "/configs", namesOf: specified },
  node: { path: "/nodes", namesOf: ({ Description }) => [Description?.Hostname ?? ""] },
  stack: {
    path: "/services",
    namesOf: ({ Spec }) => [Spec?.Labels?.["com.docker.stack.namespace"] ?? ""],
  },
} as const satisfies Readonly<Record<string, Kind>>;

/** What the user's own files tell, and no engine. */
const OWN_KINDS = { context: contextNames, server: serverNames } as const;

export type ObjectKind = keyof typeof KINDS | keyof typeof OWN_KINDS;

/** Verbs that work on running containers only. */
const RUNNING: ReadonlySet<string> = new Set(
  "attach exec kill pause port stats stop top".split(" "),
);

/** New names and contents of a registry cannot be completed. */
const CREATING: ReadonlySet<string> = new Set(["create", "pull", "import", "deploy"]);

/** What the argument after `count` others names, as the command's usage line tells. */
export function objectKindOf(command: Command, count: number): ObjectKind | undefined {
  const places = command.usage.split(" ").filter((word) => word !== "" && word !== "[OPTIONS]");
  const repeated = places.at(-1)?.includes("...") === true ? places.at(-1) : undefined;
  const place = (places[count] ?? repeated ?? "").toLowerCase().replace(/^\[|\.*\]$/g, "");
  const [noun = "", verb = ""] = command.path;
  const isMaking = CREATING.has(verb) && noun !== "container";
  if (place.startsWith("source_image")) return "image";
  const isName = /^name\b/.test(place);
  // `skep inspect NAME|ID` takes anything; most often it is a container.
  const words = isName ? [noun === "system" ? "container" : noun] : (place.match(/[a-z]+/g) ?? []);
  const kind = words.find(isKind);
  return isMaking && kind === noun ? undefined : kind;
}

function isKind(word: string): word is ObjectKind {
  return isOwn(word) || Object.hasOwn(KINDS, word);
}

function isOwn(word: string): word is keyof typeof OWN_KINDS {
  return Object.hasOwn(OWN_KINDS, word);
}

export async function listObjects(
  kind: ObjectKind,
  command: Command,
  globals: FlagValues,
  env: NodeJS.ProcessEnv,
): Promise<readonly string[]> {
  if (isOwn(kind)) return OWN_KINDS[kind](env);
  const { path, namesOf }: Kind = KINDS[kind];
  const all = kind === "container" && !RUNNING.has(command.path.at(-1) ?? "");
  try {
    const client = createClient(() => resolveEndpoint(globals, env), env);
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const answer = JSON.parse(
      await readAll(await client.stream("GET", path, { query: { all }, signal })),
    );
    const listed = (Array.isArray(answer) ? answer : (answer.Volumes ?? [])) as readonly Listed[];
    const names = listed
      .flatMap(namesOf)
      .filter((name) => name !== "" && !name.startsWith("<none>"));
    return [...new Set(names)].toSorted();
  } catch {
    // No engine, no swarm, no right to ask: there is nothing to offer.
    return [];
  }
}

async function contextNames(env: NodeJS.ProcessEnv): Promise<readonly string[]> {
  const { ContextStore } = await import("../context/store.ts");
  try {
    return [DEFAULT_CONTEXT, ...new ContextStore(env).all().map(({ Name }) => Name)].toSorted();
  } catch {
    return [DEFAULT_CONTEXT];
  }
}

async function serverNames(env: NodeJS.ProcessEnv): Promise<readonly string[]> {
  const { knownServers } = await import("../credentials.ts");
  return knownServers(env).catch(() => []);
}

/**
 * Finds the route of a request. Paths are few and short, but names of images and plugins contain
 * slashes in the middle of a path ("/images/{name:.*}/json"), which prefix-tree routers do not
 * match; so each path is one regular expression, tried in order of how specific it is, among those
 * of the same method and first segment.
 */

import { EngineError } from "#base/error.ts";
import { invariant } from "#base/invariant.ts";
import type { Route, Routes } from "./route.ts";

export interface RouteMatch {
  readonly route: Route;
  /** Path parameters, percent-decoded. */
  readonly params: Readonly<Record<string, string>>;
}

export interface Router {
  find(method: string, path: string): RouteMatch | undefined;
}

interface CompiledRoute {
  readonly route: Route;
  readonly pattern: RegExp;
  readonly names: readonly string[];
  /** A character per segment: "0" literal, "1" parameter, "2" parameter with slashes. */
  readonly rank: string;
}

export function createRouter(routes: Routes): Router {
  const buckets = new Map<string, CompiledRoute[]>();
  const seen = new Set<string>();
  for (const route of routes) {
    const compiled = compile(route);
    const shape = `${route.method} ${compiled.pattern.source}`;
    invariant(!seen.has(shape), `two routes for ${route.method} ${route.path}`);
    seen.add(shape);
    const key = bucketOf(route.method, route.path);
    buckets.set(key, [...(buckets.get(key) ?? []), compiled]);
  }
  for (const bucket of buckets.values()) bucket.sort((a, b) => (a.rank < b.rank ? -1 : 1));
  return {
    find: (method, path) => {
      for (const { route, pattern, names } of buckets.get(bucketOf(method, path)) ?? []) {
        const match = pattern.exec(path);
        if (match === null) continue;
        const params: Record<string, string> = {};
        names.forEach((name, index) => {
          params[name] = decode(match[index + 1] ?? "");
        });
        return { route, params };
      }
      return undefined;
    },
  };
}

function bucketOf(method: string, path: string): string {
  return `${method} ${path.split("/", 2)[1] ?? ""}`;
}

function compile(route: Route): CompiledRoute {
  const names: string[] = [];
  let source = "";
  let rank = "";
  for (const segment of route.path.split("/").slice(1)) {
    const parameter = /^\{([A-Za-z]+)(:\.\*)?\}$/.exec(segment);
    source += "/";
    if (parameter === null) {
      invariant(/^[\w.-]*$/.test(segment), `malformed route path ${route.path}`);
      source += segment.replaceAll(".", "\\.");
      rank += "0";
      continue;
    }
    const [, name = "", slashes] = parameter;
    names.push(name);
    source += slashes === undefined ? "([^/]+)" : "(.+)";
    rank += slashes === undefined ? "1" : "2";
  }
  return { route, pattern: new RegExp(`^${source}$`), names, rank };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new EngineError("invalid-argument", `malformed path parameter: ${text}`);
  }
}

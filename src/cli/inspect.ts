/** `inspect` of any object: a JSON array, or a template per object; missing ones are told at the end. */

import { EngineError, isErrorCode } from "#base/error.ts";
import type { CommandContext } from "./command.ts";
import type { Query } from "./http.ts";
import { compileTemplate } from "./output/go-template.ts";

/** Tries the paths in turn for each argument ("{}" is the name); `kind` is for the message. */
export async function inspectAll(
  context: CommandContext,
  kind: string,
  paths: readonly string[],
  query: Query = {},
): Promise<number> {
  const found: unknown[] = [];
  const missing: string[] = [];
  for (const name of context.args) {
    const object = await firstFound(context, name, paths, query);
    if (object instanceof EngineError) {
      missing.push(kind === "service" ? `Error: no such service: ${name}` : object.message);
    } else if (object === undefined) missing.push(`Error: No such ${kind}: ${name}`);
    else found.push(object);
  }
  const format = context.flags.string("format");
  if (format === undefined) context.stdout.write(`${JSON.stringify(found, null, 4)}\n`);
  else {
    const template = compileTemplate(format === "json" ? "{{json .}}" : format);
    for (const object of found) context.stdout.write(`${template(object)}\n`);
    if (found.length === 0) context.stdout.write("\n");
  }
  for (const message of missing) context.stderr.write(`${message}\n`);
  return missing.length === 0 ? 0 : 1;
}

async function firstFound(
  context: CommandContext,
  name: string,
  paths: readonly string[],
  query: Query,
): Promise<unknown> {
  for (const path of paths) {
    try {
      const filled = path.replace("{}", encodeURIComponent(name));
      return await context.client.get<unknown>(filled, query);
    } catch (error) {
      // Swarm objects answer "unavailable" outside a swarm: then there is no such object either.
      const gone =
        isErrorCode(error, "not-found") || (paths.length > 1 && isErrorCode(error, "unavailable"));
      if (!gone) throw error;
      // The engine knows best how it is called.
      if (paths.length === 1) return EngineError.from(error);
    }
  }
  return undefined;
}

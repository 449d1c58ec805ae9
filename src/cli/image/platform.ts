/** `--platform` of commands about images that are here already: one of an image's, as the API takes it. */

import { EngineError } from "#base/error.ts";
import { parsePlatform } from "#wire/image-platform.ts";
import type { CommandContext } from "../command.ts";
import type { FlagSpec } from "../pflag.ts";

export function platformFlag(usage: string): FlagSpec {
  return { name: "platform", kind: "string", usage: `${usage}, as os[/arch[/variant]]` };
}

/** The query's value, undefined without the flag; an engine that does not know it is not asked. */
export async function platformQuery(
  { client, flags }: CommandContext,
  since: string,
): Promise<string | undefined> {
  const text = flags.string("platform");
  if (text === undefined || text === "") return undefined;
  const encoded = encodePlatform(text);
  await client.requireVersion("platform", since);
  return encoded;
}

export function encodePlatform(text: string): string {
  const parsed = parsePlatform(text, { os: process.platform, architecture: ownArchitecture() });
  if (!parsed.ok) throw new EngineError("invalid-argument", `invalid platform: ${parsed.error}`);
  return JSON.stringify(parsed.value);
}

/** In the images' words. */
function ownArchitecture(): string {
  if (process.arch === "x64") return "amd64";
  return process.arch === "ia32" ? "386" : process.arch;
}
